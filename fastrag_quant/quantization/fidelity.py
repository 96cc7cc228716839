"""How close int8 embeddings are to fp32 ones: the accuracy contract of a quantized model."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from fastrag_quant.vectors.output import unit

NEIGHBOURS = 10


@dataclass(frozen=True)
class Fidelity:
    """Measures on texts that calibration never saw; 1 is perfect for each.

    :param cosine_mean: mean cosine of a text's int8 vector to its fp32 vector.
    :param cosine_p1: the first percentile of these cosines.
    :param cosine_min: the smallest of them.
    :param neighbour_overlap: share of a text's ten nearest texts in fp32 that int8 finds too.
    :param mixed_overlap: the same for int8 queries on an index of fp32 vectors: whether an
        existing index can stay.
    :param texts: how many texts were compared.
    """

    cosine_mean: float
    cosine_p1: float
    cosine_min: float
    neighbour_overlap: float
    mixed_overlap: float
    texts: int

    def as_dict(self) -> dict[str, float]:
        """Return the measures for a manifest, rounded to five decimals."""
        return {name: round(value, 5) for name, value in asdict(self).items()}


def measure_fidelity(fp32: np.ndarray, int8: np.ndarray) -> Fidelity:
    """Compare the embeddings of the same texts.

    :param fp32: shape (texts, dimension), at least two texts.
    :param int8: of the same shape.
    """
    fp32, int8 = unit(fp32.astype(np.float64)), unit(int8.astype(np.float64))
    cosines = np.sum(fp32 * int8, axis=1)
    nearest = _nearest(fp32, fp32)
    return Fidelity(
        cosine_mean=float(cosines.mean()),
        cosine_p1=float(np.percentile(cosines, 1)),
        cosine_min=float(cosines.min()),
        neighbour_overlap=_overlap(nearest, _nearest(int8, int8)),
        mixed_overlap=_overlap(nearest, _nearest(int8, fp32)),
        texts=len(fp32),
    )


def _nearest(queries: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """Return the indices of each query's nearest documents, without the query itself."""
    similarities = queries @ documents.T
    np.fill_diagonal(similarities, -np.inf)
    count = min(NEIGHBOURS, len(documents) - 1)
    return np.argsort(-similarities, axis=1, kind="stable")[:, :count]


def _overlap(expected: np.ndarray, found: np.ndarray) -> float:
    shared = [len(set(left) & set(right)) for left, right in zip(expected, found, strict=True)]
    return float(np.mean(shared)) / expected.shape[1]
