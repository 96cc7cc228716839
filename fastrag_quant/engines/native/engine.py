"""The native engine: int8 on kernels of its own, texts packed one behind the other without padding."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

import numpy as np

from fastrag_quant.config import EmbedderConfig
from fastrag_quant.engines.native.artefact import WEIGHTS_NAME, read_int8
from fastrag_quant.engines.native.int8 import quantize_source
from fastrag_quant.engines.native.library import Encoder, Pass, Pool
from fastrag_quant.errors import ClosedError, ModelError
from fastrag_quant.host.cpu import usable_cores
from fastrag_quant.model.settings import EmbedderSettings, check_weights_dimension
from fastrag_quant.model.tokenization import RaggedTokens

# Tokens of a pass: enough that weights are read once for many, few enough that activations stay in the cache.
_MOST_TOKENS = 256
# Fewer tokens than that make no pass of their own where others could share it: weights would be read for too few.
_LEAST_TOKENS = 64


class NativeEngine:
    """Runs int8 weights; a text has the same vector to the bit whatever stands beside it, and on any number of threads.

    :cvar name: what users call it.
    """

    name: ClassVar[str] = "native"

    def __init__(self, directory: Path, settings: EmbedderSettings, config: EmbedderConfig) -> None:
        """Load int8 weights, or make them of the fp32 weights of a model that has none.

        :param directory: holds native.safetensors, or config.json alone.
        :raises ModelError: if weights are missing or damaged.
        """
        self._settings = settings
        self._threads = config.threads or usable_cores()
        int8 = directory / WEIGHTS_NAME
        encoder = read_int8(int8) if int8.is_file() else quantize_source(config.source)
        check_weights_dimension(encoder.shape.hidden, settings, config.source.name)
        # One pair, which a call takes as a whole: another thread may close the engine at any time.
        self._loaded: tuple[Encoder, Pool] | None = (Encoder(encoder), Pool(self._threads, config.pin_threads))

    def plan(self, lengths: np.ndarray, limit: int) -> Iterator[np.ndarray]:
        """Yield the positions of texts that share a pass, the longest first; few texts are shared out."""
        share = -(-int(lengths.sum()) // self._threads)
        most = min(_MOST_TOKENS, max(share, _LEAST_TOKENS))
        order = np.argsort(-lengths, kind="stable")
        start, tokens = 0, 0
        for place, length in enumerate(lengths[order].tolist()):
            if place > start and (tokens + length > most or place - start == limit):
                yield order[start:place]
                start, tokens = place, 0
            tokens += length
        if start < len(order):
            yield order[start:]

    def encode(self, tokens: RaggedTokens) -> np.ndarray:
        """Return the vectors of texts as soon as can be, float32 of shape (texts, dimension)."""
        encoder, pool = self._opened()
        return pool.run(self._pass(encoder, tokens))

    def encode_all(self, batches: Iterable[RaggedTokens]) -> Iterator[np.ndarray]:
        """Yield the vectors of each batch, in order, with a stream per core."""
        encoder, pool = self._opened()
        running: deque[Pass] = deque()
        try:
            for tokens in batches:
                running.append(self._pass(encoder, tokens))
                pool.submit(running[-1])
                if len(running) > 2 * self._threads:
                    yield _finish(running, pool)
            while running:
                yield _finish(running, pool)
        finally:
            for one in running:
                with suppress(ModelError):  # a further failure is not told: the first one is
                    pool.wait(one)

    def warm_up(self, lengths: Iterable[int], batch_size: int) -> None:
        """Start the threads and touch the weights; nothing is compiled, whatever the lengths."""
        length = max(lengths)
        ids = np.zeros(length, dtype=np.int32)
        tokens = RaggedTokens(ids, np.array([0, length], dtype=np.int32))
        for _ in self.encode_all([tokens] * (1 if batch_size == 1 else self._threads)):
            pass

    def token_vectors(self, tokens: RaggedTokens) -> np.ndarray:
        """Return the vectors of all tokens, one text behind the other, float32 of shape (tokens, dimension)."""
        encoder, pool = self._opened()
        return pool.run(Pass(encoder, tokens, None, normalize=False))

    def close(self) -> None:
        """Let go of the weights and threads, which are free once no call uses them."""
        self._loaded = None

    def _opened(self) -> tuple[Encoder, Pool]:
        loaded = self._loaded
        if loaded is None:
            raise ClosedError
        return loaded

    def _pass(self, encoder: Encoder, tokens: RaggedTokens) -> Pass:
        return Pass(encoder, tokens, self._settings.pooling, self._settings.normalize)


def _finish(running: deque[Pass], pool: Pool) -> np.ndarray:
    """Return the vectors of the oldest pass. It stays among the running ones until it has surely ended."""
    vectors = pool.wait(running[0])
    running.popleft()
    return vectors
