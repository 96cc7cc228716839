"""Checks of arguments: each error names the argument, what was given and what is expected."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import StrEnum
from functools import cache
from inspect import signature
from numbers import Integral, Real
from os import PathLike, fspath
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Self, Union, get_args, get_origin

import numpy as np

from fastrag_quant.errors import InputError, InputTypeError

# What a parameter can be, in the words of a message.
_KINDS: dict[Any, str] = {
    str: "text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list of texts",
    NoneType: "None",
}
# Parameters of nodes and components of which there is at least one.
_COUNTS = ("top_k", "batch_size")


class Choice(StrEnum):
    """An argument that is one of a few names."""

    @classmethod
    def from_str(cls, name: str) -> Self:
        """Return the value of that name.

        :raises InputError: for another name; the message lists the valid ones.
        """
        try:
            return cls(name)
        except ValueError:
            msg = f"Unknown {cls.__name__.lower()} {name!r}: use one of {', '.join(cls.names())}."
            raise InputError(msg) from None

    @classmethod
    def names(cls) -> list[str]:
        """Return the names that are understood."""
        return [value.value for value in cls]


def arguments_for(function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of some named values that a function has a parameter for.

    Signatures that repeat another one, because readers and Haystack look at them, hand their arguments on with it.
    """
    return {name: value for name, value in given.items() if name in _parameters_of(function)}


@cache
def _parameters_of(function: Callable[..., Any]) -> frozenset[str]:
    return frozenset(signature(function).parameters)


def check_whole_number(value: Any, name: str, least: int = 1, none: str | None = None) -> None:
    """Raise where something is not a whole number of at least ``least``.

    :param name: of the argument, for the message.
    :param none: what None means, where it is allowed.
    :raises InputError: for smaller numbers and other types.
    """
    if value is None and none:
        return
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        or_none = f" or None ({none})" if none else ""
        msg = f"{name} must be a whole number of at least {least}{or_none}, not {value!r}."
        raise InputError(msg)


def check_flag(value: Any, name: str) -> None:
    """Raise where something is neither True nor False: any text, "false" among it, would count as true.

    :param name: of the argument, for the message.
    :raises InputError: for anything else.
    """
    if not isinstance(value, bool):
        msg = f"{name} must be true or false, not {value!r}."
        raise InputError(msg)


def absolute_path(given: str | PathLike[str]) -> Path:
    """Return the path that is meant now, wherever the process goes before it is used."""
    path = Path(given)
    with suppress(RuntimeError):  # there is no such user, whose home this would be
        path = path.expanduser()
    return path.absolute()


def check_list(given: Any, of_what: str, receiver: str) -> None:
    """Raise where something is neither a list nor a tuple, which is what document stores give.

    :param of_what: what the list should hold, for the message.
    :param receiver: the name of the node or component, for the message.
    :raises InputTypeError: naming what was given instead.
    """
    if not isinstance(given, list | tuple):
        msg = f"{receiver} expects a list of {of_what}, not {type(given).__name__}."
        raise InputTypeError(msg)


def check_documents(documents: Any, document_class: type, receiver: str, hint: str = "") -> None:
    """Raise where documents are not a list of Haystack Documents.

    :param document_class: the Document of the Haystack that is installed.
    :param receiver: the name of the node or component, for the message.
    :param hint: what to do instead, at the end of the message.
    :raises InputTypeError: naming what was given instead.
    """
    if not isinstance(documents, list | tuple):
        given = f", not {type(documents).__name__}"
    elif wrong := [document for document in documents if not isinstance(document, document_class)]:
        given = f", and one of them is {type(wrong[0]).__name__}"
    else:
        return
    msg = f"{receiver} expects a list of Documents{given}. {hint}".strip()
    raise InputTypeError(msg)


def read_parameters(given: Mapping[str, Any], types: Mapping[str, Any], receiver: str) -> dict[str, Any]:
    """Return parameters as their annotations want them, whatever a file or an environment variable made of them.

    Where a parameter takes no text, text is read as YAML: ``false``, ``0.5``, ``10``, ``null``, ``[title]``. Where it
    takes a list of texts, ``title, author`` is two. Paths become text, and numpy's numbers Python's.

    :param given: parameters by name.
    :param types: the annotation of each. What is none of text, true or false, number or list of texts is not looked at.
    :param receiver: the name of the node or component, for the message.
    :raises InputError: naming the parameter, what it takes and what was given; also for a count below 1.
    """
    plain = {}
    for name, value in given.items():
        kinds = _kinds_of(types[name])
        try:
            plain[name] = _read(value, kinds) if kinds else value
        except ValueError:
            expected = " or ".join(words for kind, words in _KINDS.items() if kind in kinds)
            msg = f"{receiver}: {name} must be {expected}, not {value!r}."
            raise InputError(msg) from None
        if name in _COUNTS and plain[name] is not None:
            check_whole_number(plain[name], f"{receiver}: {name}")
    return plain


@cache
def _kinds_of(annotation: Any) -> frozenset[Any]:
    """Return which of the known kinds an annotation allows; none where it allows anything else."""
    of_union = get_origin(annotation) in (Union, UnionType)
    members = get_args(annotation) if of_union else (annotation,)
    kinds = frozenset(list if get_origin(kind) is list and get_args(kind) == (str,) else kind for kind in members)
    return kinds if kinds <= _KINDS.keys() else frozenset()


def _read(value: Any, kinds: frozenset[Any]) -> Any:
    if isinstance(value, PathLike):
        value = fspath(value)
    if isinstance(value, str):
        if str not in kinds:
            value = _read_text(value, kinds)
        elif bool not in kinds or value.lower() not in ("true", "false"):
            return str.__str__(value)  # of an enum's member its value, which YAML can write
        else:
            value = value.lower() == "true"
    return _as_one_of(value, kinds)


def _read_text(text: str, kinds: frozenset[Any]) -> Any:
    import yaml  # 30 ms that programs without such text need not pay

    try:
        value = yaml.safe_load(text)
        if isinstance(value, str) and float in kinds:
            return float(value)  # such as 1e-3, which is text to YAML 1.1
    except yaml.YAMLError as error:
        raise ValueError from error
    if isinstance(value, str) and list in kinds:
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _as_one_of(value: Any, kinds: frozenset[Any]) -> Any:
    """Return a value of one of the kinds as that kind.

    :raises ValueError: if it is of none.
    """
    match value:
        case None if NoneType in kinds:
            return None
        case bool() | np.bool_() if bool in kinds:
            return bool(value)
        case bool() | np.bool_():
            pass
        case Integral() if int in kinds or float in kinds:
            return int(value)
        case Real() if float in kinds and float(value) == float(value):  # NaN is not
            return float(value)
        case list() | tuple() if list in kinds and all(isinstance(part, str) for part in value):
            return list(value)
    raise ValueError(value)
