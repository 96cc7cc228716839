"""QuantizedBiEncoderRetriever: an int8 text embedder and any of Haystack's embedding retrievers in one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from inspect import signature
from typing import Any

from haystack import Document, component
from haystack.core.serialization import component_to_dict

from fastrag_quant.arguments import read_parameters
from fastrag_quant.components.parameters import EmbeddingParameters
from fastrag_quant.errors import InputTypeError


@component
@dataclass(eq=False, repr=False, kw_only=True)
class QuantizedBiEncoderRetriever(EmbeddingParameters):
    """Embeds the query with an int8 model on the CPU and asks an embedding retriever.

    Takes the place of a text embedder and a retriever, as Haystack 1's EmbeddingRetriever did. The
    query's vector stays inside, so that no trace holds it. The model is loaded by :meth:`warm_up` or
    the first run. Scores are those of the store.

    :param retriever: one of Haystack's embedding retrievers, such as InMemoryEmbeddingRetriever; it
        serves this component alone.
    :param query_prefix: in front of the query; None is the model's own query prompt, "" is none.
    :param query_suffix: behind the query.

    The other parameters are those of :class:`EmbeddingParameters`.
    """

    retriever: Any
    query_prefix: str | None = None
    query_suffix: str = ""

    def __post_init__(self) -> None:
        """Check what can be checked without the model.

        :raises InputError: for a parameter that no model could satisfy.
        :raises InputTypeError: if the retriever does not take an embedding.
        """
        EmbeddingParameters.__post_init__(self)
        if not hasattr(self.retriever, "run") or "query_embedding" not in signature(self.retriever.run).parameters:
            msg = (
                "QuantizedBiEncoderRetriever expects an embedding retriever, such as InMemoryEmbeddingRetriever, "
                f"not {type(self.retriever).__name__}."
            )
            raise InputTypeError(msg)

    def to_dict(self) -> dict[str, Any]:
        """Return the component's type and all its parameters, the retriever's among them."""
        data = EmbeddingParameters.to_dict(self)
        data["init_parameters"]["retriever"] = component_to_dict(self.retriever, "retriever")
        return data

    def warm_up(self) -> None:
        """Load the model, and warm the retriever up.

        :raises ModelError: if the model is missing, damaged or of the wrong kind.
        """
        EmbeddingParameters.warm_up(self)
        if hasattr(self.retriever, "warm_up"):
            self.retriever.warm_up()

    def close(self) -> None:
        """Let go of the model, and close the retriever."""
        EmbeddingParameters.close(self)
        if hasattr(self.retriever, "close"):
            self.retriever.close()

    @component.output_types(documents=list[Document])
    def run(self, query: str, filters: dict[str, Any] | None = None, top_k: int | None = None) -> dict[str, Any]:
        """Return the documents nearest to a query.

        :param query: the query.
        :param filters: on meta fields; None is the retriever's.
        :param top_k: documents at the most; None is the retriever's.
        :return: ``documents``, best first.
        :raises InputTypeError: for anything but a string.
        :raises InputError: for top_k below 1.
        """
        arguments = self._arguments(filters, top_k)
        found = self.retriever.run(query_embedding=self._embed(query), **arguments)
        return {"documents": found["documents"]}

    @component.output_types(documents=list[Document])
    async def run_async(
        self, query: str, filters: dict[str, Any] | None = None, top_k: int | None = None
    ) -> dict[str, Any]:
        """Return the documents nearest to a query, while the event loop goes on; see :meth:`run`."""
        arguments = self._arguments(filters, top_k)
        arguments["query_embedding"] = await asyncio.to_thread(self._embed, query)
        if hasattr(self.retriever, "run_async"):
            found = await self.retriever.run_async(**arguments)
        else:
            found = await asyncio.to_thread(self.retriever.run, **arguments)
        return {"documents": found["documents"]}

    def _arguments(self, filters: dict[str, Any] | None, top_k: int | None) -> dict[str, Any]:
        return {"filters": filters, **read_parameters({"top_k": top_k}, {"top_k": int | None}, type(self).__name__)}

    def _embed(self, query: str) -> list[float]:
        if not isinstance(query, str):
            msg = f"QuantizedBiEncoderRetriever expects a string as the query, not {type(query).__name__}."
            raise InputTypeError(msg)
        [vector] = self._loaded().embed_queries([query + self.query_suffix], prompt=self.query_prefix)
        return vector.tolist()
