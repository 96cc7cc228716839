"""An encoder in plain numpy: what the kernels are compared with, and fp32 vectors where torch is not installed.

Clear before fast: text by text, attention head by head. Products in int8 have the arithmetic of the kernels, to the
bit up to their sums; all else is float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from fastrag_quant.engines.native.encoder import Fp32Encoder, Int8Encoder, Int8Linear, Linear, Norm
from fastrag_quant.errors import InputError
from fastrag_quant.model.settings import Pooling
from fastrag_quant.model.tokenization import RaggedTokens

Encoder = Fp32Encoder | Int8Encoder


def embed(encoder: Encoder, tokens: RaggedTokens, pooling: Pooling, *, normalize: bool) -> np.ndarray:
    """Return a vector for each text.

    :param encoder: in fp32 or in int8.
    :return: float32 of shape (texts, hidden).
    :raises InputError: for a token that the vocabulary lacks, or a text longer than there are positions.
    """
    return pool(encode_tokens(encoder, tokens), tokens.offsets, pooling, normalize=normalize)


def encode_tokens(encoder: Encoder, tokens: RaggedTokens) -> np.ndarray:
    """Return a vector for each token.

    :param encoder: in fp32 or in int8.
    :return: float32 of shape (tokens, hidden).
    :raises InputError: for a token that the vocabulary lacks, or a text longer than there are positions.
    """
    _check(encoder, tokens)
    vectors = [_encode_text(encoder, ids) for ids in tokens.texts() if len(ids)]
    return np.concatenate([np.empty((0, encoder.shape.hidden), np.float32), *vectors])


def pool(vectors: np.ndarray, offsets: np.ndarray, pooling: Pooling, *, normalize: bool) -> np.ndarray:
    """Turn token vectors into one vector a text; that of a text without tokens is zero.

    :param vectors: float32 of shape (tokens, hidden).
    :param offsets: where each text starts, and at last where the last one ends, shape (texts + 1,).
    :return: float32 of shape (texts, hidden).
    """
    pooled = np.zeros((len(offsets) - 1, vectors.shape[1]), np.float32)
    for text, (start, end) in enumerate(pairwise(offsets)):
        if start < end:
            pooled[text] = vectors[start] if pooling is Pooling.CLS else vectors[start:end].mean(axis=0)
    if normalize:
        pooled /= np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), np.float32(1e-12))
    return pooled


@dataclass(frozen=True)
class QuantizedRows:
    """Activations in 8 bits, with a range for each token: (values - zero) * scale is near them.

    :param values: uint8 of shape (tokens, columns).
    :param scale: float32 of shape (tokens,).
    :param zero: what stands for 0, int32 of shape (tokens,), 0 … 255.
    """

    values: np.ndarray
    scale: np.ndarray
    zero: np.ndarray


def quantize_rows(rows: np.ndarray) -> QuantizedRows:
    """Quantize activations as the kernels do.

    :param rows: float32 of shape (tokens, columns).
    """
    low = np.minimum(rows.min(axis=1), np.float32(0))
    high = np.maximum(rows.max(axis=1), np.float32(0))
    scale = np.maximum((high - low) / np.float32(255), np.float32(1e-12))
    zero = np.rint(-low / scale).astype(np.int32)
    values = np.clip(np.rint(rows / scale[:, None]) + zero[:, None], 0, 255).astype(np.uint8)
    return QuantizedRows(values, scale, zero)


def integer_product(rows: QuantizedRows, linear: Int8Linear) -> np.ndarray:
    """Return the product of activations and weights before scales and bias, exactly.

    :return: int32 of shape (tokens, out).
    """
    # float64 holds every integer up to 2^53, and its products are quick.
    sums = (rows.values.astype(np.float64) @ linear.weight.T.astype(np.float64)).astype(np.int32)
    return sums - rows.zero[:, None] * linear.weight.sum(axis=1, dtype=np.int32)


def product(rows: np.ndarray, linear: Linear | Int8Linear) -> np.ndarray:
    """Return activations times weights plus bias, in fp32 or, where the weights are int8, in int8.

    :param rows: float32 of shape (tokens, in).
    :return: float32 of shape (tokens, out).
    """
    if isinstance(linear, Linear):
        return rows @ linear.weight.T + linear.bias
    quantized = quantize_rows(rows)
    sums = integer_product(quantized, linear).astype(np.float32)
    return sums * quantized.scale[:, None] * linear.scale + linear.bias


def layer_norm(rows: np.ndarray, norm: Norm, epsilon: float) -> np.ndarray:
    """Shift and scale each row to mean 0 and variance 1, then apply the weights.

    :param rows: float32 of shape (tokens, hidden).
    """
    centred = rows - rows.mean(axis=1, keepdims=True)
    variance = np.square(centred).mean(axis=1, keepdims=True)
    return centred / np.sqrt(variance + np.float32(epsilon)) * norm.weight + norm.bias


def gelu(values: np.ndarray) -> np.ndarray:
    """Return GELU with the error function; its approximations by tanh differ from it by less than 1e-3.

    :param values: float32 of any shape.
    :return: float32 of the same shape.
    """
    gate: np.ndarray = 0.5 + 0.5 * erf(values * np.sqrt(0.5))
    return (values * gate).astype(np.float32)


# A quotient of polynomials: coefficients of x^13, x^11 … x over those of x^8, x^6 … 1. From Eigen (MPL 2.0).
_ERF_OVER = (
    *(-2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05),
    *(-7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02),
)
_ERF_UNDER = (
    *(-1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03),
    -1.42647390514189e-02,
)


def erf(values: np.ndarray) -> np.ndarray:
    """Return the error function to 1e-7, as float64."""
    clipped = np.clip(values, -4, 4).astype(np.float64)
    square = clipped * clipped
    quotient: np.ndarray = np.polyval(_ERF_OVER, square) / np.polyval(_ERF_UNDER, square)
    return clipped * quotient


def _check(encoder: Encoder, tokens: RaggedTokens) -> None:
    shape = encoder.shape
    if len(tokens.ids) and not 0 <= tokens.ids.min() <= tokens.ids.max() < shape.vocabulary:
        msg = f"A token id is outside the model's vocabulary of {shape.vocabulary}: is the tokenizer another model's?"
        raise InputError(msg)
    if len(tokens) and tokens.lengths.max() > shape.positions:
        msg = f"A text has {tokens.lengths.max()} tokens, and the model has positions for {shape.positions}."
        raise InputError(msg)


def _encode_text(encoder: Encoder, ids: np.ndarray) -> np.ndarray:
    shape = encoder.shape
    words = encoder.words[ids]
    if isinstance(encoder, Int8Encoder):
        words = words * encoder.word_scales[ids, None]
    takes_position = ids != shape.padding
    places = np.where(takes_position, np.cumsum(takes_position) - 1, shape.positions)
    hidden = layer_norm(words + encoder.positions[places], encoder.embedding_norm, shape.epsilon)
    for layer in encoder.layers:
        attended = _attention(product(hidden, layer.query_key_value), shape.heads)
        hidden = layer_norm(product(attended, layer.output) + hidden, layer.attention_norm, shape.epsilon)
        inner = gelu(product(hidden, layer.up))
        hidden = layer_norm(product(inner, layer.down) + hidden, layer.output_norm, shape.epsilon)
    return hidden


def _attention(query_key_value: np.ndarray, heads: int) -> np.ndarray:
    """Return what each token takes from the others, float32 of shape (tokens, hidden)."""
    length = len(query_key_value)
    query, key, value = query_key_value.reshape(length, 3, heads, -1).transpose(1, 2, 0, 3)
    scores = query @ key.transpose(0, 2, 1) / np.float32(np.sqrt(query.shape[-1]))
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    scores /= scores.sum(axis=-1, keepdims=True)
    return np.ascontiguousarray((scores @ value).transpose(1, 0, 2)).reshape(length, -1)
