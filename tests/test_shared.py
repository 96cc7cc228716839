"""A shared embedder loads when first used, and all who ask for the same configuration get the same one."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from fastrag_quant import QuantizedEmbedder
from fastrag_quant.config import EmbedderConfig
from fastrag_quant.errors import ModelError
from fastrag_quant.shared import SharedEmbedder


@pytest.fixture
def config(tiny_cls_model: Path) -> EmbedderConfig:
    """Of the tiny model in fp32."""
    return EmbedderConfig(tiny_cls_model, "torch")


def test_nothing_is_loaded_before_it_is_used():
    shared = SharedEmbedder(EmbedderConfig("/no/such/model"))

    assert not shared.is_loaded
    with pytest.raises(ModelError, match="/no/such/model"):
        shared.embedder  # noqa: B018
    assert not shared.is_loaded


def test_all_arguments_reach_the_embedder(config: EmbedderConfig):
    told = replace(
        config,
        pooling="mean",
        max_seq_len=16,
        query_prompt="q: ",
        document_prompt="d: ",
        pad_to_max=True,
        truncate_dim=8,
    )
    shared = SharedEmbedder(told)

    settings = shared.embedder.settings
    assert shared.is_loaded
    assert shared.embedder.engine == "torch"
    assert (settings.pooling, settings.max_seq_len) == ("mean", 16)
    assert (settings.query_prompt, settings.document_prompt) == ("q: ", "d: ")
    assert shared.embedder.embed_documents(["if"]).shape == (1, 8)


def test_equal_configurations_share_one_loaded_model(config: EmbedderConfig):
    def load(_: int) -> QuantizedEmbedder:
        return SharedEmbedder(replace(config)).embedder

    with ThreadPoolExecutor(8) as pool:
        loaded = list(pool.map(load, range(8)))

    assert len({id(embedder) for embedder in loaded}) == 1


def test_a_path_and_its_text_are_the_same_model(config: EmbedderConfig):
    of_path, of_text = SharedEmbedder(config), SharedEmbedder(replace(config, model=str(config.model)))

    assert of_path.embedder is of_text.embedder


def test_a_dtype_that_is_said_and_the_same_left_out_are_one_model(config: EmbedderConfig):
    left_out, said = SharedEmbedder(config), SharedEmbedder(replace(config, dtype="float32"))

    assert left_out.embedder is said.embedder


def test_another_configuration_loads_another_model(config: EmbedderConfig):
    one, other = SharedEmbedder(config), SharedEmbedder(replace(config, pooling="mean"))

    assert one.embedder is not other.embedder


def test_a_model_that_nobody_holds_is_let_go(config: EmbedderConfig):
    import weakref

    shared = SharedEmbedder(config)
    loaded = weakref.ref(shared.embedder)

    del shared
    gc.collect()

    assert loaded() is None


def test_a_released_model_is_let_go_and_loaded_again_at_the_next_use(config: EmbedderConfig):
    import weakref

    shared = SharedEmbedder(config)
    loaded = weakref.ref(shared.embedder)

    shared.release()
    gc.collect()

    assert not shared.is_loaded
    assert loaded() is None
    assert shared.embedder.embed_documents(["if"]).shape == (1, 32)


def test_a_model_that_one_releases_stays_with_the_others(config: EmbedderConfig):
    one, other = SharedEmbedder(config), SharedEmbedder(config)
    held = other.embedder
    assert one.embedder is held

    one.release()
    gc.collect()

    assert other.embedder is held
    assert one.embedder is held


def test_releasing_what_was_never_loaded_does_nothing():
    shared = SharedEmbedder(EmbedderConfig("/no/such/model"))

    shared.release()

    assert not shared.is_loaded
