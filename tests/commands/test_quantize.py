"""The command quantize: what it writes, what it prints, and one line for every error."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fastrag_quant.commands.quantize import _fidelity_rows, main
from fastrag_quant.model.manifest import Manifest
from fastrag_quant.quantization import nncf
from fastrag_quant.quantization.fidelity import Fidelity

BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def quantization(
    tiny_model: Path, passages: list[str], tmp_path_factory: pytest.TempPathFactory
) -> tuple[subprocess.CompletedProcess[str], Path]:
    """A real run of the command, with fastRAG's spellings, and the directory it ran in."""
    directory = tmp_path_factory.mktemp("cwd")
    texts = tmp_path_factory.mktemp("texts") / "passages.txt"
    texts.write_text("\n".join(passages))
    command = [BIN / "fastrag_quant-quantize", "--model_name", tiny_model, "--output_path", "tiny-int8"]
    options = ["--sample_size", "20", "--calibration", texts, "--pooling", "cls", "--min-cosine", "0.5", "--seed", "7"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    process = subprocess.run(
        [*command, *options], capture_output=True, text=True, check=False, cwd=directory, env=environment
    )
    return process, directory


def test_the_command_writes_a_model_directory_and_nothing_else(
    quantization: tuple[subprocess.CompletedProcess[str], Path],
):
    process, directory = quantization

    assert process.returncode == 0, process.stderr
    assert [path.name for path in directory.iterdir()] == ["tiny-int8"]
    manifest = Manifest.read(directory / "tiny-int8")
    assert manifest is not None
    assert (manifest.calibration["texts"], manifest.calibration["seed"]) == (20, 7)
    assert manifest.calibration["source"] == "passages.txt"


def test_the_command_prints_fidelity_and_sizes_as_a_table(
    quantization: tuple[subprocess.CompletedProcess[str], Path], passages: list[str], engine: str
):
    process, directory = quantization

    manifest = Manifest.read(directory / "tiny-int8")
    assert manifest is not None
    fidelity = manifest.engines[engine].fidelity
    assert re.search(rf"held-out texts, mean +{fidelity['cosine_mean']:.4f}\n", process.stdout)
    assert f"on {len(passages) - 20} held-out texts" in process.stdout
    held_out = len(passages) - 20
    neighbours = min(10, held_out // 10)
    assert re.search(rf"top-{neighbours} neighbours kept, of {held_out} held-out texts .* \d+\.\d%", process.stdout)
    assert re.search(rf"top-{neighbours} kept on an fp32 index, of {held_out} +\d+\.\d%", process.stdout)
    assert re.search(r"must I re-index\? +(no|better so): int8 documents", process.stdout)
    assert re.search(rf"at worst of {held_out} +cosine {fidelity['batch_cosine_min']:.4f}, 0\.\d+", process.stdout)
    assert re.search(r"weights on disk, fp32 -> int8 +\d+\.\d -> \d+\.\d MB", process.stdout)
    assert process.stdout.endswith("Written to tiny-int8\n")


@pytest.mark.parametrize(
    ("overlap", "mixed", "answer"),
    [
        (0.95, 0.96, "no"),
        (0.95, 0.945, "no"),
        (0.95, 0.8, "better so"),
        (None, None, "cannot be said: 11 texts, .* 40"),
    ],
)
def test_must_i_re_index_is_answered_by_what_that_would_bring(overlap: float | None, mixed: float | None, answer: str):
    fidelity = Fidelity(0.99, 0.98, 0.97, overlap, mixed, texts=11 if overlap is None else 100, neighbours=10)

    (said,) = (value for _, name, value in _fidelity_rows("ipex", fidelity, "texts") if name == "must I re-index?")

    assert re.match(answer, said)


def test_every_figure_stands_beside_the_number_of_texts():
    rows = _fidelity_rows("ipex", Fidelity(0.99, 0.98, 0.97, 0.9, 0.9, 123, 10, 0.99, 0.01), "texts")

    assert all("123" in name for _, name, _ in rows if name != "must I re-index?")


def test_the_command_shows_its_progress_and_none_of_the_libraries_noise(
    quantization: tuple[subprocess.CompletedProcess[str], Path],
):
    shown = [line for line in re.split(r"[\r\n]+", quantization[0].stderr) if line.strip()]

    bars = [line for line in shown if line.startswith(("Calibrating", "Embedding"))]
    others = [line for line in shown if line not in bars]
    assert re.match(r"Calibrating: 100%.* 20/20 ", [bar for bar in bars if bar.startswith("Calibrating")][-1])
    manifest = Manifest.read(quantization[1] / "tiny-int8")
    assert manifest is not None
    assert [line.split()[0] for line in others] == ["Quantizing"] * len(manifest.engines) + ["Comparing"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"--model-name": "/no/such/model"}, "There is no model directory '/no/such/model'"),
        ({"--calibration": "missing.txt"}, "missing.txt cannot be read"),
        ({"--calibration": "no-column"}, "name its column too"),
        ({"--output-path": "/"}, "/ exists: choose another output path"),
        ({"--sample-size": "0"}, "sample_size must be"),
        ({"--min-cosine": "1.5"}, "min_cosine must be between 0 and 1"),
        ({"--max-seq-len": "2"}, "max_seq_len must be"),
        ({"--max-seq-len": "65"}, "more than the 64 tokens"),
        ({"--pooling": None}, "pass pooling='cls' or pooling='mean'"),
    ],
    ids=str,
)
def test_an_error_of_quantize_is_one_line_that_says_what_is_wrong(
    options: dict[str, str | None],
    expected: str,
    tiny_model: Path,
    calibration: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
):
    output = tmp_path / "out"
    good = {"--model-name": str(tiny_model), "--output-path": str(output), "--calibration": str(calibration)}
    given = {**good, "--pooling": "cls", **options}

    status = main([part for name, value in given.items() if value for part in (name, value)])

    printed = capsys.readouterr()
    assert status == 1
    assert printed.err.startswith("fastrag_quant-quantize: ")
    assert printed.err.count("\n") == 1
    assert printed.err.endswith("\n")
    assert expected in printed.err
    assert printed.out == ""
    assert not output.exists()


def test_control_c_leaves_nothing_but_a_line(
    tiny_model: Path,
    calibration: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
):
    def interrupted(*_: object) -> list[str]:
        raise KeyboardInterrupt

    monkeypatch.setattr(nncf, "quantize_with_nncf", interrupted)
    options = ["--model-name", str(tiny_model), "--pooling", "cls", "--calibration", str(calibration)]
    options += ["--engine", "openvino"]

    status = main([*options, "--output-path", str(tmp_path / "out" / "int8")])

    assert status == 130
    assert capsys.readouterr().err == "fastrag_quant-quantize: interrupted, nothing was written\n"
    assert not list(tmp_path.glob("out/*"))
