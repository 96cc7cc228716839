"""JSON files that appear whole or not at all."""

from __future__ import annotations

import json
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
    with tempfile.TemporaryDirectory(prefix=f".{path.name}-", dir=path.parent) as folder:
        unfinished = Path(folder) / path.name
        unfinished.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        unfinished.replace(path)
