"""Results come back from their file as they were, and a file of anything else is refused with what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sample_results import PIPELINE, QUALITY, SPEED

from fastrag_quant.bench.results import FORMAT_VERSION, Result, read_results, write_results
from fastrag_quant.errors import InputError


def written(path: Path, given: list[Result] = SPEED, **changed: Any) -> dict[str, Any]:
    """Return what is in a file of results, and change it."""
    write_results(path, given)
    content = {**json.loads(path.read_text()), **changed}
    path.write_text(json.dumps({name: value for name, value in content.items() if value is not None}))
    return content


@pytest.mark.parametrize(("kind", "results"), [("speed", SPEED), ("quality", [QUALITY]), ("pipeline", [PIPELINE])])
def test_results_come_back_as_they_were_written(kind: str, results: list[Result], tmp_path: Path):
    content = written(tmp_path / "file.json", results)

    assert read_results(tmp_path / "file.json") == results
    assert set(content) == {"format_version", "kind", "results"}
    assert (content["format_version"], content["kind"]) == (FORMAT_VERSION, kind)
    assert {result["environment"]["cpu"] for result in content["results"]} == {"A <fast> CPU"}


@pytest.mark.parametrize(
    "content", ["", "{}", "[]", '{"kind": "other", "results": []}', '{"kind": "speed", "results": 1}']
)
def test_a_file_that_holds_no_results_is_refused(content: str, tmp_path: Path):
    (tmp_path / "file.json").write_text(content)

    with pytest.raises(InputError, match=r"file\.json.*pass what"):
        read_results(tmp_path / "file.json")


def test_a_file_that_does_not_exist_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"missing\.json is no results file.*pass what --json wrote"):
        read_results(tmp_path / "missing.json")


def test_a_file_of_a_time_without_versions_is_refused_with_what_to_do(tmp_path: Path):
    written(tmp_path / "old.json", format_version=None)

    with pytest.raises(InputError, match=r"old\.json has no format_version, and .* reads 2: .* measure again"):
        read_results(tmp_path / "old.json")


@pytest.mark.parametrize("version", [0, 1, FORMAT_VERSION + 1, "2"])
def test_a_file_of_another_version_is_refused_with_both_versions(version: Any, tmp_path: Path):
    written(tmp_path / "file.json", format_version=version)

    expected = rf"has the format_version {version!r}, and this fastrag_quant-bench reads {FORMAT_VERSION}: pass what"
    with pytest.raises(InputError, match=expected):
        read_results(tmp_path / "file.json")


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"kind": "other"}, r"kind is 'other', not one of speed, quality, pipeline"),
        ({"kind": ["speed"]}, r"kind is list, not str"),
        ({"kind": None}, r"kind is NoneType, not str"),
        ({"results": None}, r"results is NoneType, not list"),
        ({"results": {}}, r"results is dict, not list"),
        ({"results": [1]}, r"results\[0\] is int, not dict"),
        ({"results": [{}]}, r"results\[0\] lacks mode, model, "),
        ({"kind": "quality"}, r"results\[0\] lacks task, measure, "),
    ],
    ids=str,
)
def test_a_file_of_another_shape_is_refused_with_what_is_wrong(changed: dict[str, Any], expected: str, tmp_path: Path):
    written(tmp_path / "file.json", **changed)

    with pytest.raises(InputError, match=rf"file\.json does not hold what .*\({expected}.*\): measure again"):
        read_results(tmp_path / "file.json")


@pytest.mark.parametrize(
    ("part", "name", "value", "expected"),
    [
        ((), "samples_per_second", "31.5", r"results\[0\]\.samples_per_second is str, not float"),
        ((), "seq_len", 1.5, r"results\[0\]\.seq_len is float, not int"),
        (("latency",), "p50_ms", None, r"results\[0\]\.latency\.p50_ms is NoneType, not float"),
        (("environment",), "isa", "avx2", r"results\[0\]\.environment\.isa is str, not list"),
        (("environment", "versions"), "torch", 2, r"results\[0\]\.environment\.versions\.torch is int, not str"),
    ],
)
def test_a_figure_of_another_type_is_refused(
    part: tuple[str, ...], name: str, value: Any, expected: str, tmp_path: Path
):
    content = written(tmp_path / "file.json")
    changed = content["results"][0]
    for step in part:
        changed = changed[step]
    changed[name] = value
    (tmp_path / "file.json").write_text(json.dumps(content))

    with pytest.raises(InputError, match=expected):
        read_results(tmp_path / "file.json")
