"""Calibration texts: where they come from, and which of them are held back for measuring fidelity."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastrag_quant.config import DEFAULTS
from fastrag_quant.errors import CalibrationError, InputError, MissingExtraError, first_line
from fastrag_quant.host.extras import is_installed
from fastrag_quant.host.noise import quiet_logs
from fastrag_quant.text_files import is_text_file, read_text_file

# fastRAG's recipe: questions and abstracts of scientific papers, in equal parts.
DEFAULT_DATASETS = ("allenai/qasper:qas.question", "allenai/qasper:abstract")

# Fewer texts leave activation ranges and fidelity to chance.
FEWEST_TEXTS = 20
_HELD_OUT_SHARE = 0.2

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
    texts, name = read_texts(source, seed)
    different = sample(texts, sys.maxsize, seed, name)
    held_out = max(int(len(different) * _HELD_OUT_SHARE), len(different) - sample_size)
    boundary = len(different) - held_out
    return CalibrationTexts(different[:boundary], different[boundary:][: DEFAULTS.verified], name)


def read_texts(source: str | Path | Iterable[str] | None, seed: int) -> tuple[Iterable[str], str]:
    """Read texts from where :func:`load_calibration` takes them.

    :param seed: of the sample that evens out the parts of qasper.
    :return: the texts, and the name of their source for a manifest.
    :raises CalibrationError: if the source cannot be read.
    """
    if source is None:
        parts = [_read_dataset(name) for name in DEFAULT_DATASETS]
        shortest = min(map(len, parts))
        sampler = random.Random(seed)
        return [text for part in parts for text in sampler.sample(part, shortest)], " and ".join(DEFAULT_DATASETS)
    if isinstance(source, str | Path):
        path = Path(source).expanduser()
        if is_text_file(path) or _exists(path):
            return _read_file(path), path.name
        return _read_dataset(str(source)), _public_name(str(source))
    if not isinstance(source, Iterable) or getattr(source, "shape", None) == ():  # iterating an array of no dimension
        msg = f"Calibration needs texts, a file or a data set, not {type(source).__name__}."
        raise CalibrationError(msg)
    if what := _why_no_texts(source):
        msg = f"What was passed for calibration is {what}."
        raise CalibrationError(msg)
    return source, "texts"


def sample(texts: Iterable[str], most: int, seed: int, source: str) -> list[str]:
    """Return different texts in an order that hangs on the seed alone.

    :param texts: strings; empty ones and repetitions are dropped.
    :param most: texts at the most.
    :param source: where they come from, for messages.
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
    return different[:most]


def _why_no_texts(source: Iterable[Any]) -> str | None:
    """Return what iterates, but not over texts in an order, and what to pass instead; None for what may hold texts."""
    name = type(source).__name__
    columns = getattr(source, "column_names", getattr(source, "columns", None))
    if columns is not None:
        names = [str(column) for column in columns]
        column = "text" if "text" in names else next(reversed(names), "text")
        return f"a table ({name}), not a column of texts: pass one of its columns, such as frame[{column!r}]"
    if isinstance(source, Mapping):
        return f"a {name}, and iterating it gives its keys: pass its values, list(texts.values())"
    if isinstance(source, Set):
        return f"a {name}, which has no order that the seed could draw from: pass sorted(texts)"
    if isinstance(source, bytes | bytearray):
        return f"{name}: decode them, and pass a list of texts"
    return None


def _instead_of(text: Any) -> str:
    """Return what to pass in place of something that is no string."""
    if isinstance(text, Mapping):
        strings = [name for name, value in text.items() if isinstance(value, str)]
        name = "text" if "text" in strings or not strings else max(strings, key=lambda found: len(text[found]))
        return f"pass [{name!r}] of each, such as [row[{name!r}] for row in rows]"
    if isinstance(getattr(text, "content", None), str):
        return "pass document.content of each"
    if text is None or isinstance(text, float):
        return "leave it out"
    if isinstance(text, bytes | bytearray):
        return "pass it decoded"
    return "pass a flat list of strings" if isinstance(text, Iterable) else "pass strings"


def _stripped(texts: Iterable[str], source: str) -> Iterator[str]:
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            msg = (
                f"Calibration text {position} of {source} is {type(text).__name__}, not a string: {_instead_of(text)}."
            )
            raise CalibrationError(msg)
        if stripped := text.strip():
            yield stripped


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # the name is too long for a file: texts that were passed without their list
        return False


def _read_file(path: Path) -> list[str]:
    try:
        return read_text_file(path)
    except InputError as error:
        raise CalibrationError(str(error)) from error


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
        msg = (
            f"The data set {name} cannot be loaded ({first_line(error)}). Pass texts of your own instead: "
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
