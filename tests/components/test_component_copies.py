"""Components travel as their parameters, warmed up or not, and tokens travel as Secrets."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from haystack import Document
from haystack.utils import Secret

from fastrag_quant.components import (
    EmbedderQuantizer,
    QuantizedBiEncoderRanker,
    QuantizedBiEncoderRetriever,
    QuantizedDocumentEmbedder,
    QuantizedTextEmbedder,
)


def pickled(component: Any) -> Any:
    return pickle.loads(pickle.dumps(component))


COPIED = pytest.mark.parametrize("copied", [pickled, copy.deepcopy])
Copied = Callable[[Any], Any]


@COPIED
@pytest.mark.parametrize("component", [QuantizedTextEmbedder, QuantizedDocumentEmbedder, QuantizedBiEncoderRanker])
def test_a_warmed_one_arrives_with_its_parameters_and_without_its_model(
    copied: Copied, component: type, tiny: dict[str, Any], documents: list[Document]
):
    original = component(**tiny, max_seq_len=16)
    original.warm_up()

    arrived = copied(original)

    assert arrived.to_dict() == original.to_dict()
    assert not arrived._shared.is_loaded
    assert original._shared.is_loaded
    inputs = {
        QuantizedTextEmbedder: {"text": "for"},
        QuantizedDocumentEmbedder: {"documents": documents},
        QuantizedBiEncoderRanker: {"query": "for", "documents": documents},
    }[component]
    assert arrived.run(**inputs) == original.run(**inputs)


def test_a_retriever_is_copied_as_far_as_its_own_retriever_can_be(tiny: dict[str, Any]):
    original = QuantizedBiEncoderRetriever(**tiny, retriever=Inner())
    original.warm_up()

    for arrived in (pickled(original), copy.deepcopy(original)):
        assert arrived.run("for")["documents"] == original.run("for")["documents"]


class Inner:
    """Stands for a retriever whose store is elsewhere; Haystack's InMemoryDocumentStore cannot be pickled."""

    def run(self, query_embedding: list[float], filters: Any = None, top_k: int | None = None) -> dict[str, Any]:
        return {"documents": [Document(id="nearest", content=str(query_embedding))]}


@COPIED
def test_the_quantizer_is_copied_too(copied: Copied, tmp_path: Path):
    original = EmbedderQuantizer("models/any", str(tmp_path / "int8"), sample_size=30)

    assert copied(original).to_dict() == original.to_dict()


@COPIED
def test_a_token_travels_as_a_secret(copied: Copied, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MY_TOKEN", "hf_verysecret")
    original = QuantizedTextEmbedder(**tiny, token=Secret.from_env_var("MY_TOKEN"))
    original.warm_up()
    assert original._shared.config.token == "hf_verysecret"

    arrived = copied(original)

    assert b"hf_verysecret" not in pickle.dumps(original)
    assert arrived._shared.config.token is None
    arrived.run("for")
    assert arrived._shared.config.token == "hf_verysecret"


def test_spawned_processes_take_one(tiny: dict[str, Any]):
    embedder = QuantizedTextEmbedder(**tiny)
    embedder.warm_up()

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        [arrived] = pool.map(embedder.run, ["for"])

    assert arrived["embedding"] == pytest.approx(embedder.run("for")["embedding"], abs=1e-6)


@pytest.fixture
def given(tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a model in the working directory."""
    monkeypatch.chdir(Path(tiny["model"]).parent)
    return Path(tiny["model"]).name


@pytest.mark.parametrize("copied", [lambda component: component, pickled, copy.deepcopy])
def test_a_relative_path_is_that_of_where_it_was_given_and_stays_as_it_was_written(
    copied: Copied, given: str, tiny: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    embedder = QuantizedTextEmbedder(**tiny | {"model": given})
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    arrived = copied(embedder)

    assert arrived.to_dict()["init_parameters"]["model"] == given
    assert len(arrived.run("for")["embedding"]) == 32


@pytest.mark.parametrize("copied", [lambda component: component, pickled, copy.deepcopy])
def test_the_paths_of_a_quantizer_too(
    copied: Copied, given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passages: list[str]
):
    quantizer = EmbedderQuantizer(given, "out", engine="native", min_cosine=0, progress_bar=False)
    folder = Path.cwd()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    arrived = copied(quantizer)
    output = arrived.run([Document(content=passage) for passage in passages[:40]])

    assert output["model"] == str(folder / "out")
    assert (folder / "out" / "fastrag_quant.json").is_file()
    assert arrived.to_dict()["init_parameters"]["output_path"] == "out"
