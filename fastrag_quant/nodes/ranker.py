"""QuantizedBiEncoderRanker: a Haystack 1 ranker on an int8 embedder."""

from functools import partial
from typing import Any, Dict, List, Optional, Tuple, Union

from haystack.nodes.ranker.base import BaseRanker
from haystack.schema import Document

from fastrag_quant.arguments import arguments_for, check_documents, check_list
from fastrag_quant.config import DEFAULTS, EmbedderConfig
from fastrag_quant.errors import InputError
from fastrag_quant.nodes.documents import copied, texts_of
from fastrag_quant.nodes.parameters import embedder_of, of_a_call, plain_parameters
from fastrag_quant.vectors.ranking import Ranking


class QuantizedBiEncoderRanker(BaseRanker):
    """Orders documents by the cosine of their vectors to the query's, from an int8 model on the CPU.

    Drops in for fastRAG's node of this name. The model is loaded when it is first used. A
    document's score is the cosine, a Python float; ``scale_score`` maps it to (cosine + 1) / 2.
    Documents with the same id appear once, ties keep the order of the input, and the input
    documents stay as they are.
    """

    @plain_parameters
    def __init__(
        self,
        model_name_or_path: str,
        model_version: Optional[str] = None,
        top_k: int = DEFAULTS.top_k,
        batch_size: int = DEFAULTS.batch_size,
        scale_score: bool = DEFAULTS.scale_score,
        pooling: Optional[str] = None,
        progress_bar: bool = DEFAULTS.progress_bar,
        query_prompt: Optional[str] = None,
        document_prompt: Optional[str] = None,
        pad_to_max: Optional[bool] = False,
        use_auth_token: Optional[Union[str, bool]] = None,
        embed_meta_fields: Optional[List[str]] = None,
        score_threshold: Optional[float] = None,
        use_stored_embeddings: bool = False,
        max_seq_len: Optional[int] = None,
        engine: str = EmbedderConfig.engine,
        threads: Optional[int] = None,
        pin_threads: bool = False,
        dtype: Optional[str] = None,
        normalize: Optional[bool] = None,
        truncate_dim: Optional[int] = None,
        local_files_only: bool = False,
        allow_torchscript: bool = True,
    ) -> None:
        """Hold the parameters; no model is loaded yet.

        :param model_name_or_path: a quantized model directory, the hub name of a published int8 model, or an fp32
            model.
        :param top_k: documents that are returned at the most.
        :param batch_size: documents per batch at the most.
        :param scale_score: map the cosine to 0 … 1.
        :param progress_bar: show one while embedding more than one batch.
        :param embed_meta_fields: meta fields that are embedded in front of the content.
        :param score_threshold: drop documents whose score, scaled or not, is below it.
        :param use_stored_embeddings: take the embedding that a document carries, where it has the
            model's dimension, instead of embedding its text. For documents that a retriever with
            the same model and prompts embedded in float32, from a store with return_embedding. Texts
            whose embedding is in another precision or no vector at all are embedded, with a warning.

        The other parameters are those of :class:`fastrag_quant.QuantizedEmbedder`, whose revision and token are
        called model_version and use_auth_token here, as in Haystack 1.

        :raises InputError: for a parameter of another type, and for one that no model could satisfy.
        """
        super().__init__()
        self.top_k = top_k
        self.batch_size = batch_size
        self.scale_score = scale_score
        self.progress_bar = progress_bar
        self.embed_meta_fields = embed_meta_fields
        self.score_threshold = score_threshold
        self.use_stored_embeddings = use_stored_embeddings
        self._shared = embedder_of(locals())

    def warm_up(self) -> None:
        """Load the model and compile its shapes for single queries.

        :raises ModelError: if the model is missing, damaged or of the wrong kind.
        """
        self._shared.embedder.warm_up()

    def predict(self, query: str, documents: List[Document], top_k: Optional[int] = None) -> List[Document]:
        """Order documents by their nearness to a query.

        :param query: the query.
        :param documents: the documents; possibly none.
        :param top_k: documents at the most; None is the node's.
        :return: copies of the documents with scores, best first.
        :raises InputError: for anything but a string and Documents with text or a table, and for top_k below 1.
        """
        return self._rank([query], [documents], top_k, None)[0]

    def predict_batch(
        self,
        queries: List[str],
        documents: Union[List[Document], List[List[Document]]],
        top_k: Optional[int] = None,
        batch_size: Optional[int] = None,
    ) -> Union[List[Document], List[List[Document]]]:
        """Order lists of documents, in the combinations that Haystack 1's rankers know.

        One query and a list of documents give a list of documents. One query and lists of
        documents, or as many queries as lists, give a list of documents for each.

        :param queries: the queries; a single string is taken as a list of one.
        :param documents: a list of documents, or a list of such lists.
        :param top_k: documents per list at the most; None is the node's.
        :param batch_size: documents per batch at the most; None is the node's.
        :return: copies of the documents with scores, best first.
        :raises InputError: for other combinations, and as in :meth:`predict`.
        """
        queries = [queries] if isinstance(queries, str) else queries
        check_list(queries, "queries", type(self).__name__)
        check_list(documents, "Documents, or of such lists", type(self).__name__)
        if documents and isinstance(documents[0], Document):
            if len(queries) != 1:
                msg = f"{type(self).__name__} got {len(queries)} queries and one list of Documents: pass one per query."
                raise InputError(msg)
            return self._rank(queries, [documents], top_k, batch_size)[0]  # type: ignore[list-item]
        if len(queries) == 1:
            queries = queries * len(documents)
        if len(queries) != len(documents):
            msg = f"{type(self).__name__} got {len(queries)} queries and {len(documents)} lists of Documents."
            raise InputError(msg)
        return self._rank(queries, documents, top_k, batch_size)  # type: ignore[arg-type]

    def run_batch(
        self,
        queries: List[str],
        documents: Union[List[Document], List[List[Document]]],
        top_k: Optional[int] = None,
        batch_size: Optional[int] = None,
    ) -> Tuple[Dict[str, Any], str]:
        """Rank in a batch pipeline; unlike Haystack's own, also for one flat list of documents."""
        predict_batch = self.timing(self.predict_batch, "query_time")
        ranked = predict_batch(queries, documents, top_k, batch_size)
        self.query_count += 1 if isinstance(queries, str) else len(queries)
        return {"documents": ranked}, "output_1"

    def _rank(
        self,
        queries: List[str],
        lists: List[List[Document]],
        top_k: Optional[int],
        batch_size: Optional[int],
    ) -> List[List[Document]]:
        asked = of_a_call(self, top_k=top_k, batch_size=batch_size)
        for documents in lists:
            check_documents(documents, Document, type(self).__name__)
        if not any(lists):
            return [[] for _ in lists]
        chosen = partial(texts_of, embed_meta_fields=self.embed_meta_fields)
        ranking = Ranking(**{**arguments_for(Ranking, vars(self)), **asked, "texts_of": chosen})
        ranked = ranking.rank(self._shared.embedder, queries, lists)
        return [[copied(document, score=score) for document, score in best] for best in ranked]
