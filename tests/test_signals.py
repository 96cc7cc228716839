"""Ctrl-C and SIGTERM while a process embeds and quantizes: it ends soon, in its own words, and leaves nothing half."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from engines_here import ENGINES

SOON = 120  # seconds, of a machine that has much else to do

EMBED = """
import sys
from fastrag_quant import QuantizedEmbedder

def texts():
    for number in range(100_000):
        if number == 10_000:  # the third window: the first is embedded, and the second tokenized
            print("embedding", flush=True)
        yield f"A class of {number} lambdas."

model, engine, use = sys.argv[1:]
embedder = QuantizedEmbedder(model, engine)
embedder.warm_up([8, 16], batch_size=4)
if use == "iter_embed":
    for _ in embedder.iter_embed(texts(), batch_size=4):
        pass
else:
    embedder.embed_documents(texts(), batch_size=4)
"""


def begin(*arguments: str | Path) -> subprocess.Popen[str]:
    """Start Python, with Ctrl-C as a terminal has it."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONFAULTHANDLER"}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


@pytest.mark.parametrize("use", ["embed_documents", "iter_embed"])
def test_ctrl_c_ends_a_program_that_embeds_with_one_traceback(engine_and_model: tuple[str, Path], use: str):
    engine, model = engine_and_model
    with begin("-c", EMBED, model, engine, use) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "embedding\n", process.communicate()

        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=SOON)

    lines = said.splitlines()
    assert process.returncode in (-signal.SIGINT, 1), said  # torch runs code when Python ends, which forgets the signal
    assert [line for line in lines if line and not line.startswith(" ")] == [
        "Traceback (most recent call last):",
        "KeyboardInterrupt",
    ], said


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("moment", "number", "status", "word"),
    [
        ("Quantizing", signal.SIGINT, 130, "interrupted"),
        ("Comparing", signal.SIGTERM, 143, "terminated"),
    ],
)
def test_a_signal_ends_the_command_that_quantizes_and_leaves_nothing_behind(
    tiny_model: Path,
    passages: list[str],
    tmp_path: Path,
    engine: str,
    moment: str,
    number: signal.Signals,
    status: int,
    word: str,
):
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(passages * 3))
    arguments = ["--model-name", tiny_model, "--calibration", texts, "--output-path", tmp_path / "models" / "int8"]
    command = "import sys; from fastrag_quant.commands.quantize import main; sys.exit(main())"
    with begin("-c", command, *arguments, "--engine", engine, "--pooling", "mean") as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith(moment):
                break

        process.send_signal(number)
        _, rest = process.communicate(timeout=SOON)

    assert rest.splitlines()[-1:] == [f"fastrag_quant-quantize: {word}, nothing was written"], [*said, rest]
    assert process.returncode == status
    assert not any(noise in rest for noise in ("Traceback", "ignored", "terminate called", "Fatal")), rest
    assert [path.name for path in tmp_path.iterdir()] == ["texts.txt"]
