"""A task of local data: queries, documents, and the measures of a ranking by cosine."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

import numpy as np

from fastrag_quant.bench.measures import average_precision, ndcg, reciprocal_rank
from fastrag_quant.bench.quality import Scores, TextEmbedder
from fastrag_quant.vectors.output import unit

_RANKS = 1000
# Scores in memory at once.
_SCORES_AT_ONCE = 50_000_000


@dataclass(frozen=True)
class LocalTask:
    """Queries, documents and which belong together.

    :param name: for tables.
    :param queries: query id → text.
    :param documents: document id → text.
    :param relevance: query id → document id → relevance; at least one above zero a query.
    :param candidates: query id → the documents to rank, for reranking; None ranks all documents.
    """

    name: str
    queries: dict[str, str]
    documents: dict[str, str]
    relevance: dict[str, dict[str, float]]
    candidates: dict[str, list[str]] | None = None

    @property
    def has_index(self) -> bool:
        """Whether queries and documents are embedded apart, so that they may be by different models."""
        return True

    @property
    def fingerprint(self) -> str:
        """A hash of the data."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()

    def score(self, queries: TextEmbedder, documents: TextEmbedder) -> list[Scores]:
        """Rank documents for every query and return the measures of MTEB: nDCG@10, or MAP and MRR@10."""
        rankings = self._rankings(
            unit(queries.embed_queries(list(self.queries.values()))),
            unit(documents.embed_documents(list(self.documents.values()))),
        )
        measures = (
            {"nDCG@10": ndcg} if self.candidates is None else {"MAP": average_precision, "MRR@10": reciprocal_rank}
        )
        scores = []
        for name, measure in measures.items():
            values = [measure(rankings[query], self.relevance[query]) for query in self.queries]
            scores.append(Scores(name, sum(values) / len(values), values))
        return scores

    def _rankings(self, queries: np.ndarray, documents: np.ndarray) -> dict[str, list[str]]:
        ids = np.array(list(self.documents))
        if self.candidates is not None:
            position = {name: index for index, name in enumerate(self.documents)}
            chosen = [np.array([position[name] for name in self.candidates[query]]) for query in self.queries]
            return {
                query: ids[rows[_best(documents[rows] @ vector)]].tolist()
                for query, vector, rows in zip(self.queries, queries, chosen, strict=True)
            }
        rankings = {}
        names = list(self.queries)
        rows = max(1, _SCORES_AT_ONCE // len(ids))
        for start in range(0, len(names), rows):
            scores = queries[start : start + rows] @ documents.T
            for query, row in zip(names[start : start + rows], scores, strict=True):
                rankings[query] = self.without_itself(query, ids[_best(row)].tolist())
        return rankings

    def without_itself(self, query: str, ranking: list[str]) -> list[str]:
        """Return a query's ranking without the document that is the query, as BEIR and MTEB have it (ArguAna, Quora).

        :param ranking: names of documents.
        :return: all of it where that document is an answer to the query.
        """
        if query not in self.documents or self.relevance[query].get(query, 0) > 0:
            return ranking
        return [name for name in ranking if name != query]


def _best(scores: np.ndarray) -> np.ndarray:
    """Return the positions of the best scores, best first, equal ones in input order."""
    if len(scores) <= _RANKS:
        return np.argsort(-scores, kind="stable")
    top = np.sort(np.argpartition(-scores, _RANKS)[:_RANKS])
    return top[np.argsort(-scores[top], kind="stable")]
