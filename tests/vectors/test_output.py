"""Vectors in fewer dimensions and other precisions."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastrag_quant import QuantizedEmbedder
from fastrag_quant.errors import InputError
from fastrag_quant.model.manifest import MANIFEST_NAME
from fastrag_quant.vectors.output import OutputForm, Precision, output_form

RANGES = np.array([[-1.0, 0.0, -2.0, 0.5] * 2, [1.0, 1.0, 2.0, 0.5] * 2], dtype=np.float32)
VECTORS = np.random.default_rng(0).uniform(-0.9, 0.9, (5, 8)).astype(np.float32)


def test_float32_is_what_the_model_gave():
    assert OutputForm(8).apply(VECTORS) is VECTORS


@pytest.mark.parametrize("normalize", [True, False])
def test_dimensions_are_cut_from_the_end_and_length_one_is_kept(normalize: bool):
    cut = OutputForm(3, normalize=normalize).apply(VECTORS)

    expected = VECTORS[:, :3]
    if normalize:
        expected = expected / np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.allclose(cut, expected)
    assert cut.flags.owndata or cut.base is not VECTORS


@pytest.mark.parametrize("precision", ["int8", "uint8", "binary", "ubinary"])
def test_the_arithmetic_is_that_of_sentence_transformers(precision: str):
    quantization = pytest.importorskip("sentence_transformers.quantization")
    ranges = np.array([[-1.0] * 8, [1.0] * 8], dtype=np.float32)

    ours = OutputForm(8, Precision(precision), ranges=ranges).apply(VECTORS)
    theirs = quantization.quantize_embeddings(VECTORS, precision, ranges=ranges)

    assert ours.dtype == theirs.dtype
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1  # float32 against float64 at the border of a level
    if precision != "int8" or int(version("sentence-transformers").partition(".")[0]) >= 6:  # 5 rounds towards zero
        assert np.mean(ours == theirs) > 0.9


def test_values_beyond_the_ranges_become_the_nearest_level():
    ranges = np.array([[-1.0, -1.0], [1.0, 1.0]], dtype=np.float32)
    form = OutputForm(2, Precision.INT8, ranges=ranges)

    assert form.apply(np.array([[-5.0, 5.0]], dtype=np.float32)).tolist() == [[-128, 127]]


def test_a_dimension_that_never_varies_has_a_level_too():
    form = OutputForm(8, Precision.UINT8, ranges=RANGES)

    assert np.isfinite(form.apply(VECTORS).astype(float)).all()


@pytest.mark.parametrize(("precision", "width"), [("float32", 12), ("int8", 12), ("binary", 2), ("ubinary", 2)])
def test_a_byte_holds_eight_binary_dimensions(precision: str, width: int):
    assert OutputForm(12, Precision(precision)).width == width


@pytest.mark.parametrize("truncate_dim", [9, 0, -1])
def test_a_model_gives_at_least_one_dimension_and_no_more_than_it_has(truncate_dim: int):
    with pytest.raises(InputError, match=f"truncate_dim must be 1 to 8, the model's dimensions, not {truncate_dim}"):
        output_form(8, truncate_dim, "float32", normalize=True, ranges=None)


def test_an_unknown_precision_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="use one of float32, int8, uint8, binary, ubinary"):
        output_form(8, None, "int4", normalize=True, ranges=None)


@pytest.mark.parametrize("precision", ["int8", "uint8"])
def test_without_ranges_there_is_no_int8(precision: str):
    with pytest.raises(InputError, match="needs the range of each dimension"):
        output_form(8, None, precision, normalize=True, ranges=None)


# With a model


def similarities(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    left, right = left.astype(float), right.astype(float)
    norms = np.linalg.norm(left, axis=1)[:, None] * np.linalg.norm(right, axis=1)
    return left @ right.T / norms


def test_the_manifest_holds_the_ranges(minilm_int8: Path, fp32_embedder: QuantizedEmbedder, passages: list[str]):
    smallest, largest = np.array(json.loads((minilm_int8 / MANIFEST_NAME).read_text())["ranges"])
    vectors = fp32_embedder.embed_documents(passages)

    assert smallest.shape == largest.shape == (384,)
    assert np.mean((vectors >= smallest - 1e-5) & (vectors <= largest + 1e-5)) > 0.99


@pytest.mark.parametrize("precision", ["int8", "uint8"])
def test_a_single_query_finds_in_int8_what_it_finds_in_float32(
    precision: str, minilm_int8: Path, engine: str, passages: list[str]
):
    exact = QuantizedEmbedder(minilm_int8, engine)
    form = QuantizedEmbedder(minilm_int8, engine, precision=precision)

    query, documents = form.embed_queries([passages[3]]), form.embed_documents(passages)

    assert query.dtype == documents.dtype == np.dtype(precision)
    assert np.unique(query).size > 50
    expected = similarities(exact.embed_queries([passages[3]]), exact.embed_documents(passages))
    shift = 128 * (precision == "uint8")
    found = similarities(query.astype(int) - shift, documents.astype(int) - shift)
    assert found.argmax() == expected.argmax() == 3


@pytest.mark.parametrize("precision", ["int8", "uint8"])
@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"pooling": "cls"}, "pooling=mean, not cls: leave pooling out, or quantize the model with it"),
        ({"normalize": False}, "normalize=True, not False: leave normalize out, or quantize the model with it"),
    ],
)
def test_ranges_of_other_vectors_than_those_measured_are_refused(
    precision: str, other: dict[str, Any], message: str, minilm_int8: Path
):
    with pytest.raises(
        InputError, match=f"precision '{precision}' goes by ranges that quantization measured with {message}"
    ):
        QuantizedEmbedder(minilm_int8, precision=precision, **other)


def test_ranges_serve_other_prompts(minilm_int8: Path, some_engine: str):
    embedder = QuantizedEmbedder(
        minilm_int8, some_engine, pooling="mean", normalize=True, query_prompt="query: ", precision="int8"
    )

    assert np.unique(embedder.embed_queries(["if"])).size > 50


def test_bits_need_no_ranges(minilm_int8: Path):
    embedder = QuantizedEmbedder(minilm_int8, "native", normalize=False, precision="binary")

    assert embedder.embed_queries(["if"]).shape == (1, 48)


def test_fewer_dimensions_and_one_bit_each(minilm_int8: Path, engine: str, passages: list[str]):
    embedder = QuantizedEmbedder(minilm_int8, engine, truncate_dim=64, precision="ubinary")
    exact = QuantizedEmbedder(minilm_int8, engine)

    bits = embedder.embed_documents(passages[:9])

    assert embedder.dimension == 64
    assert (bits.shape, bits.dtype) == ((9, 8), np.uint8)
    assert np.mean(np.unpackbits(bits, axis=1) == (exact.embed_documents(passages[:9])[:, :64] > 0)) > 0.95


def test_no_texts_have_the_shape_of_the_form(minilm_int8: Path, engine: str):
    embedder = QuantizedEmbedder(minilm_int8, engine, truncate_dim=64, precision="binary")

    vectors = embedder.embed_documents([])

    assert (vectors.shape, vectors.dtype) == ((0, 8), np.int8)


def test_vectors_come_one_by_one_in_the_same_form(minilm_int8: Path, engine: str, passages: list[str]):
    embedder = QuantizedEmbedder(minilm_int8, engine, truncate_dim=64)

    one_by_one = list(embedder.iter_embed(passages))

    assert np.array_equal(np.stack(one_by_one), embedder.embed_documents(passages))
