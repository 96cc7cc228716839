"""A wrong argument is named, with what was given and what is expected."""

from __future__ import annotations

from typing import Any

import pytest

from fastrag_quant.arguments import Choice, check_whole_number
from fastrag_quant.errors import InputError


class Colour(Choice):
    """Some names."""

    RED = "red"
    BLUE = "blue"


def test_a_name_is_one_of_a_few():
    assert Colour.from_str("red") is Colour.RED
    assert Colour.from_str(Colour.BLUE) is Colour.BLUE
    assert Colour.names() == ["red", "blue"]


@pytest.mark.parametrize("name", ["green", "RED", "", 7, None, ["red"], True], ids=repr)
def test_an_unknown_name_is_refused_with_the_known_ones(name: Any):
    with pytest.raises(InputError) as error:
        Colour.from_str(name)

    assert str(error.value) == f"Unknown colour {name!r}: use one of red, blue."


@pytest.mark.parametrize("number", [0, -1, 1.5, 2.0, "2", True, False, [1]], ids=repr)
def test_a_number_that_is_not_whole_and_large_enough_is_refused(number: Any):
    with pytest.raises(InputError) as error:
        check_whole_number(number, "threads", none="all usable cores")

    expected = "threads must be a whole number of at least 1 or None (all usable cores)"
    assert str(error.value) == f"{expected}, not {number!r}."


@pytest.mark.parametrize("number", [1, 2, 64])
def test_a_whole_number_that_is_large_enough_is_taken(number: int):
    check_whole_number(number, "threads")


def test_the_least_number_is_the_callers():
    check_whole_number(0, "seed", least=0)
    with pytest.raises(InputError, match="max_seq_len must be a whole number of at least 3, not 2"):
        check_whole_number(2, "max_seq_len", least=3)


def test_none_is_taken_where_it_means_something_alone():
    check_whole_number(None, "threads", none="all usable cores")
    with pytest.raises(InputError, match=r"top_k must be a whole number of at least 1, not None\."):
        check_whole_number(None, "top_k")
