"""fp32 as users run it without this package: the baselines of the speed benchmark.

They are this package's engines torch and ipex, save for what those do for speed: batches are of the size
that was asked for and padded to their longest text, and torch runs them in the calling thread with its
own team of threads, where our engines run a stream of one thread for every core.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from fastrag_quant.config import EmbedderConfig
from fastrag_quant.engines import ENGINE_KINDS, EngineKind
from fastrag_quant.engines.ipex import IpexEngine, optimized
from fastrag_quant.engines.padded import PaddedBatch, pad
from fastrag_quant.engines.torch import TorchEngine
from fastrag_quant.engines.torch_encoder import TorchEncoder, load_encoder
from fastrag_quant.engines.torch_threads import Input, Result, TorchThreads
from fastrag_quant.host.noise import quiet_logs
from fastrag_quant.model.tokenization import RaggedTokens

TORCH = EngineKind("hf", __name__, "VanillaTorch", extra="torch", runs_fp32=True)
IPEX = EngineKind(
    "ipex", __name__, "VanillaIpex", extra="ipex", runs_fp32=True, why_not_cpu=ENGINE_KINDS["ipex"].why_not_cpu
)
TORCHSCRIPT = replace(IPEX, name="ipex-ts", class_name="TracedIpex")


@dataclass(frozen=True)
class BenchmarkConfig(EmbedderConfig):
    """An embedder's arguments, and what a trace needs besides.

    :param batch_size: texts per call.
    """

    batch_size: int = 1


class CallingThread(TorchThreads):
    """Runs torch where it is called, with torch's own team of threads."""

    def __init__(self, threads: int | None) -> None:
        """Set torch's number of threads, where one is asked for."""
        import torch

        super().__init__(count=1, pin=False)
        self._threads_before = torch.get_num_threads()
        if threads:
            torch.set_num_threads(threads)

    def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call a function here, in torch's inference mode."""
        import torch

        with torch.inference_mode():
            return function(*arguments)

    def map(self, function: Callable[[Input], Result], inputs: Iterable[Input]) -> Iterator[Result]:
        """Call a function on every input, one after the other."""
        return (self.run(function, value) for value in inputs)

    def give_back(self) -> None:
        """Set torch's number of threads to what it was."""
        import torch

        torch.set_num_threads(self._threads_before)


class _Vanilla(TorchEncoder):
    """What takes the place of this package's shapes and streams."""

    shortest: ClassVar[int] = 1
    _calling_thread: CallingThread

    def plan(self, lengths: np.ndarray, limit: int) -> Iterator[np.ndarray]:
        """Yield batches of like length and of the size asked for, as sentence-transformers makes them."""
        order = np.argsort(-lengths, kind="stable")
        return (order[start : start + limit] for start in range(0, len(order), limit))

    def warm_up(self, lengths: Iterable[int], batch_size: int) -> None:
        """Do nothing: eager PyTorch compiles nothing per shape, and a trace has one."""

    def close(self) -> None:
        """Release the weights, and give torch its threads back."""
        self._calling_thread.give_back()
        super().close()

    def _stream_count(self, config: EmbedderConfig) -> int:  # noqa: ARG002 - whatever it says
        return 1

    def _threads_for(self, config: EmbedderConfig) -> CallingThread:
        self._calling_thread = CallingThread(config.threads)
        return self._calling_thread

    def _padded(self, tokens: RaggedTokens, *, alone: bool = False) -> PaddedBatch:  # noqa: ARG002 - no difference
        return pad(tokens, max(int(tokens.lengths.max()), self._shapes.shortest), self._pad_token_id)


class VanillaTorch(_Vanilla, TorchEngine):
    """A model as transformers loads it."""

    name: ClassVar[str] = TORCH.name


class VanillaIpex(_Vanilla, IpexEngine):
    """The same through ``ipex.optimize``."""


class TracedIpex(VanillaIpex):
    """The same as TorchScript, traced with all of the model's inputs at the benchmarked shape."""

    name: ClassVar[str] = TORCHSCRIPT.name

    def _load(self, config: EmbedderConfig) -> Any:
        import torch

        assert isinstance(config, BenchmarkConfig)
        # IPEX tells at the first calls that torch.compile will take the place of its TorchScript passes.
        warnings.filterwarnings("ignore", message="JIT pass will be deprecated")
        bf16 = torch.autocast("cpu", dtype=torch.bfloat16, enabled=self._bf16)
        with torch.inference_mode(False), torch.no_grad():  # a trace is made so, and runs no faster in inference mode
            encoder = optimized(load_encoder(config.source, torchscript=True), config)
            ids = torch.ones((config.batch_size, self._settings.max_seq_len), dtype=torch.long)
            values = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}
            names = super()._names_of_inputs(encoder)
            inputs = {name: value for name, value in values.items() if name in names}
            with bf16, quiet_logs():
                traced = torch.jit.trace(encoder, example_kwarg_inputs=inputs, strict=False, check_trace=False)
                return torch.jit.freeze(traced)

    def _names_of_inputs(self, module: Any) -> set[str]:
        return {value.debugName().split(".")[0] for value in module.graph.inputs()} - {"self"}
