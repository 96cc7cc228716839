"""Runs are written to a real Aim repository, and read back."""

from __future__ import annotations

import logging
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from sample_results import QUALITY

from fastrag_quant.bench.tracking import Tracker
from fastrag_quant.commands.bench import main
from fastrag_quant.host.noise import same_loggers

RESULT = replace(QUALITY, queries=None, scores={"fp32": 0.5, "int8": 0.25})


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
    latency = {f"latency_{name}_ms" for name in ("mean", "std", "p50", "p95", "p99")}
    rates = {"samples_per_second", "tokens_per_second"}
    assert set(metrics) == {"latency_ms", *latency, *rates, "first_call_ms", "load_seconds", "peak_memory_bytes"}
    described = {"mode", "model", "input", "batch_size", "seq_len", "samples", "threads"}
    assert set(run["hparams"]) == described | {"cpu", "isa", "cores", "allocator", "versions"}
    assert list(cwd.iterdir()) == []


def test_a_quality_run_is_written_and_read_back(tmp_path: Path):
    pytest.importorskip("aim")
    Tracker(tmp_path, "quality").track_quality([RESULT])

    (run,) = runs_of(tmp_path)
    assert run["hparams", "task"] == "scifact"
    assert set(run["hparams"]) == {"task", "measure", "model", "baseline", "engine", "queries"}
    assert {metric.name: metric.dataframe()["value"][0] for metric in run.metrics()} == {"fp32": 0.5, "int8": 0.25}


def test_the_loggers_of_the_application_are_left_on(tmp_path: Path):
    pytest.importorskip("aim")
    logger = logging.getLogger("an application's")

    Tracker(tmp_path, "quality").track_quality([RESULT])

    assert not logger.disabled
    assert not logging.getLogger("fastrag_quant.embedder").disabled
