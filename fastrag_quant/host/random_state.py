"""Leaving the random generators of a user's process as they were."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


@contextmanager
def unchanged_random_state() -> Iterator[None]:
    """Restore the states of Python's, numpy's and torch's generators at the end.

    Loading and quantizing libraries draw from them, and neural-compressor seeds them.
    """
    import torch

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
