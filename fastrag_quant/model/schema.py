"""Reading dataclasses back from JSON: every part has to be of the type that the dataclass says."""

from __future__ import annotations

import sys
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints


def typed(wanted: Any, value: Any, where: str) -> Any:
    """Return a JSON value as what a type annotation says, with every dataclass made of its fields.

    :param wanted: a dataclass, an Enum of text, list[…], dict[str, …], … | None, or one of JSON's own types.
    :param where: what the value is called, for the message.
    :raises TypeError: naming the first part that is missing, unknown or of another type.
    """
    if wanted is Any:
        return value
    if get_origin(wanted) is UnionType:
        return None if value is None else typed(get_args(wanted)[0], value, where)
    if is_dataclass(wanted):
        return _dataclass(wanted, value, where)
    if isinstance(wanted, type) and issubclass(wanted, Enum):
        return _member(wanted, value, where)
    if wanted is float and type(value) is int and abs(value) <= sys.float_info.max:
        return float(value)
    container = get_origin(wanted) or wanted
    if type(value) is not container:  # isinstance takes True for a number
        msg = f"{where} is {type(value).__name__}, not {container.__name__}"
        raise TypeError(msg)
    if container is list:
        return [typed(get_args(wanted)[0], item, f"{where}[{index}]") for index, item in enumerate(value)]
    if container is dict:
        return {name: typed(get_args(wanted)[1], item, f"{where}.{name}") for name, item in value.items()}
    return value


def _dataclass(wanted: Any, value: Any, where: str) -> Any:
    found = typed(dict[str, Any], value, where)
    names = [field.name for field in fields(wanted)]
    if missing := [field.name for field in fields(wanted) if field.name not in found and not _has_default(field)]:
        msg = f"{where} lacks {', '.join(missing)}"
        raise TypeError(msg)
    if unknown := [name for name in found if name not in names]:
        msg = f"{where} has {', '.join(unknown)}, which it should not have"
        raise TypeError(msg)
    hints = get_type_hints(wanted)
    return wanted(**{name: typed(hints[name], value[name], f"{where}.{name}") for name in found})


def _has_default(field: Field[Any]) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING


def _member(wanted: type[Enum], value: Any, where: str) -> Enum:
    try:
        return wanted(value)
    except ValueError as error:
        msg = f"{where} is {value!r}, not one of {', '.join(str(member.value) for member in wanted)}"
        raise TypeError(msg) from error
