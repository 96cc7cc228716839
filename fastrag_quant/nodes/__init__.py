"""Haystack 1 nodes. Importing this module makes them known to Haystack's YAML pipelines."""

from fastrag_quant.host.extras import require

require("haystack1", "fastrag_quant.nodes")

from fastrag_quant.nodes.quantizer import EmbedderQuantizer  # noqa: E402
from fastrag_quant.nodes.ranker import QuantizedBiEncoderRanker  # noqa: E402
from fastrag_quant.nodes.retriever import QuantizedBiEncoderRetriever  # noqa: E402

__all__ = ["EmbedderQuantizer", "QuantizedBiEncoderRanker", "QuantizedBiEncoderRetriever"]
