"""Documents that components return are Haystack's own and nothing more: no package, no cycle, no content of others."""

from __future__ import annotations

import gc
import pickle
import pickletools
import weakref
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from typing import Any

import pytest
from haystack import Document
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.tracing.utils import coerce_tag_value

from fastrag_quant.components import (
    QuantizedBiEncoderRanker,
    QuantizedBiEncoderRetriever,
    QuantizedDocumentEmbedder,
)


def embedded(tiny: dict[str, Any], documents: list[Document]) -> list[Document]:
    return QuantizedDocumentEmbedder(**tiny).run(documents)["documents"]


def ranked(tiny: dict[str, Any], documents: list[Document]) -> list[Document]:
    with_vectors = [replace(document, embedding=[0.5] * 32) for document in documents]
    return QuantizedBiEncoderRanker(**tiny).run("for", with_vectors)["documents"]


def retrieved(tiny: dict[str, Any], documents: list[Document]) -> list[Document]:
    store = InMemoryDocumentStore()
    store.write_documents(embedded(tiny, documents))
    inner = InMemoryEmbeddingRetriever(store, return_embedding=True)
    return QuantizedBiEncoderRetriever(**tiny, retriever=inner).run("for")["documents"]


FROM_EACH = pytest.mark.parametrize("returned", [embedded, ranked, retrieved])
Returned = Callable[[dict[str, Any], list[Document]], list[Document]]


@FROM_EACH
def test_they_hold_what_haystacks_documents_hold(returned: Returned, tiny: dict[str, Any], documents: list[Document]):
    for document in returned(tiny, documents):
        assert len(document.embedding) == 32
        assert vars(document).keys() == vars(Document(content="if")).keys()


@FROM_EACH
def test_another_process_reads_them_without_this_package(
    returned: Returned, tiny: dict[str, Any], documents: list[Document]
):
    pickled = pickle.dumps(returned(tiny, documents))

    named = {argument for _, argument, _ in pickletools.genops(pickled) if isinstance(argument, str)}
    assert not {name for name in named if name.startswith("fastrag_quant")}


@FROM_EACH
def test_they_go_when_nobody_holds_them(returned: Returned, tiny: dict[str, Any], documents: list[Document]):
    gc.disable()
    try:
        left = [weakref.ref(document) for document in returned(tiny, documents)[:1]]
        assert left[0]() is None
    finally:
        gc.enable()


@FROM_EACH
@pytest.mark.filterwarnings("ignore:Mutating attribute")
def test_a_copy_with_other_content_is_traced_as_what_it_is(
    returned: Returned, tiny: dict[str, Any], documents: list[Document]
):
    changed = copy(returned(tiny, documents)[0])
    before = changed.content
    changed.content = "redacted"

    assert before not in str(coerce_tag_value([changed]))
    assert "redacted" in str(coerce_tag_value([changed]))
