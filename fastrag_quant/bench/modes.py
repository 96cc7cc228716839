"""The modes of the speed benchmark: which engine runs a model, and in which dtype."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fastrag_quant.bench.vanilla import IPEX, TORCH, TORCHSCRIPT, BenchmarkConfig
from fastrag_quant.config import Dtype
from fastrag_quant.embedder import QuantizedEmbedder
from fastrag_quant.engines import AUTO, INT8_KINDS, EngineKind
from fastrag_quant.errors import InputError
from fastrag_quant.host.cpu import usable_cores


@dataclass(frozen=True)
class SpeedMode:
    """How a mode of the benchmark runs a model.

    :param description: for help and tables.
    :param kind: the engine: one of this package for int8, one of :mod:`fastrag_quant.bench.vanilla` for fp32.
    :param dtype: what it computes in.
    :param one_shape: whether texts are padded to the benchmarked length, as random tokens have it.
    """

    description: str
    kind: EngineKind
    dtype: Dtype
    one_shape: bool = False

    @property
    def is_int8(self) -> bool:
        """Whether it runs int8 models; other modes run fp32 weights."""
        return self.dtype is Dtype.INT8

    def load(
        self,
        model: str,
        shape: tuple[int, int],
        *,
        random_tokens: bool,
        bf16: bool = False,
        threads: int | None = None,
        pin_threads: bool = False,
    ) -> QuantizedEmbedder:
        """Load a model.

        :param shape: texts per call, and tokens per text of random tokens and of a trace.
        :param random_tokens: whether random tokens of that shape are run, and no texts.
        :param bf16: run fp32 weights in bfloat16.
        :param threads: None is all that the engine or torch takes by itself.
        :param pin_threads: bind the inference threads of an int8 mode to a core each.
        :raises InputError: for bf16 with int8, and for a length that the model has no positions for.
        """
        if self.is_int8 and bf16:
            msg = "--bf16 runs fp32 weights in bfloat16; an int8 model's precision is fixed when it is quantized."
            raise InputError(msg)
        batch_size, length = shape
        config = BenchmarkConfig(
            model,
            self.kind.name if self.is_int8 else AUTO,
            max_seq_len=length if random_tokens or self.one_shape else None,
            dtype=Dtype.BFLOAT16 if bf16 else self.dtype,
            pad_to_max=self.one_shape,
            threads=threads,
            pin_threads=pin_threads,
            batch_size=batch_size,
        )
        return QuantizedEmbedder.from_config(config, None if self.is_int8 else self.kind)

    def threads(self, wanted: int | None) -> int:
        """Return how many threads run a model that is loaded.

        :param wanted: what it was loaded with.
        """
        if self.is_int8:
            return wanted or usable_cores()
        import torch

        return int(torch.get_num_threads())


# fastRAG's benchmark_speed.py names the modes that it has.
_FASTRAG_NAMES = {"ipex": "inc"}


def int8_modes(kinds: Mapping[str, EngineKind]) -> dict[str, SpeedMode]:
    """Return a mode for each engine that runs int8, by name."""
    names = {_FASTRAG_NAMES.get(name, name): name for name in kinds}
    return {
        mode: SpeedMode(f"int8 model on the engine {name}", kinds[name], Dtype.INT8)
        for mode, name in sorted(names.items())
    }


MODES = {
    **int8_modes(INT8_KINDS),
    "hf": SpeedMode("vanilla PyTorch and transformers, fp32", TORCH, Dtype.FLOAT32),
    "ipex": SpeedMode("fp32 through ipex.optimize", IPEX, Dtype.FLOAT32),
    "ipex-ts": SpeedMode(
        "ipex as TorchScript, traced at the benchmarked shape", TORCHSCRIPT, Dtype.FLOAT32, one_shape=True
    ),
}

FP32_MODES = [name for name, mode in MODES.items() if not mode.is_int8]


def mode_of(name: str) -> SpeedMode:
    """Return the mode of that name.

    :raises InputError: for another name; the message lists the valid ones.
    """
    if name not in MODES:
        msg = f"Unknown mode {name!r}: use one of {', '.join(MODES)}."
        raise InputError(msg)
    return MODES[name]
