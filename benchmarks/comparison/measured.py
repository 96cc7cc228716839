"""What was measured of a system, and the figures that follow from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from statistics import median

import numpy as np

from comparison.system import Shape


@dataclass
class Measured:
    """Figures of one system; a list has a figure for each turn, in the order of the turns.

    :param shape: of the model that ran.
    :param start_s: from the start of a fresh process to its first vector.
    :param start_mb: memory that it took by then, at the most.
    :param documents_s: seconds that some documents took, tokenization included.
    :param documents: how many they were.
    :param tokens: how many tokens they had.
    :param mixed_s: the same of texts of all lengths.
    :param mixed_tokens: how many tokens those had.
    :param query_ms: of each query, embedded alone.
    :param rerank_ms: a query and its candidates, embedded and scored.
    :param peak_mb: memory that all of it took at the most.
    :param cosine_mean: to fp32, of documents and queries.
    :param cosine_min: the smallest of them.
    :param ndcg: nDCG@10 on the whole data.
    """

    shape: Shape
    start_s: list[float] = field(default_factory=list)
    start_mb: list[float] = field(default_factory=list)
    documents_s: list[float] = field(default_factory=list)
    documents: list[int] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    mixed_s: list[float] = field(default_factory=list)
    mixed_tokens: list[int] = field(default_factory=list)
    query_ms: list[float] = field(default_factory=list)
    rerank_ms: list[float] = field(default_factory=list)
    peak_mb: float | None = None
    cosine_mean: float | None = None
    cosine_min: float | None = None
    ndcg: float | None = None

    @property
    def documents_per_second(self) -> float:
        """Documents in all by seconds in all."""
        return sum(self.documents) / sum(self.documents_s)

    def query(self, percentile: int) -> float:
        """Return a percentile of a query's milliseconds."""
        return float(np.percentile(self.query_ms, percentile))

    @property
    def rerank(self) -> float:
        """The median of the reranking's milliseconds."""
        return median(self.rerank_ms)

    @property
    def token_layer_ns(self) -> float:
        """Nanoseconds that a layer takes for a token of a document."""
        return sum(self.documents_s) / sum(self.tokens) / self.shape.layers * 1e9

    @property
    def gops(self) -> float:
        """1e9 operations a second of the products with weights, of documents."""
        return self.shape.operations(sum(self.tokens)) / sum(self.documents_s) / 1e9

    def times_as_fast(self, other: Measured) -> float:
        """Divide documents' seconds of another system by ours within each turn, and take the median of the turns."""
        pairs = zip(other.documents_s, self.documents_s, strict=True)
        return median(theirs / ours for theirs, ours in pairs)
