"""The command fastrag_quant-quantize, and how commands end."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence

from tabulate import tabulate

from fastrag_quant.defaults import DEFAULTS
from fastrag_quant.errors import FastragQuantError
from fastrag_quant.quantization.quantizer import QuantizationResult, quantize
from fastrag_quant.settings import Pooling

# What shells report for a program that Ctrl-C ended.
_INTERRUPTED = 130


def quantize_main(arguments: Sequence[str] | None = None) -> int:
    """Run fastrag_quant-quantize.

    :param arguments: the command line's, by default.
    :return: the exit status: 0, or 1 after an error that was printed.
    """
    parser = _quantize_parser()
    return run_command(parser, parser.parse_args(arguments), _quantize)


def run_command(
    parser: argparse.ArgumentParser,
    options: argparse.Namespace,
    command: Callable[[argparse.Namespace], str],
    interrupted: str = "nothing was written",
) -> int:
    """Run a command and print what it returns, or its error in one line.

    :param interrupted: what to say after Ctrl-C.
    :return: the exit status.
    """
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("fastrag_quant").setLevel(logging.INFO)
    try:
        print(command(options))
    except FastragQuantError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted, {interrupted}", file=sys.stderr)
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
    parser.add_argument(
        "--engine",
        default=DEFAULTS.quantize_for,
        choices=["all", "openvino", "ipex"],
        help="engine to quantize for; all: those that are installed",
    )
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


def _quantize(options: argparse.Namespace) -> str:
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
    return f"{_fidelity_table(result)}\n\nWritten to {result.directory}"


def _fidelity_table(result: QuantizationResult) -> str:
    rows = []
    for engine, fidelity in result.fidelity.items():
        speed = result.manifest.engines[engine].speed
        megabytes = f"{result.fp32_bytes / 1e6:.1f} -> {result.int8_bytes[engine] / 1e6:.1f}"
        rows += [
            (engine, "weights on disk, fp32 -> int8", f"{megabytes} MB"),
            (engine, f"cosine to fp32 on {fidelity.texts} held-out texts, mean", f"{fidelity.cosine_mean:.4f}"),
            (engine, "cosine, 1st percentile", f"{fidelity.cosine_p1:.4f}"),
            (engine, "cosine, minimum", f"{fidelity.cosine_min:.4f}"),
            (engine, "top-10 neighbours kept", f"{fidelity.neighbour_overlap:.1%}"),
            (engine, "top-10 kept on an fp32 index (without re-indexing)", f"{fidelity.mixed_overlap:.1%}"),
            (engine, "calibration texts embedded per second, here", f"{speed['documents_per_second']:.1f}"),
            (engine, "latency of a query of 12 words, median, here", f"{speed['query_p50_ms']:.1f} ms"),
        ]
    return tabulate(rows, headers=("engine", "measure", "value"), disable_numparse=True)
