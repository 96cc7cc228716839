"""Weights go to their places whatever a checkpoint calls them; what is no such encoder is refused with the reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small_encoders import FAMILIES, POSITIONS, VOCABULARY, SmallModel, write_small_model

from fastrag_quant.engines.native.architectures import read_encoder, shape_of, why_not
from fastrag_quant.engines.native.encoder import EncoderShape, Fp32Encoder
from fastrag_quant.errors import ModelError
from fastrag_quant.model.source import ModelSource
from fastrag_quant.model.weights import open_weights


@pytest.fixture
def weights(bert: SmallModel) -> dict[str, np.ndarray]:
    """The weights of the small BERT."""
    return dict(open_weights(ModelSource(str(bert.directory))))


class Noted(Mapping[str, np.ndarray]):
    """Weights that remember which of them were read."""

    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        self.weights = weights
        self.read: list[str] = []

    def __getitem__(self, name: str) -> np.ndarray:
        self.read.append(name)
        return self.weights[name]

    def __contains__(self, name: object) -> bool:
        return name in self.weights

    def __iter__(self) -> Iterator[str]:
        return iter(self.weights)

    def __len__(self) -> int:
        return len(self.weights)


def assert_same(one: Fp32Encoder, other: Fp32Encoder) -> None:
    assert one.shape == other.shape
    assert np.array_equal(one.words, other.words)
    assert np.array_equal(one.positions, other.positions)
    assert np.array_equal(one.embedding_norm.weight, other.embedding_norm.weight)
    assert np.array_equal(one.embedding_norm.bias, other.embedding_norm.bias)
    for mine, theirs in zip(one.layers, other.layers, strict=True):
        for name, part in vars(mine).items():
            assert np.array_equal(part.weight, getattr(theirs, name).weight)
            assert np.array_equal(part.bias, getattr(theirs, name).bias)


# What can be run


def test_the_sizes_are_those_of_the_configuration(bert: SmallModel):
    assert shape_of(bert.config) == EncoderShape(64, 2, 3, 96, VOCABULARY, POSITIONS, 1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_arrays_have_the_shapes_that_the_encoder_promises(family: str, tmp_path: Path):
    encoder = write_small_model(family, tmp_path).encoder
    layer = encoder.layers[-1]

    assert len(encoder.layers) == encoder.shape.layers == 3
    assert encoder.shape.positions == POSITIONS
    assert encoder.words.shape == (VOCABULARY, 64)
    assert encoder.positions.shape == (encoder.shape.position_rows, 64)
    assert layer.query_key_value.weight.shape == (192, 64)
    assert layer.up.weight.shape == (96, 64)
    assert layer.down.weight.shape == (64, 96)
    arrays = [
        encoder.words,
        encoder.positions,
        *(array for part in vars(layer).values() for array in vars(part).values()),
    ]
    assert all(array.dtype == np.float32 and array.flags.c_contiguous for array in arrays)


@pytest.mark.parametrize("family", ["roberta", "xlm-roberta", "camembert"])
def test_the_first_token_of_robertas_kin_has_the_position_behind_paddings(family: str, tmp_path: Path):
    model = write_small_model(family, tmp_path)

    embeddings = model.module.embeddings
    expected = (embeddings.position_embeddings.weight + embeddings.token_type_embeddings.weight[0]).detach().numpy()
    assert np.allclose(model.encoder.positions[:-1], expected[2:], atol=1e-6)
    assert np.allclose(model.encoder.positions[-1], expected[1], atol=1e-6), "the last one is that of padding itself"


def test_without_an_id_of_padding_robertas_usual_one_counts(tmp_path: Path):
    config = write_small_model("roberta", tmp_path).config

    without = {key: value for key, value in config.items() if key != "pad_token_id"}

    assert shape_of(without).positions == shape_of(config | {"pad_token_id": None}).positions == POSITIONS
    assert shape_of(config | {"pad_token_id": 4}).positions == POSITIONS - 3


def test_epsilon_is_the_models_own_or_the_usual_one(bert: SmallModel, tmp_path: Path):
    without = {key: value for key, value in bert.config.items() if key != "layer_norm_eps"}

    assert shape_of(bert.config | {"layer_norm_eps": 1e-5}).epsilon == 1e-5
    assert shape_of(without).epsilon == 1e-12
    distilbert = write_small_model("distilbert", tmp_path).config | {"layer_norm_eps": 1e-5}
    assert shape_of(distilbert).epsilon == 1e-12, "transformers gives DistilBERT no other"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model_type": "mpnet"}, "its model_type is 'mpnet', and this engine runs bert, electra, roberta"),
        ({"model_type": None}, "its model_type is None"),
        ({"model_type": ["bert"]}, "its model_type is "),
        ({"is_decoder": True}, "a decoder"),
        ({"is_encoder_decoder": True}, "a decoder"),
        ({"add_cross_attention": True}, "a decoder"),
        ({"hidden_act": "relu"}, "its activation is 'relu', and this engine runs gelu"),
        ({"hidden_act": "quick_gelu"}, "its activation is 'quick_gelu'"),
        ({"hidden_act": None}, "its activation is None"),
        ({"position_embedding_type": "relative_key"}, "its position_embedding_type is 'relative_key'"),
        ({"type_vocab_size": 0}, "its type_vocab_size is 0"),
        ({"position_embedding_type": "alibi"}, "its position_embedding_type is 'alibi'"),
        ({"num_attention_heads": 3}, "64 dimensions cannot be shared out among 3 heads"),
        ({"hidden_size": 256}, "heads of attention have 128 dimensions each, and 64 is the limit"),
        ({"num_hidden_layers": 0}, "its size layers is 0"),
        ({"intermediate_size": -96}, "its size feed_forward is -96"),
        ({"num_attention_heads": 0}, "its size heads is 0"),
        ({"hidden_size": None}, "no whole number hidden_size"),
        ({"vocab_size": "100"}, "no whole number vocab_size"),
        ({"num_hidden_layers": True}, "no whole number num_hidden_layers"),
        ({"layer_norm_eps": "1e-12"}, "its layer_norm_eps is '1e-12'"),
        ({"layer_norm_eps": 0.0}, "has the epsilon 0.0"),
        ({"layer_norm_eps": float("nan")}, "has the epsilon nan"),
        ({"model_type": "electra", "embedding_size": 32}, "vectors of another size than its layers"),
        (
            {"model_type": "roberta", "pad_token_id": 100, "max_position_embeddings": 200},
            "its padding is token 100 of 100",
        ),
        ({"model_type": "roberta", "max_position_embeddings": 1, "pad_token_id": 1}, "its size positions is -1"),
    ],
)
def test_what_it_cannot_run_is_refused_with_the_reason(bert: SmallModel, change: dict[str, Any], reason: str):
    config = bert.config | change

    assert why_not(bert.config) is None
    assert reason in str(why_not(config))
    with pytest.raises(ModelError) as error:
        read_encoder(config, {})
    assert reason in str(error.value)


def test_distilberts_own_keys_are_read(tmp_path: Path):
    config = write_small_model("distilbert", tmp_path).config

    assert why_not(config) is None
    assert "activation is 'relu'" in str(why_not(config | {"activation": "relu"}))
    assert "cannot be shared out among 3 heads" in str(why_not(config | {"n_heads": 3}))
    assert "no whole number hidden_dim" in str(why_not(config | {"hidden_dim": None}))


# Names


@pytest.mark.parametrize("prefix", ["bert.", "model.", "0.auto_model.", "0.auto_model.bert.", "encoder."])
def test_what_stands_before_all_names_does_not_matter(bert: SmallModel, weights: dict[str, np.ndarray], prefix: str):
    more = {"cls.predictions.decoder.weight": weights["embeddings.word_embeddings.weight"]}

    found = read_encoder(bert.config, more | {f"{prefix}{name}": array for name, array in weights.items()})

    assert_same(found, bert.encoder)


def test_the_names_that_tensorflow_gives_normalisations_are_understood(
    bert: SmallModel, weights: dict[str, np.ndarray]
):
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): array
        for name, array in weights.items()
    }
    assert "embeddings.LayerNorm.gamma" in old

    assert_same(read_encoder(bert.config, old), bert.encoder)


def test_two_encoders_in_one_model_are_refused(bert: SmallModel, weights: dict[str, np.ndarray]):
    both = {f"{prefix}.{name}": array for prefix in ("query", "passage") for name, array in weights.items()}

    with pytest.raises(ModelError, match=r"2 encoders, under 'query\.' and 'passage\.'"):
        read_encoder(bert.config, both)


def test_a_model_without_words_is_refused(bert: SmallModel):
    with pytest.raises(ModelError, match=r"no tensor embeddings\.word_embeddings\.weight"):
        read_encoder(bert.config, {"old_embeddings.word_embeddings.weight": np.zeros((100, 64), np.float32)})


# Tensors


def encoder_and_layers(config: dict[str, Any], weights: Mapping[str, np.ndarray]) -> None:
    list(read_encoder(config, weights).layers)


def needed(weights: dict[str, np.ndarray]) -> list[str]:
    return [name for name in weights if not name.startswith("pooler.")]


def test_every_missing_tensor_is_named_with_the_shape_that_it_should_have(
    bert: SmallModel, weights: dict[str, np.ndarray]
):
    for missing in needed(weights):
        rest = {f"bert.{name}": array for name, array in weights.items() if name != missing}
        with pytest.raises(ModelError) as error:
            encoder_and_layers(bert.config, rest)
        assert missing in str(error.value)
        if "word_embeddings" not in missing:
            assert f"lacks the tensor bert.{missing}, of shape {weights[missing].shape}" in str(error.value)


def test_every_tensor_of_another_shape_is_named_with_both_shapes(bert: SmallModel, weights: dict[str, np.ndarray]):
    for name in needed(weights):
        shape = weights[name].shape
        wrong = np.zeros((shape[0] + 1, *shape[1:]), np.float32)
        with pytest.raises(ModelError) as error:
            encoder_and_layers(bert.config, weights | {name: wrong})
        assert f"The tensor {name} has the shape {wrong.shape}, and by the model's config.json" in str(error.value)
        assert f"it is {shape}" in str(error.value)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_every_tensor_with_a_number_that_is_not_finite_is_named(
    bert: SmallModel, weights: dict[str, np.ndarray], number: float
):
    for name in needed(weights):
        wrong = weights[name].copy()
        wrong.flat[-1] = number
        with pytest.raises(ModelError, match=f"The tensor {name} holds infinite numbers"):
            encoder_and_layers(bert.config, weights | {name: wrong})


# Memory


def test_layers_are_read_when_they_are_asked_for(bert: SmallModel, weights: dict[str, np.ndarray]):
    noted = Noted(weights)

    encoder = read_encoder(bert.config, noted)
    assert noted.read
    assert not any("layer." in name for name in noted.read)
    noted.read.clear()
    encoder.layers[1]

    assert noted.read
    assert all(name.startswith("encoder.layer.1.") for name in noted.read)
    assert len(noted.read) == len(set(noted.read)) == 16


def test_layers_are_a_sequence_as_any_other(bert: SmallModel):
    layers = bert.encoder.layers

    assert len(layers) == len(list(layers)) == 3
    assert np.array_equal(layers[-1].up.weight, layers[2].up.weight)
    assert not np.array_equal(layers[0].up.weight, layers[2].up.weight)
    assert [layer.up.weight[0, 0] for layer in layers[1:]] == [layer.up.weight[0, 0] for layer in list(layers)[1:]]
    with pytest.raises(IndexError):
        layers[3]


def test_words_in_fp32_are_not_copied(bert: SmallModel):
    words = bert.encoder.words

    assert not words.flags.owndata
    assert not words.flags.writeable
