"""The interval holds the mean, narrows with more queries, and does not hold zero where all queries gain."""

from __future__ import annotations

import numpy as np
import pytest

from fastrag_quant.bench import bootstrap
from fastrag_quant.bench.bootstrap import interval, resampled_means


def test_the_interval_is_that_of_the_normal_approximation_where_that_holds():
    differences = np.random.default_rng(1).normal(0.01, 0.1, 2000)

    low, high = interval(resampled_means(differences.tolist()))

    error = differences.std() / np.sqrt(2000)
    assert (low, high) == pytest.approx(
        (differences.mean() - 1.96 * error, differences.mean() + 1.96 * error), abs=3e-4
    )


def test_equal_differences_leave_no_doubt():
    assert interval(resampled_means([0.25] * 10)) == (0.25, 0.25)


def test_the_same_seed_gives_the_same_interval():
    differences = [0.1, -0.2, 0.3, 0.0]

    assert interval(resampled_means(differences)) == interval(resampled_means(differences))
    assert not np.array_equal(resampled_means(differences, 1), resampled_means(differences, 2))


def test_drawing_in_parts_draws_as_many(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bootstrap, "_AT_ONCE", 7)

    means = resampled_means([0.0, 1.0, 2.0])

    assert means.shape == (10_000,)
    assert means.mean() == pytest.approx(1, abs=0.03)
