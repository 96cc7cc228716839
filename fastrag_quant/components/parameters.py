"""The parameters that all components share, and what follows from them: serialization, loading, sharing, closing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from copy import deepcopy
from dataclasses import KW_ONLY, dataclass, fields, replace
from functools import cache, wraps
from typing import Any, ClassVar, Self, get_type_hints

from haystack import default_from_dict, default_to_dict
from haystack.utils import Secret

from fastrag_quant.arguments import arguments_for, read_parameters
from fastrag_quant.config import EmbedderConfig
from fastrag_quant.embedder import QuantizedEmbedder
from fastrag_quant.errors import InputTypeError
from fastrag_quant.shared import SharedEmbedder

# The variables that Haystack's own components for the hub read.
HUB_TOKEN: Secret | None = Secret.from_env_var(["HF_API_TOKEN", "HF_TOKEN"], strict=False)


class Serializable:
    """A dataclass whose fields are its constructor's parameters, which Haystack writes to YAML and reads back."""

    token: Secret | None

    def __post_init__(self) -> None:
        """Read text where a parameter takes a truth value, a number or a list, as the nodes of Haystack 1 do.

        :raises InputError: naming the component and the parameter that cannot be read, or a count below 1.
        :raises InputTypeError: for a token in clear text, which would be written to YAML.
        """
        if not isinstance(self.token, Secret | None):
            msg = (
                f"{type(self).__name__}: token must be a Secret, such as Secret.from_env_var('HF_TOKEN'), "
                f"not {type(self.token).__name__}."
            )
            raise InputTypeError(msg)
        vars(self).update(self._read(**{field.name: getattr(self, field.name) for field in fields(self)}))  # type: ignore[arg-type]

    def _read(self, **given: Any) -> dict[str, Any]:
        return read_parameters(given, _types_of(type(self)), type(self).__name__)  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, Any]:
        """Return the component's type and all its parameters, tokens by the name of their variable."""
        return default_to_dict(self, **{field.name: getattr(self, field.name) for field in fields(self)})  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Make a component from what :meth:`to_dict` returned, which stays as it is."""
        return default_from_dict(cls, deepcopy(data))  # Haystack's own write to theirs


def in_a_thread(run: Callable[..., dict[str, Any]]) -> Callable[..., Coroutine[Any, Any, dict[str, Any]]]:
    """Return the ``run_async`` of a component: its ``run`` in a thread, while the event loop goes on."""

    @wraps(run)
    async def run_async(self: Any, *arguments: Any, **named: Any) -> dict[str, Any]:
        return await asyncio.to_thread(self.run, *arguments, **named)

    return run_async


_types_of = cache(get_type_hints)


@dataclass(eq=False, repr=False)
class EmbedderParameters(Serializable):
    """What a component that embeds is told of its model.

    :param model: a quantized model directory, the hub name of a published int8 model, or an fp32 model.
    :param engine: "auto", "native", "openvino", "ipex", or "torch" for an fp32 model as it is.
    :param pooling: "cls" or "mean"; None reads it from the model.
    :param max_seq_len: tokens per text at the most; None is the model's own limit.
    :param normalize_embeddings: whether vectors have length one; None is what the model says.
    :param truncate_dim: keep the first so many dimensions, of a Matryoshka model.
    :param pad_to_max: pad every text to max_seq_len.
    :param threads: cores to use; None is all usable ones.
    :param pin_threads: bind the inference threads, and no others, to a core each.
    :param dtype: "int8", or "float32" or "bfloat16" for fp32 weights; None is what the engine is for.
    :param revision: branch, tag or commit of a hub model.
    :param token: access token of the hub.
    :param local_files_only: use the hub's local cache alone.
    :param allow_torchscript: whether int8 weights that are a program may be loaded, those of the engine ipex.
    """

    # Single texts, for which a user waits: their shapes are compiled when the model is loaded.
    _embeds_queries: ClassVar[bool] = True

    model: str
    _: KW_ONLY
    engine: str = EmbedderConfig.engine
    pooling: str | None = None
    max_seq_len: int | None = None
    normalize_embeddings: bool | None = None
    truncate_dim: int | None = None
    pad_to_max: bool = False
    threads: int | None = None
    pin_threads: bool = False
    dtype: str | None = None
    revision: str | None = None
    token: Secret | None = HUB_TOKEN
    local_files_only: bool = False
    allow_torchscript: bool = True

    def __post_init__(self) -> None:
        """Check what can be checked without the model.

        :raises InputError: for a parameter that no model could satisfy.
        """
        Serializable.__post_init__(self)
        self._shared = SharedEmbedder(self._config(token=None))

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy starts from: the parameters, with the token as a Secret, and no loaded model."""
        return {**vars(self), "_shared": self._sharing(token=None)}

    def warm_up(self) -> None:
        """Load the model, once however many components of these parameters there are.

        :raises ModelError: if the model is missing, damaged or of the wrong kind.
        """
        self._loaded()

    def close(self) -> None:
        """Let go of the model, whose memory is free once no other component uses it; the next run loads it again."""
        self._shared.release()

    def _loaded(self) -> QuantizedEmbedder:
        if not self._shared.is_loaded:
            # A token is asked for when it is needed: it may not be set where a pipeline is only written down.
            self._shared = self._sharing(self.token.resolve_value() if self.token else None)
            if self._embeds_queries:
                self._shared.embedder.warm_up()
        return self._shared.embedder

    def _sharing(self, token: str | None) -> SharedEmbedder:
        return SharedEmbedder(replace(self._shared.config, token=token))

    def _config(self, token: str | None) -> EmbedderConfig:
        # Without prompts, which are given per call, so that components of different prefixes share a model.
        given = {**vars(self), "normalize": self.normalize_embeddings, "token": token}
        return EmbedderConfig(**arguments_for(EmbedderConfig, given))


@dataclass(eq=False, repr=False, kw_only=True)
class EmbeddingParameters(EmbedderParameters):
    """What a component that hands vectors on, to a store or a retriever, is told of its model.

    :param precision: "float32", or a form of vectors for stores that take it: "int8", "uint8", "binary"
        or "ubinary".
    """

    precision: str = EmbedderConfig.precision
