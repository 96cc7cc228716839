"""Runs are written to a real Aim repository, and read back; nothing is written where none was asked for."""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from fastrag_quant.bench import tracking
from fastrag_quant.commands.bench import main
from fastrag_quant.bench.tracking import Tracker, add_tracking_options, tracker_of
from fastrag_quant.errors import InputError
from fastrag_quant.host.noise import same_loggers

RESULT = {
    **{"task": "scifact", "measure": "nDCG@10", "model": "int8", "baseline": "fp32", "queries": None},
    "scores": {"fp32": 0.5, "int8": 0.25},
}


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_tracking_options(parser)
    return parser.parse_args(arguments)


def runs_of(repository: Path) -> list:
    from aim import Repo

    # Aim 3.28 and later read from an index, which aim up keeps.
    aim = [Path(sys.executable).with_name("aim"), "storage", "--repo", repository]
    subprocess.run([*aim, "reindex", "-y"], check=True, capture_output=True, cwd=repository)
    with same_loggers():
        return [collection.run for collection in Repo(str(repository)).query_runs("").iter_runs()]


def test_a_speed_run_is_written_and_read_back(tiny_cls_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("aim")
    cwd = tmp_path / "cwd"
    cwd.mkdir()
    monkeypatch.chdir(cwd)
    aim = ["--aim-repo", str(tmp_path / "aim"), "--experiment", "mine"]
    speed = ["--model-name", str(tiny_cls_model), "--mode", "hf", "--seq-len", "8", "--samples", "6", "--bs", "2"]

    assert main(["speed", *speed, *aim]) == 0

    (run,) = runs_of(tmp_path / "aim")
    assert run.experiment == "mine"
    assert (run["hparams", "mode"], run["hparams", "batch_size"]) == ("hf", 2)
    metrics = {metric.name: metric.dataframe() for metric in run.metrics()}
    assert list(metrics["latency_ms"]["step"]) == [0, 1, 2]
    assert metrics["latency_ms"]["value"].mean() == pytest.approx(metrics["latency_mean_ms"]["value"][0], abs=1e-3)
    assert {"samples_per_second", "peak_memory_bytes", "latency_p99_ms"} <= set(metrics)
    assert list(cwd.iterdir()) == []


def test_a_quality_run_is_written_and_read_back(tmp_path: Path):
    pytest.importorskip("aim")
    Tracker(tmp_path, "quality").track_quality([RESULT])

    (run,) = runs_of(tmp_path)
    assert run["hparams", "task"] == "scifact"
    assert {metric.name: metric.dataframe()["value"][0] for metric in run.metrics()} == {"fp32": 0.5, "int8": 0.25}


def test_the_loggers_of_the_application_are_left_on(tmp_path: Path):
    pytest.importorskip("aim")
    logger = logging.getLogger("an application's")

    Tracker(tmp_path, "quality").track_quality([RESULT])

    assert not logger.disabled
    assert not logging.getLogger("fastrag_quant.embedder").disabled


def test_nothing_is_tracked_without_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    assert tracker_of(options(), "speed") is None


def test_the_working_directorys_repository_is_used_if_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tracking, "is_installed", lambda _: True)
    (tmp_path / ".aim").mkdir()
    monkeypatch.chdir(tmp_path)

    assert tracker_of(options(), "speed") == Tracker(Path(), "fastrag_quant-speed")
    assert tracker_of(options("--no-aim"), "speed") is None


def test_without_aim_a_repository_that_was_asked_for_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tracking, "is_installed", lambda _: False)
    (tmp_path / ".aim").mkdir()
    monkeypatch.chdir(tmp_path)

    assert tracker_of(options(), "speed") is None
    with pytest.raises(InputError, match=r"pip install 'fastrag-quant\[bench\]'"):
        tracker_of(options("--aim-repo", "runs"), "speed")
