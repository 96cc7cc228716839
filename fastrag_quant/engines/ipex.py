"""The ipex engine: int8 TorchScript (or fp32 and bf16 weights) on Intel Extension for PyTorch.

TorchScript is a program, not just weights: load directories that you trust.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from fastrag_quant.config import Dtype, EmbedderConfig
from fastrag_quant.engines import ENGINE_KINDS
from fastrag_quant.engines.torch_encoder import TorchEncoder
from fastrag_quant.errors import ModelError
from fastrag_quant.host.forks import no_fork_meanwhile
from fastrag_quant.host.noise import import_quietly, quiet_logs
from fastrag_quant.host.random_state import unchanged_random_state
from fastrag_quant.model.settings import EmbedderSettings, check_weights_dimension
from fastrag_quant.model.tokenization import RaggedTokens

if TYPE_CHECKING:
    import torch

(WEIGHTS_NAME,) = ENGINE_KINDS["ipex"].weights
_WITHOUT_IPEX = "engine='torch' runs fp32 weights without IPEX."


class IpexEngine(TorchEncoder):
    """Runs int8 TorchScript as it is, and other weights through ipex.optimize."""

    name: ClassVar[str] = "ipex"
    # Throughput is flat from 2,048 tokens a batch on; more only costs memory and latency.
    token_budget: ClassVar[int] = 2048
    shortest: ClassVar[int] = 16
    shortest_alone: ClassVar[int] = 16

    def __init__(self, directory: Path, settings: EmbedderSettings, config: EmbedderConfig) -> None:
        """Load the weights, and run them once.

        :raises ModelError: if they cannot be loaded or run.
        """
        try:
            super().__init__(directory, settings, config)
            self.warm_up([1], batch_size=1)
            dimension = self._dimension_of_int8() if config.computes_in is Dtype.INT8 else settings.dimension
        except ModelError:
            raise
        except Exception as error:
            is_int8, name = config.computes_in is Dtype.INT8, config.source.name
            advice = "Was it quantized with --engine ipex, for these versions?" if is_int8 else _WITHOUT_IPEX
            msg = f"IPEX cannot load {name} ({error}). {advice}"
            raise ModelError(msg) from error
        check_weights_dimension(dimension, settings, config.source.name)

    def _dimension_of_int8(self) -> int:
        """Return how many numbers a vector of the program has, which tells so only when it runs."""
        return self._run(self._padded(RaggedTokens.of([[self._settings.pad_token_id]]), alone=True)).shape[1]

    def _load(self, config: EmbedderConfig) -> Any:
        if config.computes_in is Dtype.INT8:
            return _load_int8(self._directory)
        return optimized(super()._load(config), config)

    def _names_of_inputs(self, module: Any) -> set[str]:
        return module.input_names if isinstance(module, _ProgramOfEachThread) else super()._names_of_inputs(module)


class _ProgramOfEachThread:
    """Int8 TorchScript, copied for every thread that calls it; the copies share their weights.

    IPEX's fused kernels write to fields of their own whenever a thread first meets a shape, while
    other threads read them: two threads that run one program now and then crash the process.
    """

    def __init__(self, program: torch.jit.ScriptModule) -> None:
        self.input_names = {name.debugName().split(".")[0] for name in program.graph.inputs()} - {"self"}
        self._program = program
        self._own = threading.local()

    def __call__(self, **inputs: torch.Tensor) -> Any:
        if not hasattr(self._own, "program"):
            self._own.program = self._copy(inputs)
        return self._own.program(**inputs)

    def _copy(self, inputs: dict[str, torch.Tensor]) -> torch.jit.ScriptModule:
        import torch

        with no_fork_meanwhile(), quiet_logs():
            program = torch.jit.freeze(self._program, optimize_numerics=False)  # frozen already: a plain copy
            for _ in range(2):  # the second call fuses, with warnings that IPEX's means are deprecated
                program(**inputs)
        return program


@unchanged_random_state()
def _load_int8(directory: Path) -> _ProgramOfEachThread:
    # Registers the operators that the program calls.
    import_quietly("intel_extension_for_pytorch")
    import torch

    with quiet_logs():
        # Not through optimum-intel's IPEXModel, which hides the first error behind a second run, and exports fp32
        # weights where config.json says that there is no TorchScript.
        return _ProgramOfEachThread(torch.jit.load(directory / WEIGHTS_NAME).eval())


def optimized(encoder: torch.nn.Module, config: EmbedderConfig) -> torch.nn.Module:
    """Return an encoder as ``ipex.optimize`` makes it, for what a configuration computes in."""
    import_quietly("intel_extension_for_pytorch")
    import intel_extension_for_pytorch as ipex
    import torch

    with quiet_logs():
        dtype = torch.bfloat16 if config.computes_in is Dtype.BFLOAT16 else torch.float32
        return ipex.optimize(encoder, dtype=dtype)
