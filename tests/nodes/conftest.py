"""Documents, queries and models that the tests of the nodes share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import nltk
import numpy as np
import pytest
from haystack import Document
from haystack.document_stores import InMemoryDocumentStore
from haystack.nodes.base import BaseComponent

from fastrag_quant.batching import TokenBatch
from fastrag_quant.engines import Engine
from fastrag_quant.lazy import LazyEmbedder
from fastrag_quant.nodes import QuantizedBiEncoderRetriever

TEXTS = {
    "raise": "The raise statement signals that an error has happened by throwing an exception.",
    "for": "The for statement repeats a block of code for every item of a sequence.",
    "import": "The import statement finds a module, loads it and binds its name.",
    "lambda": "A lambda expression makes a small anonymous function.",
    "del": "The del statement removes a name or an item of a list.",
    "assert": "Assert statements put debugging checks into a program.",
    "class": "A class definition creates a new type of objects, with methods and inheritance.",
    "global": "The global statement lets a function rebind variables of its module.",
}

OBVIOUS = {
    "How do I throw an exception?": "raise",
    "loop over all elements of a list": "for",
    "load another module": "import",
    "function without a name": "lambda",
    "define a new type with methods": "class",
    "delete an entry from a list": "del",
}


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
    kept = LazyEmbedder(str(minilm_int8))
    assert kept.embedder.dimension == 384
    yield kept.model


@pytest.fixture
def documents() -> list[Document]:
    """A document for each statement, whose id is its name."""
    return [
        Document(text, id=name, meta={"name": name, "kind": "short" if len(text) < 65 else "long"})
        for name, text in TEXTS.items()
    ]


@pytest.fixture
def queries() -> dict[str, str]:
    """Queries, and the id of the document that obviously answers each."""
    return OBVIOUS


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


class RecordingEngine:
    """An engine that notes the shape of every batch on its way to the real one."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.shapes: list[tuple[int, int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def encode(self, batch: TokenBatch) -> np.ndarray:
        return self._engine.encode(self._noted(batch))

    def encode_all(self, batches: Iterable[TokenBatch]) -> Iterator[np.ndarray]:
        return self._engine.encode_all(map(self._noted, batches))

    def _noted(self, batch: TokenBatch) -> TokenBatch:
        self.shapes.append(batch.shape)
        return batch


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseComponent], list[tuple[int, int]]]:
    """A function that returns the list to which the shape of every batch of a node is appended."""

    def record(node: BaseComponent) -> list[tuple[int, int]]:
        recording = RecordingEngine(node._lazy.embedder._engine)
        monkeypatch.setattr(node._lazy.embedder, "_engine", recording)
        return recording.shapes

    return record
