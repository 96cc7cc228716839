"""QuantizedTextEmbedder and QuantizedDocumentEmbedder: Haystack's two kinds of embedders on an int8 model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from haystack import Document, component

from fastrag_quant.arguments import check_documents
from fastrag_quant.components.documents import copied, texts_of
from fastrag_quant.components.parameters import EmbeddingParameters, in_a_thread
from fastrag_quant.config import DEFAULTS
from fastrag_quant.errors import InputTypeError


@component
@dataclass(eq=False, repr=False, kw_only=True)
class QuantizedTextEmbedder(EmbeddingParameters):
    """Embeds a text such as a query with an int8 model on the CPU.

    Drops in for Haystack's SentenceTransformersTextEmbedder and fastRAG's IPEXSentenceTransformersTextEmbedder.
    The model is loaded by :meth:`warm_up` or the first run.

    :param prefix: in front of the text; None is the model's own query prompt, "" is none.
    :param suffix: behind the text.

    The other parameters are those of :class:`EmbeddingParameters`.
    """

    prefix: str | None = None
    suffix: str = ""

    @component.output_types(embedding=list[float])
    def run(self, text: str) -> dict[str, Any]:
        """Embed a text.

        :param text: the text.
        :return: ``embedding``, a list of numbers.
        :raises InputTypeError: for anything but a string.
        """
        if not isinstance(text, str):
            msg = (
                f"QuantizedTextEmbedder expects a string, not {type(text).__name__}. "
                "To embed a list of Documents use QuantizedDocumentEmbedder."
            )
            raise InputTypeError(msg)
        [vector] = self._loaded().embed_queries([text + self.suffix], prompt=self.prefix)
        return {"embedding": vector.tolist()}

    run_async = in_a_thread(run)


@component
@dataclass(eq=False, repr=False, kw_only=True)
class QuantizedDocumentEmbedder(EmbeddingParameters):
    """Embeds Documents with an int8 model on the CPU.

    Drops in for Haystack's SentenceTransformersDocumentEmbedder and fastRAG's
    IPEXSentenceTransformersDocumentEmbedder. The model is loaded by :meth:`warm_up` or the first run.

    :param prefix: in front of each text; None is the model's own document prompt, "" is none.
    :param suffix: behind each text.
    :param batch_size: documents per batch at the most.
    :param progress_bar: show one while embedding more than one batch.
    :param meta_fields_to_embed: meta fields that are embedded in front of the content.
    :param embedding_separator: between these and the content.

    The other parameters are those of :class:`EmbeddingParameters`.
    """

    _embeds_queries: ClassVar[bool] = False

    prefix: str | None = None
    suffix: str = ""
    batch_size: int = DEFAULTS.batch_size
    progress_bar: bool = DEFAULTS.progress_bar
    meta_fields_to_embed: list[str] | None = None
    embedding_separator: str = "\n"

    @component.output_types(documents=list[Document])
    def run(self, documents: list[Document]) -> dict[str, Any]:
        """Embed documents.

        :param documents: Documents with text; possibly none.
        :return: ``documents``, copies with embeddings.
        :raises InputTypeError: for anything but a list of Documents.
        :raises InputError: naming a document that has no text.
        """
        check_documents(
            documents, Document, "QuantizedDocumentEmbedder", "To embed a string use QuantizedTextEmbedder."
        )
        texts = texts_of(documents, self.meta_fields_to_embed, self.embedding_separator, self.suffix)
        shows_progress = self.progress_bar and len(texts) > self.batch_size
        vectors = self._loaded().embed_documents(texts, self.batch_size, shows_progress, self.prefix)
        pairs = zip(documents, vectors.tolist(), strict=True)
        return {"documents": [copied(document, embedding=vector) for document, vector in pairs]}

    run_async = in_a_thread(run)
