"""fastrag_quant-bench report."""

from __future__ import annotations

import argparse
from pathlib import Path

from fastrag_quant.bench.json_files import check_writable
from fastrag_quant.bench.report import make_report
from fastrag_quant.bench.results import read_results

HELP = "a page from results"

DESCRIPTION = """\
One page of HTML from what speed, quality and pipeline wrote with --json: tables, throughput against batch size,
latency against length, accuracy against speed, and latency by pipeline node. The page loads nothing from anywhere and
follows the reader's light or dark setting. Accuracy is joined to speed by the models' names and
by the engine that int8 was scored on."""

EXAMPLE = """\
example:
  fastrag_quant-bench report speed.json quality.json pipeline.json --output report.html"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS.json", help="files that --json wrote")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.html", help="the page to write")
    parser.add_argument("--title", default="fastrag_quant benchmark", help="default: %(default)s")


def run(options: argparse.Namespace) -> str:
    """Write the page and return where it is.

    :raises InputError: for files that are no results, and where the page cannot be written.
    """
    check_writable(options.output)
    page = make_report([result for path in options.results for result in read_results(path)], options.title)
    options.output.write_text(page, encoding="utf-8")
    return f"Written to {options.output}"
