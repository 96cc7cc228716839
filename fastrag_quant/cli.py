"""The commands fastrag_quant-quantize and fastrag_quant-bench."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tabulate import tabulate

from fastrag_quant.bench.speed import MODES, SpeedResult, SpeedSettings, measure_speed
from fastrag_quant.defaults import DEFAULTS
from fastrag_quant.errors import FastragQuantError, InputError
from fastrag_quant.quantization.calibration import read_text_file
from fastrag_quant.quantization.quantizer import QuantizationResult, quantize
from fastrag_quant.settings import Pooling

# What shells report for a program that Ctrl-C ended.
_INTERRUPTED = 130


def quantize_main(arguments: Sequence[str] | None = None) -> int:
    """Run fastrag_quant-quantize.

    :param arguments: the command line's, by default.
    :return: the exit status: 0, or 1 after an error that was printed.
    """
    return _run(_quantize, _quantize_parser(), arguments)


def bench_main(arguments: Sequence[str] | None = None) -> int:
    """Run fastrag_quant-bench.

    :param arguments: the command line's, by default.
    :return: the exit status: 0, or 1 after an error that was printed.
    """
    return _run(_speed, _bench_parser(), arguments)


def _run(
    command: Callable[[argparse.Namespace], None], parser: argparse.ArgumentParser, arguments: Sequence[str] | None
) -> int:
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("fastrag_quant").setLevel(logging.INFO)
    try:
        command(options)
    except FastragQuantError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted, nothing was written", file=sys.stderr)
        return _INTERRUPTED
    return 0


def _quantize_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fastrag_quant-quantize",
        description="Quantize an embedder to static int8 and verify it on texts that calibration did not see.",
        epilog="example: fastrag_quant-quantize --model-name BAAI/bge-small-en-v1.5 "
        "--output-path bge-small-int8 --calibration passages.txt",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    # fastRAG's scripts spell these with underscores.
    parser.add_argument("--model-name", "--model_name", required=True, help="directory or hub name of the fp32 model")
    parser.add_argument("--output-path", "--output_path", required=True, help="model directory to write")
    parser.add_argument(
        "--sample-size", "--sample_size", type=int, default=DEFAULTS.sample_size, help="calibration texts at the most"
    )
    parser.add_argument(
        "--calibration",
        help=".txt (a text a line), .jsonl (objects with text), plain or gzipped, or a Hugging Face data set as "
        "NAME:COLUMN; without it, questions and abstracts of allenai/qasper",
    )
    parser.add_argument("--engine", default="ipex", choices=["ipex"], help="engine to quantize for")
    parser.add_argument(
        "--min-cosine", type=float, default=DEFAULTS.min_cosine, help="smallest mean cosine to fp32 that passes"
    )
    parser.add_argument("--pooling", choices=[mode.value for mode in Pooling], help="default: the model's")
    parser.add_argument("--max-seq-len", type=int, help="tokens per text; default: the model's limit")
    parser.add_argument("--query-prompt", help="prefix of queries; default: the model's")
    parser.add_argument("--document-prompt", help="prefix of documents; default: the model's")
    parser.add_argument("--seed", type=int, default=DEFAULTS.seed, help="of the sample of texts")
    parser.add_argument("--overwrite", action="store_true", help="replace an output directory of this package")
    parser.add_argument("--revision", help="branch, tag or commit of a hub model")
    parser.add_argument("--token", help="access token of the hub; default: the one that huggingface-cli login stored")
    parser.add_argument("--local-files-only", action="store_true", help="use the hub's local cache alone")
    return parser


def _quantize(options: argparse.Namespace) -> None:
    result = quantize(
        options.model_name,
        options.output_path,
        options.calibration,
        sample_size=options.sample_size,
        engine=options.engine,
        min_cosine=options.min_cosine,
        pooling=options.pooling,
        max_seq_len=options.max_seq_len,
        query_prompt=options.query_prompt,
        document_prompt=options.document_prompt,
        seed=options.seed,
        overwrite=options.overwrite,
        progress_bar=True,
        revision=options.revision,
        token=options.token,
        local_files_only=options.local_files_only,
    )
    print(_fidelity_table(result))
    print(f"\nWritten to {result.directory}")


def _fidelity_table(result: QuantizationResult) -> str:
    rows = []
    for engine, fidelity in result.fidelity.items():
        megabytes = f"{result.fp32_bytes / 1e6:.1f} -> {result.int8_bytes[engine] / 1e6:.1f}"
        rows += [
            (engine, "weights on disk, fp32 -> int8", f"{megabytes} MB"),
            (engine, f"cosine to fp32 on {fidelity.texts} held-out texts, mean", f"{fidelity.cosine_mean:.4f}"),
            (engine, "cosine, 1st percentile", f"{fidelity.cosine_p1:.4f}"),
            (engine, "cosine, minimum", f"{fidelity.cosine_min:.4f}"),
            (engine, "top-10 neighbours kept", f"{fidelity.neighbour_overlap:.1%}"),
            (engine, "top-10 kept on an fp32 index (without re-indexing)", f"{fidelity.mixed_overlap:.1%}"),
        ]
    return tabulate(rows, headers=("engine", "measure", "value"), disable_numparse=True)


def _bench_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="fastrag_quant-bench", description="Measure embedders on this machine.")
    speed = parser.add_subparsers(dest="command", required=True).add_parser(
        "speed",
        help="latency and throughput of a model",
        description="Latency and throughput of a model, on random tokens or real text.",
        epilog="example: fastrag_quant-bench speed --model-name bge-small-int8 --mode inc --text passages.txt --bs 32",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    defaults = SpeedSettings()
    modes = "; ".join(f"{name}: {mode.description}" for name, mode in MODES.items())
    speed.add_argument("--model-name", "--model_name", required=True, help="model directory or hub name")
    speed.add_argument("--mode", required=True, choices=list(MODES), help=modes)
    speed.add_argument("--bf16", action="store_true", help="run fp32 weights in bfloat16")
    speed.add_argument("--samples", type=int, default=defaults.samples, help="texts to time")
    speed.add_argument("--bs", type=int, default=defaults.batch_size, help="texts per call")
    speed.add_argument("--seq-len", type=int, default=defaults.seq_len, help="tokens per text, for random tokens")
    speed.add_argument("--warmup", type=int, default=defaults.warmup, help="calls before timing")
    speed.add_argument("--text", help="time real text end to end: .txt or .jsonl, plain or gzipped")
    speed.add_argument("--threads", type=int, help="of the engine; default: the usable cores")
    speed.add_argument(
        "--pin-threads",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="bind the inference threads to a core each",
    )
    speed.add_argument("--json", type=Path, help="write the result to this file too")
    return parser


def _speed(options: argparse.Namespace) -> None:
    if options.json and not options.json.parent.is_dir():
        msg = f"There is no directory {options.json.parent} to write {options.json.name} to: make it first."
        raise InputError(msg)
    settings = SpeedSettings(options.samples, options.bs, options.seq_len, options.warmup)
    result = measure_speed(
        options.model_name,
        options.mode,
        settings,
        read_text_file(Path(options.text)) if options.text else None,
        bf16=options.bf16,
        threads=options.threads,
        pin_threads=options.pin_threads,
        progress_bar=True,
    )
    if options.json:
        options.json.write_text(json.dumps(result.as_dict(), indent=2) + "\n", encoding="utf-8")
    print(_speed_table(result))


def _speed_table(result: SpeedResult) -> str:
    latency = f"{result.latency_mean_ms:.2f} ± {result.latency_std_ms:.2f}"
    percentiles = f"{result.latency_p50_ms:.2f} / {result.latency_p95_ms:.2f} / {result.latency_p99_ms:.2f}"
    rows = [
        ("mode", result.mode),
        ("input", f"{result.samples} samples of {result.input}, batch size {result.batch_size}"),
        ("latency per call, mean ± standard deviation", f"{latency} ms"),
        ("latency per call, p50 / p95 / p99", f"{percentiles} ms"),
        ("throughput", f"{result.samples_per_second:.1f} samples/s, {result.tokens_per_second:.0f} tokens/s"),
        ("first call", f"{result.first_call_ms:.0f} ms"),
        ("loading", f"{result.load_seconds:.1f} s"),
        ("peak memory", f"{result.peak_memory_bytes / 1e6:.0f} MB"),
        ("CPU", f"{result.cpu}, {result.threads} threads, {' '.join(result.isa)}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in result.versions.items())),
    ]
    return tabulate(rows, disable_numparse=True)
