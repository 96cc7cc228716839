"""The command report makes a page of the files that the other commands wrote."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sample_results import ALL, PIPELINE, QUALITY, SPEED

from fastrag_quant.bench.report import make_report
from fastrag_quant.bench.results import write_results
from fastrag_quant.commands.bench import main


def test_the_command_writes_the_page_from_files(tmp_path: Path, capsys: pytest.CaptureFixture):
    given = []
    for name, results in (("speed", SPEED), ("quality", [QUALITY]), ("pipeline", [PIPELINE])):
        given.append(str(tmp_path / f"{name}.json"))
        write_results(Path(given[-1]), results)

    assert main(["report", *given, "--output", str(tmp_path / "report.html"), "--title", "Mine"]) == 0

    assert (tmp_path / "report.html").read_text() == make_report(ALL, "Mine")
    assert capsys.readouterr().out == f"Written to {tmp_path / 'report.html'}\n"


def test_a_file_of_another_version_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture):
    (tmp_path / "old.json").write_text(json.dumps({"kind": "speed", "results": []}))

    assert main(["report", str(tmp_path / "old.json"), "--output", str(tmp_path / "report.html")]) == 1

    error = capsys.readouterr().err
    assert error.startswith(f"fastrag_quant-bench: {tmp_path / 'old.json'} has no format_version")
    assert error.count("\n") == 1
    assert not (tmp_path / "report.html").exists()
