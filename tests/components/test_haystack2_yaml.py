"""The YAML pipelines of pipelines/haystack2, loaded and run in the Haystack that is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from haystack import Pipeline
from haystack.document_stores.in_memory import InMemoryDocumentStore

from fastrag_quant import load_pipeline
from fastrag_quant.errors import InputError

PIPELINES = Path(__file__).parents[2] / "pipelines" / "haystack2"
NAMES = ("quantize", "indexing", "query", "rerank", "latency")
QUESTION = "What throws an exception?"


@pytest.fixture
def folder(int8, tmp_path, monkeypatch):
    """A working directory in which the model is where the files expect it."""
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "embedder-int8").symlink_to(int8)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def indexed(folder, passages):
    """Two files that indexing.yaml put into the store that query.yaml and latency.yaml read."""
    texts = {"first.txt": " ".join(passages[:20]), "second.txt": "The raise statement throws an exception."}
    for name, text in texts.items():
        (folder / name).write_text(text)
    _empty_store()  # stores of one name are one in a process, and examples fill it too
    written = load_pipeline(PIPELINES / "indexing.yaml").run({"sources": list(texts)})
    yield written["writer"]["documents_written"]
    _empty_store()


def _empty_store():
    store = InMemoryDocumentStore(index="passages")
    store.delete_documents([document.id for document in store.filter_documents()])


def test_there_are_five():
    assert {path.stem for path in PIPELINES.glob("*.yaml")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_parameter_in_them_is_one_that_the_component_has(name):
    pipeline = load_pipeline(PIPELINES / f"{name}.yaml")

    for part, content in yaml.safe_load((PIPELINES / f"{name}.yaml").read_text())["components"].items():
        written = pipeline.to_dict()["components"][part]
        assert written["type"] == content["type"]
        assert written["init_parameters"].keys() >= content["init_parameters"].keys()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_loaded_can_be_written_and_loaded_again(name, tmp_path):
    pipeline = load_pipeline(PIPELINES / f"{name}.yaml")
    (tmp_path / "again.yaml").write_text(pipeline.dumps())

    again = load_pipeline(tmp_path / "again.yaml").to_dict()

    written = pipeline.to_dict()
    assert again["components"] == written["components"]
    assert sorted(map(str, again["connections"])) == sorted(map(str, written["connections"]))


def test_indexing_yaml_stores_passages_with_vectors(indexed):
    stored = InMemoryDocumentStore(index="passages").filter_documents()

    assert len(stored) == indexed > 10
    assert {len(document.embedding) for document in stored} == {384}


@pytest.mark.parametrize("name", ["query", "latency"])
def test_an_indexed_passage_answers_a_question(name, indexed):
    pipeline = load_pipeline(PIPELINES / f"{name}.yaml")

    documents = pipeline.run({"query": QUESTION})["ranker"]["documents"]

    assert len(documents) == 10
    assert documents[0].meta["file_path"] == "second.txt"
    assert documents[0].score > documents[1].score >= documents[2].score
    assert type(documents[0].score) is float


@pytest.mark.parametrize(("name", "embedded"), [("query", 0), ("latency", 20)])
def test_query_yaml_ranks_by_stored_embeddings_and_latency_yaml_embeds(name, embedded, indexed, encoded):
    pipeline = load_pipeline(PIPELINES / f"{name}.yaml")
    pipeline.warm_up()
    shapes = encoded(pipeline.get_component("ranker"))

    pipeline.run({"query": QUESTION})

    # The retriever shares the ranker's model: each of them embeds the query.
    assert sum(rows for rows, _ in shapes) == min(embedded, indexed) + 2


def test_rerank_yaml_ranks_what_bm25_finds(folder, documents):
    pipeline = load_pipeline(PIPELINES / "rerank.yaml")
    pipeline.get_component("retriever").document_store.write_documents(documents)

    found = pipeline.run({"query": "an exception happened"})["ranker"]["documents"]

    assert found[0].id == "raise"
    assert found[0].score > 0.5


def test_a_fresh_process_loads_query_yaml_and_answers(folder):
    program = (
        "import sys, fastrag_quant\n"
        "pipeline = fastrag_quant.load_pipeline(sys.argv[1])\n"
        "print(pipeline.run({'query': 'anything'}))\n"
    )

    result = subprocess.run(
        [sys.executable, "-c", program, PIPELINES / "query.yaml"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )

    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "{'ranker': {'documents': []}}"


def test_haystack_itself_loads_them_where_the_environment_allows_the_package(monkeypatch):
    monkeypatch.setenv("HAYSTACK_DESERIALIZATION_ALLOWLIST", "fastrag_quant")

    with (PIPELINES / "rerank.yaml").open() as file:
        pipeline = Pipeline.load(file)

    assert type(pipeline.get_component("ranker")).__module__ == "fastrag_quant.components.ranker"


def test_load_pipeline_of_a_missing_file(tmp_path):
    with pytest.raises(InputError, match=f"no pipeline file {tmp_path / 'missing.yaml'}"):
        load_pipeline(tmp_path / "missing.yaml")


def test_load_pipeline_takes_no_name():
    with pytest.raises(InputError, match="leave 'two' out"):
        load_pipeline(PIPELINES / "rerank.yaml", "two")
