"""How far the README lets a text's vector be from itself in other company, by engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np

README = Path(__file__).parents[1] / "README.md"


def bounds(engine: str) -> tuple[float, float]:
    """Return the smallest cosine, and the largest difference of a component."""

    def cells(start: str) -> list[str]:
        row = next(line for line in README.read_text().splitlines() if line.startswith(f"| {start}"))
        return [cell.strip() for cell in row.split("|")]

    column = cells("the same text in other company").index(engine)
    smallest, largest = (float(cells(start)[column]) for start in ("smallest cosine of a text", "largest difference"))
    return smallest, largest


def assert_same_vectors(left: np.ndarray, right: np.ndarray, engine: str) -> None:
    """Compare vectors of the same texts in two companies; most do not change at all."""
    smallest, largest = bounds(engine)
    cosines = np.sum(left * right, axis=1) / np.linalg.norm(left, axis=1) / np.linalg.norm(right, axis=1)
    assert np.abs(left - right).max() <= largest
    assert cosines.min() >= min(smallest, 1 - 1e-6)  # what fp32 rounds where vectors are equal
    assert np.median(cosines) > 0.99999
