"""How a command runs: what it prints, how it fails, and its exit status."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable

from fastrag_quant.errors import FastragQuantError

# What shells report for a program that Ctrl-C ended.
_INTERRUPTED = 130


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
