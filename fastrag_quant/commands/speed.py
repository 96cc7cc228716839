"""fastrag_quant-bench speed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tabulate import tabulate

from fastrag_quant.arguments import check_whole_number
from fastrag_quant.bench.environment import in_words
from fastrag_quant.bench.json_files import check_writable
from fastrag_quant.bench.modes import FP32_MODES, MODES
from fastrag_quant.bench.results import write_results
from fastrag_quant.bench.speed import SpeedResult, SpeedSettings
from fastrag_quant.bench.sweep import FailedRun, plan_runs, run_all
from fastrag_quant.bench.tables import latency_cells, speed_table
from fastrag_quant.commands.tracking import add_tracking_options, tracker_of
from fastrag_quant.errors import FastragQuantError
from fastrag_quant.text_files import read_text_file

HELP = "latency and throughput of a model"

DESCRIPTION = """\
Latency and throughput of a model. Without --text, the input is random tokens of one length and tokenization is not
timed, as in fastRAG's benchmark; with --text it is real text, timed end to end with lengths of its own, tokens per
second not counting padding. Lists of modes, batch sizes and lengths give one table, each run in a fresh process. Times
are in milliseconds per call of --bs texts."""

EXAMPLE = f"""\
examples:
  fastrag_quant-bench speed --model-name bge-small-int8 --mode inc --text passages.txt --bs 32
  fastrag_quant-bench speed --model-name bge-small-int8 --baseline BAAI/bge-small-en-v1.5 \\
      --mode {",".join(MODES)} --bs 1,32 --seq-len 128,512 --json speed.json"""

INTERRUPTED = "what was measured before is in the file of --json, if one was given"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    defaults = SpeedSettings()
    modes = "; ".join(f"{name}: {mode.description}" for name, mode in MODES.items())
    # fastRAG's scripts spell these with underscores.
    parser.add_argument("--model-name", "--model_name", required=True, help="model directory or hub name")
    parser.add_argument(
        "--baseline",
        metavar="FP32",
        help=f"what {', '.join(FP32_MODES)} run where --model-name is an int8 directory; "
        "default: the hub model it was made from",
    )
    parser.add_argument("--mode", required=True, type=_names, help=f"a mode or a comma list; {modes}")
    parser.add_argument("--bf16", action="store_true", help="run the fp32 modes in bfloat16")
    parser.add_argument("--samples", type=int, default=defaults.samples, help="texts to time; default: %(default)s")
    parser.add_argument(
        "--bs", type=_numbers, default=[defaults.batch_size], help="texts per call, or a comma list; default: 1"
    )
    parser.add_argument(
        "--seq-len",
        "--seq_len",
        type=_numbers,
        default=[defaults.seq_len],
        help="tokens per text, or a comma list: of random tokens, and of ipex-ts with --text; default: 512",
    )
    parser.add_argument("--warmup", type=int, default=defaults.warmup, help="calls before timing; default: %(default)s")
    parser.add_argument("--text", metavar="FILE", help="real text: .txt or .jsonl, plain or gzipped")
    parser.add_argument("--threads", type=int, help="default: what the engine or torch takes by itself")
    parser.add_argument(
        "--pin-threads",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="bind the inference threads of the int8 modes to a core each; default: they are bound",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to this file too")
    add_tracking_options(parser)


def run(options: argparse.Namespace) -> str:
    """Measure, write what was asked for, and return the table to print.

    :raises FastragQuantError: if nothing could be measured.
    """
    if options.json:
        check_writable(options.json)
    check_whole_number(options.threads, "threads", none="what the engine or torch takes by itself")
    texts = read_text_file(Path(options.text)) if options.text else None
    lengths = options.seq_len if texts is None else options.seq_len[:1]
    settings = [
        SpeedSettings(options.samples, size, length, options.warmup) for size in options.bs for length in lengths
    ]
    tracker = tracker_of(options, "speed")
    runs = plan_runs(options.model_name, options.baseline, options.mode, settings, options.bf16)
    results, failures = [], []
    for outcome in run_all(
        runs, texts, threads=options.threads, pin_threads=options.pin_threads, progress_bar=sys.stderr.isatty()
    ):
        if isinstance(outcome, FailedRun):
            failures.append(outcome)
        else:
            results.append(outcome)
            if options.json:  # at once, since a sweep takes long and may be interrupted
                write_results(options.json, results)
    if not results:
        raise FastragQuantError("; ".join(dict.fromkeys(failure.reason for failure in failures)))
    if tracker:
        tracker.track_speed(results)
    return _printed(results, failures)


def _printed(results: list[SpeedResult], failures: list[FailedRun]) -> str:
    table = _details(results[0]) if len(results) == 1 and not failures else _comparison(results)
    reasons = dict.fromkeys(f"{failure.run.mode} did not run: {failure.reason}" for failure in failures)
    return "\n".join([table, *reasons])


def _details(result: SpeedResult) -> str:
    mean, *percentiles = latency_cells(result.latency)
    rows = [
        ("mode", result.mode),
        ("input", f"{result.samples} samples of {result.input}, batch size {result.batch_size}"),
        ("latency per call, mean ± standard deviation", f"{mean} ms"),
        ("latency per call, p50 / p95 / p99", f"{' / '.join(percentiles)} ms"),
        ("throughput", f"{result.samples_per_second:.1f} samples/s, {result.tokens_per_second:.0f} tokens/s"),
        ("first call", f"{result.first_call_ms:.0f} ms"),
        ("loading", f"{result.load_seconds:.1f} s"),
        ("peak memory", f"{result.peak_memory_bytes / 1e6:.0f} MB"),
        *_machine(result),
    ]
    return tabulate(rows, disable_numparse=True)


def _comparison(results: list[SpeedResult]) -> str:
    machine = tabulate(_machine(results[0]), tablefmt="plain", disable_numparse=True)
    return f"{speed_table(results).text()}\n\n{machine}"


def _machine(result: SpeedResult) -> list[tuple[str, str]]:
    environment = result.environment
    return [
        ("CPU", f"{environment.cpu}, {result.threads} threads, {' '.join(environment.isa)}"),
        ("allocator", environment.allocator),
        ("versions", in_words(environment.versions)),
    ]


def _names(value: str) -> list[str]:
    names = [name.strip() for name in value.split(",") if name.strip()]
    unknown = [name for name in names if name not in MODES]
    if unknown or not names:
        msg = f"unknown mode {', '.join(unknown) or value!r}: use {', '.join(MODES)}, or a comma list of them"
        raise argparse.ArgumentTypeError(msg)
    return names


def _numbers(value: str) -> list[int]:
    try:
        return [int(part) for part in value.split(",")]
    except ValueError as error:
        msg = f"{value!r} is not a number or a comma list of numbers"
        raise argparse.ArgumentTypeError(msg) from error
