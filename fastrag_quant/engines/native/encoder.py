"""What an encoder is made of, in fp32 and in int8: the one description that reading, quantizing and running share.

Arrays are numpy's, C-contiguous, and never written to: they may be mapped from a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LARGEST_HEAD = 64


@dataclass(frozen=True)
class EncoderShape:
    """The sizes of an encoder.

    :param hidden: numbers per token vector.
    :param heads: of attention, each of hidden / heads numbers.
    :param layers: how many.
    :param feed_forward: numbers per token between the two products that end a layer.
    :param vocabulary: how many token ids there are.
    :param positions: tokens per text at the most.
    :param epsilon: what layer normalisation adds to a variance.
    :param padding: the token id that takes no position, as in RoBERTa, wherever a text holds it; -1 where all take one.
    """

    hidden: int
    heads: int
    layers: int
    feed_forward: int
    vocabulary: int
    positions: int
    epsilon: float
    padding: int = -1

    @property
    def position_rows(self) -> int:
        """How many vectors of positions there are: the last one is that of the token that takes none."""
        return self.positions + (self.padding >= 0)

    @property
    def head_size(self) -> int:
        """Numbers per head of attention."""
        return self.hidden // self.heads

    def problem(self) -> str | None:
        """Say why no encoder can have these sizes, or none that the kernels run; None where one can."""
        sizes = {name: size for name, size in vars(self).items() if name not in ("epsilon", "padding")}
        for name, size in sizes.items():
            if size < 1:
                return f"its size {name} is {size}"
        if not -1 <= self.padding < self.vocabulary:
            return f"its padding is token {self.padding} of {self.vocabulary}"
        if not 0 < self.epsilon < 1:
            return f"its layer normalisation has the epsilon {self.epsilon}"
        if self.hidden % self.heads:
            return f"its {self.hidden} dimensions cannot be shared out among {self.heads} heads of attention"
        if self.head_size > LARGEST_HEAD:
            return f"its heads of attention have {self.head_size} dimensions each, and {LARGEST_HEAD} is the limit"
        return None


@dataclass(frozen=True)
class Norm:
    """A layer normalisation: weight and bias, float32 of shape (hidden,)."""

    weight: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class Linear:
    """A product with weights: weight of shape (out, in), bias of shape (out,), both float32."""

    weight: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class Layer:
    """A layer in fp32.

    :param query_key_value: of shape (3 * hidden, hidden): the rows of the queries, of the keys, of the values.
    :param output: what follows attention, of shape (hidden, hidden).
    :param attention_norm: of attention's output with the layer's input added.
    :param up: the first product of the feed-forward part, of shape (feed_forward, hidden); GELU follows.
    :param down: the second one, of shape (hidden, feed_forward).
    :param output_norm: of its output with its input added.
    """

    query_key_value: Linear
    output: Linear
    attention_norm: Norm
    up: Linear
    down: Linear
    output_norm: Norm


@dataclass(frozen=True)
class Fp32Encoder:
    """An encoder in fp32.

    :param words: a vector for each token id, float32 of shape (vocabulary, hidden).
    :param positions: a vector for each position, that of token type 0 added, float32 of shape (position_rows, hidden);
        row 0 is that of a text's first token.
    :param embedding_norm: of the sum of both.
    :param layers: in order; each may be read from its file whenever it is asked for.
    """

    shape: EncoderShape
    words: np.ndarray
    positions: np.ndarray
    embedding_norm: Norm
    layers: Sequence[Layer]


@dataclass(frozen=True)
class Int8Linear:
    """A product with int8 weights, symmetric per output channel: weight * scale is near the fp32 weight.

    :param weight: int8 of shape (out, in), -127 … 127.
    :param scale: float32 of shape (out,).
    :param bias: float32 of shape (out,).
    """

    weight: np.ndarray
    scale: np.ndarray
    bias: np.ndarray


@dataclass(frozen=True)
class Int8Layer:
    """A layer in int8, made as :class:`Layer`."""

    query_key_value: Int8Linear
    output: Int8Linear
    attention_norm: Norm
    up: Int8Linear
    down: Int8Linear
    output_norm: Norm


@dataclass(frozen=True)
class Int8Encoder:
    """An encoder in int8.

    :param words: int8 of shape (vocabulary, hidden); a token's vector is its row times its scale.
    :param word_scales: float32 of shape (vocabulary,).
    :param positions: float32 of shape (position_rows, hidden), as in :class:`Fp32Encoder`.
    :param embedding_norm: of the sum of both.
    :param layers: in order.
    """

    shape: EncoderShape
    words: np.ndarray
    word_scales: np.ndarray
    positions: np.ndarray
    embedding_norm: Norm
    layers: tuple[Int8Layer, ...]
