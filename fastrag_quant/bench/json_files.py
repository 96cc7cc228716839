"""JSON files that appear whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

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
