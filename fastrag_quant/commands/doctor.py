"""fastrag_quant-bench doctor."""

from __future__ import annotations

import argparse

from tabulate import tabulate

from fastrag_quant.bench.doctor import describe_compiled_models, describe_environment, describe_machine, describe_model
from fastrag_quant.engines.compiled_models import clear_compiled_models

HELP = "what this machine has"

DESCRIPTION = """\
What this machine and environment have: CPU, ISA flags, cores, NUMA nodes, allocator, engines, Haystack; and for a
model, what it holds and which engine "auto" takes here and why. Loads no model and measures nothing."""

EXAMPLE = """\
examples:
  fastrag_quant-bench doctor
  fastrag_quant-bench doctor bge-small-int8
  fastrag_quant-bench doctor --clear-cache"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options to its parser."""
    parser.add_argument("model", nargs="?", metavar="MODEL", help="model directory or hub name")
    parser.add_argument("--clear-cache", action="store_true", help="remove the models that OpenVINO compiled and kept")


def run(options: argparse.Namespace) -> str:
    """Return the findings to print.

    :raises ModelError: if there is no such model.
    """
    if options.clear_cache:
        clear_compiled_models()
    rows = [*describe_machine(), *describe_environment(), *describe_compiled_models()]
    if options.model:
        rows += describe_model(options.model)
    return tabulate(rows, tablefmt="plain", disable_numparse=True)
