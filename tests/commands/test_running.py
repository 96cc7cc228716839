"""How a command runs and ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Any

import pytest

from fastrag_quant.commands.running import run_command

# A command that writes half of a model and waits.
COMMAND = """
import argparse, sys, threading
from pathlib import Path
from fastrag_quant.commands.running import run_command
from fastrag_quant.quantization.output_directory import whole_or_not_at_all

def command(options):
    with whole_or_not_at_all(Path(sys.argv[1]), True) as directory:
        (directory / "weights.bin").write_text("half")
        print("inside", flush=True)
        threading.Event().wait()

sys.exit(run_command(argparse.ArgumentParser(prog="quantize"), argparse.Namespace(), command))
"""


@pytest.mark.parametrize(
    ("number", "status", "word"), [(signal.SIGTERM, 143, "terminated"), (signal.SIGINT, 130, "interrupted")]
)
def test_a_signal_that_ends_a_command_cleans_up(tmp_path: Path, number: signal.Signals, status: int, word: str):
    output = tmp_path / "int8"
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(output)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "inside\n"

    process.send_signal(number)
    _, said = process.communicate()

    assert (process.returncode, said) == (status, f"quantize: {word}, nothing was written\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("theirs", [signal.SIG_DFL, signal.SIG_IGN, lambda *_: None])
def test_afterwards_sigterm_does_what_it_did(theirs: Any, capsys: pytest.CaptureFixture[str]):
    before = signal.signal(signal.SIGTERM, theirs)
    try:
        run_command(ArgumentParser(), Namespace(), lambda _: str(signal.getsignal(signal.SIGTERM) == theirs))
        after = signal.getsignal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)

    assert after == theirs
    assert capsys.readouterr().out == f"{theirs != signal.SIG_DFL}\n"  # what others arranged is left alone
