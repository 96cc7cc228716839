"""Checks of arguments: each error names the argument, what was given and what is expected."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Self

from fastrag_quant.errors import InputError, InputTypeError


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
