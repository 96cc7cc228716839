"""How an embedder treats texts: pooling, normalisation, limits and prompts, and where each comes from."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from fastrag_quant.arguments import Choice
from fastrag_quant.errors import InputError, ModelError
from fastrag_quant.model.json_files import read_any_json, read_json, whole_number


class Pooling(Choice):
    """How the token vectors of a text become one vector; Haystack 1's spellings are understood too."""

    CLS = "cls"
    MEAN = "mean"

    @classmethod
    def _missing_(cls, value: Any) -> Pooling | None:
        known = isinstance(value, str) and value in _HAYSTACK1_SPELLING
        return cls(_HAYSTACK1_SPELLING[value]) if known else None

    @classmethod
    def names(cls) -> list[str]:
        """Return the names that are understood."""
        return [*super().names(), *_HAYSTACK1_SPELLING]


_HAYSTACK1_SPELLING = {"cls_token": "cls", "reduce_mean": "mean"}


@dataclass(frozen=True)
class EmbedderSettings:
    """What an embedder does around its model.

    :param pooling: how token vectors become one vector.
    :param normalize: whether vectors are scaled to length one.
    :param max_seq_len: tokens per text, special tokens included; longer texts are cut.
    :param query_prompt: prefix of queries, possibly empty.
    :param document_prompt: prefix of documents, possibly empty.
    :param dimension: numbers per vector.
    :param pad_token_id: the token id that fills short texts of a batch.
    """

    pooling: Pooling
    normalize: bool
    max_seq_len: int
    query_prompt: str
    document_prompt: str
    dimension: int
    pad_token_id: int = 0


@dataclass(frozen=True)
class SettingsOverrides:
    """The settings that a caller gives; None leaves a setting to the model's own files."""

    pooling: str | None = None
    normalize: bool | None = None
    max_seq_len: int | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None

    def __post_init__(self) -> None:
        """Refuse values that no model could satisfy.

        :raises InputError: for an unknown pooling, a max_seq_len below 3 or a prompt that is no string.
        """
        if self.pooling is not None:
            Pooling.from_str(self.pooling)
        limit = self.max_seq_len
        if limit is not None and (not isinstance(limit, int) or isinstance(limit, bool) or limit < SHORTEST_TEXT):
            msg = f"max_seq_len must be a whole number of at least {SHORTEST_TEXT} tokens, not {limit!r}."
            raise InputError(msg)
        for name in ("query_prompt", "document_prompt"):
            if not isinstance(getattr(self, name), str | None):
                msg = f"{name} must be a string or None, not {type(getattr(self, name)).__name__}."
                raise InputError(msg)

    def given(self) -> dict[str, Any]:
        """Return the settings that were given, ready to replace those of :class:`EmbedderSettings`."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.pooling is not None:
            values["pooling"] = Pooling.from_str(self.pooling)
        return {name: value for name, value in values.items() if value is not None}


# A text of one token between two special ones.
SHORTEST_TEXT = 3

_BGE_QUERY_PROMPT = "Represent this sentence for searching relevant passages: "

# Published int8 models whose repositories say nothing of pooling. Source: their model cards.
WELL_KNOWN_MODELS = {
    f"intel/bge-{size}-en-v1.5-rag-int8-static": SettingsOverrides(
        pooling="cls", normalize=True, query_prompt=_BGE_QUERY_PROMPT
    )
    for size in ("small", "base", "large")
}


def settings_from_files(directory: Path, name: str, overrides: SettingsOverrides) -> EmbedderSettings:
    """Resolve an embedder's settings from what transformers and sentence-transformers wrote.

    An argument wins over the files, and the files over the table of well-known models.

    :param directory: holds config.json and, for a sentence-transformers model, modules.json.
    :param name: the model's name as the caller gave it, for the table and for messages.
    :param overrides: what the caller gave.
    :raises ModelError: if config.json is missing or unreadable, the model has modules that this
        package does not run, or its pooling is known neither from its files nor from the caller.
    :raises InputError: if max_seq_len exceeds the model's positions.
    """
    config = read_json(directory / "config.json")
    if not config:
        msg = f"{name} is no model directory: it has no config.json."
        raise ModelError(msg)
    _refuse_unsupported_modules(directory, name)
    known = WELL_KNOWN_MODELS.get(name.lower(), SettingsOverrides())
    prompts = read_json(directory / "config_sentence_transformers.json").get("prompts") or {}
    limit = _position_limit(config, directory)
    settings = EmbedderSettings(
        pooling=Pooling.from_str(overrides.pooling or _pooling_from_files(directory, name, known.pooling)),
        normalize=_normalize_from_files(directory),
        max_seq_len=min(_max_seq_len_from_files(directory), limit),
        query_prompt=prompts.get("query", known.query_prompt) or "",
        document_prompt=prompts.get("document") or prompts.get("passage") or "",
        dimension=_dimension(config, name),
        pad_token_id=whole_number(config, "pad_token_id", str(directory / "config.json")) or 0,
    )
    if settings.max_seq_len < SHORTEST_TEXT:
        msg = f"{name} takes texts of {settings.max_seq_len} tokens by its own files: fetch or write the model again."
        raise ModelError(msg)
    return override(settings, overrides, limit)


def override(settings: EmbedderSettings, overrides: SettingsOverrides, limit: int) -> EmbedderSettings:
    """Return the settings with what the caller gave in place of what the files said.

    :param limit: how many tokens the model has positions for.
    :raises InputError: if max_seq_len exceeds them.
    """
    if overrides.max_seq_len is not None and overrides.max_seq_len > limit:
        msg = f"max_seq_len {overrides.max_seq_len} is more than the {limit} tokens that the model has positions for."
        raise InputError(msg)
    return replace(settings, **overrides.given())


def position_limit(directory: Path) -> int:
    """Return how many tokens the model in a directory has positions for."""
    return _position_limit(read_json(directory / "config.json"), directory)


def check_dimension(directory: Path, name: str, dimension: int) -> None:
    """Compare the dimension that a manifest says with that of the config.json beside it.

    :raises ModelError: if they differ.
    """
    if (found := _dimension(read_json(directory / "config.json"), name)) != dimension:
        msg = f"The manifest of {name} has dimension {dimension}, its config.json {found}: copy or quantize it again."
        raise ModelError(msg)


def embedding_rows(directory: Path, name: str) -> int:
    """Return how many token ids the model in a directory has an embedding for.

    :param name: the model's, for the message.
    :raises ModelError: if its config.json does not say.
    """
    rows = read_json(directory / "config.json").get("vocab_size")
    if not isinstance(rows, int) or isinstance(rows, bool) or rows < 1:
        msg = f"The config.json of {name} does not say how many tokens the model knows (vocab_size): fetch it again."
        raise ModelError(msg)
    return rows


def _position_limit(config: dict[str, Any], directory: Path) -> int:
    file = str(directory / "config.json")
    positions = whole_number(config, "max_position_embeddings", file) or _NO_LIMIT
    # RoBERTa and its kin number positions from the padding id on.
    padding = whole_number(config, "pad_token_id", file) or 0
    return positions - (padding + 1 if config.get("model_type") in _OFFSET_POSITIONS else 0)


_OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet")
_NO_LIMIT = 1_000_000


def _max_seq_len_from_files(directory: Path) -> int:
    for file, key in (("sentence_bert_config.json", "max_seq_length"), ("tokenizer_config.json", "model_max_length")):
        if limit := whole_number(read_json(directory / file), key, str(directory / file)):
            return limit
    return _NO_LIMIT


def _dimension(config: dict[str, Any], name: str) -> int:
    for field in ("hidden_size", "dim", "d_model"):
        if isinstance(config.get(field), int):
            return int(config[field])
    msg = f"The config.json of {name} does not say how long its vectors are (hidden_size): is it a text encoder?"
    raise ModelError(msg)


def _sentence_transformers_modules(directory: Path) -> list[str]:
    path = directory / "modules.json"
    try:
        return [str(module["type"]).rpartition(".")[2] for module in read_any_json(path, nothing=[])]
    except (KeyError, TypeError) as error:
        msg = f"{path} is not a list of sentence-transformers modules ({error}): fetch the model again."
        raise ModelError(msg) from error


def _refuse_unsupported_modules(directory: Path, name: str) -> None:
    unsupported = set(_sentence_transformers_modules(directory)) - {"Transformer", "Pooling", "Normalize"}
    if unsupported:
        msg = f"{name} has the module {', '.join(sorted(unsupported))}, which changes pooled vectors: not supported."
        raise ModelError(msg)


def _pooling_from_files(directory: Path, name: str, known: str | None) -> str:
    pooling = read_json(directory / "1_Pooling" / "config.json")
    modes = [key for key, value in pooling.items() if key.startswith("pooling_mode_") and value is True]
    mode = pooling.get("pooling_mode")  # sentence-transformers 5 writes one name instead of a flag a mode
    if modes == ["pooling_mode_mean_tokens"] or mode == "mean":
        return "mean"
    if modes == ["pooling_mode_cls_token"] or mode == "cls":
        return "cls"
    if pooling:
        msg = f"{name} pools by {mode or ' and '.join(modes)}; this package runs cls and mean."
        raise ModelError(msg)
    if known:
        return known
    msg = (
        f"Nothing in {name} says how its token vectors are pooled (no 1_Pooling/config.json, no fastrag_quant.json): "
        "pass pooling='cls' or pooling='mean'. The model card says which; "
        "a wrong guess ruins search silently."
    )
    raise ModelError(msg)


def _normalize_from_files(directory: Path) -> bool:
    modules = _sentence_transformers_modules(directory)
    return "Normalize" in modules if modules else True
