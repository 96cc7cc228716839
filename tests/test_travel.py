"""Embedders travel as their configuration, through copies, pickles and new processes, and load where they arrive."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fastrag_quant import QuantizedEmbedder
from fastrag_quant.config import EmbedderConfig
from fastrag_quant.errors import ModelError
from fastrag_quant.shared import SharedEmbedder

TEXTS = ["The raise statement throws an exception.", "for"]


def pickled(embedder: QuantizedEmbedder) -> QuantizedEmbedder:
    copied: QuantizedEmbedder = pickle.loads(pickle.dumps(embedder))
    return copied


COPIED = pytest.mark.parametrize("copied", [pickled, copy.deepcopy, copy.copy])
Copied = Callable[[QuantizedEmbedder], QuantizedEmbedder]


@COPIED
def test_a_copy_embeds_as_the_original_on_every_engine(copied: Copied, minilm_int8: Path, engine: str):
    embedder = QuantizedEmbedder(minilm_int8, engine, max_seq_len=64, query_prompt="query: ", truncate_dim=64)

    arrived = copied(embedder)

    assert arrived is not embedder
    assert (arrived.engine, arrived.settings, arrived.dimension) == (engine, embedder.settings, 64)
    assert np.array_equal(arrived.embed_queries(TEXTS), embedder.embed_queries(TEXTS))
    embedder.close()
    assert arrived.embed_documents(TEXTS).shape == (2, 64)


@COPIED
def test_a_closed_embedder_stays_closed_and_is_not_loaded(copied: Copied, tiny_cls_model: Path):
    embedder = QuantizedEmbedder(tiny_cls_model, "torch")
    embedder.close()
    (tiny_cls_model / "model.safetensors").unlink()

    arrived = copied(embedder)

    assert (arrived.settings, arrived.dimension) == (embedder.settings, 32)
    with pytest.raises(ModelError, match="closed: make a new one"):
        arrived.embed_documents(TEXTS)
    arrived.close()


def test_a_class_of_ones_own_stays_what_it_is(tiny_cls_model: Path):
    arrived = copy.deepcopy(_OfOnesOwn(tiny_cls_model, "torch"))

    assert type(arrived) is _OfOnesOwn


class _OfOnesOwn(QuantizedEmbedder):
    pass


def test_spawned_processes_take_one(tiny_cls_model: Path):
    embedder = QuantizedEmbedder(tiny_cls_model, "torch")

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        parts = pool.map(embedder.embed_documents, [TEXTS, TEXTS[:1]])

    assert [len(part) for part in parts] == [2, 1]
    assert np.allclose(np.concatenate(parts)[:2], embedder.embed_documents(TEXTS), atol=1e-6)


def test_joblib_takes_one(tiny_cls_model: Path):
    joblib = pytest.importorskip("joblib")
    embedder = QuantizedEmbedder(tiny_cls_model, "torch")

    parts = joblib.Parallel(n_jobs=2)(joblib.delayed(embedder.embed_documents)([text]) for text in TEXTS)

    assert np.allclose(np.concatenate(parts), embedder.embed_documents(TEXTS), atol=1e-6)


# Shared ones


@pytest.fixture
def shared(tiny_cls_model: Path) -> SharedEmbedder:
    """The tiny model in fp32, loaded."""
    shared = SharedEmbedder(EmbedderConfig(tiny_cls_model, "torch"))
    assert shared.embedder.dimension == 32
    return shared


def test_a_copy_of_a_shared_one_shares_with_it_in_one_process(shared: SharedEmbedder):
    for arrived in (pickle.loads(pickle.dumps(shared)), copy.deepcopy(shared)):
        assert not arrived.is_loaded
        assert arrived.config == shared.config
        assert arrived.embedder is shared.embedder
