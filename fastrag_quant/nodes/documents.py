"""Between Haystack 1 Documents and what an embedder takes and gives."""

from copy import copy
from typing import Any, Dict, Iterable, List, Optional

import pandas as pd
from haystack.schema import Document

from fastrag_quant.errors import InputError


def texts_of(documents: Iterable[Document], embed_meta_fields: Optional[List[str]]) -> List[str]:
    """Return what is embedded of each document: chosen meta fields and the content, a line each.

    Tables become CSV, and empty meta fields are left out, as in Haystack 1's EmbeddingRetriever.

    :raises InputError: naming the document whose content is neither text nor table.
    """
    return ["\n".join([*_meta_texts(document, embed_meta_fields), _content(document)]) for document in documents]


def copied(document: Document, **changes: Any) -> Document:
    """Return a copy of a document that carries an embedding or a score."""
    made = copy(document)
    # Meta is copied too: a later node may write to it.
    vars(made).update(changes, meta=copy(document.meta))
    return made


def _content(document: Document) -> str:
    if isinstance(document.content, pd.DataFrame):
        return str(document.content.to_csv(index=False))
    if not isinstance(document.content, str):
        msg = (
            f"Document {document.id} has content of type {type(document.content).__name__}, and only text and tables "
            "can be embedded: remove the document or give it text."
        )
        raise InputError(msg)
    return document.content


def _meta_texts(document: Document, fields: Optional[List[str]]) -> List[str]:
    meta: Dict[str, Any] = document.meta or {}
    values = [meta[field] for field in fields or [] if meta.get(field)]
    return [str(item) for value in values for item in (value if isinstance(value, list) else [value])]
