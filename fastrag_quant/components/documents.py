"""Between Haystack 2 and 3 Documents and what an embedder takes and gives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from haystack import Document

from fastrag_quant.errors import InputError


def texts_of(
    documents: Iterable[Document], meta_fields_to_embed: list[str] | None, embedding_separator: str, suffix: str
) -> list[str]:
    """Return what is embedded of each document, save for the prefix, as in Haystack's own embedders.

    :param meta_fields_to_embed: meta fields in front of the content; missing and null ones are left out.
    :param embedding_separator: between these and the content.
    :param suffix: behind the content.
    :raises InputError: naming a document that has no text.
    """
    fields = meta_fields_to_embed or []
    return [_text(document, fields, embedding_separator) + suffix for document in documents]


def _text(document: Document, fields: list[str], separator: str) -> str:
    meta = [str(document.meta[field]) for field in fields if document.meta.get(field) is not None]
    if document.content is None and not meta:
        msg = f"Document {document.id} has no text, and only text can be embedded: remove it or give it content."
        raise InputError(msg)
    return separator.join([*meta, document.content or ""])


def copied(document: Document, **changes: Any) -> Document:
    """Return a copy of a document that carries an embedding or a score."""
    # Meta is copied too: a later component may write to it.
    return replace(document, meta=dict(document.meta), **changes)
