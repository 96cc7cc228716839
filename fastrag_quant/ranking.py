"""Ranking documents by the cosine of their vectors to a query's, whatever Haystack they come from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from fastrag_quant.embedder import QuantizedEmbedder


class Rankable(Protocol):
    """What ranking needs of a Document."""

    id: str
    embedding: Any


D = TypeVar("D", bound=Rankable)


@dataclass(frozen=True)
class Selection:
    """Which documents a ranking returns.

    :param top_k: documents at the most.
    :param scale_score: map the cosine to (cosine + 1) / 2.
    :param score_threshold: the smallest score, scaled or not, that stays.
    """

    top_k: int
    scale_score: bool
    score_threshold: float | None

    def best(self, query: np.ndarray, vectors: np.ndarray) -> list[tuple[int, float]]:
        """Return the rows of the best vectors and their scores, best first; ties keep their order.

        :param query: unit vector, shape (dimension,).
        :param vectors: unit vectors, shape (documents, dimension).
        """
        cosines = np.clip(vectors @ query, -1, 1)  # rounding leads a hair beyond
        scores = (cosines + 1) / 2 if self.scale_score else cosines
        order = np.argsort(-scores, kind="stable")
        if self.score_threshold is not None:
            order = order[scores[order] >= self.score_threshold]
        return [(int(row), float(scores[row])) for row in order[: self.top_k]]


def without_repetitions(documents: Iterable[D]) -> list[D]:
    """Return the first document of each id, in the order of the input."""
    first: dict[str, D] = {}
    for document in documents:
        first.setdefault(document.id, document)
    return list(first.values())


def unit_vectors(
    documents: Sequence[D],
    dimension: int,
    embed: Callable[[list[D]], np.ndarray],
    use_stored_embeddings: bool,
) -> np.ndarray:
    """Return a vector of length one per document.

    :param dimension: of the embedder.
    :param embed: gives the vectors of documents.
    :param use_stored_embeddings: take the embedding that a document carries, where it has that dimension.
    :return: float32 of shape (documents, dimension).
    """
    vectors = np.empty((len(documents), dimension), dtype=np.float32)
    missing = []
    for row, document in enumerate(documents):
        if use_stored_embeddings and np.shape(document.embedding) == (dimension,):
            vectors[row] = document.embedding
        else:
            missing.append(row)
    if missing:
        vectors[missing] = embed([documents[row] for row in missing])
    return unit(vectors)


def embed_different(
    embedder: QuantizedEmbedder, texts: list[str], batch_size: int, progress_bar: bool, prompt: str | None = None
) -> np.ndarray:
    """Embed texts of documents, equal ones once.

    :param progress_bar: whether to show one for more than one batch.
    :param prompt: prefix in place of the embedder's own.
    :return: float32 of shape (texts, dimension).
    """
    different = {text: position for position, text in enumerate(dict.fromkeys(texts))}
    shows_progress = progress_bar and len(different) > batch_size
    vectors = embedder.embed_documents(list(different), batch_size, shows_progress, prompt)
    return vectors[[different[text] for text in texts]]


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale vectors to length one along the last axis; zero stays zero."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
