"""From fp32 weights to int8: symmetric, with a scale for each output channel and for each word. No text is needed."""

from __future__ import annotations

import numpy as np

from fastrag_quant.engines.native.architectures import read_encoder
from fastrag_quant.engines.native.encoder import Fp32Encoder, Int8Encoder, Int8Layer, Int8Linear, Layer, Linear
from fastrag_quant.model.json_files import read_json
from fastrag_quant.model.modules import transformer_directory
from fastrag_quant.model.source import ModelSource
from fastrag_quant.model.weights import open_weights

# What rows without any weight are divided by.
SMALLEST_SCALE = 1e-12

# Numbers that are quantized at a time: they stay in the cache.
_BLOCK = 1 << 16


def quantize_source(source: ModelSource) -> Int8Encoder:
    """Return the encoder of an fp32 model in int8, straight from its weights.

    :raises ModelError: if the weights cannot be read, or not as those of an encoder that the engine runs.
    """
    config = read_json(transformer_directory(source.fetch()) / "config.json")
    return quantize(read_encoder(config, open_weights(source)))


def quantize(encoder: Fp32Encoder) -> Int8Encoder:
    """Return an encoder in int8. Its fp32 layers are asked for one by one, so that one at a time need be in memory.

    :raises ModelError: as what reads the layers.
    """
    words, word_scales = quantize_weight_rows(encoder.words)
    return Int8Encoder(
        shape=encoder.shape,
        words=words,
        word_scales=word_scales,
        positions=encoder.positions,
        embedding_norm=encoder.embedding_norm,
        layers=tuple(_quantize_layer(layer) for layer in encoder.layers),
    )


def quantize_weight_rows(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantize each row with a scale of its own: the largest number of a row becomes 127 or -127.

    :param rows: float32 of shape (rows, columns).
    :return: int8 of the same shape, and the scales, float32 of shape (rows,).
    """
    quantized = np.empty(rows.shape, np.int8)
    scales = np.empty(len(rows), np.float32)
    step = max(1, _BLOCK // rows.shape[1])
    room = np.empty((step, rows.shape[1]), np.float32)
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        exact = room[: len(block)]
        scale = np.abs(block, out=exact).max(axis=1) / np.float32(127)
        scale = np.maximum(scale, np.float32(SMALLEST_SCALE))
        # No row leaves -127 … 127: its largest number over its scale is 127 but for float32's rounding.
        np.rint(np.divide(block, scale[:, None], out=exact), out=exact)
        quantized[start : start + step] = exact
        scales[start : start + step] = scale
    return quantized, scales


def _quantize_layer(layer: Layer) -> Int8Layer:
    return Int8Layer(
        query_key_value=_quantize_linear(layer.query_key_value),
        output=_quantize_linear(layer.output),
        attention_norm=layer.attention_norm,
        up=_quantize_linear(layer.up),
        down=_quantize_linear(layer.down),
        output_norm=layer.output_norm,
    )


def _quantize_linear(linear: Linear) -> Int8Linear:
    return Int8Linear(*quantize_weight_rows(linear.weight), linear.bias)
