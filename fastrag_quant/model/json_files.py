"""JSON files of a model directory, and the error that names a damaged one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fastrag_quant.errors import ModelError


def read_json(path: Path) -> dict[str, Any]:
    """Return the object in a JSON file, or an empty one if there is no such file.

    :raises ModelError: if the file is there but is not a JSON object.
    """
    content = read_any_json(path, nothing={})
    if not isinstance(content, dict):
        msg = f"{path} holds a {type(content).__name__} where an object is expected: fetch or write the model again."
        raise ModelError(msg)
    return content


def read_any_json(path: Path, nothing: Any = None) -> Any:
    """Return what a JSON file holds.

    :param nothing: what to return if there is no such file.
    :raises ModelError: if the file is there but cannot be read, is no JSON or is nested too deeply.
    """
    if not path.is_file():
        return nothing
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        msg = f"{path} cannot be read as JSON ({error}): fetch or write the model again."
        raise ModelError(msg) from error


def whole_number(content: dict[str, Any], key: str, file: str) -> int | None:
    """Return a number that is no less than nothing, or None where there is none; tokenizers have 1e30 for no limit.

    :param file: where the content is from, for messages.
    :raises ModelError: naming the key and what it holds.
    """
    value = content.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        msg = f"{key} in {file} is {value!r} where a whole number is expected: fetch or write the model again."
        raise ModelError(msg)
    return int(value)
