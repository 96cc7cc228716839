"""Tasks from local files: retrieval in BEIR layout, and reranking from a jsonl file; each plain or gzipped."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from fastrag_quant.bench.local_task import LocalTask
from fastrag_quant.errors import InputError
from fastrag_quant.text_files import open_text, read_objects, shown, string_of, value_of

_SPLIT = "test.tsv"
_HEADER = ("query-id", "corpus-id", "score")


def read_task(path: Path) -> LocalTask:
    """Read a task.

    :param path: a folder in BEIR layout (corpus.jsonl, queries.jsonl, qrels/test.tsv) or a jsonl file
        of objects with query, positive and negative; each plain or gzipped.
    :raises InputError: if it is neither or cannot be read, naming the file and the line.
    """
    try:
        return _read_beir(path) if path.is_dir() else _read_reranking(path)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        msg = (
            f"{path} cannot be read as a task: {error}. Pass a folder in BEIR layout (corpus.jsonl, queries.jsonl, "
            "qrels/test.tsv) or a .jsonl file of objects with query, positive and negative, plain or gzipped."
        )
        raise InputError(msg) from error


def _read_beir(folder: Path) -> LocalTask:
    judged = _read_qrels(folder)
    relevance = {query: documents for query, documents in judged.items() if max(documents.values()) > 0}
    if not relevance:
        msg = f"no query has a relevant document in qrels/{_SPLIT}"
        raise ValueError(msg)
    queries = {
        name: string_of(row, "text", place)
        for row, place in _rows(folder / "queries.jsonl")
        if (name := _identity(row, place)) in relevance or name not in judged
    }
    _check_known("query", "queries.jsonl", queries, relevance)
    queries = {name: text for name, text in queries.items() if name in relevance}
    documents = {_identity(row, place): _with_title(row, place) for row, place in _rows(folder / "corpus.jsonl")}
    _check_known("document", "corpus.jsonl", documents, [name for query in queries for name in relevance[query]])
    relevance = {query: relevance[query] for query in relevance if query in queries}
    return LocalTask(folder.resolve().name, queries, documents, relevance)


def _read_qrels(folder: Path) -> dict[str, dict[str, float]]:
    """Read judgements as BEIR writes them (query, document, score), or TREC (query, 0, document, score)."""
    path = folder / "qrels" / _SPLIT
    splits = sorted(found.name for found in path.parent.glob("*.tsv*"))
    if not any(name.startswith(_SPLIT) for name in splits):
        there = f"; there is {', '.join(splits)}" if splits else ""
        msg = f"there is no qrels/{_SPLIT}{there}"
        raise ValueError(msg)
    relevance: dict[str, dict[str, float]] = {}
    positions: tuple[int, int, int] | None = None
    first = 0, 0
    with open_text(_plain_or_gzipped(path)) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            cells = line.strip().split("\t") if "\t" in line else line.split()
            place = f"qrels/{_SPLIT} line {number}"
            if positions is None:
                first = number, len(cells)
                positions = _positions([cell.strip() for cell in cells], place)
                if not _is_number(cells[positions[2]]):  # a header
                    continue
            if len(cells) != first[1]:
                msg = f"{place} has {len(cells)} columns, and line {first[0]} has {first[1]}"
                raise ValueError(msg)
            query, document, score = (cells[position].strip() for position in positions)
            if not _is_number(score):
                msg = f"{place}: the score {score!r} is not a number"
                raise ValueError(msg)
            relevance.setdefault(query, {})[document] = float(score)
    if not relevance:
        msg = f"qrels/{_SPLIT} is empty"
        raise ValueError(msg)
    return relevance


def _positions(cells: list[str], place: str) -> tuple[int, int, int]:
    """Return in which columns query, document and score are, by the header if there is one."""
    if len(cells) not in (3, 4):
        msg = (
            f"{place} has {len(cells)} columns, and not query-id, corpus-id and score, or as TREC has it query, 0, "
            "document and score"
        )
        raise ValueError(msg)
    if set(_HEADER) <= set(cells):
        query, document, score = map(cells.index, _HEADER)
        return query, document, score
    return (0, 1, 2) if len(cells) == 3 else (0, 2, 3)


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _check_known(kind: str, file: str, names: Iterable[str], judged: Iterable[str]) -> None:
    """Raise where judgements are about nothing that is there, as where ids are written differently."""
    there, wanted = dict.fromkeys(names), list(judged)
    if not any(name in there for name in wanted):
        msg = (
            f"no {kind} of {file} (such as {next(iter(there), '')!r}) is one of those that qrels/{_SPLIT} judges "
            f"(such as {wanted[0]!r})"
        )
        raise ValueError(msg)


def _identity(row: Mapping[str, Any], place: str) -> str:
    value = value_of(row, "_id", place)
    if isinstance(value, bool) or not isinstance(value, str | int):
        msg = f"{place}: '_id' is {shown(value)}, not a string or a whole number"
        raise ValueError(msg)
    return str(value)


def _with_title(row: Mapping[str, Any], place: str) -> str:
    # As BEIR and MTEB join them; either may be null, and the title may be missing.
    value_of(row, "text", place)
    title, text = ("" if row.get(name) is None else string_of(row, name, place) for name in ("title", "text"))
    return f"{title} {text}".strip()


def _read_reranking(path: Path) -> LocalTask:
    queries: dict[str, str] = {}
    documents: dict[str, str] = {}
    relevance: dict[str, dict[str, float]] = {}
    candidates: dict[str, list[str]] = {}
    for number, (row, place) in enumerate(_rows(path)):
        query, positive, negative = string_of(row, "query", place), *(_texts(row, name, place) for name in _SIDES)
        if not positive or not negative:  # nothing to rank, as in MTEB
            continue
        name = f"q{number}"
        queries[name] = query
        ids = {text: documents.setdefault(text, f"d{len(documents)}") for text in [*positive, *negative]}
        relevance[name] = {ids[text]: 1.0 for text in positive}
        candidates[name] = list(dict.fromkeys(ids.values()))
    if not queries:
        msg = "no query has a positive and a negative"
        raise ValueError(msg)
    texts = {name: text for text, name in documents.items()}
    return LocalTask(path.name.removesuffix(".gz").removesuffix(".jsonl"), queries, texts, relevance, candidates)


_SIDES = ("positive", "negative")


def _texts(row: Mapping[str, Any], name: str, place: str) -> list[str]:
    value = value_of(row, name, place)
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        msg = f"{place}: {name!r} is {shown(value)}, not strings"
        raise ValueError(msg)
    return texts


def _rows(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """Return the objects of a jsonl file that holds some, each with its place for messages."""
    rows = read_objects(_plain_or_gzipped(path))
    if (first := next(rows, None)) is None:
        msg = f"{path.name} is empty"
        raise ValueError(msg)
    return chain([first], rows)


def _plain_or_gzipped(path: Path) -> Path:
    return path if path.is_file() or path.suffix == ".gz" else path.with_name(f"{path.name}.gz")
