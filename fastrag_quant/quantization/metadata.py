"""What a quantized model directory holds besides weights: copies of the source's settings and of its tokenizer."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from fastrag_quant.errors import ModelError
from fastrag_quant.host.noise import quiet_logs
from fastrag_quant.model.settings import EmbedderSettings, embedding_rows
from fastrag_quant.model.tokenization import TOKENIZER_NAME, TextTokenizer, load_tokenizer

_COPIED_FILES = (
    *("config.json", "modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"),
    "1_Pooling/config.json",
)
_TOKENIZER_FILES = (
    *(TOKENIZER_NAME, "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
    *("vocab.*", "merges.txt", "*.model"),
)


def write_metadata(source: Path, directory: Path, settings: EmbedderSettings, texts: Sequence[str], name: str) -> None:
    """Copy the settings and the tokenizer of a model, byte for byte, into the directory of its int8 weights.

    A source whose tokenizer is but a vocabulary gets a tokenizer.json, which is compared with the source's own.

    :param texts: what the model is calibrated on.
    :param name: the model's, for messages.
    :raises ModelError: if there is no tokenizer that can be read, if one that was made gives other token ids than
        the source's, or if it gives ids that the model has no embedding for.
    """
    for pattern in (*_COPIED_FILES, *_TOKENIZER_FILES):
        for path in source.glob(pattern):
            copy = directory / path.relative_to(source)
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, copy)
    if not (source / TOKENIZER_NAME).is_file():
        load_tokenizer(source).save(str(directory / TOKENIZER_NAME))
        _check_same_ids(source, directory, settings, texts, name)
    TextTokenizer(directory, settings.max_seq_len).check_rows(embedding_rows(source, name), name)


def _check_same_ids(source: Path, made: Path, settings: EmbedderSettings, texts: Sequence[str], name: str) -> None:
    """Compare the tokenizer that was made with what transformers loads from the source's own files."""
    from transformers import AutoTokenizer

    limit = settings.max_seq_len
    try:
        with quiet_logs():
            # The slow one, of which the fast one was made; transformers 5 has a single kind.
            own = AutoTokenizer.from_pretrained(source, use_fast=False)
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
