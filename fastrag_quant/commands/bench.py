"""The command fastrag_quant-bench."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from fastrag_quant.bench import doctor_command, pipeline_command, quality_command, report_command, speed_command
from fastrag_quant.commands.quantize import run_command
from fastrag_quant.commands.placement import add_placement_options, placement_of, relaunch

DESCRIPTION = """\
Measure embedders on this machine: how fast they are, how good their search results are, and where a pipeline spends
its time. Each command has its own help, with an example."""

EXAMPLE = """\
example:
  fastrag_quant-bench --cores 0-31 --memory-node 0 --allocator tcmalloc speed --model-name bge-small-int8 --mode inc"""

_COMMANDS = (speed_command, quality_command, pipeline_command, report_command, doctor_command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run fastrag_quant-bench.

    :param arguments: the command line's, by default.
    :return: the exit status: 0, or 1 after an error that was printed.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = _parser()
    options = parser.parse_args(given)

    def placed(options: argparse.Namespace) -> str:
        relaunch(placement_of(options), "fastrag_quant.bench", given)
        for handler in logging.getLogger().handlers:
            handler.addFilter(_Once())
        result: str = options.run(options)
        return result

    return run_command(parser, options, placed, getattr(options, "interrupted", "nothing was written"))


class _Once(logging.Filter):
    """Lets each kind of message pass once: a benchmark embeds again and again what is too long for the model."""

    def __init__(self) -> None:
        super().__init__()
        self._passed: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a message's template is new."""
        is_new = str(record.msg) not in self._passed
        self._passed.add(str(record.msg))
        return is_new


def _parser() -> argparse.ArgumentParser:
    # Descriptions are wrapped and examples are not, so both are written as they are shown.
    formatting = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser(
        prog="fastrag_quant-bench",
        description=DESCRIPTION,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_placement_options(parser)
    subparsers = parser.add_subparsers(dest="command", metavar="command", required=True)
    for command in _COMMANDS:
        command.add_parser(subparsers, **formatting)
    return parser
