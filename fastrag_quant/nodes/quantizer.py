"""EmbedderQuantizer: a Haystack 1 node that quantizes an embedder on a pipeline's own documents."""

from typing import Any, Dict, List, Optional, Tuple, Union

from haystack.nodes.base import BaseComponent
from haystack.schema import Document

from fastrag_quant.arguments import absolute_path, check_documents, check_list
from fastrag_quant.config import DEFAULTS, EmbedderConfig
from fastrag_quant.errors import InputError
from fastrag_quant.nodes.documents import texts_of
from fastrag_quant.nodes.parameters import handed_on, plain_parameters
from fastrag_quant.quantization.quantizer import quantize


class EmbedderQuantizer(BaseComponent):
    """Calibrates on the documents of an indexing pipeline, writes a model directory, passes the documents on."""

    outgoing_edges = 1

    @plain_parameters
    def __init__(
        self,
        model_name_or_path: str,
        output_path: str,
        sample_size: int = DEFAULTS.sample_size,
        engine: str = DEFAULTS.quantize_for,
        min_cosine: float = DEFAULTS.min_cosine,
        pooling: Optional[str] = None,
        max_seq_len: Optional[int] = None,
        query_prompt: Optional[str] = None,
        document_prompt: Optional[str] = None,
        seed: int = DEFAULTS.seed,
        overwrite: bool = False,
        progress_bar: bool = DEFAULTS.progress_bar,
        embed_meta_fields: Optional[List[str]] = None,
        model_version: Optional[str] = None,
        use_auth_token: Optional[Union[str, bool]] = None,
        local_files_only: bool = False,
    ) -> None:
        """Hold the parameters, which are those of :func:`fastrag_quant.quantize`.

        :param model_name_or_path: the fp32 embedder, a directory or hub name.
        :param sample_size: documents to calibrate on at the most; up to 200 others verify.
        :param embed_meta_fields: meta fields in front of the content, as the retriever embeds them.
        :param model_version: branch, tag or commit of a hub model.
        :param use_auth_token: access token of the hub.
        :raises InputError: for a parameter of another type.
        """
        super().__init__()
        self.embed_meta_fields = embed_meta_fields
        self._arguments = {
            **handed_on(quantize, locals()),
            # Relative paths are those of now, wherever the process is when documents come.
            "model": EmbedderConfig(model_name_or_path).model,
            "output_path": absolute_path(output_path),
        }

    def run(self, documents: List[Document]) -> Tuple[Dict[str, Any], str]:
        """Quantize the model on these documents.

        :param documents: converted and split, as the retriever will embed them; at least 20.
        :return: the same documents, and the fidelity of each engine as ``fidelity``.
        :raises FastragQuantError: as :func:`fastrag_quant.quantize`.
        """
        if documents is None:
            msg = "EmbedderQuantizer got no documents: put it behind a converter and a preprocessor."
            raise InputError(msg)
        check_documents(documents, Document, type(self).__name__)
        texts = texts_of(documents, self.embed_meta_fields)
        result = quantize(calibration=texts, **self._arguments)
        fidelity = {engine: measured.as_dict() for engine, measured in result.fidelity.items()}
        return {"documents": documents, "fidelity": fidelity}, "output_1"

    def run_batch(self, documents: Union[List[Document], List[List[Document]]]) -> Tuple[Dict[str, Any], str]:
        """Quantize on the documents of all files of a batch."""
        check_list(documents, "Documents, or of such lists", type(self).__name__)
        flat = [document for part in documents for document in (part if isinstance(part, list) else [part])]
        output, edge = self.run(flat)
        return {**output, "documents": documents}, edge
