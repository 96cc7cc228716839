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
from fastrag_quant.engines import INT8_KINDS

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
    assert {(result["model"], result["baseline"]) for result in results} == {
        (Path(command[2]).name, Path(command[4]).name)
    }
    assert str(tmp_path) not in (tmp_path / "quality.json").read_text()
    assert {result["engine"] for result in results} <= set(INT8_KINDS)
    low, high = (results[3]["differences"][INT8][end] for end in ("low", "high"))
    assert low <= results[3]["differences"][INT8]["absolute"] <= high
    assert {path.name for path in (tmp_path / "results").iterdir()} == {"python-statements.json", "statements.json"}


def test_int8_is_scored_on_no_engine_of_fp32(command: list[str], beir: Path, capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit):
        main([*command, "--data", str(beir), "--engine", "torch"])

    assert "invalid choice: 'torch'" in capsys.readouterr().err


def test_what_is_in_the_folder_of_results_stays(command: list[str], beir: Path, tmp_path: Path):
    mine = [tmp_path / "results" / name / "mine.npy" for name in ("vectors", "fastrag_quant-vectors")]
    for path in mine:
        path.parent.mkdir(parents=True)
        path.write_text("mine")

    assert main([*command, "--data", str(beir)]) == 0

    left = {path for path in (tmp_path / "results").rglob("*") if path.is_file()}
    assert left == {*mine, tmp_path / "results" / "python-statements.json"}
    assert [path.read_text() for path in mine] == ["mine", "mine"]


def test_a_file_in_the_way_of_vectors_or_scores_is_named_before_anything_is_embedded(
    command: list[str],
    beir: Path,
    reranking: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
):
    monkeypatch.setattr("fastrag_quant.commands.quality.score_systems", lambda *_: pytest.fail("it was scored"))
    data = ["--data", str(beir), str(reranking)]
    results = tmp_path / "results"
    results.mkdir()
    (results / "statements.json").write_text("[1]")

    assert main([*command, *data]) == 1
    assert "statements.json is no file of scores" in capsys.readouterr().err

    (results / "statements.json").unlink()
    (results / "fastrag_quant-vectors").write_text("mine")
    assert main([*command, *data]) == 1
    assert "fastrag_quant-vectors is no folder" in capsys.readouterr().err
    assert (results / "fastrag_quant-vectors").read_text() == "mine"


def test_two_tasks_of_one_name_are_refused(
    command: list[str], beir: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    shutil.copytree(beir, tmp_path / "other" / beir.name)

    assert main([*command, "--data", str(beir), str(tmp_path / "other" / beir.name)]) == 1
    assert "python-statements.json would be the scores of two tasks" in capsys.readouterr().err


def test_scores_are_kept_beside_the_model_by_default(
    minilm: Path, beir: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    shutil.copytree(minilm, tmp_path / "minilm")

    assert main(["quality", "--model-name", str(tmp_path / "minilm"), "--data", str(beir)]) == 0

    assert (tmp_path / "minilm-quality" / "python-statements.json").is_file()
    assert "int8" not in capsys.readouterr().out  # an fp32 model is scored alone


def test_int8_weights_that_an_engine_makes_while_it_loads_are_scored_beside_the_model(
    minilm: Path, beir: Path, tmp_path: Path
):
    results = ["--results", str(tmp_path / "results"), "--json", str(tmp_path / "quality.json")]

    assert main(["quality", "--model-name", str(minilm), "--engine", "native", "--data", str(beir), *results]) == 0

    [result] = json.loads((tmp_path / "quality.json").read_text())["results"]
    assert (result["engine"], result["model"]) == ("native", result["baseline"])
    assert list(result["scores"]) == SYSTEMS


def test_an_engine_that_cannot_run_an_fp32_model_is_not_passed_over(
    minilm: Path, beir: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    data = ["--data", str(beir), "--results", str(tmp_path)]

    assert main(["quality", "--model-name", str(minilm), "--engine", "openvino", *data]) == 1
    assert "is not an int8 model" in capsys.readouterr().err


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
