"""QuantizedBiEncoderRetriever as a component: a text embedder and an embedding retriever in one."""

from __future__ import annotations

import asyncio

import pytest
from haystack import Document, Pipeline, component
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever, InMemoryEmbeddingRetriever
from haystack.document_stores.in_memory import InMemoryDocumentStore

from fastrag_quant.components import (
    QuantizedBiEncoderRanker,
    QuantizedBiEncoderRetriever,
    QuantizedDocumentEmbedder,
    QuantizedTextEmbedder,
)

QUERY = "How do I throw an exception?"


@component
class PlainRetriever:
    """An embedding retriever that has neither to_dict nor run_async, as users write them."""

    def __init__(self, answer: str = "raise"):
        self.answer = answer

    @component.output_types(documents=list[Document])
    def run(self, query_embedding: list[float], filters: dict | None = None, top_k: int | None = None):
        return {"documents": [Document(id=self.answer, content=self.answer, score=1.0)]}


@pytest.fixture
def retriever(int8, store):
    return QuantizedBiEncoderRetriever(int8, retriever=InMemoryEmbeddingRetriever(store))


def ids(documents):
    return [document.id for document in documents]


def test_the_obvious_document_comes_first(retriever, queries):
    for query, answer in queries.items():
        assert retriever.run(query)["documents"][0].id == answer


def test_it_finds_what_a_text_embedder_and_the_retriever_find(int8, store, retriever):
    embedding = QuantizedTextEmbedder(int8).run(QUERY)["embedding"]

    expected = InMemoryEmbeddingRetriever(store).run(query_embedding=embedding)["documents"]

    assert retriever.run(QUERY)["documents"] == expected


def test_filters_and_top_k_reach_the_retriever(retriever):
    short = {"field": "meta.kind", "operator": "==", "value": "short"}

    found = retriever.run(QUERY, filters=short, top_k=2)["documents"]

    assert [document.meta["kind"] for document in found] == ["short", "short"]


def test_without_them_the_retrievers_own_are_used(int8, store):
    retriever = QuantizedBiEncoderRetriever(int8, retriever=InMemoryEmbeddingRetriever(store, top_k=3))

    assert len(retriever.run(QUERY)["documents"]) == 3


def test_prefix_and_suffix_surround_the_query(int8, store):
    surrounding = QuantizedBiEncoderRetriever(
        int8, retriever=InMemoryEmbeddingRetriever(store), query_prefix="delete ", query_suffix=" from a list"
    )
    plain = QuantizedBiEncoderRetriever(int8, retriever=InMemoryEmbeddingRetriever(store))

    assert surrounding.run("an entry") == plain.run("delete an entry from a list")
    assert surrounding.run("an entry") != plain.run("an entry")


def test_an_empty_store_gives_no_documents(int8):
    retriever = QuantizedBiEncoderRetriever(int8, retriever=InMemoryEmbeddingRetriever(InMemoryDocumentStore()))

    assert retriever.run(QUERY) == {"documents": []}


@pytest.mark.parametrize("wrong", [None, 3, ["a query"], [0.5]])
def test_a_query_that_is_no_string_is_refused(retriever, wrong):
    with pytest.raises(TypeError, match="QuantizedBiEncoderRetriever expects a string as the query"):
        retriever.run(wrong)


@pytest.mark.parametrize("wrong", [None, "retriever", InMemoryDocumentStore()])
def test_a_retriever_that_is_none_is_refused(wrong):
    with pytest.raises(TypeError, match="QuantizedBiEncoderRetriever expects an embedding retriever"):
        QuantizedBiEncoderRetriever("any", retriever=wrong)


def test_a_keyword_retriever_is_refused():
    keyword = InMemoryBM25Retriever(InMemoryDocumentStore())

    with pytest.raises(TypeError, match=r"embedding retriever.*not InMemoryBM25Retriever"):
        QuantizedBiEncoderRetriever("any", retriever=keyword)


def test_a_retriever_without_to_dict_and_run_async_will_do(int8, monkeypatch):
    monkeypatch.setenv("HAYSTACK_DESERIALIZATION_ALLOWLIST", PlainRetriever.__module__)
    retriever = QuantizedBiEncoderRetriever(int8, retriever=PlainRetriever(answer="lambda"))

    again = QuantizedBiEncoderRetriever.from_dict(retriever.to_dict())

    assert ids(again.run(QUERY)["documents"]) == ["lambda"]
    assert ids(asyncio.run(again.run_async(QUERY))["documents"]) == ["lambda"]


def test_in_a_pipeline_with_a_ranker(int8, retriever, queries):
    pipeline = Pipeline()
    pipeline.add_component("retriever", retriever)
    pipeline.add_component("ranker", QuantizedBiEncoderRanker(int8, top_k=1))
    pipeline.connect("retriever.documents", "ranker.documents")

    answers = [pipeline.run({"query": query})["ranker"]["documents"] for query in queries]

    assert [ids(documents) for documents in answers] == [[answer] for answer in queries.values()]


def test_qdrant_in_local_mode(int8, documents, queries, tmp_path):
    from haystack_integrations.components.retrievers.qdrant import QdrantEmbeddingRetriever
    from haystack_integrations.document_stores.qdrant import QdrantDocumentStore

    store = QdrantDocumentStore(path=str(tmp_path / "qdrant"), embedding_dim=384)
    store.write_documents(QuantizedDocumentEmbedder(int8).run(documents)["documents"])
    written = QuantizedBiEncoderRetriever(int8, retriever=QdrantEmbeddingRetriever(store, top_k=2)).to_dict()
    store.close()

    retriever = QuantizedBiEncoderRetriever.from_dict(written)
    found = [retriever.run(query)["documents"] for query in queries]

    assert [documents[0].meta["name"] for documents in found] == list(queries.values())
    assert {len(documents) for documents in found} == {2}
    retriever.close()
