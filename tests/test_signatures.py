"""Embedder, nodes and components have one set of arguments and defaults, under the names of each Haystack."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from fastrag_quant import QuantizedEmbedder, quantize, verify
from fastrag_quant.config import DEFAULTS, EmbedderConfig

FIELDS = {field.name: field for field in fields(EmbedderConfig)}

HASHES = {"verify_hashes": "for a person who asks; sizes are compared at every load"}


@dataclass(frozen=True)
class Signature:
    """How the constructor of a node or component relates to EmbedderConfig.

    :param named: what it calls a field, where that is another name.
    :param without: the fields that it has not, and why.
    :param typed: the fields that have another type, and why.
    """

    named: dict[str, str]
    without: dict[str, str] = field(default_factory=lambda: dict(HASHES))
    typed: dict[str, str] = field(default_factory=dict)


AS_HAYSTACK_1 = {"revision": "model_version", "token": "use_auth_token"}
AS_HAYSTACK_1_TYPES = {
    "model": "YAML has no paths",
    "pad_to_max": "fastRAG's YAML has null for no",
}
NODES = {
    "QuantizedBiEncoderRetriever": Signature(
        {"model": "embedding_model", "pooling": "pooling_strategy", **AS_HAYSTACK_1}, typed=AS_HAYSTACK_1_TYPES
    ),
    "QuantizedBiEncoderRanker": Signature(
        {"model": "model_name_or_path", **AS_HAYSTACK_1},
        {"precision": "it hands no vectors on", **HASHES},
        AS_HAYSTACK_1_TYPES,
    ),
}

AS_HAYSTACK_2 = {"normalize": "normalize_embeddings"}
AS_HAYSTACK_2_TYPES = {"model": "YAML has no paths", "token": "a Secret, which Haystack writes by its variable's name"}
COMPONENTS = {
    "QuantizedTextEmbedder": Signature(
        {"query_prompt": "prefix", **AS_HAYSTACK_2},
        {"document_prompt": "it embeds no documents", **HASHES},
        AS_HAYSTACK_2_TYPES,
    ),
    "QuantizedDocumentEmbedder": Signature(
        {"document_prompt": "prefix", **AS_HAYSTACK_2},
        {"query_prompt": "it embeds no queries", **HASHES},
        AS_HAYSTACK_2_TYPES,
    ),
    "QuantizedBiEncoderRetriever": Signature(
        {"query_prompt": "query_prefix", **AS_HAYSTACK_2},
        {"document_prompt": "it embeds no documents", **HASHES},
        AS_HAYSTACK_2_TYPES,
    ),
    "QuantizedBiEncoderRanker": Signature(
        {"query_prompt": "query_prefix", "document_prompt": "document_prefix", **AS_HAYSTACK_2},
        {"precision": "it hands no vectors on", **HASHES},
        AS_HAYSTACK_2_TYPES,
    ),
}

# What EmbedderQuantizer calls the parameters of quantize(), where that is another name.
QUANTIZERS = {
    "nodes": {"model": "model_name_or_path", **AS_HAYSTACK_1},
    "components": {"query_prompt": "query_prefix", "document_prompt": "document_prefix"},
}

EXTRA_OF = {"nodes": "haystack1", "components": "haystack"}


def of_each_haystack(table: dict[str, dict[str, Any]]) -> list[Any]:
    return [
        pytest.param(room, name, told, id=f"{room}.{name}", marks=pytest.mark.needs(EXTRA_OF[room]))
        for room, rows in table.items()
        for name, told in rows.items()
    ]


ALL = pytest.mark.parametrize(("room", "name", "told"), of_each_haystack({"nodes": NODES, "components": COMPONENTS}))
QUANTIZER = pytest.mark.parametrize(
    ("room", "named"),
    [pytest.param(room, named, marks=pytest.mark.needs(EXTRA_OF[room])) for room, named in QUANTIZERS.items()],
)


def class_of(room: str, name: str) -> type:
    return getattr(import_module(f"fastrag_quant.{room}"), name)


def defaults(function: Callable) -> dict[str, Any]:
    """The parameters of a function or constructor and their defaults, MISSING where there is none."""
    # Haystack's metaclass hides the signature of a component's class.
    given = inspect.signature(function.__init__ if isinstance(function, type) else function).parameters
    parameters = {name: parameter for name, parameter in given.items() if name != "self"}
    return {name: MISSING if one.default is one.empty else one.default for name, one in parameters.items()}


def types(made: type) -> dict[str, set[type]]:
    """The types that each parameter of a constructor may have: ``str | None`` and ``Optional[str]`` are the same."""
    hints = get_type_hints(made if is_dataclass(made) else made.__init__, localns={"Path": Path})
    return {name: set(get_args(hint)) or {hint} for name, hint in hints.items()}


# The embedder


def test_the_embedder_takes_the_fields_with_the_same_defaults_and_types():
    assert defaults(QuantizedEmbedder) == {name: field.default for name, field in FIELDS.items()}

    taken = types(QuantizedEmbedder)
    assert {name: taken[name] for name in FIELDS} == {name: types(EmbedderConfig)[name] for name in FIELDS}


@pytest.mark.parametrize("function", [quantize, verify])
def test_the_functions_that_load_models_have_the_same_defaults(function: Callable):
    common = {name: default for name, default in defaults(function).items() if name in FIELDS and name != "engine"}

    assert common == {name: FIELDS[name].default for name in common}
    assert common.keys() >= {"model", "pooling", "token", "local_files_only"}


# Nodes and components


@ALL
def test_each_field_is_a_parameter_unless_it_is_left_out_for_a_reason(room: str, name: str, told: Signature):
    parameters = defaults(class_of(room, name))

    assert {field for field in FIELDS if told.named.get(field, field) not in parameters} == set(told.without)


@ALL
def test_each_parameter_has_the_default_of_its_field(room: str, name: str, told: Signature):
    parameters = defaults(class_of(room, name))
    if room == "components":  # Haystack's own components read the same variables
        assert parameters.pop("token") == import_module("fastrag_quant.components.parameters").HUB_TOKEN

    of_fields = {told.named.get(field, field): FIELDS[field].default for field in FIELDS}
    common = parameters.keys() & of_fields.keys()
    assert {given: parameters[given] for given in common} == {given: of_fields[given] for given in common}


@ALL
def test_each_parameter_has_the_types_of_its_field(room: str, name: str, told: Signature):
    taken, of_fields = types(class_of(room, name)), types(EmbedderConfig)

    common = [field for field in FIELDS if field not in told.without]
    assert {field for field in common if taken[told.named.get(field, field)] != of_fields[field]} == set(told.typed)


@ALL
def test_what_the_package_has_one_default_for_has_it_everywhere(room: str, name: str, told: Signature):
    shared = {name: value for name, value in defaults(class_of(room, name)).items() if name in vars(DEFAULTS)}

    assert shared == {name: vars(DEFAULTS)[name] for name in shared}


@ALL
def test_every_value_reaches_the_embedders_configuration(room: str, name: str, told: Signature):
    given = {
        "model": "models/any",
        "engine": "ipex",
        "pooling": "cls",
        "max_seq_len": 128,
        "query_prompt": "query: ",
        "document_prompt": "passage: ",
        "normalize": False,
        "dtype": "bfloat16",
        "truncate_dim": 64,
        "precision": "binary",
        "pad_to_max": True,
        "threads": 3,
        "pin_threads": True,
        "verify_hashes": True,
        "allow_torchscript": False,
        "revision": "main",
        "token": "hf_x",
        "local_files_only": True,
    }
    assert given.keys() == FIELDS.keys()
    given = {field: value for field, value in given.items() if field not in told.without}
    parameters = {told.named.get(field, field): value for field, value in given.items()}

    if room == "nodes":
        made = class_of(room, name)(**parameters)
        assert made._shared.config == EmbedderConfig(**given)
    else:
        made = component(name, parameters)
        of_calls = {"query_prompt", "document_prompt"}  # so that components of other prefixes share a model
        expected = {field: value for field, value in given.items() if field not in of_calls}
        assert made._config("hf_x") == EmbedderConfig(**expected)


def component(name: str, parameters: dict[str, Any]) -> Any:
    from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
    from haystack.document_stores.in_memory import InMemoryDocumentStore
    from haystack.utils import Secret

    if name == "QuantizedBiEncoderRetriever":
        parameters["retriever"] = InMemoryEmbeddingRetriever(InMemoryDocumentStore())
    parameters["token"] = Secret.from_token(parameters["token"])
    return class_of("components", name)(**parameters)


# The quantizers


def test_quantize_has_the_packages_defaults():
    given = defaults(quantize)

    shared = {name: value for name, value in vars(DEFAULTS).items() if name in given and name != "progress_bar"}
    assert {name: given[name] for name in shared} == shared
    assert shared.keys() == {"sample_size", "seed", "min_cosine"}
    assert given["engine"] == DEFAULTS.quantize_for


@QUANTIZER
def test_the_quantizer_takes_what_quantize_takes_but_for_the_texts(room: str, named: dict[str, str]):
    ours, theirs = defaults(class_of(room, "EmbedderQuantizer")), defaults(quantize)

    # A pipeline's documents are the calibration texts, and pipelines show progress.
    expected = {named.get(name, name): default for name, default in theirs.items() if name != "calibration"}
    expected["progress_bar"] = DEFAULTS.progress_bar
    if room == "components":
        expected["token"] = import_module("fastrag_quant.components.parameters").HUB_TOKEN
    assert ours.items() >= expected.items()
    assert ours.keys() - expected.keys() <= {"embed_meta_fields", "meta_fields_to_embed", "embedding_separator"}
