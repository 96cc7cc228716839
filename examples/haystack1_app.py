"""Haystack 1: quantize an embedder, index texts with it, ask a question.

    python examples/haystack1_app.py --model BAAI/bge-small-en-v1.5 --calibration passages.txt --output models/int8

Run again without --calibration, it uses the model directory that the first run wrote; where there is none, it makes
int8 weights of --model while it loads it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from haystack import Document, Pipeline
from haystack.document_stores import InMemoryDocumentStore

from fastrag_quant import QuantizedBiEncoderRanker, QuantizedBiEncoderRetriever, quantize

TEXTS = (
    "Lima is the capital of Peru.",
    "Quito, the capital of Ecuador, lies at 2,850 metres.",
    "The capital of a company is the money it was founded with.",
    "Peru exports copper, and its largest port is Callao.",
)


def main() -> None:
    """Quantize if asked to, index, ask."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="BAAI/bge-small-en-v1.5", help="fp32 embedder, a directory or hub name")
    parser.add_argument("--calibration", type=Path, help="100 or more texts like yours, a .txt with a text a line")
    parser.add_argument("--output", type=Path, default=Path("models/embedder-int8"), help="int8 model directory")
    parser.add_argument("--question", default="Which city governs Peru?")
    options = parser.parse_args()

    if options.calibration:
        result = quantize(options.model, options.output, options.calibration)
        for engine, fidelity in result.fidelity.items():
            print(f"{engine}: cosine to fp32 {fidelity.cosine_mean:.4f}")
    # An fp32 model is quantized by the engine native while it is loaded.
    model = str(options.output) if options.output.exists() else options.model

    retriever = QuantizedBiEncoderRetriever(model, top_k=3, progress_bar=False)
    dimension = retriever.embed_queries(["dimension"]).shape[1]
    store = InMemoryDocumentStore(embedding_dim=dimension, similarity="cosine", progress_bar=False)
    store.write_documents([Document(text) for text in TEXTS])
    store.update_embeddings(retriever)
    retriever.document_store = store

    pipeline = Pipeline()
    pipeline.add_node(retriever, "Retriever", ["Query"])
    pipeline.add_node(QuantizedBiEncoderRanker(model, top_k=2, progress_bar=False), "Ranker", ["Retriever"])

    for document in pipeline.run(query=options.question)["documents"]:
        print(f"{document.score:.3f}  {document.content}")


if __name__ == "__main__":
    main()
