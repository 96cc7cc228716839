"""A file appears whole or not at all, and what is read from it is of the types that are asked for."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest

from fastrag_quant.bench.json_files import check_writable, typed, write_json
from fastrag_quant.errors import InputError


@dataclass(frozen=True)
class Inner:
    """Something inside another."""

    values: list[float]


@dataclass(frozen=True)
class Outer:
    """One of each type that results have."""

    name: str
    count: int
    share: float
    maybe: int | None
    inner: Inner
    by_name: dict[str, Inner]


OUTER = Outer("a", 1, 0.5, None, Inner([1.5, 2.5]), {"b": Inner([])})


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path):
    write_json(tmp_path / "file.json", [1])

    with pytest.raises(TypeError):
        write_json(tmp_path / "file.json", [object()])

    assert json.loads((tmp_path / "file.json").read_text()) == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["file.json"]


def test_a_file_in_a_folder_that_does_not_exist_is_refused_before_the_work(tmp_path: Path):
    check_writable(tmp_path / "file.json")
    with pytest.raises(InputError, match=r"There is no directory .*/missing to write file\.json to"):
        check_writable(tmp_path / "missing" / "file.json")


def test_dataclasses_come_back_as_they_were():
    assert typed(Outer, json.loads(json.dumps(asdict(OUTER))), "it") == OUTER


def test_a_whole_number_is_a_float_where_one_is_asked_for():
    share = typed(Outer, {**asdict(OUTER), "share": 1}, "it").share

    assert (share, type(share)) == (1.0, float)


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"name": 1}, "it.name is int, not str"),
        ({"count": 1.0}, "it.count is float, not int"),
        ({"count": True}, "it.count is bool, not int"),
        ({"share": "0.5"}, "it.share is str, not float"),
        ({"maybe": "1"}, "it.maybe is str, not int"),
        ({"inner": None}, "it.inner is NoneType, not dict"),
        ({"inner": {}}, "it.inner lacks values"),
        ({"inner": {"values": ["1"]}}, r"it.inner.values[0] is str, not float"),
        ({"by_name": {"b": {"values": {}}}}, "it.by_name.b.values is dict, not list"),
        ({"more": 1}, "it has more, which it should not have"),
    ],
    ids=str,
)
def test_what_is_of_another_shape_is_named(changed: dict[str, Any], expected: str):
    with pytest.raises(TypeError) as error:
        typed(Outer, {**asdict(OUTER), **changed}, "it")

    assert str(error.value) == expected
