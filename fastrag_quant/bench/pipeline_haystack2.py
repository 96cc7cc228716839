"""Pipelines of Haystack 2 and 3 as the benchmark runs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fastrag_quant.errors import InputError

if TYPE_CHECKING:
    from haystack import Pipeline

# How components call what a user asks.
_QUERY_INPUTS = ("query", "text", "question")


class Haystack2Pipeline:
    """A query pipeline of haystack-ai."""

    def __init__(self, pipeline: Pipeline) -> None:
        """Wrap a pipeline and load its models.

        :raises InputError: if no component takes a query.
        """
        self._pipeline = pipeline
        self._inputs = {
            name: [socket for socket in sockets if socket in _QUERY_INPUTS]
            for name, sockets in pipeline.inputs().items()
            if any(socket in _QUERY_INPUTS for socket in sockets)
        }
        if not self._inputs:
            msg = f"No component of the pipeline takes a query: none has an open input {', '.join(_QUERY_INPUTS)}."
            raise InputError(msg)
        pipeline.warm_up()

    @property
    def nodes(self) -> Mapping[str, Any]:
        """Every component."""
        graph = self._pipeline.graph.nodes
        return {name: graph[name]["instance"] for name in graph}

    def run(self, query: str) -> Any:
        """Answer a query."""
        return self._pipeline.run({name: dict.fromkeys(sockets, query) for name, sockets in self._inputs.items()})

    def write(self, texts: Sequence[str]) -> None:
        """Put texts with their vectors into the store of this package's retriever.

        :raises InputError: if the pipeline has no such retriever.
        """
        from haystack import Document
        from haystack.document_stores.types import DuplicatePolicy

        from fastrag_quant.components.retriever import QuantizedBiEncoderRetriever

        retriever = next((node for node in self.nodes.values() if isinstance(node, QuantizedBiEncoderRetriever)), None)
        if retriever is None:
            msg = "The pipeline has no QuantizedBiEncoderRetriever to embed the documents for its store."
            raise InputError(msg)
        vectors = retriever._loaded().embed_documents(texts)
        documents = [
            Document(content=text, embedding=vector.tolist()) for text, vector in zip(texts, vectors, strict=True)
        ]
        retriever.retriever.document_store.write_documents(documents, policy=DuplicatePolicy.OVERWRITE)
