"""The ipex engine: int8 TorchScript (or fp32 and bf16 weights) on Intel Extension for PyTorch.

TorchScript is a program, not just weights: load directories that you trust.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fastrag_quant.batching import TokenBatch
from fastrag_quant.engines import EngineOptions
from fastrag_quant.engines.torch_pooling import pool
from fastrag_quant.engines.torch_threads import TorchThreads
from fastrag_quant.errors import ModelError
from fastrag_quant.noise import import_quietly, quiet_logs
from fastrag_quant.random_state import unchanged_random_state
from fastrag_quant.settings import EmbedderSettings, read_json
from fastrag_quant.source import ModelSource
from fastrag_quant.system import require_avx2

if TYPE_CHECKING:
    import torch

WEIGHTS_NAME = "pytorch_model.bin"


class IpexEngine:
    """Runs int8 TorchScript through optimum-intel's IPEXModel, and other weights through ipex.optimize."""

    name: ClassVar[str] = "ipex"
    # Throughput is flat from 2,048 tokens a batch on; more only costs memory and latency.
    token_budget: ClassVar[int] = 2048
    shortest: ClassVar[int] = 16
    shortest_alone: ClassVar[int] = 16

    def __init__(
        self, directory: Path, source: ModelSource, settings: EmbedderSettings, options: EngineOptions
    ) -> None:
        """Load the weights.

        :raises UnsupportedCpuError: if the CPU has no AVX2, on which importing IPEX crashes the process.
        :raises ModelError: if int8 is expected and the directory does not hold int8 TorchScript.
        """
        require_avx2(self.name)
        if options.int8:
            _check_int8_torchscript(directory, source.name)
        self._settings = settings
        self._bf16 = options.bf16
        self._threads = TorchThreads.shared(options)
        try:
            if options.int8:
                self._module = self._threads.run(_load_int8, directory)
            else:
                self._module = self._threads.run(_load_fp32, source, options)
            self._input_names = _input_names(self._module)
            self.warm_up(self._smallest_batch())
        except Exception as error:
            msg = f"IPEX cannot load {source.name} ({error}). Was it quantized with --engine ipex, for these versions?"
            raise ModelError(msg) from error

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
        del self._module, self._threads

    def _forward(self, batch: TokenBatch) -> np.ndarray:
        import torch

        mask = torch.from_numpy(batch.attention_mask)
        inputs = {"input_ids": torch.from_numpy(batch.input_ids), "attention_mask": mask}
        if "token_type_ids" in self._input_names:
            inputs["token_type_ids"] = torch.zeros_like(mask)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self._bf16):
            outputs = self._module(**inputs)
        hidden = outputs["last_hidden_state"] if isinstance(outputs, dict) else outputs[0]
        return pool(hidden, mask, self._settings)

    def _smallest_batch(self) -> TokenBatch:
        ids = np.full((1, min(self.shortest, self._settings.max_seq_len)), self._settings.pad_token_id)
        return TokenBatch(ids, np.ones_like(ids))


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

        with quiet_logs():
            program = torch.jit.freeze(self._program, optimize_numerics=False)  # frozen already: a plain copy
            for _ in range(2):  # the second call fuses, with warnings that IPEX's means are deprecated
                program(**inputs)
        return program


def _check_int8_torchscript(directory: Path, name: str) -> None:
    # Without this flag, IPEXModel would quietly convert the weights as they are and run fp32.
    if not read_json(directory / "config.json").get("torchscript"):
        msg = (
            f"{name} is not an int8 model (its config.json has no torchscript: true). "
            f"Quantize it first: fastrag_quant-quantize --model-name {name} --output-path DIR; "
            "or pass int8=False to run it as it is."
        )
        raise ModelError(msg)
    if not (directory / WEIGHTS_NAME).is_file():
        msg = f"{name} holds no {WEIGHTS_NAME} for the ipex engine: quantize it with --engine ipex, or pass another."
        raise ModelError(msg)


@unchanged_random_state()
def _load_int8(directory: Path) -> _ProgramOfEachThread:
    import_quietly("optimum.intel.ipex")
    from optimum.intel import IPEXModel

    with quiet_logs():
        # The TorchScript module itself: IPEXModel's call hides the first error behind a second run.
        return _ProgramOfEachThread(IPEXModel.from_pretrained(directory, warmup=False).model)


def _load_fp32(source: ModelSource, options: EngineOptions) -> torch.nn.Module:
    import torch

    from fastrag_quant.engines.torch_loading import load_encoder

    import_quietly("intel_extension_for_pytorch")
    import intel_extension_for_pytorch as ipex

    with quiet_logs():
        dtype = torch.bfloat16 if options.bf16 else torch.float32
        return ipex.optimize(load_encoder(source), dtype=dtype)


def _input_names(module: Any) -> set[str]:
    if isinstance(module, _ProgramOfEachThread):
        return module.input_names
    return set(inspect.signature(module.forward).parameters)
