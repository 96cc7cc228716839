"""How close int8 embeddings are to fp32 ones: the accuracy contract of a quantized model."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from fastrag_quant.vectors.output import unit

_MOST_NEIGHBOURS = 10
# With one neighbour for every so many texts, vectors that know nothing of each other share a tenth of them or less.
_TEXTS_PER_NEIGHBOUR = 10
# Fewer texts have so few neighbours that a share of them is luck: here 160 are compared.
FEWEST_TEXTS = 40


@dataclass(frozen=True)
class Fidelity:
    """Measures on texts that calibration never saw.

    :param cosine_mean: mean cosine of a document's int8 vector to its fp32 vector; 1 is perfect.
    :param cosine_p1: the first percentile of these cosines.
    :param cosine_min: the smallest of them.
    :param neighbour_overlap: share of the documents nearest to a query in fp32 that int8 finds too, every text
        being a query and a document, but not its own neighbour; None of fewer than 40 texts.
    :param mixed_overlap: the same for int8 queries on an index of fp32 vectors: whether an
        existing index can stay.
    :param texts: how many texts were compared.
    :param neighbours: how many of the nearest the overlaps are about: one for every ten texts and ten at
        the most; 0 where there is no overlap.
    :param batch_cosine_min: smallest cosine of a text's int8 vector made alone to the one made in a batch;
        None where this was not measured.
    :param batch_difference_max: largest difference of a component between these two.
    """

    cosine_mean: float
    cosine_p1: float
    cosine_min: float
    neighbour_overlap: float | None
    mixed_overlap: float | None
    texts: int
    neighbours: int = 0
    batch_cosine_min: float | None = None
    batch_difference_max: float | None = None

    @property
    def chance(self) -> float:
        """The overlap that vectors score which have nothing to do with each other."""
        return self.neighbours / (self.texts - 1)

    def as_dict(self) -> dict[str, float | None]:
        """Return the measures for a manifest, rounded to five decimals."""
        return {name: None if value is None else round(value, 5) for name, value in asdict(self).items()}


def measure_fidelity(
    fp32: np.ndarray,
    int8: np.ndarray,
    queries: tuple[np.ndarray, np.ndarray] | None = None,
    alone: np.ndarray | None = None,
) -> Fidelity:
    """Compare the embeddings of the same texts.

    :param fp32: of documents, shape (texts, dimension), at least two texts.
    :param int8: of the same shape.
    :param queries: the same texts as queries, in fp32 and int8; None where queries have the vectors of documents.
    :param alone: the int8 vectors again, each text embedded by itself.
    """
    fp32_queries, int8_queries = (fp32, int8) if queries is None else queries
    fp32, int8, fp32_queries, int8_queries = map(_unit, (fp32, int8, fp32_queries, int8_queries))
    cosines = np.sum(fp32 * int8, axis=1)
    count = min(_MOST_NEIGHBOURS, len(fp32) // _TEXTS_PER_NEIGHBOUR) if len(fp32) >= FEWEST_TEXTS else 0
    nearest = _nearest(fp32_queries, fp32, count)
    batch_cosine, batch_difference = (None, None) if alone is None else _company(int8, _unit(alone))
    return Fidelity(
        cosine_mean=float(cosines.mean()),
        cosine_p1=float(np.percentile(cosines, 1)),
        cosine_min=float(cosines.min()),
        neighbour_overlap=_overlap(nearest, _nearest(int8_queries, int8, count)),
        mixed_overlap=_overlap(nearest, _nearest(int8_queries, fp32, count)),
        texts=len(fp32),
        neighbours=count,
        batch_cosine_min=batch_cosine,
        batch_difference_max=batch_difference,
    )


def _unit(vectors: np.ndarray) -> np.ndarray:
    return unit(vectors.astype(np.float64))


def _nearest(queries: np.ndarray, documents: np.ndarray, count: int) -> np.ndarray:
    """Return the indices of each query's nearest documents, without the query's own text."""
    similarities = queries @ documents.T
    np.fill_diagonal(similarities, -np.inf)
    return np.argsort(-similarities, axis=1, kind="stable")[:, :count]


def _overlap(expected: np.ndarray, found: np.ndarray) -> float | None:
    count = expected.shape[1]
    if not count:
        return None
    shared = [len(set(left) & set(right)) for left, right in zip(expected, found, strict=True)]
    return float(np.mean(shared)) / count


def _company(together: np.ndarray, alone: np.ndarray) -> tuple[float, float]:
    return float(np.sum(together * alone, axis=1).min()), float(np.abs(together - alone).max())
