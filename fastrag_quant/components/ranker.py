"""QuantizedBiEncoderRanker: a Haystack 2 and 3 ranker on an int8 embedder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from haystack import Document, component

from fastrag_quant.arguments import arguments_for, check_documents
from fastrag_quant.components.documents import copied, texts_of
from fastrag_quant.components.parameters import EmbedderParameters, in_a_thread
from fastrag_quant.config import DEFAULTS
from fastrag_quant.errors import InputTypeError
from fastrag_quant.vectors.ranking import Ranking


@component
@dataclass(eq=False, repr=False, kw_only=True)
class QuantizedBiEncoderRanker(EmbedderParameters):
    """Orders documents by the cosine of their vectors to the query's, from an int8 model on the CPU.

    Drops in for fastRAG's IPEXBiEncoderSimilarityRanker. The model is loaded by :meth:`warm_up` or the
    first run. A document's score is the cosine, a Python float; ``scale_score`` maps it to
    (cosine + 1) / 2. Documents with the same id appear once, ties keep the order of the input, and the
    input documents stay as they are.

    :param top_k: documents that are returned at the most.
    :param query_prefix: in front of the query; None is the model's own query prompt, "" is none.
    :param query_suffix: behind the query.
    :param document_prefix: in front of each document; None is the model's own document prompt, "" is none.
    :param document_suffix: behind each document.
    :param batch_size: documents per batch at the most.
    :param progress_bar: show one while embedding more than one batch.
    :param meta_fields_to_embed: meta fields that are embedded in front of the content.
    :param embedding_separator: between these and the content.
    :param scale_score: map the cosine to 0 … 1.
    :param score_threshold: drop documents whose score, scaled or not, is below it.
    :param use_stored_embeddings: take the embedding that a document carries, where it has the model's
        dimension, instead of embedding its text. For documents that were embedded with the same model
        and prefix in float32, from a retriever with return_embedding. Texts whose embedding is in
        another precision or no vector at all are embedded, with a warning.

    The other parameters are those of :class:`EmbedderParameters`.
    """

    top_k: int = DEFAULTS.top_k
    query_prefix: str | None = None
    query_suffix: str = ""
    document_prefix: str | None = None
    document_suffix: str = ""
    batch_size: int = DEFAULTS.batch_size
    progress_bar: bool = DEFAULTS.progress_bar
    meta_fields_to_embed: list[str] | None = None
    embedding_separator: str = "\n"
    scale_score: bool = DEFAULTS.scale_score
    score_threshold: float | None = None
    use_stored_embeddings: bool = False

    @component.output_types(documents=list[Document])
    def run(
        self,
        query: str,
        documents: list[Document],
        top_k: int | None = None,
        scale_score: bool | None = None,
        score_threshold: float | None = None,
    ) -> dict[str, Any]:
        """Order documents by their nearness to a query.

        :param query: the query.
        :param documents: the documents; possibly none.
        :param top_k: documents at the most; None is the component's.
        :param scale_score: map the cosine to 0 … 1; None is the component's.
        :param score_threshold: drop documents below it; None is the component's.
        :return: ``documents``, copies with scores, best first.
        :raises InputTypeError: for anything but a string and a list of Documents.
        :raises InputError: for top_k below 1, and naming a document that has no text.
        """
        if not isinstance(query, str):
            msg = f"QuantizedBiEncoderRanker expects a string as the query, not {type(query).__name__}."
            raise InputTypeError(msg)
        check_documents(documents, Document, "QuantizedBiEncoderRanker")
        asked = self._read(
            top_k=self.top_k if top_k is None else top_k,
            scale_score=self.scale_score if scale_score is None else scale_score,
            score_threshold=self.score_threshold if score_threshold is None else score_threshold,
        )
        chosen = partial(
            texts_of,
            meta_fields_to_embed=self.meta_fields_to_embed,
            embedding_separator=self.embedding_separator,
            suffix=self.document_suffix,
        )
        own = {"texts_of": chosen, "query_prompt": self.query_prefix, "document_prompt": self.document_prefix}
        ranking = Ranking(**{**arguments_for(Ranking, vars(self)), **asked, **own})
        if not documents:
            return {"documents": []}
        [ranked] = ranking.rank(self._loaded(), [query + self.query_suffix], [documents])
        return {"documents": [copied(document, score=score) for document, score in ranked]}

    run_async = in_a_thread(run)
