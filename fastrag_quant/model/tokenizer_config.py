"""What tokenizer_config.json says of how texts are cut: it wins over tokenizer.json, as in transformers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, normalizers, pre_tokenizers

from fastrag_quant.errors import ModelError
from fastrag_quant.model.json_files import read_json, whole_number

# transformers' classes that give their tokenizer's normalizer, or pre-tokenizer, these values and no others. What the
# file does not say is what the class takes by default. Source: their constructors, in transformers 4 and 5 alike.
_NORMALIZER: dict[str, bool | None] = {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True}
_PRE_TOKENIZER: dict[str, bool | None] = {"add_prefix_space": False}
_CLASSES: dict[str, dict[str, bool | None]] = {
    **dict.fromkeys(("Bert", "DistilBert", "Electra", "MobileBert", "MPNet"), _NORMALIZER),
    **dict.fromkeys(("Bart", "GPT2", "Longformer", "Roberta"), _PRE_TOKENIZER),
}


def apply_tokenizer_config(tokenizer: Tokenizer, directory: Path) -> None:
    """Change a tokenizer as transformers does when it loads one.

    :param tokenizer: what the directory's tokenizer.json says.
    :param directory: of the encoder.
    :raises ModelError: for a setting that is of another type than transformers takes.
    """
    path = directory / "tokenizer_config.json"
    content = read_json(path)
    tokenizer.encode_special_tokens = bool(_flag(content, "split_special_tokens", False, path))
    defaults = _CLASSES.get(_class_name(content, directory), {})
    wanted = {name: _flag(content, name, default, path) for name, default in defaults.items()}
    normalizer, pre_tokenizer = tokenizer.normalizer, tokenizer.pre_tokenizer
    if defaults is _NORMALIZER and isinstance(normalizer, normalizers.BertNormalizer):
        tokenizer.normalizer = normalizers.BertNormalizer(
            clean_text=normalizer.clean_text,
            handle_chinese_chars=wanted["tokenize_chinese_chars"],
            strip_accents=wanted["strip_accents"],
            lowercase=wanted["do_lower_case"],
        )
    if defaults is _PRE_TOKENIZER and isinstance(pre_tokenizer, pre_tokenizers.ByteLevel):
        pre_tokenizer.add_prefix_space = wanted["add_prefix_space"]
        tokenizer.pre_tokenizer = pre_tokenizer


def truncation_side(tokenizer: Tokenizer, directory: Path) -> str:
    """Return from which side texts are cut, "left" or "right": transformers' setting, or else the tokenizer's own.

    :raises ModelError: for another side.
    """
    path = directory / "tokenizer_config.json"
    side = read_json(path).get("truncation_side") or (tokenizer.truncation or {}).get("direction", "right")
    if side not in ("left", "right"):
        msg = f"{path} has truncation_side {side!r}, which is neither left nor right: fetch the model again."
        raise ModelError(msg)
    return str(side)


def longest_text(directory: Path) -> int | None:
    """Return how many tokens transformers lets a text have, None where it does not say.

    :raises ModelError: if that is no whole number.
    """
    path = directory / "tokenizer_config.json"
    content = read_json(path)
    return whole_number(content, "model_max_length", str(path)) or whole_number(content, "max_len", str(path))


def _class_name(content: dict[str, Any], directory: Path) -> str:
    """Return the class that transformers takes, without the ending that all have."""
    config = read_json(directory / "config.json")
    named = content.get("tokenizer_class") or config.get("tokenizer_class")
    if named is not None:
        return str(named).removesuffix("Fast").removesuffix("Tokenizer")
    kind = str(config.get("model_type", "")).replace("-", "").replace("_", "").lower()
    return next((name for name in _CLASSES if name.lower() == kind), "")


def _flag(content: dict[str, Any], name: str, default: bool | None, path: Path) -> bool | None:
    value = content.get(name, default)
    if isinstance(value, bool) or (value is None and default is None):
        return value
    msg = f"{path} has {name} {value!r}, which is neither true nor false: fetch the model again."
    raise ModelError(msg)
