"""The modules of a sentence-transformers model: which of them modules.json lists, and in which folders they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from fastrag_quant.errors import ModelError
from fastrag_quant.model.json_files import read_any_json, read_json

MODULES_NAME = "modules.json"

_POOLING_FOLDER = "1_Pooling"

# Those of sentence-transformers 3 to 6 that are not run, and what they do.
_REFUSED = {
    "Asym": "sends queries and documents through different networks",
    "BoW": "counts words instead of running an encoder",
    "CLIPModel": "embeds images as well as texts",
    "CNN": "runs a network of its own over the token vectors",
    "Dense": "multiplies vectors with a matrix of its own",
    "LSTM": "runs a network of its own over the token vectors",
    "LayerNorm": "scales vectors with weights of its own",
    "Router": "sends queries and documents through different networks",
    "StaticEmbedding": "looks words up instead of running an encoder",
    "WeightedLayerPooling": "mixes the layers of the encoder",
    "WordEmbeddings": "looks words up instead of running an encoder",
    "WordWeights": "weights tokens by their words",
}


@dataclass(frozen=True)
class Modules:
    """What a model consists of.

    :param transformer: the folder of the encoder and its tokenizer; "" is the model directory itself.
    :param pooling: the folder of the pooling's config.json.
    :param normalize: whether vectors get length one.
    """

    transformer: str = ""
    pooling: str = _POOLING_FOLDER
    normalize: bool = True


def read_modules(directory: Path, name: str) -> Modules:
    """Walk through a directory's modules.json.

    :param name: the model's, for messages.
    :return: the modules; without a modules.json, those of an encoder whose vectors have length one.
    :raises ModelError: if the file is damaged, or lists a module, or an order of them, that this package does not run.
    """
    path = directory / MODULES_NAME
    listed = read_any_json(path)
    if listed is None:
        return Modules()
    if not isinstance(listed, list) or not listed:
        msg = f"{path} lists no sentence-transformers modules: fetch the model again."
        raise ModelError(msg)
    try:
        modules = [(str(module["type"]), module.get("path")) for module in listed]
    except (KeyError, TypeError, AttributeError) as error:
        msg = f"{path} is not a list of sentence-transformers modules ({error}): fetch the model again."
        raise ModelError(msg) from error
    kinds = [_kind(module, name) for module, _ in modules]
    _check_order(kinds, name)
    placed = [(kind, _folder(path, folder)) for kind, (_, folder) in zip(kinds, modules, strict=True)]
    for kind, folder in placed:
        if kind == "Normalize":
            _check_normalizes_vectors(directory / (folder or ""), name)
    folders = dict(placed)
    return Modules(
        folders.get("Transformer") or "",
        folders.get("Pooling") or _POOLING_FOLDER,
        "Normalize" in kinds,
    )


def pooling_mode(content: dict[str, Any], name: str) -> str:
    """Return the one mode that the config.json of a pooling names, as sentence-transformers 3 to 6 write it.

    :param name: the model's, for messages.
    :return: "cls" or "mean".
    :raises ModelError: if it names others, or several.
    """
    named = content.get("pooling_mode")  # a name or a list of names since 5.4, before it a flag for each mode
    modes = named if isinstance(named, list) else [named]
    if not named:
        flags = {key: value for key, value in content.items() if key.startswith("pooling_mode_")}
        if damaged := [key for key, value in flags.items() if not isinstance(value, bool)]:
            msg = f"{name} has a pooling with {damaged[0]} {flags[damaged[0]]!r} not true or false: fetch it again."
            raise ModelError(msg)
        modes = [_POOLING_FLAGS.get(flag, flag) for flag, is_set in flags.items() if is_set]
        if not modes and "pooling_mode_mean_tokens" not in flags:
            modes = ["mean"]  # sentence-transformers' own default
    if not modes:
        msg = (
            f"The pooling of {name} names no mode, all its pooling_mode_… are false: fetch the model again, or pass "
            "pooling='cls' or pooling='mean'. The model card says which."
        )
        raise ModelError(msg)
    if modes not in (["cls"], ["mean"]):
        msg = f"{name} pools by {' and '.join(map(str, modes))}; this package runs cls and mean."
        raise ModelError(msg)
    return str(modes[0])


_POOLING_FLAGS = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean"}


def transformer_directory(directory: Path, name: str | None = None) -> Path:
    """Return where config.json, the tokenizer and the weights of a model are: its directory, or a folder of it.

    :param name: the model's, for messages; None is the directory's.
    :raises ModelError: as :func:`read_modules`.
    """
    return directory / read_modules(directory, name or str(directory)).transformer


def _kind(module: str, name: str) -> str:
    package, _, kind = module.rpartition(".")
    if f"{package}.".startswith("sentence_transformers."):
        if kind in ("Transformer", "Pooling", "Normalize", "Dropout"):  # nothing drops out when a model only embeds
            return kind
        reason = f", which {_REFUSED[kind]}" if kind in _REFUSED else ""
    else:
        kind, reason = module, ", code of its own, and no code that comes with a model is run"
    msg = (
        f"{name} has the module {kind}{reason}: this package runs Transformer, Pooling, Normalize and Dropout. "
        "Use another model, or run this one with sentence-transformers."
    )
    raise ModelError(msg)


def _check_order(kinds: Iterable[str], name: str) -> None:
    run = [kind for kind in kinds if kind != "Dropout"]
    if run not in ([], ["Transformer"], ["Transformer", "Pooling"]) and (
        run[:2] != ["Transformer", "Pooling"] or set(run[2:]) != {"Normalize"}
    ):
        msg = (
            f"{name} has its modules in the order {', '.join(run)}: this package runs a Transformer, then a Pooling, "
            "then perhaps Normalize. Use another model, or run this one with sentence-transformers."
        )
        raise ModelError(msg)


def _check_normalizes_vectors(folder: Path, name: str) -> None:
    """Raise where a Normalize works on something else than the vectors of texts, as it can since version 6."""
    content = read_json(folder / "config.json")
    for key in ("module_input_name", "module_output_name"):
        if (value := content.get(key)) not in (None, "sentence_embedding"):
            msg = (
                f"{name} has a Normalize with {key} {value!r}: this package normalizes the vectors of texts alone. "
                "Use another model, or run this one with sentence-transformers."
            )
            raise ModelError(msg)


def _folder(path: Path, folder: Any) -> str | None:
    """Return the folder that modules.json says, None where it says none."""
    if folder is None:
        return None
    if (
        not isinstance(folder, str)
        or PurePosixPath(folder).is_absolute()
        or {"..", "\\"} & {*folder, *folder.split("/")}
    ):
        msg = f"{path} names {folder!r}, which is no folder inside the model directory: fetch the model again."
        raise ModelError(msg)
    return folder
