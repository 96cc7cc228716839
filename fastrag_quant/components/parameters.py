"""The parameters that all components share, and what follows from them: serialization, loading, sharing, closing."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import KW_ONLY, dataclass, fields, replace
from typing import Any, ClassVar, Self

from haystack import default_from_dict, default_to_dict
from haystack.utils import Secret

from fastrag_quant.defaults import DEFAULTS
from fastrag_quant.embedder import QuantizedEmbedder
from fastrag_quant.lazy import LazyEmbedder

# The variables that Haystack's own components for the hub read.
HUB_TOKEN: Secret | None = Secret.from_env_var(["HF_API_TOKEN", "HF_TOKEN"], strict=False)


class Serializable:
    """A dataclass whose fields are its constructor's parameters, which Haystack writes to YAML and reads back."""

    def to_dict(self) -> dict[str, Any]:
        """Return the component's type and all its parameters, tokens by the name of their variable."""
        return default_to_dict(self, **{field.name: getattr(self, field.name) for field in fields(self)})  # type: ignore[arg-type]

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Make a component from what :meth:`to_dict` returned, which stays as it is."""
        component: Self = default_from_dict(cls, deepcopy(data))  # Haystack's own write to theirs
        return component


@dataclass(eq=False, repr=False)
class EmbedderParameters(Serializable):
    """What a component that embeds is told of its model.

    :param model: a quantized model directory, or the hub name of a published int8 model.
    :param engine: "auto", "openvino", "ipex", or "torch" for an fp32 model as it is.
    :param pooling: "cls" or "mean"; None reads it from the model.
    :param max_seq_len: tokens per text at the most; None is the model's own limit.
    :param normalize_embeddings: whether vectors have length one; None is what the model says.
    :param truncate_dim: keep the first so many dimensions, of a Matryoshka model.
    :param pad_to_max: pad every text to max_seq_len.
    :param threads: cores to use; None is all usable ones.
    :param pin_threads: bind the inference threads, and no others, to a core each.
    :param bf16: run fp32 weights in bfloat16 (engine "torch").
    :param revision: branch, tag or commit of a hub model.
    :param token: access token of the hub.
    :param local_files_only: use the hub's local cache alone.
    """

    # Single texts, for which a user waits: their shapes are compiled when the model is loaded.
    _embeds_queries: ClassVar[bool] = True

    model: str
    _: KW_ONLY
    engine: str = DEFAULTS.engine
    pooling: str | None = None
    max_seq_len: int | None = None
    normalize_embeddings: bool | None = None
    truncate_dim: int | None = None
    pad_to_max: bool = False
    threads: int | None = None
    pin_threads: bool = False
    bf16: bool = False
    revision: str | None = None
    token: Secret | None = HUB_TOKEN
    local_files_only: bool = False

    def __post_init__(self) -> None:
        """Check what can be checked without the model.

        :raises InputError: for a parameter that no model could satisfy.
        """
        self.model = str(self.model)
        self._lazy(token=None)
        self._embedder: QuantizedEmbedder | None = None

    def warm_up(self) -> None:
        """Load the model, once however many components of these parameters there are.

        :raises ModelError: if the model is missing, damaged or of the wrong kind.
        """
        self._loaded()

    def close(self) -> None:
        """Let go of the model, whose memory is free once no other component uses it; the next run loads it again."""
        self._embedder = None

    def _loaded(self) -> QuantizedEmbedder:
        embedder = self._embedder
        if embedder is None:
            embedder = self._lazy(self.token.resolve_value() if self.token else None).embedder
            if self._embeds_queries:
                embedder.warm_up()
            self._embedder = embedder
        return embedder

    def _lazy(self, token: str | None) -> LazyEmbedder:
        # Without prompts, which are given per call, so that components of different prefixes share a model.
        return LazyEmbedder(
            self.model,
            self.engine,
            self.pooling,
            self.max_seq_len,
            normalize=self.normalize_embeddings,
            pad_to_max=self.pad_to_max,
            threads=self.threads,
            pin_threads=self.pin_threads,
            bf16=self.bf16,
            truncate_dim=self.truncate_dim,
            revision=self.revision,
            token=token,
            local_files_only=self.local_files_only,
        )


@dataclass(eq=False, repr=False, kw_only=True)
class EmbeddingParameters(EmbedderParameters):
    """What a component that hands vectors on, to a store or a retriever, is told of its model.

    :param precision: "float32", or a form of vectors for stores that take it: "int8", "uint8", "binary"
        or "ubinary".
    """

    precision: str = DEFAULTS.precision

    def _lazy(self, token: str | None) -> LazyEmbedder:
        return replace(super()._lazy(token), precision=self.precision)
