"""Weights in int8: symmetric, a scale for each row, the largest number of a row exact."""

from __future__ import annotations

import numpy as np
import pytest
from small_encoders import SmallModel

from fastrag_quant.engines.native import int8
from fastrag_quant.engines.native.int8 import quantize, quantize_weight_rows


@pytest.fixture
def rows() -> np.ndarray:
    """Rows of very different sizes."""
    random = np.random.default_rng(0)
    return (random.normal(size=(300, 64)) * 10.0 ** random.integers(-8, 8, (300, 1))).astype(np.float32)


def test_a_weight_is_within_half_a_step_of_its_row(rows: np.ndarray):
    quantized, scales = quantize_weight_rows(rows)

    assert (quantized.dtype, scales.dtype) == (np.int8, np.float32)
    error = np.abs(quantized.astype(np.float64) * scales[:, None] - rows)
    assert (error <= 0.5001 * scales[:, None]).all()


def test_the_largest_number_of_a_row_becomes_127(rows: np.ndarray):
    quantized, scales = quantize_weight_rows(rows)

    largest = np.abs(rows).argmax(axis=1)
    everyone = np.arange(len(rows))
    assert np.array_equal(quantized[everyone, largest], np.sign(rows[everyone, largest]) * 127)
    assert np.abs(quantized.astype(int)).max() == 127
    assert np.array_equal(scales, np.abs(rows).max(axis=1) / np.float32(127))


@pytest.mark.parametrize("number", [0, 1e-30, -1e-42])
def test_rows_of_next_to_nothing_become_0_and_keep_a_scale(number: float):
    quantized, scales = quantize_weight_rows(np.full((2, 8), number, np.float32))

    assert not quantized.any()
    assert scales.tolist() == [np.float32(1e-12)] * 2


@pytest.mark.parametrize("largest", [np.float32(3e38), np.float32(1.27e-10), np.float32(1.2)])
def test_numbers_of_any_size_stay_within_127(largest: np.float32):
    near = np.nextafter(np.full(1000, largest), np.float32(0), dtype=np.float32)
    row = np.concatenate([near, [largest, -largest]])[None].astype(np.float32)

    quantized, _ = quantize_weight_rows(row)

    assert (np.abs(quantized.astype(int)) == 127).all()


def test_the_blocks_of_rows_make_no_difference(rows: np.ndarray, monkeypatch: pytest.MonkeyPatch):
    expected = quantize_weight_rows(rows)
    for block in (1, 64 * 7, 1 << 30):
        monkeypatch.setattr(int8, "_BLOCK", block)
        found = quantize_weight_rows(rows)
        assert np.array_equal(found[0], expected[0])
        assert np.array_equal(found[1], expected[1])


def test_every_part_of_an_encoder_goes_to_its_place(bert: SmallModel):
    fp32, found = bert.encoder, quantize(bert.encoder)

    assert found.shape == fp32.shape
    assert np.allclose(found.words * found.word_scales[:, None], fp32.words, atol=found.word_scales.max())
    assert np.array_equal(found.positions, fp32.positions)
    assert np.array_equal(found.embedding_norm.weight, fp32.embedding_norm.weight)
    assert len(found.layers) == 3
    for layer, expected in zip(found.layers, fp32.layers, strict=True):
        for name in ("query_key_value", "output", "up", "down"):
            linear, exact = getattr(layer, name), getattr(expected, name)
            assert np.allclose(linear.weight * linear.scale[:, None], exact.weight, atol=linear.scale.max())
            assert np.array_equal(linear.bias, exact.bias)
        for name in ("attention_norm", "output_norm"):
            assert np.array_equal(getattr(layer, name).weight, getattr(expected, name).weight)
            assert np.array_equal(getattr(layer, name).bias, getattr(expected, name).bias)
