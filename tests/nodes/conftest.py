"""Documents, queries and models that the tests of the nodes share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import nltk
import pytest
from haystack import Document
from haystack.document_stores import InMemoryDocumentStore
from haystack.nodes.base import BaseComponent

from fastrag_quant import QuantizedEmbedder
from fastrag_quant.config import EmbedderConfig
from fastrag_quant.nodes import QuantizedBiEncoderRetriever
from fastrag_quant.shared import SharedEmbedder


@pytest.fixture(autouse=True, scope="session")
def no_nltk_download(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Haystack's PreProcessor asks the network for nltk's sentences, unless there is a folder of that name."""
    folder = tmp_path_factory.mktemp("nltk_data")
    (folder / "tokenizers" / "punkt").mkdir(parents=True)
    nltk.data.path.insert(0, str(folder))
    yield
    nltk.data.path.remove(str(folder))


@pytest.fixture(scope="session")
def int8(minilm_int8: Path) -> Iterator[str]:
    """The directory of the int8 MiniLM, kept loaded: nodes of default arguments share it."""
    kept = SharedEmbedder(EmbedderConfig(minilm_int8))
    assert kept.embedder.dimension == 384
    yield str(minilm_int8)


@pytest.fixture
def documents(statements: dict[str, str]) -> list[Document]:
    """A document for each statement, whose id is its name."""
    return [
        Document(text, id=name, meta={"name": name, "kind": "short" if len(text) < 65 else "long"})
        for name, text in statements.items()
    ]


@pytest.fixture
def retriever(int8: str) -> QuantizedBiEncoderRetriever:
    """A retriever on the int8 MiniLM, without a store."""
    return QuantizedBiEncoderRetriever(int8, progress_bar=False)


@pytest.fixture
def store(documents: list[Document], retriever: QuantizedBiEncoderRetriever) -> InMemoryDocumentStore:
    """The documents with their embeddings, in memory."""
    store = InMemoryDocumentStore(embedding_dim=384, similarity="cosine", progress_bar=False)
    store.write_documents(documents)
    store.update_embeddings(retriever)
    return store


@pytest.fixture
def encoded(
    shapes_of: Callable[[QuantizedEmbedder], list[tuple[int, int]]],
) -> Callable[[BaseComponent], list[tuple[int, int]]]:
    """A function that returns the list to which the shape of every batch of a node is appended."""
    return lambda node: shapes_of(node._shared.embedder)
