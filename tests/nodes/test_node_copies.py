"""Nodes travel as their parameters, warmed up or not; relative paths are of the directory where they were given."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from haystack import Document

from fastrag_quant.nodes import EmbedderQuantizer, QuantizedBiEncoderRanker, QuantizedBiEncoderRetriever


def pickled(node: Any) -> Any:
    return pickle.loads(pickle.dumps(node))


COPIED = pytest.mark.parametrize("copied", [pickled, copy.deepcopy])


@COPIED
def test_a_warmed_ranker_arrives_with_its_parameters_and_without_its_model(
    copied: Callable[[Any], Any], tiny_cls_model: Path, documents: list[Document]
):
    ranker = QuantizedBiEncoderRanker(str(tiny_cls_model), engine="torch", top_k=3, progress_bar=False)
    ranker.warm_up()

    arrived = copied(ranker)

    assert not arrived._shared.is_loaded
    assert arrived.get_params() == ranker.get_params()
    assert arrived.predict("for", documents) == ranker.predict("for", documents)


@COPIED
def test_a_warmed_retriever_too(copied: Callable[[Any], Any], tiny_cls_model: Path):
    retriever = QuantizedBiEncoderRetriever(str(tiny_cls_model), engine="torch")
    retriever.warm_up()

    arrived = copied(retriever)

    assert not arrived._shared.is_loaded
    assert arrived.get_params() == retriever.get_params()
    assert np.array_equal(arrived.embed_queries(["for"]), retriever.embed_queries(["for"]))


@COPIED
def test_a_quantizer_too(copied: Callable[[Any], Any], tmp_path: Path):
    quantizer = EmbedderQuantizer("models/any", str(tmp_path))

    assert copied(quantizer).get_params() == quantizer.get_params()


def test_spawned_processes_take_one(tiny_cls_model: Path):
    retriever = QuantizedBiEncoderRetriever(str(tiny_cls_model), engine="torch")
    retriever.warm_up()

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        [arrived] = pool.map(retriever.embed_queries, [["for"]])

    assert np.allclose(arrived, retriever.embed_queries(["for"]), atol=1e-6)


@pytest.fixture
def given(tiny_cls_model: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a model in the working directory."""
    monkeypatch.chdir(tiny_cls_model.parent)
    return tiny_cls_model.name


def test_a_relative_path_is_that_of_where_it_was_given_and_stays_as_it_was_written(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, documents: list[Document]
):
    ranker = QuantizedBiEncoderRanker(given, engine="torch", progress_bar=False)
    retriever = QuantizedBiEncoderRetriever(given, engine="torch", progress_bar=False)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    assert ranker.get_params()["model_name_or_path"] == retriever.get_params()["embedding_model"] == given
    for copied in (lambda node: node, pickled, copy.deepcopy):
        assert copied(ranker).predict("for", documents)
        assert copied(retriever).embed_queries(["for"]).shape == (1, 32)


def test_the_paths_of_a_quantizer_too(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passages: list[str]):
    quantizer = EmbedderQuantizer(given, "out", engine="native", min_cosine=0, progress_bar=False)
    folder = Path.cwd()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")

    quantizer.run([Document(content=passage) for passage in passages[:40]])

    assert (folder / "out" / "fastrag_quant.json").is_file()
    assert quantizer.get_params()["output_path"] == "out"
