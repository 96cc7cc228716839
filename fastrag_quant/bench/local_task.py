"""Tasks from local files: retrieval in BEIR layout, and reranking from a jsonl file."""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from fastrag_quant.bench.measures import average_precision, ndcg, reciprocal_rank
from fastrag_quant.bench.quality import Scores, TextEmbedder
from fastrag_quant.errors import InputError
from fastrag_quant.text_files import open_text
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
                rankings[query] = ids[_best(row)].tolist()
        return rankings


def read_task(path: Path) -> LocalTask:
    """Read a task.

    :param path: a folder in BEIR layout (corpus.jsonl, queries.jsonl, qrels/test.tsv) or a jsonl file
        of objects with query, positive and negative; each plain or gzipped.
    :raises InputError: if it is neither or cannot be read.
    """
    try:
        if path.is_dir():
            return _read_beir(path)
        return _read_reranking(path)
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        msg = (
            f"{path} cannot be read as a task ({error!r}): pass a folder in BEIR layout (corpus.jsonl, queries.jsonl, "
            "qrels/test.tsv) or a .jsonl file of objects with query, positive and negative, plain or gzipped."
        )
        raise InputError(msg) from error


def _read_beir(folder: Path) -> LocalTask:
    relevance: dict[str, dict[str, float]] = {}
    with _open(folder / "qrels" / "test.tsv") as file:
        for row in csv.DictReader(file, delimiter="\t"):
            relevance.setdefault(row["query-id"], {})[row["corpus-id"]] = float(row["score"])
    relevance = {query: judged for query, judged in relevance.items() if max(judged.values()) > 0}
    queries = {row["_id"]: row["text"] for row in _rows(folder / "queries.jsonl") if row["_id"] in relevance}
    if not queries:
        msg = "no query has a relevant document"
        raise ValueError(msg)
    documents = {row["_id"]: _with_title(row) for row in _rows(folder / "corpus.jsonl")}
    return LocalTask(folder.resolve().name, queries, documents, relevance)


def _with_title(row: Mapping[str, str]) -> str:
    # As BEIR and MTEB join them.
    return f"{row.get('title') or ''} {row['text']}".strip()


def _read_reranking(path: Path) -> LocalTask:
    queries: dict[str, str] = {}
    documents: dict[str, str] = {}
    relevance: dict[str, dict[str, float]] = {}
    candidates: dict[str, list[str]] = {}
    for number, row in enumerate(_rows(path)):
        query, positive, negative = row["query"], _texts(row["positive"]), _texts(row["negative"])
        if not positive or not negative:  # nothing to rank, as in MTEB
            continue
        name = f"q{number}"
        queries[name] = str(query)
        ids = {text: documents.setdefault(text, f"d{len(documents)}") for text in [*positive, *negative]}
        relevance[name] = {ids[text]: 1.0 for text in positive}
        candidates[name] = list(dict.fromkeys(ids.values()))
    if not queries:
        msg = "no query has a positive and a negative"
        raise ValueError(msg)
    return LocalTask(
        _plain_name(path), queries, {name: text for text, name in documents.items()}, relevance, candidates
    )


def _texts(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [str(text) for text in value]


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with _open(path) as file:
        for line in file:
            if line.strip():
                yield json.loads(line)


def _open(path: Path) -> IO[str]:
    return open_text(path if path.is_file() or path.suffix == ".gz" else path.with_name(f"{path.name}.gz"))


def _plain_name(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".jsonl")


def _best(scores: np.ndarray) -> np.ndarray:
    """Return the positions of the best scores, best first, equal ones in input order."""
    if len(scores) <= _RANKS:
        return np.argsort(-scores, kind="stable")
    top = np.sort(np.argpartition(-scores, _RANKS)[:_RANKS])
    best: np.ndarray = top[np.argsort(-scores[top], kind="stable")]
    return best
