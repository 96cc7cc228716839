"""A fastRAG 3 pipeline with int8 embedders: BM25, then a bi-encoder ranker on the CPU.

    python examples/fastrag_app.py --model models/embedder-int8

Give it an int8 directory that fastrag_quant-quantize made. In an app that ranks with fastRAG's
IPEXBiEncoderSimilarityRanker, the line that makes the ranker is the only one to change.
"""

from __future__ import annotations

import argparse

from haystack import Document, Pipeline
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever
from haystack.document_stores.in_memory import InMemoryDocumentStore

from fastrag_quant import QuantizedBiEncoderRanker

TEXTS = (
    "Lima is the capital of Peru.",
    "Quito, the capital of Ecuador, lies at 2,850 metres.",
    "The capital of a company is the money it was founded with.",
    "Peru exports copper, and its largest port is Callao.",
)


def main() -> None:
    """Ask one question."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="int8 model directory")
    parser.add_argument("--question", default="What is the capital of Peru?")
    options = parser.parse_args()

    store = InMemoryDocumentStore()
    store.write_documents([Document(content=text) for text in TEXTS])
    # Before: ranker = IPEXBiEncoderSimilarityRanker(model=options.model, top_k=3)
    ranker = QuantizedBiEncoderRanker(model=options.model, top_k=3)

    pipeline = Pipeline()
    pipeline.add_component("retriever", InMemoryBM25Retriever(store, top_k=20))
    pipeline.add_component("ranker", ranker)
    pipeline.connect("retriever.documents", "ranker.documents")

    for document in pipeline.run({"query": options.question})["ranker"]["documents"]:
        print(f"{document.score:.3f}  {document.content}")


if __name__ == "__main__":
    main()
