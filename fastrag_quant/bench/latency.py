"""Summing up how long calls took."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Latency:
    """Milliseconds per call: mean, standard deviation and percentiles."""

    mean_ms: float
    std_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        """Sum up the seconds of each call, of which there is one or more."""
        milliseconds = np.asarray(seconds) * 1000
        percentiles = np.percentile(milliseconds, (50, 95, 99))
        return cls(float(milliseconds.mean()), float(milliseconds.std()), *map(float, percentiles))
