"""The command quality scores models on tasks, prints and writes one table, and keeps its scores."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from fastrag_quant.bench.quality import FP32, INT8, MIXED
from fastrag_quant.bench.results import read_results
from fastrag_quant.bench.tables import quality_table
from fastrag_quant.commands.bench import main

SYSTEMS = [FP32, INT8, MIXED]


@pytest.fixture
def command(minilm: Path, minilm_int8: Path, tmp_path: Path) -> list[str]:
    """The command line, without its data."""
    results = ["--results", str(tmp_path / "results"), "--json", str(tmp_path / "quality.json")]
    return ["quality", "--model-name", str(minilm_int8), "--baseline", str(minilm), *results]


def test_the_command_prints_tasks_and_their_average_and_keeps_no_vectors(
    command: list[str], beir: Path, reranking: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    assert main([*command, "--data", str(beir), str(reranking)]) == 0

    printed = capsys.readouterr().out
    rows = [line.split()[:2] for line in printed.splitlines()[2:6]]
    assert rows == [
        ["python-statements", "nDCG@10"],
        ["statements", "MAP"],
        ["statements", "MRR@10"],
        ["average", "main"],
    ]
    results = json.loads((tmp_path / "quality.json").read_text())["results"]
    assert [result["queries"] for result in results] == [6, 6, 6, None]
    assert list(results[0]["scores"]) == SYSTEMS
    assert printed.startswith(quality_table(read_results(tmp_path / "quality.json")).text())
    assert {(result["model"], result["baseline"]) for result in results} == {(command[2], command[4])}
    low, high = (results[3]["differences"][INT8][end] for end in ("low", "high"))
    assert low <= results[3]["differences"][INT8]["absolute"] <= high
    assert {path.name for path in (tmp_path / "results").iterdir()} == {"python-statements.json", "statements.json"}


def test_scores_are_kept_beside_the_model_by_default(
    minilm: Path, beir: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    shutil.copytree(minilm, tmp_path / "minilm")

    assert main(["quality", "--model-name", str(tmp_path / "minilm"), "--data", str(beir)]) == 0

    assert (tmp_path / "minilm-quality" / "python-statements.json").is_file()
    assert "int8" not in capsys.readouterr().out  # an fp32 model is scored alone


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], "pass --task NAME or --data PATH"),
        (["--data", "/no/such/folder"], "/no/such/folder cannot be read as a task"),
        (["--data", "DATA", "--results", "/dev/null/folder"], "/dev/null/folder cannot be made"),
    ],
    ids=str,
)
def test_an_error_is_one_line(
    options: list[str], expected: str, command: list[str], beir: Path, capsys: pytest.CaptureFixture
):
    assert main([*command, *(str(beir) if part == "DATA" else part for part in options)]) == 1

    error = capsys.readouterr().err
    assert expected in error
    assert error.count("\n") == 1


def test_control_c_says_that_what_was_finished_is_kept(
    command: list[str], beir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fastrag_quant.commands.quality.score_systems", interrupted)

    assert main([*command, "--data", str(beir)]) == 130
    assert "run the same command again to continue" in capsys.readouterr().err
