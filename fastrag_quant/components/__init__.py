"""Components for Haystack 2 and 3, and so for fastRAG 3."""

from __future__ import annotations

from fastrag_quant.host.extras import require

require("haystack", "fastrag_quant.components")

from fastrag_quant.components.embedders import QuantizedDocumentEmbedder, QuantizedTextEmbedder  # noqa: E402
from fastrag_quant.components.quantizer import EmbedderQuantizer  # noqa: E402
from fastrag_quant.components.ranker import QuantizedBiEncoderRanker  # noqa: E402
from fastrag_quant.components.retriever import QuantizedBiEncoderRetriever  # noqa: E402

__all__ = [
    "EmbedderQuantizer",
    "QuantizedBiEncoderRanker",
    "QuantizedBiEncoderRetriever",
    "QuantizedDocumentEmbedder",
    "QuantizedTextEmbedder",
]
