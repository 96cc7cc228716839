"""JSON files that appear whole or not at all, and reading dataclasses back from them."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from fastrag_quant.errors import InputError


def check_writable(path: Path) -> None:
    """Raise before a long run where its results could not be written after it.

    :raises InputError: if the file's directory does not exist.
    """
    if not path.parent.is_dir():
        msg = f"There is no directory {path.parent} to write {path.name} to: make it first."
        raise InputError(msg)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file that appears whole or not at all, also if the process is killed."""
    text = json.dumps(content, indent=2) + "\n"
    descriptor, unfinished = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(unfinished).chmod(0o644)
        Path(unfinished).replace(path)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise


def typed(wanted: Any, value: Any, where: str) -> Any:
    """Return a JSON value as what a type annotation says, with every dataclass made of its fields.

    :param wanted: a dataclass, list[…], dict[str, …], … | None, or one of JSON's own types.
    :param where: what the value is called, for the message.
    :raises TypeError: naming the first part that is missing, unknown or of another type.
    """
    if wanted is Any:
        return value
    if get_origin(wanted) is UnionType:
        return None if value is None else typed(get_args(wanted)[0], value, where)
    if is_dataclass(wanted):
        return _dataclass(wanted, value, where)
    if wanted is float and type(value) is int:
        return float(value)
    container = get_origin(wanted) or wanted
    if type(value) is not container:  # isinstance takes True for a number
        msg = f"{where} is {type(value).__name__}, not {container.__name__}"
        raise TypeError(msg)
    if container is list:
        return [typed(get_args(wanted)[0], item, f"{where}[{index}]") for index, item in enumerate(value)]
    if container is dict:
        return {name: typed(get_args(wanted)[1], item, f"{where}.{name}") for name, item in value.items()}
    return value


def _dataclass(wanted: Any, value: Any, where: str) -> Any:
    names = [field.name for field in fields(wanted)]
    found = typed(dict[str, Any], value, where)
    if missing := [name for name in names if name not in found]:
        msg = f"{where} lacks {', '.join(missing)}"
        raise TypeError(msg)
    if unknown := [name for name in found if name not in names]:
        msg = f"{where} has {', '.join(unknown)}, which it should not have"
        raise TypeError(msg)
    hints = get_type_hints(wanted)
    return wanted(**{name: typed(hints[name], value[name], f"{where}.{name}") for name in names})
