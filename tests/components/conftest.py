"""Documents, models and stores that the tests of the components share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from haystack import Document
from haystack.document_stores.in_memory import InMemoryDocumentStore

from fastrag_quant import QuantizedEmbedder
from fastrag_quant.components import QuantizedDocumentEmbedder
from fastrag_quant.config import EmbedderConfig
from fastrag_quant.shared import SharedEmbedder


@pytest.fixture(scope="session")
def int8(minilm_int8: Path) -> Iterator[str]:
    """The directory of the int8 MiniLM, kept loaded: components of default parameters share it."""
    kept = SharedEmbedder(EmbedderConfig(minilm_int8))
    assert kept.embedder.dimension == 384
    yield str(minilm_int8)


@pytest.fixture(scope="session")
def embedder(minilm_int8: Path) -> QuantizedEmbedder:
    """The int8 MiniLM on the engine that components of default parameters take."""
    return QuantizedEmbedder(minilm_int8)


@pytest.fixture
def tiny(tiny_cls_model: Path) -> dict[str, Any]:
    """Parameters for a model that loads at once: CLS pooling, 32 dimensions, not normalised, no prompts."""
    return {"model": str(tiny_cls_model), "engine": "torch"}


@pytest.fixture
def documents(statements: dict[str, str]) -> list[Document]:
    """A document for each statement, whose id is its name."""
    return [
        Document(id=name, content=text, meta={"name": name, "kind": "short" if len(text) < 65 else "long"})
        for name, text in statements.items()
    ]


@pytest.fixture
def store(int8: str, documents: list[Document]) -> InMemoryDocumentStore:
    """The documents with their embeddings, in memory."""
    store = InMemoryDocumentStore(embedding_similarity_function="cosine")
    store.write_documents(QuantizedDocumentEmbedder(int8).run(documents)["documents"])
    return store


@pytest.fixture
def encoded(
    shapes_of: Callable[[QuantizedEmbedder], list[tuple[int, int]]],
) -> Callable[[Any], list[tuple[int, int]]]:
    """A function that warms a component up and returns the list to which the shape of every later batch is appended."""

    def record(component: Any) -> list[tuple[int, int]]:
        component.warm_up()
        return shapes_of(component._loaded())

    return record
