"""Parameters as text, as environment variables give them: read by their types, or refused by name; saved as read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import haystack
import numpy as np
import pytest
from haystack import Document, Pipeline
from haystack.errors import PipelineError

from fastrag_quant.errors import InputError
from fastrag_quant.nodes import EmbedderQuantizer, QuantizedBiEncoderRanker, QuantizedBiEncoderRetriever

# Where to find a node's parameter that is no attribute.
OF_EMBEDDERS = {
    "pad_to_max": ("true", True),
    "threads": ("2", 2),
    "pin_threads": ("True", True),
    "normalize": ("false", False),
    "truncate_dim": ("64", 64),
    "max_seq_len": ("128", 128),
    "local_files_only": ("TRUE", True),
    "query_prompt": ("true", "true"),
    "document_prompt": ("7", "7"),
    "dtype": ("float32", "float32"),
    "top_k": ("10", 10),
    "batch_size": ("8", 8),
    "scale_score": ("false", False),
    "progress_bar": ("False", False),
    "embed_meta_fields": ("title", ["title"]),
    "use_auth_token": ("true", True),
}
READ = {
    QuantizedBiEncoderRetriever: OF_EMBEDDERS | {"precision": ("binary", "binary")},
    QuantizedBiEncoderRanker: OF_EMBEDDERS
    | {"score_threshold": ("0.5", 0.5), "use_stored_embeddings": ("false", False), "use_auth_token": ("hf_x", "hf_x")},
    EmbedderQuantizer: {
        "sample_size": ("50", 50),
        "min_cosine": ("0.9", 0.9),
        "seed": ("7", 7),
        "overwrite": ("false", False),
        "progress_bar": ("true", True),
        "max_seq_len": ("null", None),
        "embed_meta_fields": ("title, author", ["title", "author"]),
        "local_files_only": ("false", False),
    },
}
REQUIRED: dict[type, dict[str, Any]] = {
    QuantizedBiEncoderRetriever: {"embedding_model": "models/any"},
    QuantizedBiEncoderRanker: {"model_name_or_path": "models/any"},
    EmbedderQuantizer: {"model_name_or_path": "models/any", "output_path": "models/any-int8"},
}


def load(node: type, parameters: dict[str, Any]) -> Any:
    """Return a node as Haystack makes it of YAML and environment variables."""
    content = {
        "version": haystack.__version__,
        "components": [{"name": "Node", "type": node.__name__, "params": parameters}],
        "pipelines": [{"name": "one", "nodes": [{"name": "Node", "inputs": ["Query"]}]}],
    }
    return Pipeline.load_from_config(content)


@pytest.mark.parametrize(
    ("node", "name", "text", "value"),
    [(node, name, text, value) for node, read in READ.items() for name, (text, value) in read.items()],
)
def test_a_variable_is_read_by_the_type_of_the_parameter(
    node: type, name: str, text: str, value: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(f"NODE_PARAMS_{name.upper()}", text)

    made = load(node, REQUIRED[node]).get_node("Node")

    assert made.get_params(return_defaults=True)[name] == value
    assert type(made.get_params(return_defaults=True)[name]) is type(value)
    assert held_by(made, name) == value


def held_by(node: Any, name: str) -> Any:
    """Return what a node works with."""
    if hasattr(node, name):
        return getattr(node, name)
    name = "token" if name == "use_auth_token" else name
    return node._arguments[name] if hasattr(node, "_arguments") else getattr(node._shared.config, name)


@pytest.mark.parametrize(
    ("node", "name", "given", "expected"),
    [
        (QuantizedBiEncoderRanker, "scale_score", "maybe", "true or false, not 'maybe'"),
        (QuantizedBiEncoderRanker, "use_stored_embeddings", "1", "true or false, not '1'"),
        (QuantizedBiEncoderRanker, "score_threshold", "high", "a number or None, not 'high'"),
        (QuantizedBiEncoderRanker, "score_threshold", "nan", "a number or None, not 'nan'"),
        (QuantizedBiEncoderRetriever, "top_k", "ten", "a whole number, not 'ten'"),
        (QuantizedBiEncoderRetriever, "top_k", "2.5", "a whole number, not '2.5'"),
        (QuantizedBiEncoderRetriever, "pin_threads", "null", "true or false, not 'null'"),
        (QuantizedBiEncoderRetriever, "pad_to_max", "", None),
        (QuantizedBiEncoderRetriever, "embed_meta_fields", "{title: 1}", "a list of texts or None, not '{title: 1}'"),
        (EmbedderQuantizer, "overwrite", "yes please", "true or false, not 'yes please'"),
        (EmbedderQuantizer, "sample_size", "many", "a whole number, not 'many'"),
    ],
)
def test_text_that_cannot_be_read_is_refused_by_name_when_the_node_is_made(
    node: type, name: str, given: str, expected: str | None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(f"NODE_PARAMS_{name.upper()}", given)

    if expected is None:  # null, which this one takes
        assert load(node, REQUIRED[node]).get_node("Node").get_params(return_defaults=True)[name] is None
        return
    with pytest.raises(PipelineError) as error:
        load(node, REQUIRED[node])

    assert isinstance(error.value.__cause__, InputError)
    assert str(error.value.__cause__) == f"{node.__name__}: {name} must be {expected}."


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("scale_score", 1, "true or false, not 1"),
        ("scale_score", None, "true or false, not None"),
        ("score_threshold", True, "a number or None, not True"),
        ("embed_meta_fields", [7], r"a list of texts or None, not \[7\]"),
        ("engine", 7, "text, not 7"),
        ("top_k", 2.0, "a whole number, not 2.0"),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(name: str, given: Any, expected: str):
    with pytest.raises(InputError, match=rf"QuantizedBiEncoderRanker: {name} must be {expected}\."):
        QuantizedBiEncoderRanker("models/any", **{name: given})


@pytest.mark.parametrize("node", [QuantizedBiEncoderRetriever, QuantizedBiEncoderRanker])
def test_a_batch_of_no_texts_is_refused_when_the_node_is_made(node: type):
    with pytest.raises(InputError, match=f"{node.__name__}: batch_size must be a whole number of at least 1, not 0"):
        node("models/any", batch_size=0)


def test_a_call_reads_its_parameters_too(tiny_cls_model: Path, documents: list[Document]):
    ranker = QuantizedBiEncoderRanker(str(tiny_cls_model), engine="torch", progress_bar=False)

    assert len(ranker.predict("for", documents, top_k="2")) == 2  # type: ignore[arg-type]
    for given, expected in (
        ({"top_k": "two"}, "top_k must be a whole number"),
        ({"batch_size": 0}, "batch_size must be"),
    ):
        with pytest.raises(InputError, match=f"QuantizedBiEncoderRanker: {expected}"):
            ranker.predict_batch(["for"], [documents], **given)  # type: ignore[arg-type]


def test_a_retrieval_reads_its_parameters_too(store: Any, retriever: QuantizedBiEncoderRetriever):
    found = retriever.retrieve("for", top_k="2", scale_score="false", document_store=store)  # type: ignore[arg-type]

    assert found == retriever.retrieve("for", top_k=2, scale_score=False, document_store=store)
    with pytest.raises(InputError, match="QuantizedBiEncoderRetriever: scale_score must be true or false, not 'maybe'"):
        retriever.retrieve("for", scale_score="maybe", document_store=store)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="batch_size must be a whole number of at least 1, not 0"):
        retriever.retrieve_batch(["for"], batch_size=0, document_store=store)


# What is saved


def saved_and_loaded(node: Any, tmp_path: Path) -> dict[str, Any]:
    pipeline = Pipeline()
    pipeline.add_node(node, "Node", ["Query"])
    pipeline.save_to_yaml(tmp_path / "saved.yaml")
    return Pipeline.load_from_yaml(tmp_path / "saved.yaml").get_node("Node").get_params()


def test_paths_and_numbers_of_numpy_are_saved_as_yaml_knows_them(tmp_path: Path):
    node = QuantizedBiEncoderRanker(
        tmp_path / "model",  # type: ignore[arg-type]
        top_k=np.int64(3),  # type: ignore[arg-type]
        score_threshold=np.float32(0.25),  # type: ignore[arg-type]
        embed_meta_fields=("title",),  # type: ignore[arg-type]
    )

    assert saved_and_loaded(node, tmp_path) == {
        "model_name_or_path": str(tmp_path / "model"),
        "top_k": 3,
        "score_threshold": 0.25,
        "embed_meta_fields": ["title"],
    }


def test_the_paths_of_a_quantizer_are_saved_as_text(tmp_path: Path):
    node = EmbedderQuantizer(tmp_path / "model", tmp_path / "int8")  # type: ignore[arg-type]

    assert saved_and_loaded(node, tmp_path) == {
        "model_name_or_path": str(tmp_path / "model"),
        "output_path": str(tmp_path / "int8"),
    }


def test_a_node_of_ones_own_saves_its_own_parameters(tmp_path: Path):
    class Reranker(QuantizedBiEncoderRanker):
        def __init__(self, top_k: str) -> None:
            super().__init__(tmp_path / "model", top_k=top_k)  # type: ignore[arg-type]

    node = Reranker("7")

    assert node.top_k == 7
    assert node.get_params() == {"top_k": "7"}
