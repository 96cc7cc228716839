"""A sweep combines modes and settings, gives each a process of its own, and goes on when one fails."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from fastrag_quant.bench import sweep
from fastrag_quant.bench.speed import SpeedResult, SpeedSettings
from fastrag_quant.bench.sweep import FailedRun, SpeedRun, plan_runs, run_all
from fastrag_quant.errors import InputError
from fastrag_quant.host import extras
from fastrag_quant.host.cpu import usable_cores

SMALL = SpeedSettings(samples=2, batch_size=2, seq_len=16, warmup=0)
OTHER = SpeedSettings(samples=2, batch_size=1, seq_len=16, warmup=0)


def quantized_from(source: str, directory: Path) -> str:
    """A directory that says what it was made from."""
    settings = {"pooling": "cls", "normalize": True, "max_seq_len": 64, "query_prompt": "", "document_prompt": ""}
    engine = {"files": {}, "versions": {}, "isa": [], "fidelity": {}}
    manifest = {"source": {"model": source}, "calibration": {}, "engines": {"openvino": engine}, "files": {}}
    manifest |= {"settings": {**settings, "dimension": 32}}
    (directory / "fastrag_quant.json").write_text(json.dumps(manifest))
    return str(directory)


def test_every_mode_meets_every_setting(tiny_cls_model: Path):
    runs = plan_runs(str(tiny_cls_model), None, ["hf", "ipex"], [SMALL, OTHER], bf16=True)

    assert [(run.mode, run.settings, run.bf16) for run in runs] == [
        *(("hf", SMALL, True), ("hf", OTHER, True)),
        *(("ipex", SMALL, True), ("ipex", OTHER, True)),
    ]


def test_fp32_modes_run_the_baseline_and_int8_modes_the_model():
    runs = plan_runs("int8", "fp32", ["inc", "hf", "openvino"], [SMALL], bf16=True)

    assert [(run.mode, run.model, run.bf16) for run in runs] == [
        *(("inc", "int8", False), ("hf", "fp32", True), ("openvino", "int8", False)),
    ]


def test_the_baseline_is_by_default_the_hub_model_that_the_manifest_names(tmp_path: Path):
    model = quantized_from("BAAI/bge-small-en-v1.5", tmp_path)

    assert plan_runs(model, None, ["hf"], [SMALL], bf16=False)[0].model == "BAAI/bge-small-en-v1.5"


def test_an_int8_directory_made_from_a_local_model_needs_the_baseline_for_fp32_modes(tmp_path: Path):
    model = quantized_from("my-model", tmp_path)

    assert plan_runs(model, None, ["inc"], [SMALL], bf16=False)[0].model == model
    with pytest.raises(InputError, match="pass it as --baseline"):
        plan_runs(model, None, ["inc", "hf"], [SMALL], bf16=False)


def test_bf16_with_int8_modes_alone_is_refused():
    with pytest.raises(InputError, match="with the modes hf, ipex and ipex-ts"):
        plan_runs("int8", None, ["inc"], [SMALL], bf16=True)


def test_each_run_has_a_process_of_its_own(tiny_cls_model: Path):
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 3)
    try:
        first, second = run_all([SpeedRun(str(tiny_cls_model), "hf", setting) for setting in (SMALL, OTHER)])
    finally:
        torch.set_num_threads(threads)

    assert isinstance(first, SpeedResult)
    assert isinstance(second, SpeedResult)
    assert (first.batch_size, second.batch_size) == (2, 1)
    assert {first.threads, second.threads} <= set(range(1, usable_cores() + 1))


def test_a_run_that_fails_does_not_end_the_others(tiny_cls_model: Path):
    runs = [SpeedRun(model, "hf", SMALL) for model in ("/no/such/model", str(tiny_cls_model))]

    failed, result = run_all(runs, ["a text", "another text"])

    assert isinstance(failed, FailedRun)
    assert "There is no model directory" in failed.reason
    assert isinstance(result, SpeedResult)
    assert result.input == "text"


def in_a_library(*_: Any, **__: Any) -> None:
    msg = "could not create a primitive\nand more"
    raise RuntimeError(msg)


def out_of_memory(*_: Any, **__: Any) -> None:
    raise MemoryError


def leaving(*_: Any, **__: Any) -> None:
    sys.exit(3)


def killed(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Unreadable(Exception):  # noqa: N818
    """An error as some libraries have them: it can be pickled, and not read back."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)


def unreadable(*_: Any, **__: Any) -> None:
    raise Unreadable(1, "a device is gone")


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (in_a_library, r"RuntimeError: could not create a primitive$"),
        (out_of_memory, "MemoryError"),
        (leaving, "SystemExit: 3"),
        (killed, "crashed, or was out of memory"),
        (unreadable, "crashed, or was out of memory"),
    ],
)
def test_no_error_of_a_library_ends_a_sweep(
    broken: Callable[..., None], reason: str, tiny_cls_model: Path, monkeypatch: pytest.MonkeyPatch
):
    runs = [SpeedRun(str(tiny_cls_model), "hf", SMALL)] * 2
    monkeypatch.setattr(sweep, "measure_speed", broken)
    outcomes = run_all(runs)

    failed = next(outcomes)
    monkeypatch.undo()
    result = next(outcomes)

    assert isinstance(failed, FailedRun)
    assert re.search(reason, failed.reason)
    assert isinstance(result, SpeedResult)


def test_what_ends_this_process_ends_the_sweep(tiny_cls_model: Path, monkeypatch: pytest.MonkeyPatch):
    def terminated(_: Future[SpeedResult]) -> None:
        raise SystemExit(143)

    monkeypatch.setattr(Future, "exception", terminated)
    monkeypatch.setattr(Future, "result", terminated)

    with pytest.raises(SystemExit):
        next(run_all([SpeedRun(str(tiny_cls_model), "hf", SMALL)]))


def test_a_mode_that_is_not_installed_is_skipped_with_the_extra_that_brings_it(
    tiny_cls_model: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(extras, "is_installed", lambda name: name != "intel-extension-for-pytorch")

    failed, result = run_all([SpeedRun(str(tiny_cls_model), mode, SMALL) for mode in ("ipex", "hf")])

    assert isinstance(failed, FailedRun)
    assert "pip install 'fastrag-quant[ipex]'" in failed.reason
    assert isinstance(result, SpeedResult)


def test_texts_that_are_cut_in_every_call_are_told_once(tiny_cls_model: Path, capfd: pytest.CaptureFixture):
    (result,) = run_all([SpeedRun(str(tiny_cls_model), "hf", SMALL)], ["error " * 100] * 4)

    assert isinstance(result, SpeedResult)
    assert capfd.readouterr().err.count("were cut") == 1
