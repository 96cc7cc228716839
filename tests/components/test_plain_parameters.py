"""Parameters of components as text are read by their types, or refused by name, as those of Haystack 1's nodes are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from haystack import Document
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.document_stores.in_memory import InMemoryDocumentStore

from fastrag_quant.components import (
    EmbedderQuantizer,
    QuantizedBiEncoderRanker,
    QuantizedBiEncoderRetriever,
    QuantizedDocumentEmbedder,
    QuantizedTextEmbedder,
)
from fastrag_quant.errors import InputError, InputTypeError


@pytest.mark.parametrize(
    ("component", "name", "text", "value"),
    [
        (QuantizedTextEmbedder, "normalize_embeddings", "false", False),
        (QuantizedTextEmbedder, "pad_to_max", "False", False),
        (QuantizedTextEmbedder, "truncate_dim", "64", 64),
        (QuantizedTextEmbedder, "threads", "null", None),
        (QuantizedTextEmbedder, "suffix", "7", "7"),
        (QuantizedDocumentEmbedder, "meta_fields_to_embed", "title", ["title"]),
        (QuantizedDocumentEmbedder, "meta_fields_to_embed", "title, author", ["title", "author"]),
        (QuantizedDocumentEmbedder, "progress_bar", "true", True),
        (QuantizedDocumentEmbedder, "batch_size", "8", 8),
        (QuantizedBiEncoderRanker, "scale_score", "false", False),
        (QuantizedBiEncoderRanker, "use_stored_embeddings", "false", False),
        (QuantizedBiEncoderRanker, "score_threshold", "0.5", 0.5),
        (QuantizedBiEncoderRanker, "top_k", np.int64(3), 3),
    ],
)
def test_text_is_read_by_the_type_of_the_parameter(component: type, name: str, text: Any, value: Any):
    made = component(model="models/any", **{name: text})

    for held in (getattr(made, name), made.to_dict()["init_parameters"][name]):
        assert held == value
        assert type(held) is type(value)


@pytest.mark.parametrize(
    ("component", "name", "given", "expected"),
    [
        (QuantizedTextEmbedder, "pin_threads", "maybe", "true or false, not 'maybe'"),
        (QuantizedTextEmbedder, "prefix", 7, "text or None, not 7"),
        (QuantizedDocumentEmbedder, "batch_size", 0, "a whole number of at least 1, not 0"),
        (QuantizedDocumentEmbedder, "meta_fields_to_embed", {"title": 1}, "a list of texts or None, not {'title': 1}"),
        (QuantizedBiEncoderRanker, "top_k", "ten", "a whole number, not 'ten'"),
        (QuantizedBiEncoderRanker, "score_threshold", "high", "a number or None, not 'high'"),
        (QuantizedBiEncoderRanker, "scale_score", 1, "true or false, not 1"),
    ],
)
def test_what_cannot_be_read_is_refused_by_name(component: type, name: str, given: Any, expected: str):
    with pytest.raises(InputError) as error:
        component(model="models/any", **{name: given})

    assert str(error.value) == f"{component.__name__}: {name} must be {expected}."


def test_the_quantizer_reads_its_parameters_too(tmp_path: Path):
    made = EmbedderQuantizer(tmp_path, tmp_path / "int8", overwrite="false", seed="7")  # type: ignore[arg-type]

    assert (made.model, made.overwrite, made.seed) == (str(tmp_path), False, 7)
    with pytest.raises(InputError, match="EmbedderQuantizer: overwrite must be true or false, not 'never'"):
        EmbedderQuantizer("models/any", "models/int8", overwrite="never")  # type: ignore[arg-type]


@pytest.mark.parametrize("component", [QuantizedTextEmbedder, QuantizedBiEncoderRanker])
def test_a_token_in_clear_text_is_refused_and_not_shown(component: type):
    with pytest.raises(InputTypeError, match="token must be a Secret") as error:
        component(model="models/any", token="hf_verysecret")

    assert "hf_verysecret" not in str(error.value)


def test_a_call_of_the_ranker_reads_its_parameters(tiny: dict[str, Any], documents: list[Document]):
    ranker = QuantizedBiEncoderRanker(**tiny, progress_bar=False)

    cosines = ranker.run("for", documents, scale_score="false", top_k="3")["documents"]  # type: ignore[arg-type]
    assert [document.score for document in cosines] == [
        document.score for document in ranker.run("for", documents, scale_score=False, top_k=3)["documents"]
    ]
    assert ranker.run("for", documents, score_threshold="1.5")["documents"] == []  # type: ignore[arg-type]
    for name in ("top_k", "scale_score", "score_threshold"):
        with pytest.raises(InputError, match=f"QuantizedBiEncoderRanker: {name} must be"):
            ranker.run("for", documents, **{name: "some"})


def test_a_call_of_the_retriever_reads_its_top_k(tiny: dict[str, Any], documents: list[Document]):
    store = InMemoryDocumentStore()
    store.write_documents(QuantizedDocumentEmbedder(**tiny).run(documents)["documents"])
    retriever = QuantizedBiEncoderRetriever(**tiny, retriever=InMemoryEmbeddingRetriever(store))

    assert len(retriever.run("for", top_k="2")["documents"]) == 2  # type: ignore[arg-type]
    with pytest.raises(
        InputError, match="QuantizedBiEncoderRetriever: top_k must be a whole number or None, not 'two'"
    ):
        retriever.run("for", top_k="two")  # type: ignore[arg-type]
