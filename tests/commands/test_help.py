"""The installed commands show how they are used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fastrag_quant.commands import bench, quantize

COMMANDS = {"fastrag_quant-quantize": quantize.main, "fastrag_quant-bench": bench.main}
BIN = Path(sys.executable).parent


@pytest.mark.parametrize(
    ("command", "arguments", "mentioned"),
    [
        ("fastrag_quant-quantize", [], ["--model-name", "--calibration", "--min-cosine", "--overwrite", "qasper"]),
        (
            "fastrag_quant-bench",
            [],
            ["speed", "quality", "pipeline", "report", "doctor", "--cores", "--memory-node", "--allocator", "example:"],
        ),
        (
            "fastrag_quant-bench",
            ["speed"],
            ["--mode", "hf", "inc", "ipex-ts", "--text", "--json", "--bs", "--aim-repo", "--cores", "milliseconds"],
        ),
        (
            "fastrag_quant-bench",
            ["quality"],
            ["--baseline", "--task", "--data", "--use-cls", "--opt", "AskUbuntuDupQuestions", "examples:"],
        ),
        ("fastrag_quant-bench", ["pipeline"], ["--queries", "--documents", "--concurrency", "--warmup", "examples:"]),
        ("fastrag_quant-bench", ["report"], ["--output", "RESULTS.json", "example:"]),
        ("fastrag_quant-bench", ["doctor"], ["MODEL", "examples:"]),
    ],
)
def test_help_is_shown_by_the_installed_command(command: str, arguments: list[str], mentioned: list[str]):
    process = subprocess.run([BIN / command, *arguments, "--help"], capture_output=True, text=True, check=False)

    assert (process.returncode, process.stderr) == (0, "")
    assert all(word in process.stdout for word in mentioned)


@pytest.mark.parametrize("main", ["fastrag_quant.commands.quantize:main", "fastrag_quant.commands.bench:main"])
def test_help_needs_neither_torch_nor_haystack(main: str):
    module, _, function = main.partition(":")
    code = (
        f"import sys\nfrom {module} import {function}\n"
        f"try: {function}(['--help'])\n"
        "finally: print([name for name in ('torch', 'haystack', 'transformers') if name in sys.modules])"
    )

    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert process.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_without_its_arguments_shows_how_it_is_used(command: str, capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as error:
        COMMANDS[command]([])

    assert error.value.code == 2
    assert f"usage: {command}" in capsys.readouterr().err
