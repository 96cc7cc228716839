"""Texts from files: a text a line, or an object with "text" a line, plain or gzipped."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO

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
        with open_text(path) as file:
            return [_text_of(line, number) if is_jsonl else line.strip() for number, line in _lines(file)]
    except (OSError, EOFError, ValueError) as error:
        msg = f"{path} cannot be read: {error}"
        raise InputError(msg) from error


def open_text(path: Path) -> IO[str]:
    """Open a text file for reading, also a gzipped one."""
    return gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")


def _plain_suffix(path: Path) -> str:
    return Path(path.stem).suffix if path.suffix == ".gz" else path.suffix


def _lines(file: IO[str]) -> Iterator[tuple[int, str]]:
    return ((number, line) for number, line in enumerate(file, 1) if line.strip())


def _text_of(line: str, number: int) -> str:
    try:
        content = json.loads(line)
    except ValueError as error:
        msg = f"line {number} is not JSON ({error})"
        raise ValueError(msg) from error
    if not isinstance(content, dict) or not isinstance(content.get("text"), str):
        msg = f"line {number} is not an object with a string 'text'"
        raise ValueError(msg)
    return str(content["text"])
