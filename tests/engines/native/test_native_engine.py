"""The native engine in an embedder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastrag_quant import QuantizedEmbedder
from fastrag_quant.errors import ClosedError


def test_an_iterator_with_more_texts_than_run_at_once_ends_well_after_the_embedder_is_closed(
    tiny_cls_model: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("fastrag_quant.vectors.streaming._MOST_TEXTS", 3)
    texts = ["if", "class while", "for"] * 20
    embedder = QuantizedEmbedder(tiny_cls_model, "native")
    expected = embedder.embed_documents(texts, batch_size=1)
    vectors = embedder.iter_embed(texts, batch_size=1)
    first = next(vectors)

    embedder.close()

    assert np.array_equal(np.stack([first, *vectors]), expected)


def test_an_engine_that_was_closed_says_so_to_calls_that_come_late(tiny_cls_model: Path):
    embedder = QuantizedEmbedder(tiny_cls_model, "native")
    engine = embedder._engine

    engine.close()
    engine.close()

    with pytest.raises(ClosedError):
        embedder.embed_queries(["if"])
