"""The random generators of a user's process are left as they were, whatever a library draws or seeds."""

from __future__ import annotations

import random

import numpy as np
import pytest

from fastrag_quant.host.random_state import unchanged_random_state


def draws() -> tuple[float, float, float]:
    import torch

    return random.random(), float(np.random.random()), float(torch.rand(1))


@pytest.mark.parametrize("fails", [False, True])
def test_what_is_drawn_and_seeded_inside_changes_nothing_outside(fails: bool):
    import torch

    with unchanged_random_state():
        expected = draws()

    try:
        with unchanged_random_state():
            random.seed(1)
            np.random.seed(1)
            torch.manual_seed(1)
            draws()
            if fails:
                raise RuntimeError
    except RuntimeError:
        pass

    with unchanged_random_state():
        assert draws() == expected
