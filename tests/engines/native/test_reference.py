"""The encoder in numpy computes what transformers does, and in int8 what the kernels have to."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from small_encoders import FAMILIES, POSITIONS, VOCABULARY, SmallModel, with_padding, write_small_model

from fastrag_quant import QuantizedEmbedder
from fastrag_quant.engines.native import reference
from fastrag_quant.engines.native.architectures import read_encoder
from fastrag_quant.engines.native.encoder import Fp32Encoder, Int8Linear, Linear, Norm
from fastrag_quant.engines.native.int8 import quantize
from fastrag_quant.errors import InputError
from fastrag_quant.model.settings import Pooling
from fastrag_quant.model.source import ModelSource
from fastrag_quant.model.tokenization import RaggedTokens, TextTokenizer
from fastrag_quant.model.weights import open_weights


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return np.sum(one * other, axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)


@pytest.fixture(scope="module")
def minilm_encoder(minilm: Path) -> Fp32Encoder:
    config = json.loads((minilm / "config.json").read_text())
    return read_encoder(config, open_weights(ModelSource(str(minilm))))


# In fp32


@pytest.mark.parametrize("family", FAMILIES)
def test_the_token_vectors_of_every_architecture_are_those_of_transformers(
    family: str, tmp_path: Path, tokens: RaggedTokens
):
    model = write_small_model(family, tmp_path)

    expected, found = model.token_vectors(tokens), reference.encode_tokens(model.encoder, tokens)

    assert found.dtype == np.float32
    assert cosines(expected, found).min() > 0.999999
    assert np.abs(expected - found).max() < 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_they_are_also_where_a_text_holds_the_token_of_padding(family: str, tmp_path: Path, tokens: RaggedTokens):
    model = write_small_model(family, tmp_path)

    expected = model.token_vectors(with_padding(tokens))

    assert np.abs(expected - reference.encode_tokens(model.encoder, with_padding(tokens))).max() < 1e-4


@pytest.mark.parametrize("activation", ["gelu_new", "gelu_fast", "gelu_python", "gelu_pytorch_tanh"])
def test_every_variant_of_gelu_is_near_enough(activation: str, tmp_path: Path, tokens: RaggedTokens):
    model = write_small_model("bert", tmp_path, hidden_act=activation)

    expected, found = model.token_vectors(tokens), reference.encode_tokens(model.encoder, tokens)

    assert cosines(expected, found).min() > 0.9999


def test_the_vectors_of_the_real_model_are_those_of_torch(
    minilm: Path, minilm_encoder: Fp32Encoder, fp32_embedder: QuantizedEmbedder, passages: list[str]
):
    texts = ["if", "", *passages[:10]]
    tokens, _ = TextTokenizer(minilm, 256)(texts)

    found = reference.embed(minilm_encoder, tokens, Pooling.MEAN, normalize=True)

    expected = fp32_embedder.embed_documents(texts)
    assert cosines(expected, found).min() > 0.999999
    assert np.abs(expected - found).max() < 1e-4


def test_a_text_has_the_same_bits_alone_and_among_others(bert: SmallModel, tokens: RaggedTokens):
    encoder = bert.encoder

    together = reference.embed(encoder, tokens, Pooling.MEAN, normalize=True)

    alone = [reference.embed(encoder, RaggedTokens.of([ids]), Pooling.MEAN, normalize=True) for ids in tokens.texts()]
    assert np.array_equal(together, np.concatenate(alone))


def test_the_error_function_is_good_to_1e7():
    values = np.linspace(-6, 6, 100_001)

    exact = np.array([math.erf(value) for value in values])

    assert np.abs(reference.erf(values) - exact).max() < 1e-7


def test_layer_normalisation_is_that_of_the_formula():
    rows = np.float32([[1, 2, 3, 6], [5, 5, 5, 5]])
    norm = Norm(np.float32([1, 2, 3, 4]), np.float32([0, 0, 1, 0]))

    found = reference.layer_norm(rows, norm, 0.5)

    deviation = math.sqrt((4 + 1 + 0 + 9) / 4 + 0.5)
    assert np.allclose(found, [[-2 / deviation, -2 / deviation, 1, 12 / deviation], [0, 0, 1, 0]])


# Pooling


def test_pooling_takes_the_first_token_or_the_mean():
    vectors = np.float32([[3, 4], [1, 0], [0, 1], [2, 5]])
    offsets = np.int32([0, 1, 4])

    cls = reference.pool(vectors, offsets, Pooling.CLS, normalize=False)
    mean = reference.pool(vectors, offsets, Pooling.MEAN, normalize=False)
    normalized = reference.pool(vectors, offsets, Pooling.CLS, normalize=True)

    assert np.array_equal(cls, [[3, 4], [1, 0]])
    assert np.array_equal(mean, [[3, 4], [1, 2]])
    assert np.allclose(normalized, [[0.6, 0.8], [1, 0]])


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("pooling", Pooling)
def test_a_text_without_tokens_has_the_vector_zero(bert: SmallModel, pooling: Pooling, normalize: bool):
    found = reference.embed(bert.encoder, RaggedTokens.of([[], [5, 6], []]), pooling, normalize=normalize)

    assert np.array_equal(found.any(axis=1), [False, True, False])


@pytest.mark.parametrize("ids", [[VOCABULARY], [5, -1]])
def test_a_token_outside_the_vocabulary_is_refused(bert: SmallModel, ids: list[int]):
    with pytest.raises(InputError, match=f"vocabulary of {VOCABULARY}"):
        reference.encode_tokens(bert.encoder, RaggedTokens.of([[4], ids]))


def test_a_text_longer_than_there_are_positions_is_refused(bert: SmallModel):
    with pytest.raises(InputError, match=f"has {POSITIONS + 1} tokens"):
        reference.encode_tokens(bert.encoder, RaggedTokens.of([[4], [5] * (POSITIONS + 1)]))


# In int8


def test_activations_are_quantized_by_the_range_of_their_row_and_zero():
    rows = np.float32([[-1, 0, 0.5, 4.1], [2, 3, 4, 5.1], [-3, -2, -1, -0.5], [0, 0, 0, 0]])

    found = reference.quantize_rows(rows)

    assert found.values.dtype == np.uint8
    assert np.allclose(found.scale, [0.02, 0.02, 3 / 255, 1e-12])
    assert found.zero.tolist() == [50, 0, 255, 0]
    assert found.values[0].tolist() == [0, 50, 75, 255]
    assert found.values[2, 0] == 0
    assert not found.values[3].any()


def test_a_dequantized_activation_is_within_half_a_step(bert: SmallModel):
    rows = np.random.default_rng(0).normal(size=(50, 64)).astype(np.float32)

    found = reference.quantize_rows(rows)

    restored = (found.values.astype(np.float32) - found.zero[:, None]) * found.scale[:, None]
    # The zero point is rounded as well, which shifts what lies at the ends of the range.
    assert (np.abs(restored - rows) <= 1.01 * found.scale[:, None]).all()


def test_integer_products_are_exact_at_their_largest():
    width = 4096
    weights = np.full((3, width), 127, np.int8)
    weights[1], weights[2, ::2] = -127, -127
    linear = Int8Linear(weights, np.ones(3, np.float32), np.zeros(3, np.float32))
    rows = reference.QuantizedRows(np.full((2, width), 255, np.uint8), np.ones(2, np.float32), np.int32([0, 254]))

    found = reference.integer_product(rows, linear)

    assert found.dtype == np.int32
    assert found.tolist() == [[255 * 127 * width, -255 * 127 * width, 0], [127 * width, -127 * width, 0]]


def test_a_product_in_int8_is_near_that_in_fp32():
    random = np.random.default_rng(0)
    rows = random.normal(size=(20, 64)).astype(np.float32)
    scale = random.uniform(0.001, 0.01, 32).astype(np.float32)
    linear = Int8Linear(random.integers(-127, 128, (32, 64)).astype(np.int8), scale, np.float32(random.normal(size=32)))
    exact = Linear(linear.weight * scale[:, None], linear.bias)

    found, expected = reference.product(rows, linear), reference.product(rows, exact)

    assert cosines(found, expected).min() > 0.9999
    assert not np.array_equal(found, expected)


def test_the_real_model_in_int8_is_near_fp32(minilm: Path, minilm_encoder: Fp32Encoder, passages: list[str]):
    tokens, _ = TextTokenizer(minilm, 256)(passages[:20])

    fp32 = reference.embed(minilm_encoder, tokens, Pooling.MEAN, normalize=True)
    int8 = reference.embed(quantize(minilm_encoder), tokens, Pooling.MEAN, normalize=True)

    found = np.sum(fp32 * int8, axis=1)
    assert found.min() > 0.998
    assert 0.9985 < found.mean() < 0.99999
