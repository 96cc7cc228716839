"""Verified int8 embedders on CPUs, for Haystack and fastRAG pipelines.

The names below are imported when first used: importing the package loads no torch and no Haystack.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import Any

__version__ = version("fastrag-quant")

_MODULE_OF = {
    "QuantizedEmbedder": "fastrag_quant.embedder",
    "quantize": "fastrag_quant.quantization.quantizer",
    "load_pipeline": "fastrag_quant.pipelines",
    "EmbedderQuantizer": "fastrag_quant.nodes",
    "QuantizedBiEncoderRanker": "fastrag_quant.nodes",
    "QuantizedBiEncoderRetriever": "fastrag_quant.nodes",
}

__all__ = ["__version__", *_MODULE_OF]


def __getattr__(name: str) -> Any:
    """Import a public name from where it lives."""
    if name not in _MODULE_OF:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    """List the public names too, imported or not."""
    return sorted({*globals(), *__all__})
