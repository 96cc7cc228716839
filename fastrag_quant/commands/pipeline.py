"""fastrag_quant-bench pipeline."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fastrag_quant.bench.json_files import check_writable
from fastrag_quant.bench.pipeline import PipelineSettings, default_pipeline, measure_pipeline
from fastrag_quant.bench.results import write_results
from fastrag_quant.bench.tables import pipeline_table
from fastrag_quant.text_files import read_text_file

HELP = "latency of a Haystack pipeline"

DESCRIPTION = """\
Where a Haystack pipeline spends its time. Runs a YAML pipeline of the Haystack that is installed (1, 2 or 3) over
real queries, and prints the latency of every node and of the whole in milliseconds, and queries per second. With
--concurrency N, N callers send queries side by side, so that latency holds the time a query waits."""

EXAMPLE = """\
examples:
  fastrag_quant-bench pipeline --model-name bge-small-int8 --queries questions.txt --documents passages.txt
  fastrag_quant-bench pipeline my-pipeline.yaml --queries questions.jsonl --concurrency 8 --json pipeline.json"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    defaults = PipelineSettings()
    parser.add_argument(
        "file",
        nargs="?",
        type=Path,
        metavar="FILE.yaml",
        help="default: pipelines/haystack1/latency.yaml or its twin in pipelines/haystack2",
    )
    files = ".txt (one a line) or .jsonl (objects with text), plain or gzipped"
    parser.add_argument("--queries", required=True, type=Path, metavar="FILE", help=files)
    parser.add_argument(
        "--documents", type=Path, metavar="FILE", help=f"put these into the document store first; {files}"
    )
    parser.add_argument(
        "--model-name",
        "--model_name",
        metavar="MODEL",
        help="run this model in this package's parts, whether the file names one there or none",
    )
    parser.add_argument(
        "--warmup", type=int, default=defaults.warmup, help="queries before timing; default: %(default)s"
    )
    parser.add_argument(
        "--concurrency", type=int, default=defaults.concurrency, help="callers side by side; default: %(default)s"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure to this file too")


def run(options: argparse.Namespace) -> str:
    """Measure, write what was asked for, and return the table to print.

    :raises InputError: if the pipeline, the queries or the documents cannot be had.
    """
    if options.json:
        check_writable(options.json)
    result = measure_pipeline(
        options.file or default_pipeline(),
        read_text_file(options.queries),
        None if options.documents is None else read_text_file(options.documents),
        PipelineSettings(options.warmup, options.concurrency),
        model=options.model_name,
        progress_bar=sys.stderr.isatty(),
    )
    if options.json:
        write_results(options.json, [result])
    return f"{pipeline_table(result).text()}\n\n{result.pipeline}: {result.summary()}"
