"""What the Haystack 2 and 3 components cost above the embedder, on a folder in BEIR layout such as SciFact.

    python benchmarks/components.py --data DIR --model INT8_DIRECTORY [--engine openvino] [--rounds 5]

Embeds 1,500 abstracts with QuantizedEmbedder and with QuantizedDocumentEmbedder, alone and in a
Pipeline, in turn and in one process, on the same loaded model. The overhead is taken within a
round, because the speed of a shared machine drifts.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from haystack import Document, Pipeline
from tabulate import tabulate

from fastrag_quant import QuantizedDocumentEmbedder
from fastrag_quant.bench.task_files import read_task
from fastrag_quant.config import EmbedderConfig
from fastrag_quant.engines import AUTO, INT8_KINDS
from fastrag_quant.shared import SharedEmbedder

DOCUMENTS = 1500


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder in BEIR layout")
    parser.add_argument("--model", required=True, help="int8 model directory")
    parser.add_argument("--engine", default=AUTO, choices=[AUTO, *INT8_KINDS])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    texts = list(read_task(options.data).documents.values())[:DOCUMENTS]
    documents = [Document(content=text) for text in texts]
    embedder = SharedEmbedder(EmbedderConfig(options.model, options.engine))
    component, piped = (
        QuantizedDocumentEmbedder(options.model, engine=options.engine, progress_bar=False) for _ in range(2)
    )
    pipeline = Pipeline()
    pipeline.add_component("embedder", piped)
    ways: dict[str, Callable[[], Any]] = {
        "QuantizedEmbedder": lambda: embedder.embedder.embed_documents(texts),
        "component": lambda: component.run(documents),
        "component in a pipeline": lambda: pipeline.run({"documents": documents}),
    }
    for way in ways.values():
        way()  # compiles the shapes

    rounds = [_round(ways, number) for number in range(options.rounds)]
    print(f"{len(texts)} documents, engine {embedder.embedder.engine}, seconds per round and their overhead\n")
    print(tabulate(_rows(rounds, list(ways)), headers=("way", "median s", "documents/s", "median overhead")))


def _round(ways: dict[str, Callable[[], Any]], number: int) -> dict[str, float]:
    """Time each way once, in an order that turns from round to round."""
    names = list(ways)
    turned = names[number % len(names) :] + names[: number % len(names)]
    seconds = {}
    for name in turned:
        started = perf_counter()
        ways[name]()
        seconds[name] = perf_counter() - started
    return seconds


def _rows(rounds: list[dict[str, float]], names: list[str]) -> list[tuple[str, str, str, str]]:
    rows = []
    for name in names:
        seconds = median(times[name] for times in rounds)
        overhead = median(times[name] / times[names[0]] - 1 for times in rounds)
        rows.append((name, f"{seconds:.2f}", f"{DOCUMENTS / seconds:.1f}", f"{overhead:+.1%}"))
    return rows


if __name__ == "__main__":
    main()
