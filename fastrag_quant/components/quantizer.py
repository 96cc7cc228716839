"""EmbedderQuantizer: a Haystack 2 and 3 component that quantizes an embedder on a pipeline's own documents."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any

from haystack import Document, component
from haystack.utils import Secret

from fastrag_quant.arguments import absolute_path, arguments_for, check_documents
from fastrag_quant.components.documents import texts_of
from fastrag_quant.components.parameters import HUB_TOKEN, Serializable
from fastrag_quant.config import DEFAULTS, EmbedderConfig
from fastrag_quant.quantization.quantizer import quantize


@component
@dataclass(eq=False, repr=False)
class EmbedderQuantizer(Serializable):
    """Calibrates on the documents of an indexing pipeline and writes a model directory.

    :param model: the fp32 embedder, a directory or hub name.
    :param output_path: the model directory to write.
    :param sample_size: documents to calibrate on at the most; up to 200 others verify.
    :param engine: which engine to quantize for; "all" is every installed one.
    :param min_cosine: smallest mean cosine of int8 to fp32 that passes.
    :param pooling: "cls" or "mean"; needed only where the model's files do not say.
    :param max_seq_len: tokens per text at the most; None is the model's own limit.
    :param query_prefix: the model's query prompt; None is its own.
    :param document_prefix: the model's document prompt; None is its own.
    :param seed: of the sample.
    :param overwrite: replace an output directory that this package wrote.
    :param progress_bar: whether to show calibration's progress.
    :param meta_fields_to_embed: meta fields in front of the content, as the embedder embeds them.
    :param embedding_separator: between these and the content.
    :param revision: branch, tag or commit of a hub model.
    :param token: access token of the hub.
    :param local_files_only: use the hub's local cache alone.
    """

    model: str
    output_path: str
    _: KW_ONLY
    sample_size: int = DEFAULTS.sample_size
    engine: str = DEFAULTS.quantize_for
    min_cosine: float = DEFAULTS.min_cosine
    pooling: str | None = None
    max_seq_len: int | None = None
    query_prefix: str | None = None
    document_prefix: str | None = None
    seed: int = DEFAULTS.seed
    overwrite: bool = False
    progress_bar: bool = DEFAULTS.progress_bar
    meta_fields_to_embed: list[str] | None = None
    embedding_separator: str = "\n"
    revision: str | None = None
    token: Secret | None = HUB_TOKEN
    local_files_only: bool = False

    def __post_init__(self) -> None:
        """Read the parameters, and the paths among them as they are meant now, wherever the process is later.

        :raises InputError: for a parameter of another type.
        """
        Serializable.__post_init__(self)
        self._paths = {"model": EmbedderConfig(self.model).model, "output_path": absolute_path(self.output_path)}

    @component.output_types(model=str, fidelity=dict[str, dict[str, float]])
    def run(self, documents: list[Document]) -> dict[str, Any]:
        """Quantize the model on these documents.

        :param documents: converted and split, as the embedder will embed them; at least 20.
        :return: ``model``, the directory that was written, and ``fidelity``, the measures of each engine.
        :raises InputTypeError: for anything but a list of Documents.
        :raises FastragQuantError: as :func:`fastrag_quant.quantize`.
        """
        check_documents(documents, Document, "EmbedderQuantizer")
        texts = texts_of(documents, self.meta_fields_to_embed, self.embedding_separator, suffix="")
        result = quantize(
            **arguments_for(quantize, vars(self))
            | self._paths
            | {
                "calibration": texts,
                "query_prompt": self.query_prefix,
                "document_prompt": self.document_prefix,
                "token": self.token.resolve_value() if self.token else None,
            }
        )
        fidelity = {engine: measured.as_dict() for engine, measured in result.fidelity.items()}
        return {"model": str(result.directory), "fidelity": fidelity}
