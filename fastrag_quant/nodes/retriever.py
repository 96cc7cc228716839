"""QuantizedBiEncoderRetriever: a Haystack 1 retriever on an int8 embedder."""

import logging
from typing import Any, Dict, List, Optional, Tuple, Union

import numpy as np
from haystack.document_stores.base import BaseDocumentStore
from haystack.nodes.retriever.dense import DenseRetriever
from haystack.schema import Document, FilterType

from fastrag_quant.arguments import check_documents, check_list
from fastrag_quant.config import DEFAULTS, EmbedderConfig
from fastrag_quant.errors import InputError
from fastrag_quant.nodes.documents import copied, texts_of
from fastrag_quant.nodes.parameters import embedder_of, of_a_call, plain_parameters
from fastrag_quant.vectors.ranking import without_repetitions

logger = logging.getLogger(__name__)


class QuantizedBiEncoderRetriever(DenseRetriever):
    """Embeds queries and documents with an int8 model on the CPU, and asks a document store.

    Drops in for fastRAG's node of this name and for Haystack 1's EmbeddingRetriever. The model is
    loaded when it is first used. Scores are those of the store.
    """

    @plain_parameters
    def __init__(
        self,
        embedding_model: str,
        document_store: Optional[BaseDocumentStore] = None,
        batch_size: int = DEFAULTS.batch_size,
        max_seq_len: Optional[int] = None,
        pooling_strategy: Optional[str] = None,
        top_k: int = DEFAULTS.top_k,
        progress_bar: bool = DEFAULTS.progress_bar,
        scale_score: bool = DEFAULTS.scale_score,
        embed_meta_fields: Optional[List[str]] = None,
        query_prompt: Optional[str] = None,
        document_prompt: Optional[str] = None,
        pad_to_max: Optional[bool] = False,
        engine: str = EmbedderConfig.engine,
        threads: Optional[int] = None,
        pin_threads: bool = False,
        dtype: Optional[str] = None,
        normalize: Optional[bool] = None,
        truncate_dim: Optional[int] = None,
        precision: str = EmbedderConfig.precision,
        model_version: Optional[str] = None,
        use_auth_token: Optional[Union[str, bool]] = None,
        local_files_only: bool = False,
        allow_torchscript: bool = True,
    ) -> None:
        """Hold the parameters; no model is loaded yet.

        :param embedding_model: a quantized model directory, the hub name of a published int8 model, or an fp32 model.
        :param document_store: where documents are; each method takes another one per call.
        :param batch_size: texts per batch at the most.
        :param top_k: documents per query.
        :param progress_bar: show one while embedding more than one batch.
        :param scale_score: whether the store maps its scores to 0 … 1.
        :param embed_meta_fields: meta fields that are embedded in front of the content.
        :param precision: as the embedder's. Arrays are float32 all the same, and hold eight dimensions in a number
            where they are binary.

        The other parameters are those of :class:`fastrag_quant.QuantizedEmbedder`, whose pooling, revision and token
        are called pooling_strategy, model_version and use_auth_token here, as in Haystack 1.

        :raises InputError: for a parameter of another type, and for one that no model could satisfy.
        """
        super().__init__()
        self.document_store = document_store
        self.batch_size = batch_size
        self.top_k = top_k
        self.progress_bar = progress_bar
        self.scale_score = scale_score
        self.embed_meta_fields = embed_meta_fields
        self._shared = embedder_of(locals())
        self._warned_of_dot_product = False

    def warm_up(self) -> None:
        """Load the model and compile its shapes for single queries.

        :raises ModelError: if the model is missing, damaged or of the wrong kind.
        """
        self._shared.embedder.warm_up()

    def embed_queries(self, queries: List[str]) -> np.ndarray:
        """Embed queries.

        :param queries: strings; a single string is taken as a list of one.
        :return: float32 of shape (queries, dimension); an eighth of the dimension for binary vectors.
        :raises InputError: for anything but strings.
        """
        texts = [queries] if isinstance(queries, str) else queries
        check_list(texts, "queries", type(self).__name__)
        return self._embedded_queries(texts, self.batch_size)

    def embed_documents(self, documents: List[Document]) -> np.ndarray:
        """Embed documents.

        :return: float32 of shape (documents, dimension); an eighth of the dimension for binary vectors.
        :raises InputError: for anything but Documents with text or a table, and if the vectors do
            not fit the document store.
        """
        check_documents(documents, Document, type(self).__name__)
        texts = texts_of(documents, self.embed_meta_fields)
        self._check_dimension(self.document_store)
        vectors = self._shared.embedder.embed_documents(texts, self.batch_size, self._shows_progress(texts))
        return _for_stores(vectors)

    def run_indexing(self, documents: List[Document]) -> Tuple[Dict[str, Any], str]:
        """Give documents their embeddings, in an indexing pipeline; the input stays as it is.

        Of documents with the same id the first goes on: Haystack's FAISS store would keep the
        vectors of all and the text of one, and refuse to load such an index again.
        """
        check_documents(documents, Document, type(self).__name__)
        different = without_repetitions(documents)
        embeddings = self.embed_documents(different)
        pairs = zip(different, embeddings, strict=True)
        embedded = [copied(document, embedding=embedding) for document, embedding in pairs]
        return {"documents": embedded}, "output_1"

    def retrieve(
        self,
        query: str,
        filters: Optional[FilterType] = None,
        top_k: Optional[int] = None,
        index: Optional[str] = None,
        headers: Optional[Dict[str, str]] = None,
        scale_score: Optional[bool] = None,
        document_store: Optional[BaseDocumentStore] = None,
    ) -> List[Document]:
        """Return the documents nearest to a query.

        :param query: the query.
        :param filters: the store's filters on meta fields.
        :param top_k: documents at the most; None is the node's.
        :param index: the store's index; None is its own.
        :param headers: HTTP headers for stores that take them.
        :param scale_score: whether scores are mapped to 0 … 1; None is the node's.
        :param document_store: the store to ask; None is the node's.
        :return: documents with scores, best first.
        :raises InputError: without a store, for top_k below 1, and for vectors that do not fit the store.
        """
        store = self._store(document_store)
        asked = of_a_call(self, top_k=top_k, scale_score=scale_score)
        documents: List[Document] = store.query_by_embedding(
            self._embed_for(store, [query])[0],
            filters=filters,
            index=store.index if index is None else index,
            headers=headers,
            **asked,
        )
        return _with_plain_scores(documents)

    def retrieve_batch(
        self,
        queries: List[str],
        filters: Optional[Union[FilterType, List[Optional[FilterType]]]] = None,
        top_k: Optional[int] = None,
        index: Optional[str] = None,
        headers: Optional[Dict[str, str]] = None,
        batch_size: Optional[int] = None,
        scale_score: Optional[bool] = None,
        document_store: Optional[BaseDocumentStore] = None,
    ) -> List[List[Document]]:
        """Return the documents nearest to each of several queries.

        :param queries: the queries.
        :param filters: one filter for all queries, or a list with one for each.
        :param batch_size: queries per batch; None is the node's.

        The other parameters and the errors are those of :meth:`retrieve`.

        :return: a list of documents per query.
        """
        check_list(queries, "queries", type(self).__name__)
        store = self._store(document_store)
        asked = of_a_call(self, top_k=top_k, scale_score=scale_score)
        if len(queries) == 0:
            return []
        lists: List[List[Document]] = store.query_by_embedding_batch(
            list(self._embed_for(store, queries, batch_size)),
            filters=filters,
            index=store.index if index is None else index,
            headers=headers,
            **asked,
        )
        return [_with_plain_scores(documents) for documents in lists]

    def _embed_for(self, store: BaseDocumentStore, queries: List[str], batch_size: Optional[int] = None) -> np.ndarray:
        self._check_dimension(store)
        self._warn_of_dot_product(store)
        return self._embedded_queries(queries, of_a_call(self, batch_size=batch_size)["batch_size"])

    def _embedded_queries(self, queries: List[str], batch_size: int) -> np.ndarray:
        return _for_stores(self._shared.embedder.embed_queries(queries, batch_size, self._shows_progress(queries)))

    def _store(self, document_store: Optional[BaseDocumentStore]) -> BaseDocumentStore:
        store = self.document_store if document_store is None else document_store
        if store is None:
            msg = f"{type(self).__name__} has no document store: pass one to its constructor or to this call."
            raise InputError(msg)
        return store

    def _check_dimension(self, store: Optional[BaseDocumentStore]) -> None:
        expected = getattr(store, "embedding_dim", None)
        numbers = self._shared.embedder.embed_queries([]).shape[1]  # fewer than dimensions where they are bits
        if expected is not None and expected != numbers:
            msg = (
                f"The document store holds vectors of {expected} numbers, and {self._shared.config.model} makes "
                f"vectors of {numbers}: create the store with embedding_dim={numbers}."
            )
            raise InputError(msg)

    def _warn_of_dot_product(self, store: BaseDocumentStore) -> None:
        if getattr(store, "similarity", None) != "dot_product" or self._warned_of_dot_product:
            return
        precision = self._shared.config.precision
        if precision != "float32":
            effect = f"makes the scores of {precision} vectors 0 or 1, in any order"
        elif self._shared.embedder.settings.normalize:
            effect = "squeezes the scores of normalised vectors to about 0.5, in the same order"
        else:
            return
        self._warned_of_dot_product = True
        logger.warning(
            "The document store's similarity is dot_product, which %s: create it with similarity='cosine'.", effect
        )

    def _shows_progress(self, texts: List[str]) -> bool:
        return self.progress_bar and len(texts) > self.batch_size


def _for_stores(vectors: np.ndarray) -> np.ndarray:
    """Return float32 whatever the precision: products of bytes overflow in Haystack's stores, or fail in FAISS."""
    return vectors.astype(np.float32, copy=False)


def _with_plain_scores(documents: List[Document]) -> List[Document]:
    """Return the documents with Python floats for scores: those of FAISS are numpy's, which JSON cannot write."""
    return [
        document if document.score is None else copied(document, score=float(document.score)) for document in documents
    ]
