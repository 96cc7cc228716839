"""Calibration texts: where they come from, and which of them are held back for measuring fidelity."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from fastrag_quant.errors import CalibrationError, MissingExtraError
from fastrag_quant.extras import is_installed
from fastrag_quant.noise import quiet_logs

# fastRAG's recipe: questions and abstracts of scientific papers, in equal parts.
DEFAULT_DATASETS = ("allenai/qasper:qas.question", "allenai/qasper:abstract")

# Fewer texts leave activation ranges and fidelity to chance.
FEWEST_TEXTS = 20
_HELD_OUT_SHARE = 0.2
_MOST_HELD_OUT = 200

_FILE_SUFFIXES = (".txt", ".jsonl")

# Data sets that datasets 4 and later refuse, because they are a script, have a copy in parquet there.
_PARQUET_REVISION = "refs/convert/parquet"


@dataclass(frozen=True)
class CalibrationTexts:
    """Texts to calibrate on, and others that calibration never sees.

    :param texts: what activation ranges are taken from.
    :param held_out: what fidelity is measured on.
    :param source: where they come from, for the manifest.
    """

    texts: list[str]
    held_out: list[str]
    source: str


def load_calibration(source: str | Path | Iterable[str] | None, sample_size: int, seed: int) -> CalibrationTexts:
    """Read, deduplicate and sample calibration texts.

    :param source: a .txt (a text a line) or .jsonl file (objects with "text"), plain or gzipped;
        the name of a Hugging Face data set with its column, ``name:column``, a dot in the column
        reaching into objects; texts; or None for questions and abstracts of qasper.
    :param sample_size: texts to calibrate on at the most.
    :param seed: of the sample.
    :return: the sample, and up to 200 others.
    :raises CalibrationError: if the source cannot be read or holds fewer than 20 different texts.
    """
    if source is None:
        parts = [_read_dataset(name) for name in DEFAULT_DATASETS]
        shortest = min(map(len, parts))
        sampler = random.Random(seed)
        texts = [text for part in parts for text in sampler.sample(part, shortest)]
        return split(texts, sample_size, seed, " and ".join(DEFAULT_DATASETS))
    if isinstance(source, str | Path):
        path = Path(source).expanduser()
        if _plain_suffix(path) in _FILE_SUFFIXES or _exists(path):
            return split(read_text_file(path), sample_size, seed, path.name)
        return split(_read_dataset(str(source)), sample_size, seed, _public_name(str(source)))
    if not isinstance(source, Iterable):
        msg = f"Calibration needs texts, a file or a data set, not {type(source).__name__}."
        raise CalibrationError(msg)
    return split(source, sample_size, seed, "texts")


def split(texts: Iterable[str], sample_size: int, seed: int, source: str) -> CalibrationTexts:
    """Sample texts for calibration and hold back others.

    :param texts: strings; empty ones and repetitions are dropped.
    :raises CalibrationError: for anything but strings, and for fewer than 20 different texts.
    """
    different = list(dict.fromkeys(_stripped(texts, source)))
    if len(different) < FEWEST_TEXTS:
        msg = (
            f"{source} holds {len(different)} different texts, and calibration needs at least {FEWEST_TEXTS}: "
            "pass more, such as queries and passages of your own corpus."
        )
        raise CalibrationError(msg)
    random.Random(seed).shuffle(different)
    held_out = max(int(len(different) * _HELD_OUT_SHARE), len(different) - sample_size)
    boundary = len(different) - held_out
    return CalibrationTexts(different[:boundary], different[boundary:][:_MOST_HELD_OUT], source)


def _stripped(texts: Iterable[str], source: str) -> Iterator[str]:
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            msg = f"Calibration text {position} of {source} is {type(text).__name__}, not a string."
            raise CalibrationError(msg)
        if stripped := text.strip():
            yield stripped


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # the name is too long for a file: texts that were passed without their list
        return False


def _plain_suffix(path: Path) -> str:
    return Path(path.stem).suffix if path.suffix == ".gz" else path.suffix


def read_text_file(path: Path) -> list[str]:
    """Read texts from a file.

    :param path: .txt (a text a line) or .jsonl (objects with "text"), plain or gzipped.
    :return: the texts, in file order; blank lines are left out.
    :raises CalibrationError: if the file is of another kind or cannot be read.
    """
    suffix = _plain_suffix(path)
    if suffix not in _FILE_SUFFIXES:
        msg = f"{path} is neither .txt (a text a line) nor .jsonl (objects with 'text'), plain or gzipped."
        raise CalibrationError(msg)
    try:
        with _open_text(path) as file:
            return [_text_of(line, number) if suffix == ".jsonl" else line.strip() for number, line in _lines(file)]
    except (OSError, EOFError, ValueError) as error:
        msg = f"{path} cannot be read: {error}"
        raise CalibrationError(msg) from error


def _open_text(path: Path) -> IO[str]:
    return gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8")


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


def _read_dataset(name_and_column: str) -> list[str]:
    name, _, column = name_and_column.partition(":")
    if not column:
        msg = (
            f"There is no file {name_and_column!r}. To calibrate on a Hugging Face data set, name its column too, "
            f"such as {DEFAULT_DATASETS[1]}."
        )
        raise CalibrationError(msg)
    if not is_installed("datasets"):
        msg = "Calibration on a Hugging Face data set needs datasets: pip install datasets"
        raise MissingExtraError(msg)
    rows = _load_train_split(name)
    key, *inner = column.split(".")
    if key not in rows.column_names:
        msg = f"The data set {name} has no column {key!r}; it has {', '.join(rows.column_names)}."
        raise CalibrationError(msg)
    return [text for value in rows[key] for text in _strings(value, inner)]


def _public_name(name_and_column: str) -> str:
    """Return the name to record in a manifest, without a path of this machine."""
    name, _, column = name_and_column.partition(":")
    return f"{Path(name).name}:{column}" if Path(name).is_dir() else name_and_column


def _load_train_split(name: str) -> Any:
    from datasets import load_dataset

    try:
        with quiet_logs():
            try:
                return load_dataset(name, split="train")
            except RuntimeError:
                return load_dataset(name, split="train", revision=_PARQUET_REVISION)
    except Exception as error:  # datasets and the hub raise many kinds
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        msg = (
            f"The data set {name} cannot be loaded ({reason}). Pass texts of your own instead: "
            "--calibration FILE.txt or FILE.jsonl."
        )
        raise CalibrationError(msg) from error


def _strings(value: Any, path: list[str]) -> Iterator[str]:
    if isinstance(value, list):
        for item in value:
            yield from _strings(item, path)
    elif path and isinstance(value, dict):
        yield from _strings(value.get(path[0]), path[1:])
    elif isinstance(value, str):
        yield value
