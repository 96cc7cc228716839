"""On the openvino engine, components, YAML and answers need neither torch nor transformers."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

PIPELINES = Path(__file__).parents[2] / "pipelines" / "haystack2"

# Haystack imports torch wherever it is installed, so that only a process that cannot import it tells.
PROGRAM = """
import sys
for name in ("torch", "transformers", "sentence_transformers"):
    sys.modules[name] = None

import fastrag_quant
from haystack import Document

model, indexing, query = sys.argv[1:]
[embedded] = fastrag_quant.QuantizedDocumentEmbedder(model).run([Document(content="by hand")])["documents"]
assert len(embedded.embedding) == 384
fastrag_quant.load_pipeline(indexing).run({"sources": ["raise.txt", "for.txt"]})
[best, other] = fastrag_quant.load_pipeline(query).run({"query": "throw an exception"})["ranker"]["documents"]
print(best.content, best.score > other.score, sys.modules["torch"])
"""


@pytest.fixture
def folder(minilm_int8, statements, tmp_path, monkeypatch):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "embedder-int8").symlink_to(minilm_int8)
    for name in ("raise", "for"):
        (tmp_path / f"{name}.txt").write_text(statements[name])
    for name in ("indexing", "query"):
        text = (PIPELINES / f"{name}.yaml").read_text()
        pinned = text.replace("model: models/embedder-int8", "model: models/embedder-int8\n      engine: openvino")
        (tmp_path / f"{name}.yaml").write_text(pinned)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.skipif(version("haystack-ai").startswith("2."), reason="Haystack 2 with fastRAG imports torch itself")
def test_components_yaml_and_the_first_answer_do_without_torch_and_transformers(folder, statements):
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, "models/embedder-int8", "indexing.yaml", "query.yaml"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == f"{statements['raise']} True None"
