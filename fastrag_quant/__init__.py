"""Verified int8 embedders on CPUs, for Haystack and fastRAG pipelines.

The names below are imported when first used: importing the package loads no torch and no Haystack.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from fastrag_quant.errors import MissingExtraError
from fastrag_quant.host.extras import is_installed

if TYPE_CHECKING:
    # Where Haystack 1 is installed, the first three are the nodes of the same names.
    from fastrag_quant.components import (
        EmbedderQuantizer,
        QuantizedBiEncoderRanker,
        QuantizedBiEncoderRetriever,
        QuantizedDocumentEmbedder,
        QuantizedTextEmbedder,
    )
    from fastrag_quant.embedder import QuantizedEmbedder
    from fastrag_quant.pipelines import load_pipeline
    from fastrag_quant.quantization.quantizer import quantize
    from fastrag_quant.quantization.verification import verify

__version__ = version("fastrag-quant")

__all__ = [
    "EmbedderQuantizer",
    "QuantizedBiEncoderRanker",
    "QuantizedBiEncoderRetriever",
    "QuantizedDocumentEmbedder",
    "QuantizedEmbedder",
    "QuantizedTextEmbedder",
    "__version__",
    "load_pipeline",
    "quantize",
    "verify",
]

# Haystack 1 is farm-haystack, Haystack 2 and 3 are haystack-ai: no environment has both.
_NODES = "fastrag_quant.nodes"
_COMPONENTS = "fastrag_quant.components"
_NODES_OR_COMPONENTS = _NODES if is_installed("farm-haystack") else _COMPONENTS

_MODULE_OF = {
    "EmbedderQuantizer": _NODES_OR_COMPONENTS,
    "QuantizedBiEncoderRanker": _NODES_OR_COMPONENTS,
    "QuantizedBiEncoderRetriever": _NODES_OR_COMPONENTS,
    "QuantizedDocumentEmbedder": _COMPONENTS,
    "QuantizedEmbedder": "fastrag_quant.embedder",
    "QuantizedTextEmbedder": _COMPONENTS,
    "load_pipeline": "fastrag_quant.pipelines",
    "quantize": "fastrag_quant.quantization.quantizer",
    "verify": "fastrag_quant.quantization.verification",
}


def __getattr__(name: str) -> Any:
    """Import a public name from where it lives.

    :raises AttributeError: for any other name, and for one whose extra is missing, naming the extra.
    :raises MissingExtraError: the same in an import statement, which would hide an AttributeError's message.
    """
    if name not in _MODULE_OF:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    try:
        return getattr(import_module(_MODULE_OF[name]), name)
    except MissingExtraError as error:
        if sys._getframe(1).f_code.co_name == "_handle_fromlist":  # importlib's, for `from … import …`
            raise
        raise AttributeError(str(error)) from error


def __dir__() -> list[str]:
    """List the public names too, imported or not."""
    return sorted({*globals(), *__all__})
