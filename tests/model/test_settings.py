"""Pooling, normalisation, limits and prompts come from the caller, the model's files, or the table, in that order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fastrag_quant.errors import InputError, ModelError
from fastrag_quant.model.json_files import read_json
from fastrag_quant.model.settings import (
    EmbedderSettings,
    Pooling,
    SettingsOverrides,
    override,
    position_limit,
    settings_from_files,
)

BERT = {"model_type": "bert", "hidden_size": 32, "max_position_embeddings": 512, "pad_token_id": 0}
MEAN = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
CLS = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
INTEL_BGE = "Intel/bge-small-en-v1.5-rag-int8-static"
BGE_PROMPT = "Represent this sentence for searching relevant passages: "


class ModelFiles:
    """The JSON files of a model directory, written as asked for."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.write("config.json", BERT)

    def write(self, name: str, content: Any) -> ModelFiles:
        path = self.directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return self

    def write_modules(self, *modules: str) -> ModelFiles:
        return self.write("modules.json", [{"type": f"sentence_transformers.models.{module}"} for module in modules])

    def settings(self, name: str = "model", **overrides: Any) -> EmbedderSettings:
        return settings_from_files(self.directory, name, SettingsOverrides(**overrides))


@pytest.fixture
def files(tmp_path: Path) -> ModelFiles:
    """A BERT that says nothing but its shape."""
    return ModelFiles(tmp_path)


@pytest.fixture
def mean_files(files: ModelFiles) -> ModelFiles:
    """A BERT that pools by mean."""
    return files.write("1_Pooling/config.json", MEAN)


# Pooling


@pytest.mark.parametrize(
    ("content", "pooling"),
    [(MEAN, "mean"), (CLS, "cls"), ({"pooling_mode": "mean"}, "mean"), ({"pooling_mode": "cls"}, "cls")],
)
def test_pooling_is_read_from_the_pooling_file(files: ModelFiles, content: dict[str, Any], pooling: str):
    assert files.write("1_Pooling/config.json", content).settings().pooling == pooling


def test_the_callers_pooling_wins_over_the_pooling_file(mean_files: ModelFiles):
    assert mean_files.settings(pooling="cls").pooling is Pooling.CLS


def test_without_a_pooling_file_the_callers_pooling_decides(files: ModelFiles):
    assert files.settings(pooling="mean").pooling is Pooling.MEAN


def test_pooling_that_nothing_tells_is_never_guessed(files: ModelFiles):
    with pytest.raises(ModelError, match="pass pooling='cls' or pooling='mean'"):
        files.settings()


@pytest.mark.parametrize(
    "content",
    [
        {"pooling_mode_max_tokens": True},
        {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
        {"pooling_mode": "lasttoken"},
    ],
)
def test_a_model_that_pools_in_another_way_is_refused(files: ModelFiles, content: dict[str, Any]):
    with pytest.raises(ModelError, match="this package runs cls and mean"):
        files.write("1_Pooling/config.json", content).settings()


@pytest.mark.parametrize(("spelling", "pooling"), [("cls_token", Pooling.CLS), ("reduce_mean", Pooling.MEAN)])
def test_haystack_1_spells_pooling_its_own_way(files: ModelFiles, spelling: str, pooling: Pooling):
    assert files.settings(pooling=spelling).pooling is pooling
    assert Pooling.from_str(spelling) is pooling


@pytest.mark.parametrize("unknown", ["max", "", 7, ["cls"]])
def test_an_unknown_pooling_is_refused_with_the_valid_ones(unknown: Any):
    with pytest.raises(InputError, match="cls, mean, cls_token, reduce_mean"):
        SettingsOverrides(pooling=unknown)


# Modules of sentence-transformers


@pytest.mark.parametrize("pooling", [None, "mean"])
def test_a_model_with_a_dense_module_is_refused_whatever_the_pooling(mean_files: ModelFiles, pooling: str | None):
    mean_files.write_modules("Transformer", "Pooling", "Dense")

    with pytest.raises(ModelError, match="Dense"):
        mean_files.settings(pooling=pooling)


def test_vectors_are_normalised_where_the_model_has_the_module(mean_files: ModelFiles):
    assert mean_files.write_modules("Transformer", "Pooling", "Normalize").settings().normalize is True


def test_vectors_are_left_as_they_are_where_the_model_has_modules_but_not_that_one(mean_files: ModelFiles):
    assert mean_files.write_modules("Transformer", "Pooling").settings().normalize is False


def test_vectors_are_normalised_where_the_model_says_nothing(mean_files: ModelFiles):
    assert mean_files.settings().normalize is True


@pytest.mark.parametrize("normalize", [True, False])
def test_the_callers_normalisation_wins_over_the_modules(mean_files: ModelFiles, normalize: bool):
    for modules in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        assert mean_files.write_modules(*modules).settings(normalize=normalize).normalize is normalize


# The length limit


def test_the_limit_of_sentence_transformers_comes_first(mean_files: ModelFiles):
    mean_files.write("sentence_bert_config.json", {"max_seq_length": 128})
    mean_files.write("tokenizer_config.json", {"model_max_length": 256})

    assert mean_files.settings().max_seq_len == 128


def test_the_limit_of_the_tokenizer_comes_second(mean_files: ModelFiles):
    mean_files.write("sentence_bert_config.json", {"max_seq_length": None})
    mean_files.write("tokenizer_config.json", {"model_max_length": 256})

    assert mean_files.settings().max_seq_len == 256


def test_the_models_positions_are_the_last_limit(mean_files: ModelFiles):
    assert mean_files.settings().max_seq_len == 512
    # What transformers writes for "no limit".
    assert mean_files.write("tokenizer_config.json", {"model_max_length": 1e30}).settings().max_seq_len == 512


@pytest.mark.parametrize("model_type", ["roberta", "xlm-roberta", "mpnet", "camembert"])
def test_roberta_and_its_kin_lose_positions_to_the_padding_offset(mean_files: ModelFiles, model_type: str):
    config = {"model_type": model_type, "hidden_size": 32, "max_position_embeddings": 514, "pad_token_id": 1}

    assert mean_files.write("config.json", config).settings().max_seq_len == 512
    assert position_limit(mean_files.directory) == 512


def test_the_callers_limit_wins_over_the_files(mean_files: ModelFiles):
    mean_files.write("sentence_bert_config.json", {"max_seq_length": 128})

    assert mean_files.settings(max_seq_len=64).max_seq_len == 64
    assert mean_files.settings(max_seq_len=512).max_seq_len == 512


def test_a_limit_beyond_the_models_positions_is_refused(mean_files: ModelFiles):
    with pytest.raises(InputError, match="513 is more than the 512 tokens"):
        mean_files.settings(max_seq_len=513)


@pytest.mark.parametrize("limit", [0, 2, -1, 1.5, "64", True])
def test_a_limit_that_no_text_fits_into_is_refused(limit: Any):
    with pytest.raises(InputError, match="max_seq_len must be a whole number of at least 3"):
        SettingsOverrides(max_seq_len=limit)


# Prompts


def test_there_are_no_prompts_where_the_model_says_nothing(mean_files: ModelFiles):
    settings = mean_files.settings()

    assert (settings.query_prompt, settings.document_prompt) == ("", "")


@pytest.mark.parametrize("document", ["document", "passage"])
def test_prompts_are_read_from_the_file_of_sentence_transformers(mean_files: ModelFiles, document: str):
    prompts = {"prompts": {"query": "query: ", document: "passage: "}}
    settings = mean_files.write("config_sentence_transformers.json", prompts).settings()

    assert (settings.query_prompt, settings.document_prompt) == ("query: ", "passage: ")


def test_the_callers_prompts_win_and_an_empty_one_disables(mean_files: ModelFiles):
    mean_files.write("config_sentence_transformers.json", {"prompts": {"query": "query: ", "document": "passage: "}})

    settings = mean_files.settings(query_prompt="ask: ", document_prompt="")

    assert (settings.query_prompt, settings.document_prompt) == ("ask: ", "")


@pytest.mark.parametrize("name", ["query_prompt", "document_prompt"])
def test_a_prompt_that_is_no_string_is_refused(name: str):
    with pytest.raises(InputError, match=f"{name} must be a string or None, not int"):
        SettingsOverrides(**{name: 7})


# Well-known models


@pytest.mark.parametrize("size", ["small", "base", "large"])
def test_intels_published_models_pool_by_cls_with_the_query_prompt_of_bge(files: ModelFiles, size: str):
    settings = files.settings(f"Intel/bge-{size}-en-v1.5-rag-int8-static")

    assert settings.pooling is Pooling.CLS
    assert settings.normalize
    assert settings.query_prompt == BGE_PROMPT
    assert settings.document_prompt == ""


def test_the_caller_wins_over_the_table_of_well_known_models(files: ModelFiles):
    settings = files.settings(INTEL_BGE, pooling="mean", normalize=False, query_prompt="")

    assert (settings.pooling, settings.normalize, settings.query_prompt) == (Pooling.MEAN, False, "")


def test_the_files_win_over_the_table_of_well_known_models(mean_files: ModelFiles):
    mean_files.write("config_sentence_transformers.json", {"prompts": {"query": "query: "}})

    settings = mean_files.settings(INTEL_BGE)

    assert (settings.pooling, settings.query_prompt) == (Pooling.MEAN, "query: ")


# Dimension, padding and damaged files


@pytest.mark.parametrize("field", ["hidden_size", "dim", "d_model"])
def test_the_dimension_is_read_under_the_name_the_architecture_gives_it(mean_files: ModelFiles, field: str):
    assert mean_files.write("config.json", {field: 48, "max_position_embeddings": 64}).settings().dimension == 48


def test_a_model_without_a_dimension_is_refused(mean_files: ModelFiles):
    with pytest.raises(ModelError, match="is it a text encoder"):
        mean_files.write("config.json", {"model_type": "resnet"}).settings()


@pytest.mark.parametrize(("config", "expected"), [({"pad_token_id": 1}, 1), ({"pad_token_id": None}, 0), ({}, 0)])
def test_the_padding_id_is_the_models(mean_files: ModelFiles, config: dict[str, Any], expected: int):
    assert mean_files.write("config.json", {"hidden_size": 32, **config}).settings().pad_token_id == expected


def test_a_directory_without_a_config_is_no_model(tmp_path: Path):
    with pytest.raises(ModelError, match=r"my-model is no model directory: it has no config\.json"):
        settings_from_files(tmp_path, "my-model", SettingsOverrides(pooling="cls"))


@pytest.mark.parametrize("name", ["config.json", "1_Pooling/config.json", "modules.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", ["{", '"a string"', "7"])
def test_a_damaged_file_is_named(mean_files: ModelFiles, name: str, content: str):
    with pytest.raises(ModelError, match=name):
        mean_files.write(name, content).settings()


def test_a_file_that_is_not_there_reads_as_empty(tmp_path: Path):
    assert read_json(tmp_path / "config.json") == {}


def test_overrides_replace_what_was_given_and_nothing_else():
    settings = EmbedderSettings(Pooling.CLS, True, 512, "query: ", "", dimension=32, pad_token_id=1)

    changed = override(settings, SettingsOverrides(pooling="reduce_mean", max_seq_len=64), limit=512)

    assert changed == EmbedderSettings(Pooling.MEAN, True, 64, "query: ", "", dimension=32, pad_token_id=1)
    assert override(settings, SettingsOverrides(), limit=512) == settings
