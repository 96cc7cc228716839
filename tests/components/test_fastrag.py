"""fastRAG 3: our ranker and embedders in the places of its own, on the same int8 model."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from fastrag.embedders import IPEXSentenceTransformersDocumentEmbedder, IPEXSentenceTransformersTextEmbedder
from fastrag.rankers import IPEXBiEncoderSimilarityRanker
from haystack import Document, Pipeline
from haystack.components.retrievers.in_memory import InMemoryBM25Retriever
from haystack.document_stores.in_memory import InMemoryDocumentStore

from fastrag_quant import quantize
from fastrag_quant.components import (
    QuantizedBiEncoderRanker,
    QuantizedDocumentEmbedder,
    QuantizedTextEmbedder,
)
from fastrag_quant.model.manifest import MANIFEST_NAME


@pytest.fixture(scope="module")
def model(minilm: Path, passages: list[str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """int8 TorchScript of MiniLM in a directory that both packages load."""
    directory = tmp_path_factory.mktemp("models") / "minilm-ipex"
    quantize(minilm, directory, passages, sample_size=40, engine="ipex")
    return str(directory)


@pytest.fixture(scope="module")
def peer_model(model: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same weights as fastRAG's own recipe leaves them: with modules.json, its embedders look for fp32 ones."""
    directory = tmp_path_factory.mktemp("models") / "minilm-fastrag"
    shutil.copytree(model, directory)
    shutil.rmtree(directory / "1_Pooling")
    ours = ("modules.json", "sentence_bert_config.json", "config_sentence_transformers.json", MANIFEST_NAME)
    for name in ours:
        (directory / name).unlink(missing_ok=True)
    return str(directory)


@pytest.fixture(scope="module")
def passage_documents(passages):
    return [Document(id=str(number), content=passage) for number, passage in enumerate(passages[:40])]


def retrieve_and_rank(ranker, documents):
    """A fastRAG pipeline; the ranker is its only part that differs."""
    store = InMemoryDocumentStore()
    store.write_documents(documents)
    pipeline = Pipeline()
    pipeline.add_component("retriever", InMemoryBM25Retriever(store, top_k=30))
    pipeline.add_component("ranker", ranker)
    pipeline.connect("retriever.documents", "ranker.documents")
    return lambda query: pipeline.run({"query": query})["ranker"]["documents"]


def test_the_ranking_is_fastrags(model, peer_model, passage_documents, queries):
    theirs = retrieve_and_rank(IPEXBiEncoderSimilarityRanker(model=peer_model, top_k=10), passage_documents)
    ours = retrieve_and_rank(QuantizedBiEncoderRanker(model=model, top_k=10, scale_score=False), passage_documents)

    for query in queries:
        expected, ranked = theirs(query), ours(query)
        assert {document.id for document in ranked[:5]} == {document.id for document in expected[:5]}
        assert ranked[0].id == expected[0].id
        scores = {document.id: document.score for document in expected}
        common = [document for document in ranked if document.id in scores]
        assert len(common) >= 9
        assert [document.score for document in common] == pytest.approx(
            [scores[document.id] for document in common], abs=0.02
        )


def test_the_embeddings_are_fastrags(model, peer_model, passage_documents):
    theirs = IPEXSentenceTransformersDocumentEmbedder(model=peer_model, normalize_embeddings=True, progress_bar=False)
    theirs.warm_up()
    ours = QuantizedDocumentEmbedder(model=model, normalize_embeddings=True, progress_bar=False)

    pairs = zip(theirs.run(passage_documents)["documents"], ours.run(passage_documents)["documents"], strict=True)

    assert min(np.dot(expected.embedding, embedded.embedding) for expected, embedded in pairs) > 0.98


def test_the_query_embedding_is_fastrags(model, peer_model):
    theirs = IPEXSentenceTransformersTextEmbedder(model=peer_model, normalize_embeddings=True, progress_bar=False)
    theirs.warm_up()
    ours = QuantizedTextEmbedder(model=model, normalize_embeddings=True)

    expected, embedded = (embedder.run("How do I throw an exception?")["embedding"] for embedder in (theirs, ours))

    assert np.dot(expected, embedded) > 0.98


def test_a_directory_of_fastrags_own_recipe_loads_once_its_pooling_is_named(model, peer_model, passage_documents):
    parameters = {"pooling": "mean", "normalize_embeddings": True, "max_seq_len": 256}

    ranked = QuantizedBiEncoderRanker(peer_model, **parameters).run("an exception", passage_documents)["documents"]

    expected = QuantizedBiEncoderRanker(model).run("an exception", passage_documents)["documents"]
    assert [document.id for document in ranked] == [document.id for document in expected]
