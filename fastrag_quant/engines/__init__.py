"""The engines: what runs a model. A module and a row of the table each; none imports another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from fastrag_quant.errors import InputError, UnsupportedCpuError
from fastrag_quant.host.cpu import why_no_avx2
from fastrag_quant.host.extras import missing_distributions, require
from fastrag_quant.model.settings import EmbedderSettings
from fastrag_quant.model.tokenization import RaggedTokens

if TYPE_CHECKING:
    from fastrag_quant.config import EmbedderConfig


class Engine(Protocol):
    """What the embedder asks of an engine. Engines are safe to call from many threads.

    :cvar name: what users call it.
    """

    name: ClassVar[str]

    def __init__(self, directory: Path, settings: EmbedderSettings, config: EmbedderConfig) -> None:
        """Load the weights.

        :param directory: holds the files that the engine's kind reads.
        :raises ModelError: if they are missing or not of the expected kind.
        """

    def plan(self, lengths: np.ndarray, limit: int) -> Iterator[np.ndarray]:
        """Say which texts go together.

        :param lengths: tokens per text, shape (texts,).
        :param limit: texts per batch at the most.
        :return: the positions of the texts of each batch; every text is in one.
        """
        ...

    def encode(self, tokens: RaggedTokens) -> np.ndarray:
        """Return the pooled, normalised vectors of texts as soon as can be.

        :return: float32 of shape (texts, dimension).
        """
        ...

    def encode_all(self, batches: Iterable[RaggedTokens]) -> Iterator[np.ndarray]:
        """Yield the vectors of each of many batches, in order, at the highest throughput."""
        ...

    def warm_up(self, lengths: Iterable[int], batch_size: int) -> None:
        """Run what texts of these lengths need, wherever it may run later, so that nothing is left to compile.

        :param lengths: tokens per text.
        :param batch_size: 1 for texts that come alone, as queries do; else texts per batch at the most.
        """

    def close(self) -> None:
        """Release the weights and threads; the engine cannot be used afterwards."""


def _nothing(*_: Any) -> None:
    """Say that there is no reason why not. No lambda: an embedder is pickled with its engine's kind."""


@dataclass(frozen=True)
class EngineKind:
    """All that is known of an engine before it is imported.

    :param module: where its class is.
    :param extra: what running a model needs installed; None is nothing beyond the package.
    :param weights: the files, and hub patterns, of its int8 weights; none for an engine of fp32 models.
    :param is_program: whether its int8 weights are a program (TorchScript), which could do anything when it is loaded.
    :param runs_fp32: whether it runs the weights of an fp32 model too.
    :param quantizes_on_load: whether it makes int8 weights of an fp32 model's while it loads them.
    :param quantizer: the function that makes its int8 weights, as ``module:function``; None where nothing does.
    :param quantization_extra: what that function needs installed; None is nothing beyond the package.
    :param why_not_cpu: says why it cannot run on this CPU, or None where it can.
    :param why_not_architecture: says of a model's config.json why it cannot run it, or None where it can.
    """

    name: str
    module: str
    class_name: str
    extra: str | None = None
    weights: tuple[str, ...] = ()
    is_program: bool = False
    runs_fp32: bool = False
    quantizes_on_load: bool = False
    quantizer: str | None = None
    quantization_extra: str | None = None
    why_not_cpu: Callable[[], str | None] = _nothing
    why_not_architecture: Callable[[Mapping[str, Any]], str | None] = _nothing

    @property
    def runs_int8(self) -> bool:
        """Whether it runs int8 weights."""
        return bool(self.weights)

    @property
    def install(self) -> str:
        """The command that installs what running a model needs."""
        return f"pip install 'fastrag-quant[{self.extra}]'" if self.extra else "pip install fastrag-quant"

    @property
    def is_installed(self) -> bool:
        """Whether all that running a model needs is installed."""
        return not missing_distributions(self.extra)

    def why_not_here(self) -> str | None:
        """Return why it cannot run in this environment and on this CPU, or None where it can."""
        if not self.is_installed:
            return f"it is not installed ({self.install})"
        return self.why_not_cpu()

    def load(self) -> type[Engine]:
        """Import the engine's class.

        :raises MissingExtraError: if its dependencies are not installed.
        :raises UnsupportedCpuError: if it would crash on this CPU.
        """
        require(self.extra, f"The {self.name} engine")
        self.check_cpu()
        return getattr(import_module(self.module), self.class_name)

    def check_cpu(self) -> None:
        """Raise where the engine, and what quantizes for it, would crash on this CPU.

        :raises UnsupportedCpuError: saying why.
        """
        if reason := self.why_not_cpu():
            msg = f"The {self.name} engine cannot run here: {reason}. Use another engine or machine."
            raise UnsupportedCpuError(msg)


def _why_no_native() -> str | None:
    return import_module("fastrag_quant.engines.native.library").why_no_native()


def _why_not_by_native(config: Mapping[str, Any]) -> str | None:
    return import_module("fastrag_quant.engines.native.architectures").why_not(config)


def _not_an_encoder(config: Mapping[str, Any]) -> str | None:
    return "it has a decoder, and this engine runs encoders" if config.get("is_encoder_decoder") else None


ENGINE_KINDS = {
    kind.name: kind
    for kind in (
        EngineKind(
            "native",
            "fastrag_quant.engines.native.engine",
            "NativeEngine",
            weights=("native.safetensors",),
            quantizes_on_load=True,
            quantizer="fastrag_quant.quantization.native:quantize_with_native",
            why_not_cpu=_why_no_native,
            why_not_architecture=_why_not_by_native,
        ),
        EngineKind(
            "openvino",
            "fastrag_quant.engines.openvino",
            "OpenVinoEngine",
            extra="openvino",
            weights=("openvino_model.xml", "openvino_model.bin"),
            quantizer="fastrag_quant.quantization.nncf:quantize_with_nncf",
            quantization_extra="nncf",
            why_not_architecture=_not_an_encoder,
        ),
        EngineKind(
            "ipex",
            "fastrag_quant.engines.ipex",
            "IpexEngine",
            extra="ipex",
            weights=("pytorch_model.bin",),
            is_program=True,
            runs_fp32=True,
            quantizer="fastrag_quant.quantization.inc:quantize_with_inc",
            quantization_extra="inc",
            why_not_cpu=why_no_avx2,
            why_not_architecture=_not_an_encoder,
        ),
        EngineKind(
            "torch",
            "fastrag_quant.engines.torch",
            "TorchEngine",
            extra="torch",
            runs_fp32=True,
            why_not_architecture=_not_an_encoder,
        ),
    )
}

# fp32 vectors without torch, to compare with; no engine that a user chooses, for the others are faster.
REFERENCE = EngineKind(
    "reference",
    "fastrag_quant.engines.native.reference_engine",
    "ReferenceEngine",
    runs_fp32=True,
    why_not_architecture=_why_not_by_native,
)

AUTO = "auto"
INT8_KINDS = {name: kind for name, kind in ENGINE_KINDS.items() if kind.runs_int8}
QUANTIZED_KINDS = {name: kind for name, kind in ENGINE_KINDS.items() if kind.quantizer}


def check_engine_name(name: str) -> None:
    """Raise where a name is neither an engine's nor "auto".

    :raises InputError: listing the valid names.
    """
    if name != AUTO and name not in ENGINE_KINDS:
        msg = f"Unknown engine {name!r}: use one of {AUTO}, {', '.join(ENGINE_KINDS)}."
        raise InputError(msg)
