"""What the engines share that run arrays of one shape: which shapes there are, padding, and warming them up.

Such an engine compiles kernels for each new shape (batch size by padded length), and padding is work
thrown away. So texts are sorted by length, lengths are rounded up to few values, and batch sizes are
powers of two.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from fastrag_quant.host.cpu import usable_cores
from fastrag_quant.model.tokenization import RaggedTokens

if TYPE_CHECKING:
    from fastrag_quant.config import EmbedderConfig
    from fastrag_quant.model.settings import EmbedderSettings


@dataclass(frozen=True)
class PaddedBatch:
    """What such an engine runs: arrays of shape (batch size, padded length), dtype int64."""

    input_ids: np.ndarray
    attention_mask: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Batch size and padded length."""
        batch_size, length = self.input_ids.shape
        return batch_size, length

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        """Both by the names that transformers gives them."""
        return {"input_ids": self.input_ids, "attention_mask": self.attention_mask}


def pad(tokens: RaggedTokens, length: int, pad_token_id: int) -> PaddedBatch:
    """Fill texts up to one length.

    :param tokens: of texts, none longer than ``length``.
    :return: a batch of shape (texts, length).
    """
    input_ids = np.full((len(tokens), length), pad_token_id, dtype=np.int64)
    attention_mask = np.zeros_like(input_ids)
    for row, ids in enumerate(tokens.texts()):
        input_ids[row, : len(ids)] = ids
        attention_mask[row, : len(ids)] = 1
    return PaddedBatch(input_ids, attention_mask)


@dataclass(frozen=True)
class ShapePolicy:
    """Which shapes an engine likes.

    :param token_budget: tokens per batch, padding included.
    :param shortest: the smallest padded length.
    :param longest: the largest padded length, the embedder's max_seq_len.
    :param streams: how many batches run side by side; few texts are shared out among them.
    :param shortest_alone: the smallest padded length of a text that comes alone, as queries do.
    """

    token_budget: int
    shortest: int
    longest: int
    streams: int = 1
    shortest_alone: int = 1

    def padded_length(self, length: int, *, alone: bool = False) -> int:
        """Round a token count up to a quarter of the power of two below it, within the limits.

        64, 80, 96, 112, 128, 160, 192 …: at most a quarter, on average a tenth, is padding, and 16
        lengths cover every text of up to 512 tokens.

        :param alone: whether the text is the only one.
        """
        # A tokenizer without special tokens makes no token of an empty text.
        length = max(length, self.shortest_alone if alone else 1)
        step = max(self.shortest, 1 << max(0, (length - 1).bit_length() - 3))
        return min(-(-length // step) * step, self.longest)

    def batch_size(self, length: int, limit: int) -> int:
        """Return the largest power of two within the token budget and a limit, at least 1."""
        most = max(1, min(limit, self.token_budget // length))
        return 1 << (most.bit_length() - 1)

    def plan(self, lengths: np.ndarray, limit: int) -> Iterator[np.ndarray]:
        """Group texts of like length, longest first, so that a lack of memory shows at once.

        :param lengths: tokens per text, shape (texts,).
        :param limit: texts per batch at the most.
        :return: the positions of the texts of each batch; every text is in one.
        """
        if len(lengths) == 1:
            yield np.zeros(1, dtype=np.intp)
            return
        limit = min(limit, -(-len(lengths) // self.streams))
        order = np.argsort(-lengths, kind="stable")
        start = 0
        while start < len(order):
            length = self.padded_length(int(lengths[order[start]]))
            size = self.batch_size(length, min(limit, len(order) - start))
            yield order[start : start + size]
            start += size


class PaddedEngine(ABC):
    """An engine that runs padded batches; what a subclass does is run them.

    :cvar name: what users call it.
    :cvar token_budget: the tokens per batch at which it runs best, measured.
    :cvar shortest: the smallest padded length worth a shape of its own, measured.
    :cvar shortest_alone: the same for a text that comes alone, as queries do.
    """

    name: ClassVar[str]
    token_budget: ClassVar[int]
    shortest: ClassVar[int]
    shortest_alone: ClassVar[int]

    def __init__(self, settings: EmbedderSettings, config: EmbedderConfig) -> None:
        """Decide which shapes there are."""
        longest = settings.max_seq_len
        self.streams = self._stream_count(config)
        self._shapes = ShapePolicy(
            self.token_budget,
            longest if config.pad_to_max else self.shortest,
            longest,
            self.streams,
            self.shortest_alone,
        )
        self._pad_token_id = settings.pad_token_id

    def plan(self, lengths: np.ndarray, limit: int) -> Iterator[np.ndarray]:
        """Yield the positions of the texts that share a batch."""
        return self._shapes.plan(lengths, limit)

    def encode(self, tokens: RaggedTokens) -> np.ndarray:
        """Return the vectors of texts as soon as can be, float32 of shape (texts, dimension)."""
        return self._run(self._padded(tokens, alone=len(tokens) == 1))

    def encode_all(self, batches: Iterable[RaggedTokens]) -> Iterator[np.ndarray]:
        """Yield the vectors of each batch, in order, with a stream per core."""
        return self._run_all(map(self._padded, batches))

    def warm_up(self, lengths: Iterable[int], batch_size: int) -> None:
        """Run every shape that texts of these lengths need, wherever one of it may run later."""
        alone = batch_size == 1
        for length in sorted({self._shapes.padded_length(length, alone=alone) for length in lengths}):
            shape = (self._shapes.batch_size(length, batch_size), length)
            ids = np.full(shape, self._pad_token_id, dtype=np.int64)
            self._warm_up(PaddedBatch(ids, np.ones_like(ids)))

    @abstractmethod
    def close(self) -> None:
        """Release the weights and threads."""

    @abstractmethod
    def _run(self, batch: PaddedBatch) -> np.ndarray: ...

    @abstractmethod
    def _run_all(self, batches: Iterable[PaddedBatch]) -> Iterator[np.ndarray]: ...

    @abstractmethod
    def _warm_up(self, batch: PaddedBatch) -> None: ...

    def _stream_count(self, config: EmbedderConfig) -> int:
        return config.threads or usable_cores()

    def _padded(self, tokens: RaggedTokens, *, alone: bool = False) -> PaddedBatch:
        return pad(tokens, self._shapes.padded_length(int(tokens.lengths.max()), alone=alone), self._pad_token_id)
