"""Texts of any number, a window at a time: tokenized ahead, embedded in batches and put back in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import chain

import numpy as np

from fastrag_quant.engines import Engine
from fastrag_quant.errors import InputError
from fastrag_quant.model.tokenization import RaggedTokens, TextTokenizer
from fastrag_quant.vectors.checks import check_finite, check_ids

# A window is what is tokenized and sorted together: enough texts to fill every shape, and few enough
# characters that the token ids of two windows take some ten megabytes.
_MOST_TEXTS = 4096
_MOST_CHARACTERS = 2_000_000


@dataclass
class Window:
    """Some consecutive texts and, once complete, their vectors.

    :param vectors: float32 of shape (texts, dimension), in input order.
    :param truncated: how many of the texts were cut.
    :param batches: the positions of the texts of each batch that is not finished.
    :param start: the position of the first text in the input.
    """

    vectors: np.ndarray
    truncated: int
    batches: deque[np.ndarray]
    start: int


@dataclass(frozen=True)
class WindowEncoder:
    """Runs an engine over texts; one flow of batches crosses the borders of windows, so that no stream idles.

    :param dimension: the engine's numbers per vector.
    :param rows: how many token ids the engine's model has an embedding for.
    """

    tokenizer: TextTokenizer
    engine: Engine
    dimension: int
    rows: int

    def encode(
        self, texts: Iterable[str], prompt: str, limit: int, progress: Callable[[int], object]
    ) -> Generator[Window, None, None]:
        """Yield windows in input order, reading texts no further ahead than the engine needs.

        A text of no tokens gets zeros, and no engine sees it.

        :param prompt: goes in front of every text.
        :param limit: texts per batch at the most.
        :param progress: is told how many texts each finished batch held, and how many had no tokens.
        :raises InputError: for anything but strings, when the iterable gives it, and for a token that the model
            has no embedding for.
        :raises ModelError: if the engine gives a vector that is not finite.
        """
        started: deque[Window] = deque()
        # Closed here, in this order: an error's traceback would keep them, and what they have under way, for long.
        with (
            closing(self._tokenized(texts, prompt)) as tokenized,
            closing(self._encode_batches(self._batches(tokenized, limit, started, progress))) as encoded,
        ):
            for vectors in encoded:
                window = next(window for window in started if window.batches)
                batch = window.batches.popleft()
                check_finite(vectors, batch, window.start)
                window.vectors[batch] = vectors
                progress(len(batch))
                while started and not started[0].batches:
                    yield started.popleft()
        yield from started  # of texts of no tokens

    def _batches(
        self,
        tokenized: Iterator[tuple[RaggedTokens, int]],
        limit: int,
        started: deque[Window],
        progress: Callable[[int], object],
    ) -> Iterator[RaggedTokens]:
        start = 0
        for tokens, truncated in tokenized:
            check_ids(tokens, self.rows, start)
            texts = np.flatnonzero(tokens.lengths)
            batches = deque(texts[batch] for batch in self.engine.plan(tokens.lengths[texts], limit))
            vectors = np.zeros((len(tokens), self.dimension), dtype=np.float32)
            started.append(Window(vectors, truncated, batches, start))
            start += len(tokens)
            if empty := len(tokens) - len(texts):
                progress(empty)
            for batch in list(batches):
                yield tokens.take(batch)

    def _encode_batches(self, batches: Iterator[RaggedTokens]) -> Generator[np.ndarray, None, None]:
        """Run a lone batch for latency, and several for throughput."""
        first = next(batches, None)
        if first is None:
            return
        second = next(batches, None)
        if second is None:
            yield self.engine.encode(first)
        else:
            yield from self.engine.encode_all(chain((first, second), batches))

    def _tokenized(self, texts: Iterable[str], prompt: str) -> Generator[tuple[RaggedTokens, int], None, None]:
        """Tokenize the next window while the engine runs; the texts are read in the calling thread."""
        windows = _windows(texts, prompt)
        first, second = next(windows, None), next(windows, None)
        if first is None:
            return
        if second is None:
            yield self.tokenizer(first)
            return
        tokenizer = ThreadPoolExecutor(1, thread_name_prefix="fastrag_quant-tokenizer")
        ahead: deque[Future[tuple[RaggedTokens, int]]] = deque()
        try:
            for window in chain((first, second), windows):
                ahead.append(tokenizer.submit(self.tokenizer, window))
                if len(ahead) > 1:
                    yield ahead.popleft().result()
            yield ahead.popleft().result()
        finally:
            # Not waited for: the garbage of an iterator left half way may be collected in that very thread.
            tokenizer.shutdown(wait=False, cancel_futures=True)


def _windows(texts: Iterable[str], prompt: str) -> Iterator[list[str]]:
    if isinstance(texts, str):
        msg = "QuantizedEmbedder expects a list of texts. To embed one text, pass [text]."
        raise InputError(msg)
    if not isinstance(texts, Iterable):
        msg = f"QuantizedEmbedder expects a list of texts, not {type(texts).__name__}."
        raise InputError(msg)
    if isinstance(texts, Sequence):
        _check_strings(texts, 0)  # all of them, before the first is embedded
    characters = 0
    window: list[str] = []
    for position, text in enumerate(texts):
        _check_strings([text], position)
        window.append(prompt + text)
        characters += len(text)
        if len(window) == _MOST_TEXTS or characters >= _MOST_CHARACTERS:
            yield window
            window, characters = [], 0
    if window:
        yield window


def _check_strings(texts: Sequence[str], start: int) -> None:
    for position, text in enumerate(texts, start):
        if not isinstance(text, str):
            msg = f"Text {position} is {type(text).__name__}, not a string: remove or convert it."
            raise InputError(msg)
