"""What sentence-transformers keeps about an encoder beside its config.json: the length limit and lower case."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastrag_quant.errors import ModelError
from fastrag_quant.model.json_files import read_json, whole_number
from fastrag_quant.model.tokenizer_config import longest_text

# The first of them that holds anything counts; all but the first are of old models.
CONFIG_NAMES = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
)

# Arguments for transformers, under the names of sentence-transformers 3 to 5 and of 6. Those inside that
# change no vector, or no more of it than the precision that it is computed in.
_ARGUMENTS = ("model_args", "model_kwargs", "config_args", "config_kwargs", "tokenizer_args", "processor_kwargs")
_HARMLESS_ARGUMENTS = {"attn_implementation", "dtype", "local_files_only", "revision", "torch_dtype", "use_fast"}
_HARMLESS_ARGUMENTS |= {"cache_dir", "token", "trust_remote_code"}

# What a model of texts says that runs the plain way; None is not said.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "transformer_task": (None, "feature-extraction"),
    "module_output_name": (None, "token_embeddings"),
}
_READ = {"max_seq_length", "do_lower_case"}
_HARMLESS = {"unpad_inputs", "backend", "modality_config", *_ARGUMENTS, *_PLAIN}


@dataclass(frozen=True)
class TransformerModule:
    """The settings of a Transformer module.

    :param max_seq_length: tokens per text at the most, None where nothing is said.
    :param do_lower_case: whether texts become lower case before they are cut into tokens.
    """

    max_seq_length: int | None
    do_lower_case: bool


def read_transformer_module(directory: Path, name: str) -> TransformerModule:
    """Read the settings of a Transformer module.

    :param directory: where the encoder is.
    :param name: the model's, for messages.
    :raises ModelError: if a file is damaged, or holds a setting that this package does not run.
    """
    path = next((directory / file for file in CONFIG_NAMES if read_json(directory / file)), None)
    content = read_json(path) if path else {}
    for key in content:
        if why := _why_not(key, content[key]):
            msg = (
                f"{name} has {key} in its {path.name if path else ''}, {why}: use another model, or run this one "
                "with sentence-transformers."
            )
            raise ModelError(msg)
    limit = whole_number(content, "max_seq_length", str(path)) or longest_text(directory)
    lower = content.get("do_lower_case")
    if not isinstance(lower, bool | None):
        msg = f"{name} has do_lower_case {lower!r}, which is neither true nor false: fetch the model again."
        raise ModelError(msg)
    return TransformerModule(limit, bool(lower))


def _why_not(key: str, value: Any) -> str | None:
    """Return why a setting cannot be run, None where it can."""
    if key in _READ or value in (None, False, {}, []):
        return None
    if key in _ARGUMENTS and isinstance(value, dict):
        changing = sorted(set(value) - _HARMLESS_ARGUMENTS)
        return f"which gives transformers {', '.join(changing)}" if changing else None
    if key == "modality_config":
        return None if isinstance(value, dict) and _is_plain(value) else "which is not that of an encoder of texts"
    if key in _PLAIN:
        return None if value in _PLAIN[key] else f"{value!r}, which is not that of an encoder of texts"
    return None if key in _HARMLESS else "which this package does not know or run"


def _is_plain(modalities: dict[str, Any]) -> bool:
    return modalities.get("text") == {"method": "forward", "method_output_name": "last_hidden_state"}
