"""A shared embedder loads when first used, and all who ask for the same configuration get the same one."""

from __future__ import annotations

import gc
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fastrag_quant import QuantizedEmbedder
from fastrag_quant.config import EmbedderConfig
from fastrag_quant.errors import InputError, ModelError
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


def engine_of(shared: SharedEmbedder) -> object:
    return shared.embedder._engine


def test_forms_of_one_models_vectors_share_one_loaded_model(config: EmbedderConfig):
    texts = ["if", "a class statement"]
    whole, cut, bits = (
        SharedEmbedder(replace(config, **form))
        for form in ({}, {"truncate_dim": 8}, {"truncate_dim": 16, "precision": "ubinary"})
    )

    assert engine_of(whole) is engine_of(cut) is engine_of(bits)
    vectors = whole.embedder.embed_documents(texts)
    assert np.array_equal(cut.embedder.embed_documents(texts), vectors[:, :8])
    assert np.array_equal(bits.embedder.embed_documents(texts), np.packbits(vectors[:, :16] > 0, axis=1))
    assert whole.embedder.dimension == 32


def test_a_form_is_shared_with_whoever_is_left(config: EmbedderConfig):
    one, other = SharedEmbedder(config), SharedEmbedder(replace(config, truncate_dim=8))
    engine = engine_of(one)
    assert engine_of(other) is engine

    one.release()
    gc.collect()

    assert engine_of(SharedEmbedder(replace(config, truncate_dim=4))) is engine


def test_forms_of_int8_models_share_one_too(minilm_int8: Path, some_engine: str):
    whole, levels = (
        SharedEmbedder(EmbedderConfig(minilm_int8, some_engine, precision=form)) for form in ("float32", "int8")
    )

    assert engine_of(whole) is engine_of(levels)
    assert levels.embedder.embed_documents(["if"]).dtype == np.int8


def test_a_form_that_a_loaded_model_cannot_have_is_refused(config: EmbedderConfig):
    loaded = SharedEmbedder(config)
    assert loaded.embedder.dimension == 32

    with pytest.raises(InputError, match="truncate_dim must be 1 to 32"):
        SharedEmbedder(replace(config, truncate_dim=33)).embedder  # noqa: B018
    with pytest.raises(InputError, match="precision 'int8' needs the range of each dimension"):
        SharedEmbedder(replace(config, precision="int8")).embedder  # noqa: B018


def test_a_copy_of_a_form_that_shares_a_model_is_of_that_form(config: EmbedderConfig):
    whole, cut = SharedEmbedder(config), SharedEmbedder(replace(config, truncate_dim=8))
    assert engine_of(whole) is engine_of(cut)

    assert pickle.loads(pickle.dumps(cut.embedder)).dimension == 8


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
