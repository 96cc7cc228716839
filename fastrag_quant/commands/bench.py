"""The command fastrag_quant-bench."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from fastrag_quant.arguments import arguments_for
from fastrag_quant.bench.messages import log_each_message_once
from fastrag_quant.commands import doctor, pipeline, quality, report, speed
from fastrag_quant.commands.placement import Placement, add_placement_options, relaunch
from fastrag_quant.commands.running import run_command

DESCRIPTION = """\
Measure embedders on this machine: how fast they are, how good their search results are, and where a pipeline spends
its time. Each command has its own help, with an example."""

EXAMPLE = """\
example:
  fastrag_quant-bench --cores 0-31 --memory-node 0 --allocator tcmalloc speed --model-name bge-small-int8 --mode inc"""

# Each has HELP, DESCRIPTION, EXAMPLE, add_options() and run(), and INTERRUPTED where Ctrl-C leaves something behind.
_COMMANDS = {module.__name__.rpartition(".")[2]: module for module in (speed, quality, pipeline, report, doctor)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run fastrag_quant-bench.

    :param arguments: the command line's, by default.
    :return: the exit status: 0, or 1 after an error that was printed.
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    parser = _parser()
    options = parser.parse_args(given)
    command = _COMMANDS[options.command]

    def run_in_its_place(options: argparse.Namespace) -> str:
        relaunch(Placement(**arguments_for(Placement, vars(options))), "fastrag_quant.commands.bench", given)
        with log_each_message_once():
            return command.run(options)

    return run_command(parser, options, run_in_its_place, getattr(command, "INTERRUPTED", "nothing was written"))


def _parser() -> argparse.ArgumentParser:
    # Descriptions are wrapped and examples are not, so both are shown as they are written.
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="fastrag_quant-bench", description=DESCRIPTION, epilog=EXAMPLE, formatter_class=as_written
    )
    add_placement_options(parser)
    subparsers = parser.add_subparsers(dest="command", metavar="command", required=True)
    for name, command in _COMMANDS.items():
        texts = {"help": command.HELP, "description": command.DESCRIPTION, "epilog": command.EXAMPLE}
        subparser = subparsers.add_parser(name, formatter_class=as_written, **texts)
        command.add_options(subparser)
        add_placement_options(subparser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
