"""The JSON files that the benchmarks write and the report reads."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fastrag_quant.errors import InputError
from fastrag_quant.commands.placement import current_allocator
from fastrag_quant.host.cpu import cpu_model, isa, usable_cores

KINDS = ("speed", "quality", "pipeline")

_REPORTED = (
    "fastrag-quant",
    "torch",
    "intel-extension-for-pytorch",
    "optimum-intel",
    "openvino",
    "transformers",
    "tokenizers",
    "farm-haystack",
    "haystack-ai",
    "mteb",
)


def environment() -> dict[str, Any]:
    """Return what a measurement depends on besides what it measures: CPU, ISA, cores, allocator and versions."""
    return {
        "cpu": cpu_model(),
        "isa": isa(),
        "cores": usable_cores(),
        "allocator": current_allocator(),
        "versions": installed_versions(),
    }


def installed_versions() -> dict[str, str]:
    """Return distribution → version of this package and those that its speed depends on, where installed."""
    versions = {}
    for name in _REPORTED:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def check_writable(path: Path) -> None:
    """Raise before a long run where its results could not be written after it.

    :raises InputError: if the file's directory does not exist.
    """
    if not path.parent.is_dir():
        msg = f"There is no directory {path.parent} to write {path.name} to: make it first."
        raise InputError(msg)


def write_results(path: Path, kind: str, results: Sequence[dict[str, Any]]) -> None:
    """Write results for :func:`read_results`; the file appears whole or not at all.

    :param kind: one of :data:`KINDS`.
    """
    write_json(path, {"kind": kind, "results": list(results)})


def read_results(path: Path) -> tuple[str, list[dict[str, Any]]]:
    """Read what a benchmark wrote.

    :return: the kind and the results.
    :raises InputError: for any other file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        kind, results = content["kind"], content["results"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        msg = f"{path} is no results file of fastrag_quant-bench ({error!r}): pass what --json wrote."
        raise InputError(msg) from error
    if kind not in KINDS or not isinstance(results, list):
        msg = f"{path} holds results of the kind {kind!r}, which this fastrag_quant does not know."
        raise InputError(msg)
    return kind, results


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
