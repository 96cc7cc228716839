"""Whether a difference between two systems is more than the luck of which queries were asked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_SAMPLES = 10_000
# Numbers drawn at once: bounds memory for tasks with many queries.
_AT_ONCE = 4_000_000
_LEVEL = 95


def resampled_means(differences: Sequence[float], seed: int = 0) -> np.ndarray:
    """Draw the queries again and again, with replacement, and return the mean difference of each draw.

    This is the paired bootstrap (Efron; for retrieval, Sakai 2006): both systems answer the same queries.

    :param differences: score of one system minus that of the other, a query each.
    :param seed: of the draws.
    :return: shape (10000,).
    """
    values = np.asarray(differences, dtype=np.float64)
    generator = np.random.default_rng(seed)
    rows = max(1, _AT_ONCE // len(values))
    means = [
        values[generator.integers(0, len(values), (min(rows, _SAMPLES - start), len(values)))].mean(axis=1)
        for start in range(0, _SAMPLES, rows)
    ]
    return np.concatenate(means)


def interval(means: np.ndarray) -> tuple[float, float]:
    """Return the 95 % percentile interval of resampled means."""
    low, high = np.percentile(means, ((100 - _LEVEL) / 2, (100 + _LEVEL) / 2))
    return float(low), float(high)
