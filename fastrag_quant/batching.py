"""Token lengths in, padded batches out: the only place that decides shapes.

An engine compiles kernels for each new shape (batch size by padded length), and padding is work
thrown away. So texts are sorted by length, lengths are rounded up to few values, and batch sizes
are powers of two.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


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

    def padded_length(self, length: int) -> int:
        """Round a token count up to a quarter of the power of two below it, within the limits.

        64, 80, 96, 112, 128, 160, 192 …: at most a quarter, on average a tenth, is padding, and 16
        lengths cover every text of up to 512 tokens.
        """
        length = max(length, 1)  # a tokenizer without special tokens makes none of an empty text
        step = max(self.shortest, 1 << max(0, (length - 1).bit_length() - 3))
        return min(-(-length // step) * step, self.longest)

    def padded_length_alone(self, length: int) -> int:
        """Round the token count of a text that comes alone."""
        return self.padded_length(max(length, self.shortest_alone))

    def padded_lengths(self, longest: int | None = None) -> list[int]:
        """Return every padded length up to that of ``longest`` tokens (default: of any text)."""
        last = self.padded_length(min(longest or self.longest, self.longest))
        return sorted({self.padded_length(length) for length in range(1, last + 1)})

    def batch_size(self, length: int, limit: int) -> int:
        """Return the largest power of two within the token budget and a limit, at least 1."""
        most = max(1, min(limit, self.token_budget // length))
        return 1 << (most.bit_length() - 1)


@dataclass(frozen=True)
class Batch:
    """Which texts share a shape.

    :param indices: positions of the texts in the input.
    :param length: the padded length of all of them, in tokens.
    """

    indices: np.ndarray
    length: int


@dataclass(frozen=True)
class TokenBatch:
    """What an engine runs: arrays of shape (batch size, padded length), dtype int64."""

    input_ids: np.ndarray
    attention_mask: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """Batch size and padded length."""
        batch_size, length = self.input_ids.shape
        return batch_size, length


def plan_batches(lengths: Sequence[int] | np.ndarray, policy: ShapePolicy, limit: int) -> Iterator[Batch]:
    """Group texts of like length, longest first, so that a lack of memory shows at once.

    :param lengths: tokens per text.
    :param policy: the engine's.
    :param limit: texts per batch at the most.
    :return: batches that cover every text once.
    """
    if len(lengths) == 1:
        yield Batch(np.zeros(1, dtype=np.int64), policy.padded_length_alone(int(lengths[0])))
        return
    limit = min(limit, -(-len(lengths) // policy.streams))
    order = np.argsort(-np.asarray(lengths), kind="stable")
    start = 0
    while start < len(order):
        length = policy.padded_length(int(lengths[order[start]]))
        size = policy.batch_size(length, min(limit, len(order) - start))
        yield Batch(order[start : start + size], length)
        start += size


def pad(token_ids: Sequence[Sequence[int]], length: int, pad_token_id: int) -> TokenBatch:
    """Fill token ids up to one length.

    :param token_ids: the ids of each text, none longer than ``length``.
    :return: a batch of shape (texts, length).
    """
    input_ids = np.full((len(token_ids), length), pad_token_id, dtype=np.int64)
    attention_mask = np.zeros_like(input_ids)
    for row, ids in enumerate(token_ids):
        input_ids[row, : len(ids)] = ids
        attention_mask[row, : len(ids)] = 1
    return TokenBatch(input_ids, attention_mask)
