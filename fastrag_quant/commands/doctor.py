"""fastrag_quant-bench doctor."""

from __future__ import annotations

import argparse

from tabulate import tabulate

from fastrag_quant.bench.doctor import describe_environment, describe_machine, describe_model

HELP = "what this machine has"

DESCRIPTION = """\
What this machine and environment have: CPU, ISA flags, cores, NUMA nodes, allocator, engines, Haystack; and for a
model, what it holds and which engine "auto" takes here and why. Loads no model and measures nothing."""

EXAMPLE = """\
examples:
  fastrag_quant-bench doctor
  fastrag_quant-bench doctor bge-small-int8"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    parser.add_argument("model", nargs="?", metavar="MODEL", help="model directory or hub name")


def run(options: argparse.Namespace) -> str:
    """Return the findings to print.

    :raises ModelError: if there is no such model.
    """
    rows = [*describe_machine(), *describe_environment(), *(describe_model(options.model) if options.model else [])]
    return tabulate(rows, tablefmt="plain", disable_numparse=True)
