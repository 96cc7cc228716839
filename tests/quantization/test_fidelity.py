"""Fidelity is 1 for equal vectors, falls with the distance, and counts neighbours as search does."""

from __future__ import annotations

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
    found = [fidelity.cosine_mean, fidelity.cosine_p1, fidelity.cosine_min]
    assert np.allclose([*found, fidelity.neighbour_overlap, fidelity.mixed_overlap], 1)


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


@pytest.mark.parametrize("texts", [40, 59, 100, 200, 1000])
def test_vectors_that_have_nothing_to_do_with_each_other_score_low_however_few_there_are(texts: int):
    one, other = np.random.default_rng(0).normal(size=(2, texts, 16))

    fidelity = measure_fidelity(one, other)

    assert fidelity.neighbour_overlap is not None
    assert fidelity.mixed_overlap is not None
    assert fidelity.neighbours == min(10, texts // 10)
    assert fidelity.chance == fidelity.neighbours / (texts - 1) < 0.11
    # Three standard errors of a share of that many neighbours.
    error = 3 * np.sqrt(fidelity.chance / (fidelity.neighbours * texts))
    assert fidelity.neighbour_overlap == pytest.approx(fidelity.chance, abs=error)
    assert fidelity.mixed_overlap == pytest.approx(fidelity.chance, abs=error)


@pytest.mark.parametrize("texts", [2, 3, 11, 39])
def test_of_too_few_texts_no_overlap_is_told_however_good_it_looks(texts: int, vectors: np.ndarray):
    fidelity = measure_fidelity(vectors[:texts], vectors[:texts])

    assert (fidelity.neighbour_overlap, fidelity.mixed_overlap, fidelity.neighbours) == (None, None, 0)
    assert fidelity.cosine_mean == pytest.approx(1)
    assert fidelity.as_dict()["mixed_overlap"] is None


def test_a_neighbour_that_int8_loses_is_counted():
    # 50 vectors on an arc, of which 40 to 44 go where 5 to 9 are, and these there.
    angles = np.linspace(0, 1, 50)
    arc = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    exchanged = arc.copy()
    exchanged[5:10], exchanged[40:45] = arc[40:45], arc[5:10]

    fidelity = measure_fidelity(arc, exchanged)

    def nearest(angles: np.ndarray) -> list[set[int]]:
        order = [
            sorted(set(range(50)) - {text}, key=lambda other: abs(angles[other] - angles[text])) for text in range(50)
        ]
        return [set(found[:5]) for found in order]

    moved = np.arccos(exchanged[:, 0])
    kept = [len(left & right) / 5 for left, right in zip(nearest(angles), nearest(moved), strict=True)]
    assert fidelity.neighbour_overlap == pytest.approx(np.mean(kept), abs=0.03)  # ties on the arc fall either way
    assert fidelity.neighbour_overlap < 0.9


def test_queries_look_for_documents_with_the_vectors_that_queries_have(vectors: np.ndarray):
    queries = np.random.default_rng(3).normal(size=vectors.shape)

    kept = measure_fidelity(vectors, vectors, queries=(queries, queries))
    lost = measure_fidelity(vectors, vectors, queries=(queries, vectors))

    assert (kept.neighbour_overlap, kept.mixed_overlap) == (1, 1)
    assert lost.mixed_overlap is not None
    assert lost.mixed_overlap < 0.25, "int8 queries that are other ones than in fp32 find other documents"
    assert lost.cosine_mean == pytest.approx(1), "cosines are those of documents"


def test_an_index_of_fp32_vectors_is_searched_by_int8_queries(vectors: np.ndarray):
    fidelity = measure_fidelity(vectors, -vectors, queries=(vectors, vectors))

    assert fidelity.mixed_overlap == 1
    assert fidelity.neighbour_overlap == 0


def test_how_much_a_vector_hangs_on_its_company_is_told_by_its_worst_text(vectors: np.ndarray):
    together = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    alone = together.copy()
    alone[7] = np.roll(alone[7], 1)

    fidelity = measure_fidelity(vectors, together, alone=alone)

    assert fidelity.batch_cosine_min == pytest.approx(float(together[7] @ alone[7]), abs=1e-6)
    assert fidelity.batch_difference_max == pytest.approx(float(np.abs(together[7] - alone[7]).max()), abs=1e-6)
    unmeasured = measure_fidelity(vectors, together)
    assert (unmeasured.batch_cosine_min, unmeasured.batch_difference_max) == (None, None)


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
        "neighbours": 0,
        "batch_cosine_min": None,
        "batch_difference_max": None,
    }


def test_the_measures_are_plain_numbers(vectors: np.ndarray):
    measured = measure_fidelity(vectors, vectors, alone=vectors)

    assert {type(value) for value in measured.as_dict().values()} == {float, int}
