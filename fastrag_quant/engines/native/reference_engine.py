"""The reference as an engine: fp32 vectors from numpy alone, which verification takes where torch is not installed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from fastrag_quant.config import EmbedderConfig
from fastrag_quant.engines.native import reference
from fastrag_quant.engines.native.architectures import read_encoder
from fastrag_quant.engines.native.encoder import Fp32Encoder
from fastrag_quant.errors import ClosedError
from fastrag_quant.model.json_files import read_json
from fastrag_quant.model.modules import transformer_directory
from fastrag_quant.model.settings import EmbedderSettings, check_weights_dimension
from fastrag_quant.model.tokenization import RaggedTokens
from fastrag_quant.model.weights import open_weights


class ReferenceEngine:
    """Runs fp32 weights in numpy, text by text: exact, and slower than every other engine.

    :cvar name: what it is called.
    """

    name: ClassVar[str] = "reference"

    def __init__(self, directory: Path, settings: EmbedderSettings, config: EmbedderConfig) -> None:
        """Read the fp32 weights.

        :param directory: the model's.
        :raises ModelError: if they cannot be read, or not as those of an encoder that the native engine runs.
        """
        architecture = read_json(transformer_directory(directory, config.source.name) / "config.json")
        encoder = read_encoder(architecture, open_weights(config.source))
        check_weights_dimension(encoder.shape.hidden, settings, config.source.name)
        self._settings = settings
        # Layers are read anew whenever they are asked for, and each text asks for all of them.
        self._encoder: Fp32Encoder | None = replace(encoder, layers=tuple(encoder.layers))

    def plan(self, lengths: np.ndarray, limit: int) -> Iterator[np.ndarray]:
        """Yield the positions of texts in their order, as many as may be together."""
        for start in range(0, len(lengths), limit):
            yield np.arange(start, min(start + limit, len(lengths)))

    def encode(self, tokens: RaggedTokens) -> np.ndarray:
        """Return the vectors of texts, float32 of shape (texts, dimension)."""
        encoder = self._encoder
        if encoder is None:
            raise ClosedError
        return reference.embed(encoder, tokens, self._settings.pooling, normalize=self._settings.normalize)

    def encode_all(self, batches: Iterable[RaggedTokens]) -> Iterator[np.ndarray]:
        """Yield the vectors of each batch, in order."""
        return map(self.encode, batches)

    def warm_up(self, lengths: Iterable[int], batch_size: int) -> None:
        """Do nothing: nothing is compiled."""

    def close(self) -> None:
        """Let go of the weights."""
        self._encoder = None
