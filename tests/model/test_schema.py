"""What is read from JSON is of the types that are asked for."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import pytest

from fastrag_quant.model.schema import typed
from fastrag_quant.model.settings import Pooling


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
    pooling: Pooling = Pooling.MEAN


OUTER = Outer("a", 1, 0.5, None, Inner([1.5, 2.5]), {"b": Inner([])})


def test_dataclasses_come_back_as_they_were():
    assert typed(Outer, json.loads(json.dumps(asdict(OUTER))), "it") == OUTER


def test_a_whole_number_is_a_float_where_one_is_asked_for():
    share = typed(Outer, {**asdict(OUTER), "share": 1}, "it").share

    assert (share, type(share)) == (1.0, float)


def test_what_has_a_default_may_be_missing():
    content = asdict(OUTER)
    del content["pooling"]

    assert typed(Outer, content, "it") == OUTER


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
        ({"pooling": "max"}, "it.pooling is 'max', not one of cls, mean"),
        ({"pooling": ["cls"]}, "it.pooling is ['cls'], not one of cls, mean"),
        ({"share": 10**400}, "it.share is int, not float"),
        ({"more": 1}, "it has more, which it should not have"),
    ],
    ids=str,
)
def test_what_is_of_another_shape_is_named(changed: dict[str, Any], expected: str):
    with pytest.raises(TypeError) as error:
        typed(Outer, {**asdict(OUTER), **changed}, "it")

    assert str(error.value) == expected
