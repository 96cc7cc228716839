"""What a model's files carry and this package does not run is refused by name, and never passed over."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fastrag_quant.errors import ModelError
from fastrag_quant.model.modules import read_modules
from fastrag_quant.model.settings import SettingsOverrides, settings_from_files
from fastrag_quant.model.tokenization import TextTokenizer

PLAIN = {
    "config.json": {"model_type": "bert", "hidden_size": 32, "max_position_embeddings": 64},
    "1_Pooling/config.json": {"pooling_mode_mean_tokens": True},
}


def write(directory: Path, files: dict[str, Any]) -> Path:
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    return directory


def modules(*types: str, **paths: str) -> dict[str, Any]:
    named = [name if "." in name else f"sentence_transformers.models.{name}" for name in types]
    return {"modules.json": [{"type": name, "path": paths.get(name.rpartition(".")[2], "")} for name in named]}


CONFIG = "sentence_bert_config.json"
SAVED = "config_sentence_transformers.json"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (modules("Transformer", "Pooling", "Dense"), "module Dense, which multiplies vectors with a matrix"),
        (modules("Transformer", "Pooling", "LayerNorm"), "module LayerNorm, which scales vectors"),
        (modules("Transformer", "WeightedLayerPooling", "Pooling"), "module WeightedLayerPooling, which mixes"),
        (
            {**modules("Transformer", "Pooling", "Normalize", Normalize="2_Normalize")}
            | {"2_Normalize/config.json": {"module_input_name": "token_embeddings"}},
            "Normalize with module_input_name 'token_embeddings'",
        ),
        (
            {**modules("Transformer", "Pooling", "Normalize", Normalize="2_Normalize")}
            | {"2_Normalize/config.json": {"module_output_name": "unit_embedding"}},
            "Normalize with module_output_name 'unit_embedding'",
        ),
        (modules("StaticEmbedding", "Normalize"), "module StaticEmbedding, which looks words up"),
        (modules("CLIPModel"), "module CLIPModel, which embeds images"),
        (modules("Router"), "module Router, which sends queries and documents"),
        (modules("sentence_transformers.base.modules.dense.Dense"), "module Dense, which multiplies"),
        (modules("Transformer", "sentence_transformers.sparse_encoder.models.SpladePooling"), "module SpladePooling:"),
        (modules("custom_st.Transformer", "Pooling"), r"module custom_st.Transformer, code of its own"),
        (modules("Transformer", "Pooling", "Pooling"), "in the order Transformer, Pooling, Pooling"),
        (modules("Pooling", "Transformer"), "in the order Pooling, Transformer"),
        (modules("Transformer", "Pooling", Pooling="../1_Pooling"), "no folder inside the model directory"),
        (modules("Transformer", "Pooling", Transformer="/etc"), "no folder inside the model directory"),
        ({"modules.json": []}, r"modules\.json lists no sentence-transformers modules"),
        ({"1_Pooling/config.json": {"pooling_mode": ["cls", "mean"]}}, "pools by cls and mean; .* runs cls and mean"),
        ({"1_Pooling/config.json": {"pooling_mode_max_tokens": True}}, "pools by pooling_mode_max_tokens;"),
        ({CONFIG: {"do_lower_case": "yes"}}, "do_lower_case 'yes', which is neither true nor false"),
        ({CONFIG: {"max_seq_length": "128"}}, "max_seq_length in .* is '128' where a whole number is expected"),
        ({CONFIG: {"max_seq_length": 2}}, "takes texts of 2 tokens"),
        ({CONFIG: {"query_length": 32}}, "query_length in its sentence_bert_config.json, which this package does not"),
        (
            {CONFIG: {"transformer_task": "fill-mask"}},
            "transformer_task .*'fill-mask', which is not that of",
        ),
        (
            {CONFIG: {"model_args": {"num_hidden_layers": 1}}},
            "model_args .*, which gives transformers num_hidden",
        ),
        ({"adapter_config.json": {}}, "is an adapter of another model"),
        ({SAVED: {"model_type": "SparseEncoder"}}, "is a SparseEncoder, which gives no vector of one text"),
        ({SAVED: {"truncate_dim": 0}}, "truncate_dim 0 in"),
        ({SAVED: {"prompts": {"query": 7}}}, "prompts in .* are not texts"),
        ({SAVED: {"prompts": {"query": "q"}, "default_prompt_name": "other"}}, "default prompt 'other', which is none"),
    ],
)
def test_a_setting_that_is_not_run_is_named(files: dict[str, Any], message: str, tmp_path: Path):
    write(tmp_path, PLAIN | files)

    with pytest.raises(ModelError, match=message):
        settings_from_files(tmp_path, "model", SettingsOverrides())


@pytest.mark.parametrize(
    "files",
    [
        {CONFIG: {"max_seq_length": None, "do_lower_case": None}},
        {CONFIG: {"model_args": {"torch_dtype": "float16", "attn_implementation": "sdpa"}, "config_args": {}}},
        {CONFIG: {"transformer_task": "feature-extraction", "module_output_name": "token_embeddings"}},
        {CONFIG: {"modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}}}},
        {SAVED: {"model_type": "SentenceTransformer", "similarity_fn_name": "dot", "prompts": {}, "__version__": {}}},
        modules("sentence_transformers.base.modules.transformer.Transformer", "Pooling", "Dropout", "Normalize"),
    ],
)
def test_what_changes_no_vector_is_let_pass(files: dict[str, Any], tmp_path: Path):
    write(tmp_path, PLAIN | files)

    settings = settings_from_files(tmp_path, "model", SettingsOverrides())

    assert settings == settings_from_files(write(tmp_path / "plain", PLAIN), "model", SettingsOverrides())


def test_each_module_is_looked_for_in_its_folder(tmp_path: Path):
    listed = modules("Transformer", "Pooling", "Dropout", Transformer="0_Transformer", Pooling="3_Any")

    found = read_modules(write(tmp_path, listed), "model")

    assert (found.transformer, found.pooling, found.normalize) == ("0_Transformer", "3_Any", False)


def test_another_side_to_cut_than_left_and_right_is_refused(tiny_model: Path, tmp_path: Path):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((tiny_model / name).read_bytes())
    write(tmp_path, {"tokenizer_config.json": {"truncation_side": "middle"}})

    with pytest.raises(ModelError, match="truncation_side 'middle', which is neither left nor right"):
        TextTokenizer(tmp_path, 64)
