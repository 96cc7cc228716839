"""What a quantized model directory holds besides weights: copies of the source's settings and of its tokenizer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from fastrag_quant.errors import ModelError
from fastrag_quant.host.noise import quiet_logs
from fastrag_quant.model.json_files import read_any_json
from fastrag_quant.model.modules import MODULES_NAME, read_modules
from fastrag_quant.model.settings import EmbedderSettings, embedding_rows
from fastrag_quant.model.tokenization import TOKENIZER_NAME, TextTokenizer, load_tokenizer
from fastrag_quant.model.transformer_module import CONFIG_NAMES

_TOKENIZER_FILES = (
    *(TOKENIZER_NAME, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.*", "merges.txt", "*.model"),
)


def write_metadata(source: Path, directory: Path, settings: EmbedderSettings, texts: Sequence[str], name: str) -> None:
    """Copy the settings and the tokenizer of a model, byte for byte, into the directory of its int8 weights.

    A source whose tokenizer is but a vocabulary gets a tokenizer.json, which is compared with the source's own. Where
    the source has its encoder in a folder, here it is in the directory itself, and modules.json says so.

    :param texts: what the model is calibrated on.
    :param name: the model's, for messages.
    :raises ModelError: if there is no tokenizer that can be read, if one that was made gives other token ids than
        the source's, or if it gives ids that the model has no embedding for.
    """
    modules = read_modules(source, name)
    encoder = source / modules.transformer
    for pattern in ("config.json", *CONFIG_NAMES, *_TOKENIZER_FILES):
        for path in encoder.glob(pattern):
            shutil.copyfile(path, directory / path.name)
    for file in ("config_sentence_transformers.json", MODULES_NAME, f"{modules.pooling}/config.json"):
        if (source / file).is_file():
            (directory / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / file, directory / file)
    if modules.transformer:
        _write_modules(source, directory)
    if not (directory / TOKENIZER_NAME).is_file():
        load_tokenizer(encoder).save(str(directory / TOKENIZER_NAME))
        _check_same_ids(encoder, directory, settings, texts, name)
    tokenizer = TextTokenizer(directory, settings.max_seq_len)
    tokenizer.check_rows(embedding_rows(source, name), name)


def _write_modules(source: Path, directory: Path) -> None:
    listed = read_any_json(source / MODULES_NAME)
    for module in listed:
        if module["type"].endswith(".Transformer"):
            module["path"] = ""
    (directory / MODULES_NAME).write_text(json.dumps(listed, indent=2) + "\n", encoding="utf-8")


def _check_same_ids(source: Path, made: Path, settings: EmbedderSettings, texts: Sequence[str], name: str) -> None:
    """Compare the tokenizer that was made with what transformers loads from the source's own files."""
    from transformers import AutoTokenizer

    limit = settings.max_seq_len
    try:
        with quiet_logs():
            # The slow one, of which the fast one was made; transformers 5 has a single kind.
            own = AutoTokenizer.from_pretrained(source, use_fast=False, trust_remote_code=False)
    except (ImportError, OSError, ValueError) as error:
        msg = f"transformers cannot load the tokenizer of {name}: {error}"
        raise ModelError(msg) from error
    tokenizer = TextTokenizer(made, limit)
    for text in texts:
        expected = own(text, truncation=True, max_length=limit)["input_ids"]
        found = tokenizer([text])[0].ids.tolist()
        if found != expected:
            msg = (
                f"{name} has no {TOKENIZER_NAME}, and the one that transformers makes cuts {text[:60]!r} into other "
                f"tokens ({found[:8]} …) than the model's own tokenizer ({expected[:8]} …): "
                f"save the model with a {TOKENIZER_NAME} of its own first."
            )
            raise ModelError(msg)
