"""A real pipeline of the Haystack that is installed is run node by node, by one caller and by many."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

if find_spec("haystack") is None:
    pytest.skip("Haystack is not installed", allow_module_level=True)

from fastrag_quant.bench import pipeline
from fastrag_quant.bench.local_task import LocalTask
from fastrag_quant.bench.pipeline import PipelineSettings, default_pipeline, measure_pipeline
from fastrag_quant.errors import InputError
from fastrag_quant.host.extras import is_installed

HAYSTACK1 = is_installed("farm-haystack")
RETRIEVER, RANKER = ("Retriever", "Ranker") if HAYSTACK1 else ("retriever", "ranker")


@pytest.fixture
def queries(statements: LocalTask) -> list[str]:
    """Six questions."""
    return list(statements.queries.values())


@pytest.fixture
def documents(statements: LocalTask) -> list[str]:
    """Twelve passages, each by a text of its own, for a store that is empty before each test."""
    return list(statements.documents.values())


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """Every query that was run, with the contents that came back."""
    seen: list[tuple[str, list[str]]] = []
    real = pipeline._runnable

    def recording(loaded: object):
        runnable = real(loaded)
        run = runnable.run

        def recorded(query: str):
            answer = run(query)
            found = answer["documents"] if HAYSTACK1 else answer[RANKER]["documents"]
            seen.append((query, [document.content for document in found]))
            return answer

        runnable.run = recorded
        return runnable

    monkeypatch.setattr(pipeline, "_runnable", recording)
    return seen


def test_every_node_and_the_whole_are_measured(
    minilm_int8: Path, queries: list[str], documents: list[str], answered: list[tuple[str, list[str]]]
):
    settings = PipelineSettings(warmup=2)

    result = measure_pipeline(default_pipeline(), queries, documents, settings, model=str(minilm_int8))

    assert list(result.nodes) == [RETRIEVER, RANKER]
    assert (result.queries, result.documents, result.concurrency) == (6, 12, 1)
    assert (result.model, result.changed) == (minilm_int8.name, [RETRIEVER, RANKER])
    assert result.summary().endswith(f"{minilm_int8.name} in {RETRIEVER} and {RANKER}")
    assert [query for query, _ in answered] == [*queries[:2], *queries]
    assert all(0 < latency.p50_ms <= latency.p95_ms <= latency.p99_ms for latency in result.nodes.values())
    assert sum(latency.mean_ms for latency in result.nodes.values()) < result.total.mean_ms


def test_the_documents_are_found(
    minilm_int8: Path, queries: list[str], documents: list[str], answered: list[tuple[str, list[str]]]
):
    measure_pipeline(default_pipeline(), queries, documents, PipelineSettings(0), model=str(minilm_int8))

    best = {query: contents[0] for query, contents in answered}
    assert best["How do I throw an exception?"].startswith("The raise statement")
    assert best["loop over all elements of a list"].startswith("The for statement")


def test_many_callers_get_the_answers_of_one(
    minilm_int8: Path, queries: list[str], documents: list[str], answered: list[tuple[str, list[str]]]
):
    for concurrency in (1, 4):
        settings = PipelineSettings(0, concurrency)
        result = measure_pipeline(default_pipeline(), queries * 4, documents, settings, model=str(minilm_int8))
        assert (result.queries, result.concurrency) == (24, concurrency)

    one, many = answered[:24], answered[24:]
    assert sorted(one) == sorted(many)


def test_the_model_replaces_that_of_this_packages_parts_alone():
    content = yaml.safe_load(default_pipeline().read_text())

    names = pipeline._set_model(content, "mine")

    assert json.dumps(content).count('"mine"') == 2
    assert "models/embedder-int8" not in json.dumps(content)
    assert names == [RETRIEVER, RANKER]


def ranker_alone(**parameters: Any) -> dict[str, Any]:
    """Return the default pipeline with its ranker alone, which has these parameters."""
    content = yaml.safe_load(default_pipeline().read_text())
    if HAYSTACK1:
        content["components"] = [{"name": RANKER, "type": "QuantizedBiEncoderRanker", "params": parameters}]
        content["pipelines"][0]["nodes"] = [{"name": RANKER, "inputs": ["Query"]}]
    else:
        content["components"] = {RANKER: {**content["components"][RANKER], "init_parameters": parameters}}
        content["connections"] = []
    return content


MODEL = "model_name_or_path" if HAYSTACK1 else "model"


@pytest.mark.parametrize("parameters", [{}, {"top_k": 3}, {"progress_bar": False, "top_k": 3}], ids=str)
def test_the_model_is_set_where_the_file_leaves_it_out(parameters: dict[str, Any]):
    content = ranker_alone(**parameters)

    names = pipeline._set_model(content, "mine")

    assert names == [RANKER]
    parts = content["components"]
    (part,) = parts if HAYSTACK1 else parts.values()
    assert part["params" if HAYSTACK1 else "init_parameters"] == {**parameters, MODEL: "mine"}


@pytest.mark.parametrize("missing", ["missing", None], ids=str)
def test_the_model_is_set_where_there_are_no_parameters_at_all(missing: str | None):
    content = ranker_alone()
    (part,) = content["components"] if HAYSTACK1 else content["components"].values()
    name = "params" if HAYSTACK1 else "init_parameters"
    part.pop(name)
    if missing is None:
        part[name] = None

    pipeline._set_model(content, "mine")

    assert part[name] == {MODEL: "mine"}


def test_a_part_inside_another_is_found():
    inside = {"type": "fastrag_quant.components.ranker.QuantizedBiEncoderRanker", "init_parameters": {"top_k": 1}}
    wrapped = {"type": "somebodys.Wrapper", "init_parameters": {"ranker": inside, "others": [1, {"a": "b"}]}}

    names = pipeline._set_model({"components": {"outer": wrapped}}, "mine")

    assert inside["init_parameters"]["model"] == "mine"
    assert names == ["outer"]


def test_a_pipeline_with_nothing_to_change_is_refused_by_what_it_has(queries: list[str], tmp_path: Path):
    store = {"type": "InMemoryDocumentStore", "params": {}}
    components = [{"name": "Store", **store}] if HAYSTACK1 else {"Store": store}
    path = tmp_path / "other.yaml"
    path.write_text(yaml.safe_dump({"components": components}))

    with pytest.raises(InputError, match=r"other\.yaml has no part of this package that could run .*; it has Store"):
        measure_pipeline(path, queries, model="mine")


@pytest.mark.parametrize("content", ["", "- a list", "components: 3", "components: [1]", "a: b"])
def test_a_file_that_is_no_pipeline_is_refused_when_a_model_is_to_be_set(
    content: str, queries: list[str], tmp_path: Path
):
    (tmp_path / "other.yaml").write_text(content)

    with pytest.raises(InputError, match=r"other\.yaml has no part of this package"):
        measure_pipeline(tmp_path / "other.yaml", queries, model="mine")


def test_a_file_that_is_not_yaml_is_refused(queries: list[str], tmp_path: Path):
    (tmp_path / "other.yaml").write_text("components: [")

    with pytest.raises(InputError, match=r"other\.yaml is not YAML"):
        measure_pipeline(tmp_path / "other.yaml", queries, model="mine")


def test_a_pipeline_without_a_retriever_has_nowhere_for_documents(
    minilm_int8: Path, queries: list[str], tmp_path: Path
):
    content = yaml.safe_load(default_pipeline().read_text())
    if HAYSTACK1:
        content["components"] = [part for part in content["components"] if part["name"] == RANKER]
        content["pipelines"][0]["nodes"] = [{"name": RANKER, "inputs": ["Query"]}]
    else:
        content["components"] = {RANKER: content["components"][RANKER]}
        content["connections"] = []
    (tmp_path / "ranker.yaml").write_text(yaml.safe_dump(content))

    with pytest.raises(InputError, match=r"to put the documents into|to embed the documents"):
        measure_pipeline(tmp_path / "ranker.yaml", queries, ["a document"], model=str(minilm_int8))


@pytest.mark.parametrize("settings", [{"warmup": -1}, {"concurrency": 0}], ids=str)
def test_numbers_that_make_no_sense_are_refused(settings: dict[str, int]):
    (name,) = settings
    with pytest.raises(InputError, match=rf"{name} must be a whole number of at least [01], not"):
        PipelineSettings(**settings)


def test_without_queries_there_is_nothing_to_run():
    with pytest.raises(InputError, match="no queries"):
        measure_pipeline(default_pipeline(), [])
