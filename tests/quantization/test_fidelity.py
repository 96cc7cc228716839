"""Fidelity is 1 for equal vectors, falls with the distance, and counts neighbours as search does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fastrag_quant.quantization.fidelity import Fidelity, measure_fidelity


@pytest.fixture
def vectors() -> np.ndarray:
    """100 vectors of 16 dimensions, of many lengths."""
    return np.random.default_rng(0).normal(size=(100, 16)).astype(np.float32) * np.arange(1, 101)[:, None]


def noisy(vectors: np.ndarray, amount: float) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors + amount * lengths * np.random.default_rng(1).normal(size=vectors.shape) / np.sqrt(vectors.shape[1])


def test_equal_vectors_are_perfect(vectors: np.ndarray):
    fidelity = measure_fidelity(vectors, vectors)

    assert fidelity.texts == 100
    assert np.allclose(list(replace(fidelity, texts=1).as_dict().values()), 1)


def test_the_length_of_a_vector_does_not_count(vectors: np.ndarray):
    scaled = measure_fidelity(vectors, 3 * vectors)

    assert scaled.as_dict() == measure_fidelity(vectors, vectors).as_dict()


def test_cosines_are_summed_up_as_mean_first_percentile_and_minimum():
    fp32 = np.array([[1.0, 0.0]] * 4)
    int8 = np.array([[1.0, 0.0], [1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])

    fidelity = measure_fidelity(fp32, int8)

    assert fidelity.cosine_mean == pytest.approx(0.65)
    assert fidelity.cosine_p1 == pytest.approx(0.018)  # as numpy's percentile draws a line from 0 to 0.6
    assert fidelity.cosine_min == pytest.approx(0)


def test_more_noise_is_less_fidelity(vectors: np.ndarray):
    little, much = (measure_fidelity(vectors, noisy(vectors, amount)) for amount in (0.05, 0.5))

    assert 1 > little.cosine_mean > much.cosine_mean > 0
    assert 1 > little.neighbour_overlap > much.neighbour_overlap > 0
    assert 1 > little.mixed_overlap > much.mixed_overlap > 0


def test_a_rotated_space_keeps_its_neighbours_but_not_an_old_index(vectors: np.ndarray):
    rotation, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(16, 16)))

    fidelity = measure_fidelity(vectors, vectors @ rotation)

    assert fidelity.neighbour_overlap > 0.99
    assert fidelity.mixed_overlap < 0.5
    assert fidelity.cosine_mean < 0.5


def test_the_overlap_is_the_share_of_the_ten_nearest_texts_without_the_text_itself():
    # Eleven vectors on an arc: each one's ten nearest are all others, whatever int8 does.
    angles = np.linspace(0, 1, 11)
    arc = np.stack([np.cos(angles), np.sin(angles)], axis=1)

    assert measure_fidelity(arc, np.random.default_rng(0).permutation(arc)).neighbour_overlap == 1


def test_a_neighbour_that_int8_loses_is_counted():
    # Twelve vectors on an arc: each one's ten nearest are all others but the far end.
    angles = np.linspace(0, 1, 12)
    arc = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    # With the ends exchanged, the ten between take one end for the other; the ends still leave out each other.
    exchanged = arc[[11, *range(1, 11), 0]]

    assert measure_fidelity(arc, exchanged).neighbour_overlap == pytest.approx((10 * 0.9 + 2 * 1.0) / 12)


def test_few_texts_have_few_neighbours():
    fidelity = measure_fidelity(np.eye(3), np.eye(3))

    assert fidelity.neighbour_overlap == fidelity.mixed_overlap == 1


def test_a_vector_of_zeros_is_no_division_by_zero():
    with np.errstate(all="raise"):
        fidelity = measure_fidelity(np.eye(3), np.zeros((3, 3)))

    assert fidelity.cosine_mean == 0


def test_vectors_that_are_not_numbers_are_never_taken_for_good():
    broken = np.full((3, 3), np.nan)

    assert not measure_fidelity(np.eye(3), broken).cosine_mean >= 0


def test_a_manifest_gets_plain_rounded_numbers():
    fidelity = Fidelity(0.123456789, 1, 0.5, 0.25, 0.75, texts=45)

    assert fidelity.as_dict() == {
        "cosine_mean": 0.12346,
        "cosine_p1": 1,
        "cosine_min": 0.5,
        "neighbour_overlap": 0.25,
        "mixed_overlap": 0.75,
        "texts": 45,
    }


def test_the_measures_are_plain_numbers(vectors: np.ndarray):
    assert {type(value) for value in measure_fidelity(vectors, vectors).as_dict().values()} == {float, int}
