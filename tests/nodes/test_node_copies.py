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
