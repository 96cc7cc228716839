"""Every parameter of every component: its default, its name, and its way through dictionaries and YAML."""

from __future__ import annotations

import inspect
from copy import deepcopy
from dataclasses import fields

import pytest
from haystack import Pipeline
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.core import serialization
from haystack.core.errors import DeserializationError, PipelineError
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.utils import Secret

from fastrag_quant.components import (
    EmbedderQuantizer,
    QuantizedBiEncoderRanker,
    QuantizedBiEncoderRetriever,
    QuantizedDocumentEmbedder,
    QuantizedTextEmbedder,
)
from fastrag_quant.errors import InputError

TOKEN = Secret.from_env_var("MY_TOKEN")

# A value for every parameter, none of them the default.
EMBEDDER_VALUES = {
    "model": "models/any",
    "engine": "torch",
    "pooling": "cls",
    "max_seq_len": 128,
    "normalize_embeddings": False,
    "truncate_dim": 64,
    "pad_to_max": True,
    "threads": 1,
    "pin_threads": True,
    "dtype": "bfloat16",
    "revision": "main",
    "token": TOKEN,
    "local_files_only": True,
    "allow_torchscript": False,
}
DOCUMENT_VALUES = {
    "batch_size": 8,
    "progress_bar": False,
    "meta_fields_to_embed": ["title"],
    "embedding_separator": " ",
}
VALUES = {
    QuantizedTextEmbedder: {
        **EMBEDDER_VALUES,
        "precision": "int8",
        "prefix": "query: ",
        "suffix": ".",
    },
    QuantizedDocumentEmbedder: {
        **EMBEDDER_VALUES,
        **DOCUMENT_VALUES,
        "precision": "binary",
        "prefix": "passage: ",
        "suffix": ".",
    },
    QuantizedBiEncoderRanker: {
        **EMBEDDER_VALUES,
        **DOCUMENT_VALUES,
        "top_k": 3,
        "query_prefix": "query: ",
        "query_suffix": "?",
        "document_prefix": "passage: ",
        "document_suffix": ".",
        "scale_score": False,
        "score_threshold": 0.25,
        "use_stored_embeddings": True,
    },
    QuantizedBiEncoderRetriever: {
        **EMBEDDER_VALUES,
        "precision": "uint8",
        "retriever": InMemoryEmbeddingRetriever(InMemoryDocumentStore(index="passages"), top_k=7),
        "query_prefix": "query: ",
        "query_suffix": "?",
    },
    EmbedderQuantizer: {
        "model": "models/any",
        "output_path": "models/any-int8",
        "sample_size": 50,
        "engine": "openvino",
        "min_cosine": 0.9,
        "pooling": "mean",
        "max_seq_len": 128,
        "query_prefix": "query: ",
        "document_prefix": "passage: ",
        "seed": 7,
        "overwrite": True,
        "progress_bar": False,
        "meta_fields_to_embed": ["title"],
        "embedding_separator": " ",
        "revision": "main",
        "token": TOKEN,
        "local_files_only": True,
    },
}
COMPONENTS = list(VALUES)
EMBEDDING = [component for component in COMPONENTS if component is not EmbedderQuantizer]


@pytest.fixture(autouse=True)
def allowed(monkeypatch):
    """The package is on Haystack 3's allow-list, which Haystack 2 does not have."""
    monkeypatch.setenv("HAYSTACK_DESERIALIZATION_ALLOWLIST", "fastrag_quant")


def signature(component):
    parameters = dict(inspect.signature(component.__init__).parameters)
    del parameters["self"]
    return parameters


def required(component):
    return {
        name: VALUES[component][name]
        for name, parameter in signature(component).items()
        if parameter.default is parameter.empty
    }


def defaults(function):
    parameters = inspect.signature(function).parameters
    return {
        name: parameter.default for name, parameter in parameters.items() if parameter.default is not parameter.empty
    }


class TestDefaults:
    @pytest.mark.parametrize("component", COMPONENTS)
    def test_a_component_of_required_parameters_alone_has_the_defaults(self, component):
        made = component(**required(component))

        assert {name: getattr(made, name) for name in defaults(component.__init__)} == defaults(component.__init__)

    @pytest.mark.parametrize("component", COMPONENTS)
    def test_the_token_comes_from_haystacks_own_variables(self, component, monkeypatch):
        monkeypatch.setenv("HF_TOKEN", "hf_x")

        assert component(**required(component)).token.resolve_value() == "hf_x"


class TestValues:
    @pytest.mark.parametrize("component", COMPONENTS)
    def test_each_parameter_has_one_here_that_is_not_its_default(self, component):
        assert set(VALUES[component]) == set(signature(component))
        assert all(VALUES[component][name] != default for name, default in defaults(component.__init__).items())

    @pytest.mark.parametrize("component", COMPONENTS)
    def test_each_is_a_public_attribute(self, component):
        made = component(**VALUES[component])

        assert {name: getattr(made, name) for name in VALUES[component]} == VALUES[component]

    @pytest.mark.parametrize("component", COMPONENTS)
    def test_the_model_may_be_a_path(self, component, tmp_path):
        made = component(**{**required(component), "model": tmp_path})

        assert made.model == str(tmp_path)

    @pytest.mark.parametrize("component", EMBEDDING)
    @pytest.mark.parametrize(
        ("name", "value"),
        [("engine", "tpu"), ("pooling", "max"), ("max_seq_len", 0), ("threads", 0), ("truncate_dim", 0)],
    )
    def test_those_that_no_model_could_satisfy_are_refused_at_once(self, component, name, value):
        with pytest.raises(InputError):
            component(**{**required(component), name: value})

    @pytest.mark.parametrize("component", [QuantizedTextEmbedder, QuantizedDocumentEmbedder])
    def test_an_unknown_precision_is_refused_at_once(self, component):
        with pytest.raises(InputError, match="use one of float32, int8"):
            component("any", precision="float8")


class TestRoundTrip:
    @pytest.mark.parametrize("component", COMPONENTS)
    def test_to_dict_names_the_class_and_every_parameter(self, component):
        written = component(**VALUES[component]).to_dict()

        assert written["type"] == f"{component.__module__}.{component.__name__}"
        plain = {name: value for name, value in VALUES[component].items() if name not in ("token", "retriever")}
        assert written["init_parameters"].items() >= plain.items()
        assert set(written["init_parameters"]) == set(signature(component))

    @pytest.mark.parametrize("component", COMPONENTS)
    def test_from_dict_makes_the_same_again_and_leaves_the_dictionary_as_it_is(self, component):
        written = component(**VALUES[component]).to_dict()
        before = deepcopy(written)

        again = component.from_dict(written)

        assert again.to_dict() == before
        assert written == before

    @pytest.mark.parametrize("component", COMPONENTS)
    def test_from_dict_of_the_model_alone_takes_the_defaults(self, component):
        minimal = component(**required(component)).to_dict()
        minimal["init_parameters"] = {
            name: value for name, value in minimal["init_parameters"].items() if name in required(component)
        }

        assert component.from_dict(minimal).to_dict() == component(**required(component)).to_dict()

    @pytest.mark.parametrize("component", COMPONENTS)
    def test_a_secret_is_written_by_the_name_of_its_variable(self, component, monkeypatch):
        monkeypatch.setenv("MY_TOKEN", "hf_secret")

        pipeline = Pipeline()
        pipeline.add_component("one", component(**VALUES[component]))
        written = pipeline.dumps()

        assert "MY_TOKEN" in written
        assert "hf_secret" not in written
        assert Pipeline.loads(written).get_component("one").token.resolve_value() == "hf_secret"

    @pytest.mark.parametrize("component", COMPONENTS)
    def test_a_token_that_is_no_variable_is_never_written(self, component):
        made = component(**{**required(component), "token": Secret.from_token("hf_secret")})

        with pytest.raises(ValueError, match="token-based secret"):
            made.to_dict()

    @pytest.mark.parametrize("component", COMPONENTS)
    def test_no_token_shows_in_a_repr(self, component, monkeypatch):
        monkeypatch.setenv("MY_TOKEN", "hf_secret")
        made = component(**VALUES[component])
        pipeline = Pipeline()
        pipeline.add_component("one", made)

        assert made.token.resolve_value() == "hf_secret"
        assert "hf_secret" not in repr(made) + repr(pipeline)
        if component is not EmbedderQuantizer:
            assert "hf_secret" not in repr(made._shared) + repr(made._config("hf_secret"))

    @pytest.mark.parametrize("component", COMPONENTS)
    def test_a_pipeline_is_written_and_read(self, component):
        pipeline = Pipeline()
        pipeline.add_component("one", component(**VALUES[component]))

        again = Pipeline.loads(pipeline.dumps())

        assert again.to_dict() == pipeline.to_dict()
        assert type(again.get_component("one")) is component

    @pytest.mark.parametrize("component", COMPONENTS)
    def test_an_unknown_parameter_is_refused(self, component):
        written = component(**required(component)).to_dict()
        written["init_parameters"]["quantise"] = True

        with pytest.raises((TypeError, DeserializationError, PipelineError), match="quantise"):
            component.from_dict(written)

    def test_the_nested_retriever_comes_back_with_its_store(self):
        retriever = QuantizedBiEncoderRetriever(**VALUES[QuantizedBiEncoderRetriever])

        inner = QuantizedBiEncoderRetriever.from_dict(retriever.to_dict()).retriever

        assert type(inner) is InMemoryEmbeddingRetriever
        assert (inner.top_k, inner.document_store.index) == (7, "passages")

    @pytest.mark.skipif(not hasattr(serialization, "allow_deserialization_module"), reason="Haystack 3 has the list")
    def test_haystack_3_refuses_them_where_they_are_not_allowed(self, monkeypatch):
        monkeypatch.delenv("HAYSTACK_DESERIALIZATION_ALLOWLIST")
        monkeypatch.setattr("haystack.core.serialization_security._extra_allowed_modules", [])
        pipeline = Pipeline()
        pipeline.add_component("one", QuantizedTextEmbedder("models/any"))

        with pytest.raises(DeserializationError, match="fastrag_quant"):
            Pipeline.loads(pipeline.dumps())


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_parameter_is_documented(component):
    documented = "".join(cls.__doc__ or "" for cls in component.__mro__)

    assert [field.name for field in fields(component) if f":param {field.name}:" not in documented] == []
