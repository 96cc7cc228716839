"""Ranking documents by the cosine of their vectors to a query's, whatever Haystack they come from."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np

from fastrag_quant.vectors.output import unit

if TYPE_CHECKING:
    from fastrag_quant.embedder import QuantizedEmbedder

logger = logging.getLogger(__name__)


class Rankable(Protocol):
    """What ranking needs of a Document."""

    id: str
    embedding: Any


D = TypeVar("D", bound=Rankable)


@dataclass(frozen=True)
class Ranking(Generic[D]):
    """How documents are ranked, and which of them are returned.

    :param texts_of: gives the text to embed of each document.
    :param top_k: documents per query at the most.
    :param scale_score: map the cosine to (cosine + 1) / 2.
    :param score_threshold: the smallest score, scaled or not, that stays.
    :param use_stored_embeddings: take the embedding that a document carries, where it is one of the model's
        dimension in float32; other ones are told of in a warning, and their texts embedded.
    :param batch_size: texts per batch at the most.
    :param progress_bar: show one while more than one batch is embedded.
    :param query_prompt: prefix in place of the embedder's own.
    :param document_prompt: prefix in place of the embedder's own.
    """

    texts_of: Callable[[list[D]], list[str]]
    top_k: int
    scale_score: bool
    score_threshold: float | None
    use_stored_embeddings: bool
    batch_size: int
    progress_bar: bool
    query_prompt: str | None = None
    document_prompt: str | None = None

    def rank(
        self, embedder: QuantizedEmbedder, queries: list[str], lists: Sequence[Sequence[D]]
    ) -> list[list[tuple[D, float]]]:
        """Rank a list of documents for each query.

        :param lists: as many as there are queries; of documents with the same id the first counts.
        :return: the best documents of each list with their scores, best first; ties keep their order.
        """
        different = [without_repetitions(documents) for documents in lists]
        vectors = self._vectors(embedder, [document for documents in different for document in documents])
        ends = np.cumsum([len(documents) for documents in different])[:-1]
        query_vectors = unit(embedder.embed_queries(queries, self.batch_size, prompt=self.query_prompt))
        return [
            [(documents[row], score) for row, score in self._best(query, rows)]
            for query, documents, rows in zip(query_vectors, different, np.split(vectors, ends), strict=True)
        ]

    def _best(self, query: np.ndarray, vectors: np.ndarray) -> list[tuple[int, float]]:
        cosines = np.clip(vectors @ query, -1, 1)  # rounding leads a hair beyond
        scores = (cosines + 1) / 2 if self.scale_score else cosines
        order = np.argsort(-scores, kind="stable")
        if self.score_threshold is not None:
            order = order[scores[order] >= self.score_threshold]
        return [(int(row), float(scores[row])) for row in order[: self.top_k]]

    def _vectors(self, embedder: QuantizedEmbedder, documents: list[D]) -> np.ndarray:
        """Return a vector of length one per document, shape (documents, dimension)."""
        vectors = np.full((len(documents), embedder.dimension), np.nan, dtype=np.float32)
        if self.use_stored_embeddings:
            for row, document in enumerate(documents):
                if (stored := _numbers(document.embedding)) is not None and stored.shape == vectors[row].shape:
                    vectors[row] = stored
        missing = [int(row) for row in np.flatnonzero(~_have_cosines(vectors))]
        if missing:
            without = [documents[row] for row in missing]
            unfit = [document for document in without if document.embedding is not None]
            if self.use_stored_embeddings and unfit:
                logger.warning(
                    "%d stored embeddings are not %d finite float32 numbers, the first that of document %s: "
                    "their texts are embedded instead.",
                    *(len(unfit), embedder.dimension, unfit[0].id),
                )
            vectors[missing] = self._embed(embedder, self.texts_of(without))
        return unit(vectors)

    def _embed(self, embedder: QuantizedEmbedder, texts: list[str]) -> np.ndarray:
        """Embed texts, equal ones once."""
        different = {text: position for position, text in enumerate(dict.fromkeys(texts))}
        shows_progress = self.progress_bar and len(different) > self.batch_size
        vectors = embedder.embed_documents(list(different), self.batch_size, shows_progress, self.document_prompt)
        return vectors[[different[text] for text in texts]]


def without_repetitions(documents: Iterable[D]) -> list[D]:
    """Return the first document of each id, in the order of the input."""
    first: dict[str, D] = {}
    for document in documents:
        first.setdefault(document.id, document)
    return list(first.values())


def _numbers(embedding: Any) -> np.ndarray | None:
    """Return an embedding as float32, None where it is not an array or list of numbers."""
    try:
        array = np.asarray(embedding)
    except ValueError:  # rows of several lengths
        return None
    with np.errstate(over="ignore"):  # to infinity, which is not taken
        return array.astype(np.float32) if array.dtype.kind in "fiu" else None


def _have_cosines(vectors: np.ndarray) -> np.ndarray:
    """Return which rows are finite and not of whole numbers beyond one, as vectors in int8 and uint8 are."""
    quantized = (vectors == np.rint(vectors)).all(axis=1) & (np.abs(vectors) > 1).any(axis=1)
    return np.isfinite(vectors).all(axis=1) & ~quantized
