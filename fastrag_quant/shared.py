"""The process's embedders: each is loaded when it is first used, and shared by all who ask for the same one.

Embedders that differ in the form of their vectors alone share the loaded model.
"""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from weakref import WeakValueDictionary

from fastrag_quant.config import EmbedderConfig
from fastrag_quant.embedder import QuantizedEmbedder
from fastrag_quant.host.forks import no_fork_meanwhile
from fastrag_quant.model.source import ModelState

# By configuration and state of the model's directory: who asks after it was overwritten gets the new model.
_loaded: WeakValueDictionary[tuple[EmbedderConfig, ModelState], QuantizedEmbedder] = WeakValueDictionary()
_loading = threading.Lock()


def _free_in_child() -> None:
    global _loading
    _loading = threading.Lock()


os.register_at_fork(after_in_child=_free_in_child)


class SharedEmbedder:
    """An embedder of a configuration. A retriever and a ranker with the same one share one loaded model."""

    def __init__(self, config: EmbedderConfig) -> None:
        """Note the configuration; no model is loaded yet."""
        self.config = config
        self._embedder: QuantizedEmbedder | None = None

    @property
    def is_loaded(self) -> bool:
        """Whether the embedder is held here."""
        return self._embedder is not None

    @property
    def embedder(self) -> QuantizedEmbedder:
        """The embedder, loaded at the first use.

        :raises ModelError: and the other errors of :class:`QuantizedEmbedder`.
        """
        embedder = self._embedder  # a variable of this call's own: another thread may release it
        if embedder is None:
            with no_fork_meanwhile(), _loading:
                config = replace(self.config, dtype=self.config.computes_in.value)  # said or left out
                same = (config, config.source.state())
                embedder = _loaded.get(same)
                if embedder is None:
                    other = _of_the_same_model(*same)
                    embedder = other.in_form_of(config) if other else QuantizedEmbedder.from_config(config)
                    _loaded[same] = embedder
            self._embedder = embedder
        return embedder

    def __reduce__(self) -> tuple[type[SharedEmbedder], tuple[EmbedderConfig]]:
        """Copy and pickle the configuration alone, a hub token among it: a copy loads its model where it is used."""
        return type(self), (self.config,)

    def release(self) -> None:
        """Let go of the embedder, whose memory is free once nobody else holds it; the next use loads it again."""
        self._embedder = None


def _of_the_same_model(config: EmbedderConfig, state: ModelState) -> QuantizedEmbedder | None:
    """Return a loaded embedder that differs from a configuration in the form of its vectors alone."""

    def without_form(config: EmbedderConfig) -> EmbedderConfig:
        return replace(config, truncate_dim=None, precision=EmbedderConfig.precision)

    return next(
        (
            embedder
            for (other, its_state), embedder in _loaded.items()
            if its_state == state and without_form(other) == without_form(config)
        ),
        None,
    )
