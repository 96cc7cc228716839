"""fastrag_quant-bench report."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fastrag_quant.bench.report import make_report
from fastrag_quant.bench.results import check_writable, read_results

DESCRIPTION = """\
One page of HTML from what speed, quality and pipeline wrote with --json: tables, throughput against batch size,
latency against length, accuracy against speed, and latency by pipeline node. The page loads nothing from anywhere and
follows the reader's light or dark setting. Accuracy is joined to speed by the models' names as they were given."""

EXAMPLE = """\
example:
  fastrag_quant-bench report speed.json quality.json pipeline.json --output report.html"""


def add_parser(subparsers: Any, **arguments: Any) -> None:
    """Add the command to the program's."""
    parser = subparsers.add_parser(
        "report", help="a page from results", description=DESCRIPTION, epilog=EXAMPLE, **arguments
    )
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS.json", help="files that --json wrote")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.html", help="the page to write")
    parser.add_argument("--title", default="fastrag_quant benchmark", help="default: %(default)s")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> str:
    """Write the page and return where it is.

    :raises InputError: for files that are no results, and where the page cannot be written.
    """
    check_writable(options.output)
    page = make_report([read_results(path) for path in options.results], options.title)
    options.output.write_text(page, encoding="utf-8")
    return f"Written to {options.output}"
