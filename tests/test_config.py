"""The record of an embedder's arguments: checked at once, a key, with the embedder's defaults, silent on tokens."""

from __future__ import annotations

import inspect
import traceback
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import pytest

from fastrag_quant import QuantizedEmbedder
from fastrag_quant.config import DEFAULTS, Dtype, EmbedderConfig
from fastrag_quant.errors import FastragQuantError, InputError
from fastrag_quant.model.settings import SettingsOverrides
from fastrag_quant.model.source import ModelSource

TOKEN = "hf_verysecret"


def test_the_defaults_are_those_of_the_embedder():
    parameters = inspect.signature(QuantizedEmbedder).parameters

    assert [field.name for field in fields(EmbedderConfig)] == list(parameters)
    for field in fields(EmbedderConfig):
        assert field.default == parameters[field.name].default or field.name == "model"


def test_every_argument_of_the_embedder_reaches_its_configuration(monkeypatch: pytest.MonkeyPatch):
    loaded: list[EmbedderConfig] = []
    monkeypatch.setattr(QuantizedEmbedder, "_load", lambda _, config: loaded.append(config))
    arguments: dict[str, Any] = {
        "model": "a/model",
        "engine": "ipex",
        "pooling": "mean",
        "max_seq_len": 16,
        "query_prompt": "q: ",
        "document_prompt": "d: ",
        "normalize": False,
        "dtype": "bfloat16",
        "truncate_dim": 8,
        "precision": "binary",
        "pad_to_max": True,
        "threads": 3,
        "pin_threads": True,
        "verify_hashes": True,
        "allow_torchscript": False,
        "revision": "abc",
        "token": TOKEN,
        "local_files_only": True,
    }
    assert set(arguments) == {field.name for field in fields(EmbedderConfig)}

    QuantizedEmbedder(**arguments)

    assert loaded == [EmbedderConfig(**arguments)]
    assert all(getattr(loaded[0], name) == value for name, value in arguments.items())


# A record


def test_a_configuration_never_changes():
    with pytest.raises(FrozenInstanceError):
        EmbedderConfig("a/model").engine = "torch"  # type: ignore[misc]


def test_equal_configurations_are_one_key_and_others_are_not():
    assert {EmbedderConfig("a/model", "torch"): 1}[EmbedderConfig("a/model", engine="torch")] == 1
    assert EmbedderConfig("a/model") != EmbedderConfig("a/model", threads=1)
    assert EmbedderConfig("a/model", token=TOKEN) != EmbedderConfig("a/model")


def test_a_path_becomes_text(tmp_path: Path):
    config = EmbedderConfig(tmp_path)

    assert config.model == str(tmp_path)
    assert config == EmbedderConfig(str(tmp_path))
    assert hash(config) == hash(EmbedderConfig(str(tmp_path)))


def test_the_source_and_the_overrides_are_what_was_given():
    config = EmbedderConfig(
        "a/model", "auto", "cls", 64, "q: ", "d: ", normalize=False, revision="abc", token=TOKEN, local_files_only=True
    )

    assert config.source == ModelSource("a/model", "abc", TOKEN, True)
    assert config.overrides == SettingsOverrides("cls", False, 64, "q: ", "d: ")


@pytest.mark.parametrize(
    ("engine", "dtype", "computes_in"),
    [
        ("auto", None, "int8"),
        ("openvino", None, "int8"),
        ("ipex", None, "int8"),
        ("torch", None, "float32"),
        ("torch", "bfloat16", "bfloat16"),
        ("ipex", "float32", "float32"),
        ("auto", "float32", "float32"),
        ("openvino", "int8", "int8"),
    ],
)
def test_what_a_model_computes_in_follows_from_the_engine_unless_it_is_said(
    engine: str, dtype: str | None, computes_in: str
):
    assert EmbedderConfig("a/model", engine, dtype=dtype).computes_in is Dtype(computes_in)


# Checks


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"engine": "tpu"}, "Unknown engine 'tpu': use one of auto, native, openvino, ipex, torch"),
        ({"pooling": "max"}, "Unknown pooling 'max': use one of cls, mean"),
        ({"max_seq_len": 0}, "max_seq_len must be a whole number of at least 3 tokens, not 0"),
        ({"max_seq_len": True}, "max_seq_len must be a whole number of at least 3 tokens, not True"),
        ({"query_prompt": 7}, "query_prompt must be a string or None, not int"),
        ({"document_prompt": ["d: "]}, "document_prompt must be a string or None, not list"),
        ({"precision": "int4"}, "Unknown precision 'int4': use one of float32, int8, uint8, binary, ubinary"),
        ({"dtype": "float16"}, "Unknown dtype 'float16': use one of int8, float32, bfloat16"),
        ({"dtype": "FLOAT32"}, "Unknown dtype 'FLOAT32'"),
        ({"dtype": 8}, "Unknown dtype 8"),
    ],
    ids=str,
)
def test_arguments_that_no_model_could_satisfy_are_refused_at_once(arguments: dict[str, Any], message: str):
    with pytest.raises(InputError, match=message):
        EmbedderConfig("/no/such/model", **arguments)


@pytest.mark.parametrize("name", ["threads", "truncate_dim"])
@pytest.mark.parametrize("number", [0, -1, 1.5, "2", True, False])
def test_a_number_that_is_not_whole_and_positive_is_refused(name: str, number: Any):
    with pytest.raises(InputError, match=f"{name} must be a whole number of at least 1 or None"):
        EmbedderConfig("a/model", **{name: number})


@pytest.mark.parametrize("name", ["threads", "truncate_dim"])
@pytest.mark.parametrize("number", [None, 1, 64])
def test_a_positive_number_or_none_is_taken(name: str, number: int | None):
    assert getattr(EmbedderConfig("a/model", **{name: number}), name) == number


@pytest.mark.parametrize(
    ("engine", "dtype", "message"),
    [
        ("torch", "int8", "The torch engine runs no int8 model: leave dtype out, or use one of native"),
        ("openvino", "float32", "The openvino engine runs int8 only: use engine='torch' for fp32 weights"),
        ("openvino", "bfloat16", "The openvino engine runs int8 only: use engine='torch' for fp32 weights"),
    ],
)
def test_an_engine_and_a_dtype_that_do_not_go_together_are_refused_at_once(engine: str, dtype: str, message: str):
    with pytest.raises(InputError, match=message):
        EmbedderConfig("/no/such/model", engine, dtype=dtype)


# Tokens


def test_a_token_is_never_shown():
    config = EmbedderConfig("a/model", token=TOKEN)

    assert config.source.token == TOKEN
    for shown in (repr(config), str(config), repr(config.source), str(config.source), f"{config}", f"{[config]}"):
        assert TOKEN not in shown
        assert "a/model" in shown


@pytest.mark.parametrize("model", ["/no/such/model", "no-one/has-this"])
def test_the_error_for_a_missing_model_holds_no_token(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))

    with pytest.raises(FastragQuantError) as error:
        QuantizedEmbedder(model, token=TOKEN, local_files_only=True)

    assert TOKEN not in "".join(traceback.format_exception(error.value))


# Defaults


def test_no_default_exists_twice():
    assert not {field.name for field in fields(EmbedderConfig)} & {field.name for field in fields(DEFAULTS)}
