"""The commands: their help, their output, and one line for every error."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastrag_quant.host import extras
from fastrag_quant.bench import speed_command
from fastrag_quant.commands.bench import main as bench_main
from fastrag_quant.bench.speed import SpeedResult, SpeedSettings, measure_speed
from fastrag_quant.commands.quantize import quantize_main
from fastrag_quant.model.manifest import Manifest
from fastrag_quant.quantization import nncf

COMMANDS = {"fastrag_quant-quantize": quantize_main, "fastrag_quant-bench": bench_main}
BIN = Path(sys.executable).parent


@pytest.fixture(autouse=True)
def same_log_level() -> Iterator[None]:
    """The commands own their process and set its log level; here it is shared."""
    logger = logging.getLogger("fastrag_quant")
    level = logger.level
    yield
    logger.setLevel(level)


@pytest.fixture
def calibration(passages: list[str], tmp_path: Path) -> Path:
    """A file of calibration texts."""
    path = tmp_path / "passages.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in passages))
    return path


# Help


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


@pytest.mark.parametrize("main", ["fastrag_quant.commands.quantize:quantize_main", "fastrag_quant.commands.bench:main"])
def test_help_needs_neither_torch_nor_haystack(main: str):
    module, _, function = main.partition(":")
    code = (
        f"import sys\nfrom {module} import {function}\n"
        f"try: {function}(['--help'])\n"
        "finally: print([name for name in ('torch', 'haystack', 'transformers') if name in sys.modules])"
    )

    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert process.stdout.splitlines()[-1] == "[]"


# fastrag_quant-quantize, in a process of its own


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
    assert re.search(r"top-10 neighbours kept +\d+\.\d%", process.stdout)
    assert re.search(r"without re-indexing\) +\d+\.\d%", process.stdout)
    assert re.search(r"weights on disk, fp32 -> int8 +\d+\.\d -> \d+\.\d MB", process.stdout)
    assert process.stdout.endswith("Written to tiny-int8\n")


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


# fastrag_quant-bench speed


@pytest.fixture
def bench(tmp_path: Path, capsys: pytest.CaptureFixture) -> Callable[..., tuple[str, dict]]:
    """Runs the command, and returns what it printed and what it wrote to --json."""

    def run(model: Path, mode: str, *options: str) -> tuple[str, dict]:
        result = tmp_path / "result.json"
        small = ["--bs", "2", "--warmup", "1", "--json", str(result)]
        status = bench_main(["speed", "--model-name", str(model), "--mode", mode, *small, *options])
        printed = capsys.readouterr().out
        assert status == 0
        (only,) = json.loads(result.read_text())["results"]
        return printed, only

    return run


def test_random_tokens_in_fp32(bench: Callable[..., tuple[str, dict]], minilm: Path):
    printed, result = bench(minilm, "hf", "--samples", "4", "--seq-len", "16")

    assert (result["mode"], result["samples"], result["batch_size"]) == ("hf", 4, 2)
    assert "4 samples of random tokens, length 16, batch size 2" in printed
    assert f"{result['samples_per_second']:.1f} samples/s" in printed
    assert f"{result['latency_p50_ms']:.2f} / " in printed


INT8_MODES = pytest.mark.parametrize(
    ("mode", "library"),
    [pytest.param("inc", "intel-extension-for-pytorch", marks=pytest.mark.needs("ipex")), ("openvino", "openvino")],
)


@INT8_MODES
def test_random_tokens_in_int8(bench: Callable[..., tuple[str, dict]], minilm_int8: Path, mode: str, library: str):
    _, result = bench(minilm_int8, mode, "--samples", "4", "--seq-len", "16", "--no-pin-threads")

    assert (result["mode"], result["input"]) == (mode, "random tokens, length 16")
    assert result["versions"][library]


@INT8_MODES
def test_real_text_in_int8(
    bench: Callable[..., tuple[str, dict]], minilm_int8: Path, calibration: Path, mode: str, library: str
):
    printed, result = bench(minilm_int8, mode, "--samples", "5", "--text", str(calibration), "--no-pin-threads")

    assert (result["input"], result["samples"]) == ("text", 5)
    assert result["versions"][library]
    assert "5 samples of text, batch size 2" in printed


def test_real_text_in_bf16(bench: Callable[..., tuple[str, dict]], minilm: Path, calibration: Path):
    _, result = bench(minilm, "hf", "--bf16", "--samples", "2", "--text", str(calibration))

    assert result["mode"] == "hf-bf16"


@pytest.mark.needs("ipex")
def test_lists_of_modes_batch_sizes_and_lengths_give_one_table(
    tiny_cls_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    lists = ["--mode", "hf,ipex", "--bs", "1,2", "--seq-len", "8,16"]
    options = ["--model-name", str(tiny_cls_model), "--samples", "2", "--json", str(tmp_path / "all.json")]

    status = bench_main(["speed", *lists, *options])

    printed = capsys.readouterr().out
    results = json.loads((tmp_path / "all.json").read_text())["results"]
    combinations = [(mode, size, length) for mode in ("hf", "ipex") for size in (1, 2) for length in (8, 16)]
    assert status == 0
    assert [(result["mode"], result["batch_size"], result["seq_len"]) for result in results] == combinations
    assert [tuple(line.split()[:3]) for line in printed.splitlines()[2:10]] == [
        (mode, str(size), str(length)) for mode, size, length in combinations
    ]


def test_the_modes_that_can_run_do_and_the_others_say_why_not(
    tiny_cls_model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    monkeypatch.setattr(extras, "is_installed", lambda name: name != "intel-extension-for-pytorch")
    options = ["--model-name", str(tiny_cls_model), "--samples", "2", "--seq-len", "8"]

    status = bench_main(["speed", "--mode", "ipex,hf", *options])

    printed = capsys.readouterr().out
    assert status == 0
    assert re.search(r"^hf +1 +8 ", printed, re.MULTILINE)
    assert "ipex did not run: The mode ipex needs intel-extension-for-pytorch: pip install" in printed


def test_an_interrupted_sweep_keeps_what_was_measured(
    tiny_cls_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    settings = SpeedSettings(samples=2, seq_len=8)

    def interrupted(*_: object, **__: object) -> Iterator[SpeedResult]:
        yield measure_speed(str(tiny_cls_model), "hf", settings)
        raise KeyboardInterrupt

    monkeypatch.setattr(speed_command, "run_all", interrupted)
    options = ["--model-name", str(tiny_cls_model), "--mode", "hf", "--bs", "1,2"]

    assert bench_main(["speed", *options, "--json", str(tmp_path / "partial.json")]) == 130

    assert len(json.loads((tmp_path / "partial.json").read_text())["results"]) == 1
    assert "what was measured before is in the file of --json" in capsys.readouterr().err


def test_a_mode_that_does_not_exist_is_a_matter_of_usage(capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit):
        bench_main(["speed", "--model-name", "any", "--mode", "hf,gpu"])

    assert "unknown mode 'gpu': use inc, openvino, hf, ipex, ipex-ts" in capsys.readouterr().err


# Errors


def one_line(error: str, command: str) -> bool:
    return error.startswith(f"{command}: ") and error.count("\n") == 1 and error.endswith("\n")


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

    status = quantize_main([part for name, value in given.items() if value for part in (name, value)])

    printed = capsys.readouterr()
    assert status == 1
    assert one_line(printed.err, "fastrag_quant-quantize")
    assert expected in printed.err
    assert printed.out == ""
    assert not output.exists()


@pytest.mark.parametrize(
    ("mode", "options", "expected"),
    [
        ("openvino", {"--model-name": "/no/such/model"}, "There is no model directory '/no/such/model'"),
        pytest.param("inc", {}, "fastrag_quant-quantize", marks=pytest.mark.needs("ipex")),
        ("hf", {"--seq-len": "9999"}, "more than the 64 tokens"),
        ("hf", {"--samples": "0"}, "samples must be at least 1"),
        ("hf", {"--threads": "0"}, "threads must be a positive number"),
        ("hf", {"--text": "missing.txt"}, "missing.txt cannot be read"),
        ("hf", {"--text": "/dev/null"}, "neither .txt"),
        ("hf", {"--json": "/no/such/directory/result.json"}, "/no/such/directory"),
    ],
    ids=str,
)
def test_an_error_of_bench_is_one_line_that_says_what_is_wrong(
    mode: str, options: dict[str, str], expected: str, tiny_cls_model: Path, capsys: pytest.CaptureFixture
):
    given = {"--model-name": str(tiny_cls_model), "--mode": mode, "--samples": "1", "--seq-len": "16", **options}

    status = bench_main(["speed", *(part for option in given.items() for part in option)])

    printed = capsys.readouterr()
    assert status == 1
    assert one_line(printed.err, "fastrag_quant-bench")
    assert expected in printed.err
    assert printed.out == ""


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_without_its_arguments_shows_how_it_is_used(command: str, capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as error:
        COMMANDS[command]([])

    assert error.value.code == 2
    assert f"usage: {command}" in capsys.readouterr().err


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

    status = quantize_main([*options, "--output-path", str(tmp_path / "out" / "int8")])

    assert status == 130
    assert capsys.readouterr().err == "fastrag_quant-quantize: interrupted, nothing was written\n"
    assert not list(tmp_path.glob("out/*"))
