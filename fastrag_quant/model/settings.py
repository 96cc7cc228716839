"""How an embedder treats texts: pooling, normalisation, limits and prompts, and where each comes from."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path, PurePosixPath
from typing import Any

from fastrag_quant.arguments import Choice
from fastrag_quant.errors import InputError, ModelError
from fastrag_quant.model.json_files import read_json, whole_number
from fastrag_quant.model.modules import MODULES_NAME, pooling_mode, read_modules, transformer_directory
from fastrag_quant.model.prompts import BGE_QUERY_PROMPT, prompts_from_config
from fastrag_quant.model.source import last_parts
from fastrag_quant.model.tokenization import TOKENIZER_NAME
from fastrag_quant.model.transformer_module import CONFIG_NAMES, read_transformer_module


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
    :param do_lower_case: whether texts become lower case before they are cut into tokens.
    :param include_prompt: whether the tokens of a prompt are pooled; a model that leaves them out runs without prompts.
    :param truncate_dim: how many of the first numbers of a vector are kept, unless the caller says; None is all.
    """

    pooling: Pooling
    normalize: bool
    max_seq_len: int
    query_prompt: str
    document_prompt: str
    dimension: int
    pad_token_id: int = 0
    do_lower_case: bool = False
    include_prompt: bool = True
    truncate_dim: int | None = None


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

# Published int8 models whose repositories say nothing of pooling. Source: their model cards.
WELL_KNOWN_MODELS = {
    f"intel/bge-{size}-en-v1.5-rag-int8-static": SettingsOverrides(
        pooling="cls", normalize=True, query_prompt=BGE_QUERY_PROMPT
    )
    for size in ("small", "base", "large")
}


def setting_files(directory: Path, name: str) -> list[str]:
    """Return every file of a directory that its settings and its tokenizer are read from, where it is there.

    :param name: the model's, for messages.
    :return: relative paths. Vocabularies are none of them: they are read in place of a tokenizer.json alone.
    :raises ModelError: if modules.json, which names the folders, is damaged.
    """
    modules = read_modules(directory, name)
    of_encoder = ("config.json", _ADAPTER, *CONFIG_NAMES, TOKENIZER_NAME, "tokenizer_config.json")
    return [
        *(MODULES_NAME, _SAVED_CONFIG, str(PurePosixPath(modules.pooling, "config.json"))),
        *(str(PurePosixPath(modules.transformer, file)) for file in of_encoder),
    ]


_ADAPTER = "adapter_config.json"
_SAVED_CONFIG = "config_sentence_transformers.json"


def settings_from_files(directory: Path, name: str, overrides: SettingsOverrides) -> EmbedderSettings:
    """Resolve an embedder's settings from what transformers and sentence-transformers wrote.

    An argument wins over the files, and the files over the table of well-known models.

    :param directory: holds config.json and, for a sentence-transformers model, modules.json.
    :param name: the model's name as the caller gave it, for the table and for messages.
    :param overrides: what the caller gave.
    :raises ModelError: if config.json is missing or unreadable, the model has modules or settings that this
        package does not run, or its pooling is known neither from its files nor from the caller.
    :raises InputError: if max_seq_len exceeds the model's positions.
    """
    modules = read_modules(directory, name)
    config = _read_config(directory / modules.transformer, name)
    _refuse_adapter(directory / modules.transformer, name)
    transformer = read_transformer_module(directory / modules.transformer, name)
    saved = _read_saved_config(directory, name)
    known = WELL_KNOWN_MODELS.get(last_parts(name).lower(), SettingsOverrides())
    query_prompt, document_prompt = prompts_from_config(saved, name)
    file = str(directory / modules.transformer / "config.json")
    limit = _position_limit(config, file)
    pooling = read_json(directory / modules.pooling / "config.json")
    settings = EmbedderSettings(
        pooling=Pooling.from_str(overrides.pooling or _pooling(pooling, modules.pooling, name, known.pooling)),
        normalize=modules.normalize,
        max_seq_len=min(transformer.max_seq_length or limit, limit),
        query_prompt=(known.query_prompt if query_prompt is None else query_prompt) or "",
        document_prompt=document_prompt or "",
        dimension=_dimension(config, name),
        pad_token_id=whole_number(config, "pad_token_id", file) or 0,
        do_lower_case=transformer.do_lower_case,
        include_prompt=pooling.get("include_prompt") is not False,
        truncate_dim=_truncate_dim(saved, name),
    )
    if settings.max_seq_len < SHORTEST_TEXT:
        msg = f"{name} takes texts of {settings.max_seq_len} tokens by its own files: fetch or write the model again."
        raise ModelError(msg)
    return override(settings, overrides, limit)


def override(settings: EmbedderSettings, overrides: SettingsOverrides, limit: int) -> EmbedderSettings:
    """Return the settings with what the caller gave in place of what the files said.

    :param limit: how many tokens the model has positions for.
    :raises InputError: if max_seq_len exceeds them.
    :raises ModelError: if there is a prompt that cannot be run.
    """
    if overrides.max_seq_len is not None and overrides.max_seq_len > limit:
        msg = f"max_seq_len {overrides.max_seq_len} is more than the {limit} tokens that the model has positions for."
        raise InputError(msg)
    settings = replace(settings, **overrides.given())
    for prompt in (settings.query_prompt, settings.document_prompt):
        if reason := why_not_prompt(settings, prompt):
            raise ModelError(reason)
    return settings


def why_not_prompt(settings: EmbedderSettings, prompt: str) -> str | None:
    """Return why a prompt cannot be run, None where it can or there is none."""
    if not prompt or settings.include_prompt:
        return None
    return (
        f"The model leaves the tokens of a prompt, here {prompt!r}, out of its pooling (include_prompt is false), "
        "which this package does not run: pass '' for no prompt, or use sentence-transformers."
    )


def position_limit(directory: Path) -> int:
    """Return how many tokens the model in a directory has positions for."""
    path = transformer_directory(directory) / "config.json"
    return _position_limit(read_json(path), str(path))


def check_weights_dimension(found: int, settings: EmbedderSettings, name: str) -> None:
    """Compare the dimension of an engine's weights with that of the settings.

    :param found: numbers in a vector that the weights give.
    :param name: the model's, for messages.
    :raises ModelError: if they differ.
    """
    if found != settings.dimension:
        msg = (
            f"The weights of {name} give {found} dimensions, its settings {settings.dimension}: "
            "copy or quantize it again."
        )
        raise ModelError(msg)


def embedding_rows(directory: Path, name: str) -> int:
    """Return how many token ids the model in a directory has an embedding for.

    :param name: the model's, for messages.
    :raises ModelError: if its config.json does not say.
    """
    rows = _read_config(transformer_directory(directory, name), name).get("vocab_size")
    if not isinstance(rows, int) or isinstance(rows, bool) or rows < 1:
        msg = f"The config.json of {name} does not say how many tokens the model knows (vocab_size): fetch it again."
        raise ModelError(msg)
    return rows


def _read_config(directory: Path, name: str) -> dict[str, Any]:
    config = read_json(directory / "config.json")
    if not config:
        msg = f"{name} is no model directory: it has no config.json."
        raise ModelError(msg)
    return config


def _refuse_adapter(directory: Path, name: str) -> None:
    if (directory / _ADAPTER).is_file():
        msg = f"{name} is an adapter of another model ({_ADAPTER}): merge it into that model, and save that."
        raise ModelError(msg)


def _read_saved_config(directory: Path, name: str) -> dict[str, Any]:
    """Read what sentence-transformers says of a model as a whole."""
    saved = read_json(directory / _SAVED_CONFIG)
    if saved.get("model_type") not in (None, "SentenceTransformer"):
        msg = f"{name} is a {saved['model_type']}, which gives no vector of one text: use a bi-encoder."
        raise ModelError(msg)
    return saved


def _truncate_dim(saved: dict[str, Any], name: str) -> int | None:
    dimension = saved.get("truncate_dim")
    if dimension is None or (isinstance(dimension, int) and not isinstance(dimension, bool) and dimension > 0):
        return dimension
    msg = f"{name} has truncate_dim {dimension!r} in its {_SAVED_CONFIG}: it must be a whole number."
    raise ModelError(msg)


def _position_limit(config: dict[str, Any], file: str) -> int:
    unlimited = config.get("max_position_embeddings") == -1  # XLNet
    positions = (not unlimited and whole_number(config, "max_position_embeddings", file)) or _NO_LIMIT
    # RoBERTa and its kin number positions from the padding id on.
    padding = whole_number(config, "pad_token_id", file) or 0
    offset = padding + 1 if config.get("model_type") in _OFFSET_POSITIONS else 0
    return positions - offset


_OFFSET_POSITIONS = ("roberta", "xlm-roberta", "camembert", "mpnet")
_NO_LIMIT = 1_000_000


def _dimension(config: dict[str, Any], name: str) -> int:
    for field in ("hidden_size", "dim", "d_model"):
        if isinstance(config.get(field), int) and config[field] > 0:
            return int(config[field])
    msg = f"The config.json of {name} does not say how long its vectors are (hidden_size): is it a text encoder?"
    raise ModelError(msg)


def _pooling(content: dict[str, Any], folder: str, name: str, known: str | None) -> str:
    """Return how a model pools by the config.json of its pooling, or by the table where it has none."""
    if content:
        return pooling_mode(content, name)
    if known:
        return known
    msg = (
        f"Nothing in {name} says how its token vectors are pooled (no {folder}/config.json, no fastrag_quant.json): "
        "pass pooling='cls' or pooling='mean'. The model card says which; "
        "a wrong guess ruins search silently."
    )
    raise ModelError(msg)
