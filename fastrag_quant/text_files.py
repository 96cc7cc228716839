"""Texts from files: a text a line, or an object with "text" a line, plain or gzipped."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from fastrag_quant.errors import InputError

_SUFFIXES = (".txt", ".jsonl")


def is_text_file(path: Path) -> bool:
    """Return whether a path is named as a file that :func:`read_text_file` reads."""
    return _plain_suffix(path) in _SUFFIXES


def read_text_file(path: Path) -> list[str]:
    """Read texts from a file.

    :param path: .txt (a text a line) or .jsonl (objects with "text"), plain or gzipped.
    :return: the texts, in file order; blank lines are left out.
    :raises InputError: if the file is of another kind or cannot be read.
    """
    if not is_text_file(path):
        msg = f"{path} is neither .txt (a text a line) nor .jsonl (objects with 'text'), plain or gzipped."
        raise InputError(msg)
    is_jsonl = _plain_suffix(path) == ".jsonl"
    try:
        if is_jsonl:
            return [string_of(row, "text", place) for row, place in read_objects(path)]
        with open_text(path) as file:
            return [line.strip() for line in file if line.strip()]
    except (OSError, EOFError, ValueError) as error:
        msg = f"{path} cannot be read: {error}"
        raise InputError(msg) from error


def open_text(path: Path) -> IO[str]:
    """Open a text file for reading, also a gzipped one; a byte order mark is passed over."""
    return gzip.open(path, "rt", encoding="utf-8-sig") if path.suffix == ".gz" else path.open(encoding="utf-8-sig")


def read_objects(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the objects of a .jsonl file, plain or gzipped, each with its place for messages; blank lines are none.

    :raises ValueError: naming the line that is not an object of JSON.
    """
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            place = f"{path.name} line {number}"
            try:
                row = json.loads(line)
            except ValueError as error:
                msg = f"{place} is not JSON ({error})"
                raise ValueError(msg) from error
            if not isinstance(row, dict):
                msg = f"{place} is a {type(row).__name__}, not an object"
                raise ValueError(msg)
            yield row, place


def string_of(row: Mapping[str, Any], name: str, place: str) -> str:
    """Return the string that an object has under a name.

    :raises ValueError: naming the place, if there is none.
    """
    value = value_of(row, name, place)
    if not isinstance(value, str):
        msg = f"{place}: {name!r} is {shown(value)}, not a string"
        raise ValueError(msg)
    return value


def value_of(row: Mapping[str, Any], name: str, place: str) -> Any:
    """Return what an object has under a name.

    :raises ValueError: naming the place and what is there, if it has nothing.
    """
    if name not in row:
        msg = f"{place} has no {name!r}; it has {', '.join(row) or 'nothing'}"
        raise ValueError(msg)
    return row[name]


def shown(value: Any) -> str:
    """Return the beginning of a value as JSON, for messages."""
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}…"


def _plain_suffix(path: Path) -> str:
    return Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
