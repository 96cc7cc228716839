"""The form in which vectors are handed out: how many dimensions, and in which precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fastrag_quant.arguments import Choice
from fastrag_quant.errors import InputError


class Precision(Choice):
    """How a number of a vector is stored, with sentence-transformers' names."""

    FLOAT32 = "float32"
    INT8 = "int8"
    UINT8 = "uint8"
    BINARY = "binary"
    UBINARY = "ubinary"


_BITS_PER_BYTE = 8
_INT8_LEVELS = 255
_DTYPES: dict[Precision, type[np.generic]] = {
    Precision.FLOAT32: np.float32,
    Precision.INT8: np.int8,
    Precision.UINT8: np.uint8,
    Precision.BINARY: np.int8,
    Precision.UBINARY: np.uint8,
}


@dataclass(frozen=True)
class OutputForm:
    """Makes of a model's vectors what the caller wants.

    :param dimension: dimensions kept, the first ones: all, or fewer of a Matryoshka model.
    :param precision: of each number.
    :param normalize: whether float32 vectors get length one again after dimensions were cut off.
    :param ranges: the smallest and largest value of each of the model's dimensions, shape
        (2, dimensions); int8 and uint8 need them.
    """

    dimension: int
    precision: Precision = Precision.FLOAT32
    normalize: bool = True
    ranges: np.ndarray | None = None

    @property
    def width(self) -> int:
        """Array elements per vector."""
        binary = self.precision in (Precision.BINARY, Precision.UBINARY)
        return -(-self.dimension // _BITS_PER_BYTE) if binary else self.dimension

    @property
    def dtype(self) -> type[np.generic]:
        """The type of an array element."""
        return _DTYPES[self.precision]

    def apply(self, vectors: np.ndarray) -> np.ndarray:
        """Cut and convert vectors, with the arithmetic of quantize_embeddings in sentence-transformers 6.

        Values beyond the ranges become the nearest level.

        :param vectors: float32 of shape (texts, the model's dimensions).
        :return: of :attr:`dtype` and shape (texts, :attr:`width`).
        """
        kept = vectors if self.dimension == vectors.shape[1] else vectors[:, : self.dimension]
        match self.precision:
            case Precision.FLOAT32:
                return unit(kept) if kept is not vectors and self.normalize else np.ascontiguousarray(kept)
            case Precision.INT8:
                return (self._levels(kept) - 128).astype(np.int8)
            case Precision.UINT8:
                return self._levels(kept).astype(np.uint8)
            case Precision.BINARY:
                return (np.packbits(kept > 0, axis=1).astype(np.int16) - 128).astype(np.int8)
            case Precision.UBINARY:
                return np.packbits(kept > 0, axis=1)

    def _levels(self, vectors: np.ndarray) -> np.ndarray:
        assert self.ranges is not None  # output_form sees to it
        smallest, largest = self.ranges[:, : self.dimension]
        steps = np.maximum(largest - smallest, np.finfo(np.float32).tiny) / _INT8_LEVELS
        return np.clip(np.floor((vectors - smallest) / steps), 0, _INT8_LEVELS)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale vectors to length one along the last axis; zero stays zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(lengths, np.finfo(vectors.dtype).tiny)


def output_form(
    dimension: int,
    truncate_dim: int | None,
    precision: str,
    *,
    normalize: bool,
    ranges: list[list[float]] | None,
) -> OutputForm:
    """Check what the caller wants against what the model has.

    :param dimension: the model's.
    :param truncate_dim: dimensions to keep; None is all.
    :param precision: a name of :class:`Precision`.
    :param normalize: whether the model's vectors have length one.
    :param ranges: the model's, from its manifest.
    :raises InputError: for a number of dimensions that the model does not have, and if it has no ranges where the
        precision needs them.
    """
    form = Precision.from_str(precision)
    kept = dimension if truncate_dim is None else truncate_dim
    if not 1 <= kept <= dimension:
        msg = f"truncate_dim must be 1 to {dimension}, the model's dimensions, not {truncate_dim}."
        raise InputError(msg)
    if form in (Precision.INT8, Precision.UINT8) and ranges is None:
        msg = (
            f"precision {form.value!r} needs the range of each dimension, which the model directory does not record: "
            "quantize the model with this version of the package, or use float32, binary or ubinary."
        )
        raise InputError(msg)
    return OutputForm(kept, form, normalize, None if ranges is None else np.asarray(ranges, dtype=np.float32))
