"""Pipelines of Haystack 1 as the benchmark runs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fastrag_quant.errors import InputError

if TYPE_CHECKING:
    from haystack import Pipeline


@dataclass
class Haystack1Pipeline:
    """A query pipeline of farm-haystack."""

    pipeline: Pipeline

    @property
    def nodes(self) -> Mapping[str, Any]:
        """Every node but the root, which does nothing."""
        graph = self.pipeline.graph.nodes
        return {name: graph[name]["component"] for name in graph if graph[name].get("inputs") != []}

    def run(self, query: str) -> Any:
        """Answer a query."""
        return self.pipeline.run(query=query)

    def write(self, texts: Sequence[str]) -> None:
        """Put texts into the document store, with vectors where a retriever makes them.

        :raises InputError: if the pipeline has no retriever with a document store.
        """
        from haystack import Document

        retriever = next((node for node in self.nodes.values() if getattr(node, "document_store", None)), None)
        if retriever is None:
            msg = "The pipeline has no retriever with a document store to put the documents into."
            raise InputError(msg)
        store = retriever.document_store
        if hasattr(retriever, "embed_queries"):
            store.embedding_dim = len(retriever.embed_queries(["dimension"])[0])
        store.write_documents([Document(content=text) for text in texts], duplicate_documents="overwrite")
        if hasattr(retriever, "embed_documents"):
            store.update_embeddings(retriever)
