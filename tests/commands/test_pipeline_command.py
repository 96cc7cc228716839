"""The command pipeline prints and writes the latency of a real pipeline of the Haystack that is installed."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest

if find_spec("haystack") is None:
    pytest.skip("Haystack is not installed", allow_module_level=True)

from fastrag_quant.bench.local_task import LocalTask
from fastrag_quant.bench.results import read_results
from fastrag_quant.bench.tables import pipeline_table
from fastrag_quant.commands.bench import main
from fastrag_quant.host.extras import is_installed

RETRIEVER, RANKER = ("Retriever", "Ranker") if is_installed("farm-haystack") else ("retriever", "ranker")


def test_the_command_prints_nodes_and_throughput(
    minilm_int8: Path, statements: LocalTask, tmp_path: Path, capsys: pytest.CaptureFixture
):
    for name, texts in (("queries", statements.queries.values()), ("documents", statements.documents.values())):
        (tmp_path / f"{name}.txt").write_text("\n".join(texts))
    files = ["--queries", str(tmp_path / "queries.txt"), "--documents", str(tmp_path / "documents.txt")]
    options = ["--model-name", str(minilm_int8), "--concurrency", "2", "--json", str(tmp_path / "pipeline.json")]

    assert main(["pipeline", *files, *options]) == 0

    shown = capsys.readouterr().out
    printed = shown.splitlines()
    assert [line.split("  ")[0] for line in printed[2:5]] == [RETRIEVER, RANKER, "whole query"]
    assert "6 queries, 2 callers, " in printed[-1]
    assert printed[-1].endswith(f"{minilm_int8.name} in {RETRIEVER} and {RANKER}")
    assert str(tmp_path) not in (tmp_path / "pipeline.json").read_text()
    (result,) = json.loads((tmp_path / "pipeline.json").read_text())["results"]
    assert result["nodes"][RANKER]["p99_ms"] > 0
    (read,) = read_results(tmp_path / "pipeline.json")
    assert shown.startswith(pipeline_table(read).text())


def test_a_missing_file_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture):
    (tmp_path / "queries.txt").write_text("a query")

    assert main(["pipeline", "missing.yaml", "--queries", str(tmp_path / "queries.txt")]) == 1

    assert capsys.readouterr().err.startswith("fastrag_quant-bench: There is no pipeline file missing.yaml")
