"""nDCG@10 through the Haystack 1 retriever and an InMemory store, on a folder in BEIR layout such as SciFact.

    python benchmarks/retriever.py --data DIR MODEL [MODEL …] [--engine auto]

MODEL is an int8 directory or, with --engine torch, an fp32 model.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from tabulate import tabulate

from fastrag_quant.bench.local_task import LocalTask
from fastrag_quant.bench.measures import ndcg
from fastrag_quant.bench.task_files import read_task
from fastrag_quant.engines import AUTO, ENGINE_KINDS

TOP_K = 10


def main() -> None:
    """Score every model and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder in BEIR layout")
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--engine", default=AUTO, choices=[AUTO, *ENGINE_KINDS], help="default: %(default)s")
    options = parser.parse_args()
    os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"
    task = read_task(options.data)
    rows = [(model, _ndcg(model, options.engine, task)) for model in options.models]
    print(tabulate(rows, headers=("model", f"nDCG@{TOP_K}"), floatfmt=".4f"))


def _ndcg(model: str, engine: str, task: LocalTask) -> float:
    from haystack import Document
    from haystack.document_stores import InMemoryDocumentStore

    from fastrag_quant.nodes import QuantizedBiEncoderRetriever

    store = InMemoryDocumentStore(similarity="cosine", use_gpu=False, progress_bar=False)
    retriever = QuantizedBiEncoderRetriever(model, store, top_k=TOP_K + 1, engine=engine, progress_bar=False)
    store.embedding_dim = len(retriever.embed_queries(["dimension"])[0])
    store.write_documents([Document(content=text, id=name) for name, text in task.documents.items()])
    store.update_embeddings(retriever)
    found = retriever.retrieve_batch(list(task.queries.values()))
    scores = [
        ndcg(task.without_itself(query, [document.id for document in documents]), task.relevance[query])
        for query, documents in zip(task.queries, found, strict=True)
    ]
    return sum(scores) / len(scores)


if __name__ == "__main__":
    main()
