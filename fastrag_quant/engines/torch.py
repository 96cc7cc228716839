"""The torch engine: fp32 or bf16 weights on plain PyTorch, the baseline that int8 is measured against."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np

from fastrag_quant.batching import TokenBatch
from fastrag_quant.engines import EngineOptions
from fastrag_quant.engines.torch_loading import load_encoder
from fastrag_quant.engines.torch_pooling import pool
from fastrag_quant.engines.torch_threads import TorchThreads
from fastrag_quant.settings import EmbedderSettings
from fastrag_quant.source import ModelSource


class TorchEngine:
    """Runs a model as transformers loads it, in fp32 or, with ``bf16``, in auto-mixed precision."""

    name: ClassVar[str] = "torch"
    token_budget: ClassVar[int] = 8192
    # Eager PyTorch compiles nothing per shape: pad as little as possible.
    shortest: ClassVar[int] = 1
    shortest_alone: ClassVar[int] = 1

    def __init__(
        self,
        directory: Path,  # noqa: ARG002 - an engine's signature
        source: ModelSource,
        settings: EmbedderSettings,
        options: EngineOptions,
    ) -> None:
        """Load the weights.

        :raises ModelError: if transformers cannot read them.
        """
        self._settings = settings
        self._bf16 = options.bf16
        self._threads = TorchThreads.shared(options)
        self._model = self._threads.run(load_encoder, source)
        self._takes_token_types = "token_type_ids" in inspect.signature(self._model.forward).parameters

    def encode(self, batch: TokenBatch) -> np.ndarray:
        """Return the pooled, normalised vectors of a batch, float32 of shape (batch size, dimension)."""
        return self._threads.run(self._forward, batch)

    def encode_all(self, batches: Iterable[TokenBatch]) -> Iterator[np.ndarray]:
        """Yield the vectors of each batch, in order, with a stream per core."""
        return self._threads.map(self._forward, batches)

    def warm_up(self, batch: TokenBatch) -> None:
        """Run a batch on every stream."""
        self._threads.warm_up(self._forward, batch)

    @property
    def streams(self) -> int:
        """How many batches run side by side."""
        return self._threads.count

    def close(self) -> None:
        """Release the weights."""
        del self._model, self._threads

    def _forward(self, batch: TokenBatch) -> np.ndarray:
        import torch

        mask = torch.from_numpy(batch.attention_mask)
        inputs = {"input_ids": torch.from_numpy(batch.input_ids), "attention_mask": mask}
        if self._takes_token_types:
            inputs["token_type_ids"] = torch.zeros_like(mask)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self._bf16):
            hidden = self._model(**inputs).last_hidden_state
        return pool(hidden, mask, self._settings)
