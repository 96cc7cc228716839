"""What Haystack's tracers see with content tracing on: texts and scores, and no raw vectors."""

from __future__ import annotations

import contextlib
import re

import pytest
from haystack import Document, Pipeline, tracing
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.components.writers import DocumentWriter
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.tracing.utils import coerce_tag_value

from fastrag_quant.components import (
    QuantizedBiEncoderRanker,
    QuantizedBiEncoderRetriever,
    QuantizedDocumentEmbedder,
)

VECTOR = re.compile(r"\[(?:-?\d[\d.e-]*, ){3}")


class Span(tracing.Span):
    def __init__(self, tags):
        self.tags = tags

    def set_tag(self, key, value):
        self.tags.append(str(coerce_tag_value(value)))  # what Haystack's own tracers do


class Tracer(tracing.Tracer):
    def __init__(self):
        self.tags = []

    @contextlib.contextmanager
    def trace(self, operation_name, tags=None, parent_span=None):
        yield Span(self.tags)

    def current_span(self):
        return None


@pytest.fixture
def traced(monkeypatch):
    """The list of all tags that are traced, content included."""
    tracer = Tracer()
    monkeypatch.setattr(tracing.tracer, "is_content_tracing_enabled", True)
    tracing.enable_tracing(tracer)
    yield tracer.tags
    tracing.disable_tracing()


@pytest.fixture
def store():
    return InMemoryDocumentStore(embedding_similarity_function="cosine")


@pytest.fixture
def indexing(tiny, store):
    pipeline = Pipeline()
    pipeline.add_component("embedder", QuantizedDocumentEmbedder(**tiny))
    pipeline.add_component("writer", DocumentWriter(store))
    pipeline.connect("embedder", "writer")
    return pipeline


def test_a_vector_would_be_recognised(documents, traced):
    vector = [0.5, -0.25, 1e-07, 0.125]

    with tracing.tracer.trace("any") as span:
        span.set_content_tag("documents", [Document(content="one", embedding=vector)])

    assert VECTOR.search("".join(traced))


def test_indexing_traces_texts_without_their_vectors(indexing, documents, traced):
    indexing.run({"documents": documents})

    assert "small anonymous function" in "".join(traced)
    assert "vector of 32 numbers" in "".join(traced)
    assert not VECTOR.search("".join(traced))


def test_what_is_stored_has_its_vectors(indexing, documents, store, traced):
    indexing.run({"documents": documents})

    assert {len(document.embedding) for document in store.filter_documents()} == {32}


@pytest.mark.parametrize("return_embedding", [True, False])
def test_querying_traces_scores_without_vectors(indexing, documents, store, tiny, traced, return_embedding):
    indexing.run({"documents": documents})
    traced.clear()
    pipeline = Pipeline()
    inner = InMemoryEmbeddingRetriever(store, return_embedding=return_embedding)
    pipeline.add_component("retriever", QuantizedBiEncoderRetriever(**tiny, retriever=inner))
    pipeline.add_component("ranker", QuantizedBiEncoderRanker(**tiny, use_stored_embeddings=True))
    pipeline.connect("retriever.documents", "ranker.documents")

    found = pipeline.run({"query": "How do I throw an exception?"})["ranker"]["documents"]

    assert "throw an exception?" in "".join(traced)
    assert str(found[0].score) in "".join(traced)
    assert not VECTOR.search("".join(traced))
