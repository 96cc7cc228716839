"""Verified int8 embedders on CPUs, for Haystack and fastRAG pipelines.

The names below are imported when first used: importing the package loads no torch and no Haystack.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import Any

from fastrag_quant.host.extras import is_installed

__version__ = version("fastrag-quant")

# Haystack 1 is farm-haystack, Haystack 2 and 3 are haystack-ai: no environment has both.
_NODES = "fastrag_quant.nodes"
_COMPONENTS = "fastrag_quant.components"
_NODES_OR_COMPONENTS = _NODES if is_installed("farm-haystack") else _COMPONENTS

_MODULE_OF = {
    "QuantizedEmbedder": "fastrag_quant.embedder",
    "quantize": "fastrag_quant.quantization.quantizer",
    "load_pipeline": "fastrag_quant.pipelines",
    "EmbedderQuantizer": _NODES_OR_COMPONENTS,
    "QuantizedBiEncoderRanker": _NODES_OR_COMPONENTS,
    "QuantizedBiEncoderRetriever": _NODES_OR_COMPONENTS,
    "QuantizedDocumentEmbedder": _COMPONENTS,
    "QuantizedTextEmbedder": _COMPONENTS,
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
