"""How a command runs: what it prints, how it fails, and its exit status."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from fastrag_quant.errors import FastragQuantError

# What shells report for a program that Ctrl-C, or SIGTERM, ended.
_INTERRUPTED = 130
_TERMINATED = 143


class _TerminationError(BaseException):
    """SIGTERM came: like KeyboardInterrupt no Exception, so that all that cleans up does so."""


def run_command(
    parser: argparse.ArgumentParser,
    options: argparse.Namespace,
    command: Callable[[argparse.Namespace], str],
    interrupted: str = "nothing was written",
) -> int:
    """Run a command and print what it returns, or its error in one line.

    :param interrupted: what to say after Ctrl-C and SIGTERM.
    :return: the exit status.
    """
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("fastrag_quant").setLevel(logging.INFO)
    try:
        with _sigterm_cleans_up():
            print(command(options))
    except FastragQuantError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{parser.prog}: interrupted, {interrupted}", file=sys.stderr)
        return _INTERRUPTED
    except _TerminationError:
        print(f"{parser.prog}: terminated, {interrupted}", file=sys.stderr)
        return _TERMINATED
    return 0


@contextmanager
def _sigterm_cleans_up() -> Iterator[None]:
    """Let SIGTERM raise, as Ctrl-C does, unless the process has made arrangements of its own."""
    is_main_thread = threading.current_thread() is threading.main_thread()
    if not is_main_thread or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def terminate(*_: Any) -> None:
        raise _TerminationError

    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
