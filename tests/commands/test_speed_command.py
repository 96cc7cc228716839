"""The command speed: what it measures, prints and writes, and one line for every error."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastrag_quant.bench.results import read_results
from fastrag_quant.bench.speed import SpeedResult, SpeedSettings, measure_speed
from fastrag_quant.bench.tables import speed_table
from fastrag_quant.commands import speed
from fastrag_quant.commands.bench import main
from fastrag_quant.host import extras


@pytest.fixture
def bench(tmp_path: Path, capsys: pytest.CaptureFixture) -> Callable[..., tuple[str, dict]]:
    """Runs the command, and returns what it printed and what it wrote to --json."""

    def run(model: Path, mode: str, *options: str) -> tuple[str, dict]:
        result = tmp_path / "result.json"
        small = ["--bs", "2", "--warmup", "1", "--json", str(result)]
        status = main(["speed", "--model-name", str(model), "--mode", mode, *small, *options])
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
    assert f"{result['latency']['p50_ms']:.2f} / " in printed


INT8_MODES = pytest.mark.parametrize(
    ("mode", "library"),
    [pytest.param("inc", "intel-extension-for-pytorch", marks=pytest.mark.needs("ipex")), ("openvino", "openvino")],
)


@INT8_MODES
def test_random_tokens_in_int8(bench: Callable[..., tuple[str, dict]], minilm_int8: Path, mode: str, library: str):
    _, result = bench(minilm_int8, mode, "--samples", "4", "--seq-len", "16", "--no-pin-threads")

    assert (result["mode"], result["input"]) == (mode, "random tokens, length 16")
    assert result["environment"]["versions"][library]


@INT8_MODES
def test_real_text_in_int8(
    bench: Callable[..., tuple[str, dict]], minilm_int8: Path, calibration: Path, mode: str, library: str
):
    printed, result = bench(minilm_int8, mode, "--samples", "5", "--text", str(calibration), "--no-pin-threads")

    assert (result["input"], result["samples"]) == ("text", 5)
    assert result["environment"]["versions"][library]
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

    status = main(["speed", *lists, *options])

    printed = capsys.readouterr().out
    results = json.loads((tmp_path / "all.json").read_text())["results"]
    assert printed.startswith(speed_table(read_results(tmp_path / "all.json")).text())
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

    status = main(["speed", "--mode", "ipex,hf", *options])

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

    monkeypatch.setattr(speed, "run_all", interrupted)
    options = ["--model-name", str(tiny_cls_model), "--mode", "hf", "--bs", "1,2"]

    assert main(["speed", *options, "--json", str(tmp_path / "partial.json")]) == 130

    assert len(json.loads((tmp_path / "partial.json").read_text())["results"]) == 1
    assert "what was measured before is in the file of --json" in capsys.readouterr().err


def test_a_mode_that_does_not_exist_is_a_matter_of_usage(capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit):
        main(["speed", "--model-name", "any", "--mode", "hf,gpu"])

    assert "unknown mode 'gpu': use inc, native, openvino, hf, ipex, ipex-ts" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("mode", "options", "expected"),
    [
        ("openvino", {"--model-name": "/no/such/model"}, "There is no model directory '/no/such/model'"),
        pytest.param("inc", {}, "fastrag_quant-quantize", marks=pytest.mark.needs("ipex")),
        ("hf", {"--seq-len": "9999"}, "more than the 64 tokens"),
        ("hf", {"--samples": "0"}, "samples must be a whole number of at least 1"),
        ("hf", {"--threads": "0"}, "threads must be a whole number of at least 1"),
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

    status = main(["speed", *(part for option in given.items() for part in option)])

    printed = capsys.readouterr()
    assert status == 1
    assert printed.err.startswith("fastrag_quant-bench: ")
    assert printed.err.count("\n") == 1
    assert printed.err.endswith("\n")
    assert expected in printed.err
    assert printed.out == ""
