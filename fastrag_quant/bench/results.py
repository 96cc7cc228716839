"""The files that --json writes and the report reads: results of one kind, and the version of their format."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastrag_quant.bench.json_files import write_json
from fastrag_quant.bench.pipeline import PipelineResult
from fastrag_quant.bench.quality import QualityResult
from fastrag_quant.bench.speed import SpeedResult
from fastrag_quant.errors import InputError
from fastrag_quant.model.schema import typed

Result = SpeedResult | QualityResult | PipelineResult

FORMAT_VERSION = 2

_KINDS: dict[str, type[Result]] = {"speed": SpeedResult, "quality": QualityResult, "pipeline": PipelineResult}


def write_results(path: Path, results: Sequence[Result]) -> None:
    """Write results for :func:`read_results`; the file appears whole or not at all.

    :param results: of one kind, at least one.
    """
    kind = next(name for name, result_class in _KINDS.items() if isinstance(results[0], result_class))
    content = {"format_version": FORMAT_VERSION, "kind": kind, "results": [asdict(result) for result in results]}
    write_json(path, content)


def read_results(path: Path) -> list[Result]:
    """Read what a benchmark wrote.

    :raises InputError: for any other file, and for one of another version, saying what to do.
    """
    try:
        content = typed(dict[str, Any], json.loads(path.read_text(encoding="utf-8")), "the file")
    except (OSError, ValueError, TypeError) as error:
        msg = f"{path} is no results file of fastrag_quant-bench ({error}): pass what --json wrote."
        raise InputError(msg) from error
    version = content.get("format_version")
    if version != FORMAT_VERSION:
        found = "no format_version" if version is None else f"the format_version {version!r}"
        msg = (
            f"{path} has {found}, and this fastrag_quant-bench reads {FORMAT_VERSION}: "
            "pass what its own --json wrote, and measure again what is older."
        )
        raise InputError(msg)
    try:
        kind = typed(str, content.get("kind"), "kind")
        if kind not in _KINDS:
            msg = f"kind is {kind!r}, not one of {', '.join(_KINDS)}"
            raise TypeError(msg)
        results = typed(list[Any], content.get("results"), "results")
        return [typed(_KINDS[kind], result, f"results[{index}]") for index, result in enumerate(results)]
    except TypeError as error:
        msg = f"{path} does not hold what fastrag_quant-bench writes ({error}): measure again with --json."
        raise InputError(msg) from error
