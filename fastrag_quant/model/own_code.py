"""Python code that comes with a model, which is never run: a model that needs it is refused by name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastrag_quant.errors import ModelError
from fastrag_quant.model.json_files import read_json

# What transformers calls the tokenizers of common encoders, without "Fast": known also where it is not installed.
_COMMON_TOKENIZERS = {
    f"{family}Tokenizer"
    for family in ("PreTrained", "Bert", "Camembert", "DistilBert", "Electra", "MPNet", "Roberta", "XLMRoberta")
}


def refuse_code_of_model(config: Mapping[str, Any], name: str) -> None:
    """Raise where transformers would need code from a model's repository, or from another one, to run it.

    A model whose config.json names code of its own (auto_map) but whose model_type transformers knows runs by what
    transformers has, as in sentence-transformers.

    :param config: the model's config.json.
    :param name: the model's, for messages.
    :raises ModelError: saying which code.
    """
    from transformers import CONFIG_MAPPING

    kind = config.get("model_type")
    if config.get("auto_map") and str(kind) not in CONFIG_MAPPING:
        msg = (
            f"{name} has the model_type {kind!r}, which this version of transformers does not know: code of its own "
            "(auto_map in config.json), and no code that comes with a model is run. Use another model, or run this "
            "one with sentence-transformers."
        )
        raise ModelError(msg)
    for key in ("attn_implementation", "_attn_implementation"):
        if "/" in str(config.get(key)):
            msg = f"{name} has the {key} {config[key]!r} in its config.json, a repository of code, and none is run."
            raise ModelError(msg)


def refuse_code_of_tokenizer(directory: Path) -> None:
    """Raise where a model's own tokenizer is a Python class that comes with it.

    :raises ModelError: naming the class.
    """
    path = directory / "tokenizer_config.json"
    config = read_json(path)
    kind = str(config.get("tokenizer_class") or "")
    if config.get("auto_map") and kind and not _is_known(kind):
        msg = (
            f"{path} names the tokenizer {kind}, code of its own (auto_map), and no code that comes with a model is "
            "run. Use another model, or run this one with sentence-transformers."
        )
        raise ModelError(msg)


def _is_known(kind: str) -> bool:
    plain = kind.removesuffix("Fast")
    if plain in _COMMON_TOKENIZERS:
        return True
    try:
        import transformers
    except ImportError:
        return False
    return hasattr(transformers, plain) or hasattr(transformers, f"{plain}Fast")
