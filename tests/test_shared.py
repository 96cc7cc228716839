"""A lazy embedder checks its arguments at once, loads when first used, and shares what is loaded."""

from __future__ import annotations

import gc
import inspect
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from fastrag_quant import QuantizedEmbedder
from fastrag_quant.errors import InputError, ModelError
from fastrag_quant.shared import LazyEmbedder


def test_nothing_is_loaded_before_it_is_used():
    lazy = LazyEmbedder("/no/such/model")

    with pytest.raises(ModelError, match="/no/such/model"):
        lazy.embedder  # noqa: B018


@pytest.mark.parametrize(
    "arguments",
    [
        {"engine": "tpu"},
        {"pooling": "max"},
        {"max_seq_len": 0},
        {"query_prompt": 7},
        {"threads": 0},
        {"truncate_dim": 0},
        {"precision": "int4"},
    ],
    ids=str,
)
def test_arguments_that_no_model_could_satisfy_are_refused_at_once(arguments: dict[str, Any]):
    with pytest.raises(InputError):
        LazyEmbedder("/no/such/model", **arguments)


def test_the_defaults_are_those_of_the_embedder():
    parameters = inspect.signature(QuantizedEmbedder).parameters

    for field in fields(LazyEmbedder):
        assert field.default == parameters[field.name].default or field.name == "model"


def test_all_arguments_reach_the_embedder(tiny_cls_model: Path):
    lazy = LazyEmbedder(
        str(tiny_cls_model), "torch", "mean", max_seq_len=16, query_prompt="q: ", document_prompt="d: ", pad_to_max=True
    )

    settings = lazy.embedder.settings
    assert lazy.embedder.engine == "torch"
    assert (settings.pooling, settings.max_seq_len) == ("mean", 16)
    assert (settings.query_prompt, settings.document_prompt) == ("q: ", "d: ")


def test_equal_arguments_share_one_loaded_model(tiny_cls_model: Path):
    def load(_: int) -> QuantizedEmbedder:
        return LazyEmbedder(str(tiny_cls_model), "torch").embedder

    with ThreadPoolExecutor(8) as pool:
        loaded = list(pool.map(load, range(8)))

    assert len({id(embedder) for embedder in loaded}) == 1


def test_other_arguments_load_another_model(tiny_cls_model: Path):
    one = LazyEmbedder(str(tiny_cls_model), "torch")
    other = LazyEmbedder(str(tiny_cls_model), "torch", pooling="mean")

    assert one.embedder is not other.embedder


def test_a_model_that_nobody_holds_is_let_go(tiny_cls_model: Path):
    import weakref

    lazy = LazyEmbedder(str(tiny_cls_model), "torch")
    loaded = weakref.ref(lazy.embedder)

    del lazy
    gc.collect()

    assert loaded() is None
