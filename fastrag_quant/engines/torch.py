"""The torch engine: fp32 or bf16 weights on plain PyTorch, the baseline that int8 is measured against."""

from __future__ import annotations

from typing import ClassVar

from fastrag_quant.engines.torch_encoder import TorchEncoder


class TorchEngine(TorchEncoder):
    """Runs a model as transformers loads it, in fp32 or in bfloat16 auto-mixed precision."""

    name: ClassVar[str] = "torch"
    token_budget: ClassVar[int] = 8192
    # Eager PyTorch compiles nothing per shape: pad as little as possible.
    shortest: ClassVar[int] = 1
    shortest_alone: ClassVar[int] = 1
