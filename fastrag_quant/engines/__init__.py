"""The engines: what runs a model. One module each; none imports another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np

from fastrag_quant.batching import TokenBatch
from fastrag_quant.errors import InputError
from fastrag_quant.extras import missing_distributions, require
from fastrag_quant.settings import EmbedderSettings
from fastrag_quant.source import ModelSource
from fastrag_quant.system import check_threads


@dataclass(frozen=True)
class EngineOptions:
    """How an engine runs.

    :param bf16: run fp32 weights in bfloat16 auto-mixed precision.
    :param int8: whether int8 weights are expected; an engine refuses others.
    :param threads: cores to use; None is all usable ones.
    :param pin_threads: bind each inference thread to a core of its own.
    """

    bf16: bool = False
    int8: bool = True
    threads: int | None = None
    pin_threads: bool = False

    def __post_init__(self) -> None:
        """Check the thread count and the precision.

        :raises InputError: if threads is not positive, and for bf16 with int8.
        """
        check_threads(self.threads)
        if self.bf16 and self.int8:
            msg = (
                "An int8 model's precision is fixed when it is quantized, so bf16=True does nothing for it: "
                "leave it out, or run the model's fp32 weights in bfloat16 with int8=False or engine='torch'."
            )
            raise InputError(msg)


class Engine(Protocol):
    """What the embedder asks of an engine. Engines are safe to call from many threads.

    :cvar name: what users call it.
    :cvar token_budget: the tokens per batch at which it runs best, measured.
    :cvar shortest: the smallest padded length worth a shape of its own, measured.
    :cvar shortest_alone: the same for a text that comes alone, as queries do.
    """

    name: ClassVar[str]
    token_budget: ClassVar[int]
    shortest: ClassVar[int]
    shortest_alone: ClassVar[int]

    def __init__(
        self, directory: Path, source: ModelSource, settings: EmbedderSettings, options: EngineOptions
    ) -> None:
        """Load the weights.

        :raises ModelError: if they are missing or not of the expected kind.
        """

    def encode(self, batch: TokenBatch) -> np.ndarray:
        """Return the pooled, normalised vectors of one batch as soon as can be.

        :return: float32 of shape (batch size, dimension).
        """
        ...

    def encode_all(self, batches: Iterable[TokenBatch]) -> Iterator[np.ndarray]:
        """Yield the vectors of each of many batches, in order, at the highest throughput."""
        ...

    def warm_up(self, batch: TokenBatch) -> None:
        """Run a batch wherever one of its shape may run later, so that nothing is left to compile then."""

    @property
    def streams(self) -> int:
        """How many batches :meth:`encode_all` runs side by side."""
        ...

    def close(self) -> None:
        """Release the weights and threads; the engine cannot be used afterwards."""


@dataclass(frozen=True)
class EngineKind:
    """Where an engine's class lives, what it needs installed, and which weights it reads.

    :param extra: what running a model needs.
    :param quantization_extra: what quantizing for the engine needs.
    :param weights: the files, and hub patterns, of its weights.
    """

    module: str
    class_name: str
    extra: str
    quantization_extra: str | None
    weights: tuple[str, ...]


ENGINE_KINDS = {
    "openvino": EngineKind(
        "fastrag_quant.engines.openvino",
        "OpenVinoEngine",
        "openvino",
        "nncf",
        ("openvino_model.xml", "openvino_model.bin"),
    ),
    "ipex": EngineKind("fastrag_quant.engines.ipex", "IpexEngine", "ipex", "ipex", ("pytorch_model.bin",)),
    "torch": EngineKind("fastrag_quant.engines.torch", "TorchEngine", "torch", None, ()),
}


def check_engine_name(name: str) -> None:
    """Raise where a name is neither an engine's nor "auto".

    :raises InputError: listing the valid names.
    """
    if name != "auto" and name not in ENGINE_KINDS:
        msg = f"Unknown engine {name!r}: use one of auto, {', '.join(ENGINE_KINDS)}."
        raise InputError(msg)


def installed_engines() -> list[str]:
    """Return the names of the engines whose dependencies are installed."""
    return [name for name, kind in ENGINE_KINDS.items() if not missing_distributions(kind.extra)]


def engine_class(name: str) -> type[Engine]:
    """Import an engine.

    :raises MissingExtraError: if its dependencies are not installed.
    """
    kind = ENGINE_KINDS[name]
    require(kind.extra, f"The {name} engine")
    engine: type[Engine] = getattr(import_module(kind.module), kind.class_name)
    return engine
