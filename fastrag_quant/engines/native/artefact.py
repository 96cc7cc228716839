"""The file of an int8 encoder: native.safetensors, mapped into memory and checked whole before it is used."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from fastrag_quant.engines.native.encoder import EncoderShape, Int8Encoder, Int8Layer, Int8Linear, Norm
from fastrag_quant.errors import ModelError
from fastrag_quant.model.safetensors_file import SafetensorsFile

WEIGHTS_NAME = "native.safetensors"

FORMAT_VERSION = "2"
_VERSION_KEY = "fastrag_quant.native"


def write_int8(path: Path, encoder: Int8Encoder) -> None:
    """Write an encoder: its tensors under their names here, its sizes as text beside them."""
    tensors = {"words": encoder.words, "word_scales": encoder.word_scales, "positions": encoder.positions}
    tensors |= _named("embedding_norm", encoder.embedding_norm)
    for number, layer in enumerate(encoder.layers):
        for name, part in vars(layer).items():
            tensors |= _named(f"layers.{number}.{name}", part)
    sizes = {name: repr(size) for name, size in vars(encoder.shape).items()}
    path.touch()
    permissions = path.stat().st_mode
    save_file(tensors, path, {_VERSION_KEY: FORMAT_VERSION, **sizes})
    path.chmod(permissions)  # safetensors 0.8 puts a file in its place that none but its owner may read


def read_int8(path: Path) -> Int8Encoder:
    """Map an encoder from its file, which must stay as it is while the encoder is used.

    :raises ModelError: if the file is missing, damaged, of another format, or anything in it does not fit the sizes
        that it names: types, shapes, scales, numbers that are not finite.
    """
    file = SafetensorsFile.open(path)
    shape = _shape(file)
    tensors = _Tensors(file)
    hidden, vocabulary = shape.hidden, shape.vocabulary
    return Int8Encoder(
        shape=shape,
        words=tensors.take("words", "I8", vocabulary, hidden),
        word_scales=tensors.scales("word_scales", vocabulary),
        positions=tensors.floats("positions", shape.position_rows, hidden),
        embedding_norm=tensors.norm("embedding_norm", hidden),
        layers=tuple(_layer(tensors, shape, f"layers.{number}") for number in range(shape.layers)),
    )


def _named(name: str, part: Int8Linear | Norm) -> dict[str, np.ndarray]:
    return {f"{name}.{field}": array for field, array in vars(part).items()}


def _shape(file: SafetensorsFile) -> EncoderShape:
    version = file.metadata.get(_VERSION_KEY)
    if version != FORMAT_VERSION:
        found = "is no file of the native engine" if version is None else f"has the format {version}"
        msg = f"{file.path} {found}; this fastrag_quant reads format {FORMAT_VERSION}: quantize the model again."
        raise ModelError(msg)
    sizes: dict[str, float] = {}
    for field in fields(EncoderShape):
        text = file.metadata.get(field.name, "")
        try:
            sizes[field.name] = float(text) if field.name == "epsilon" else int(text)
        except ValueError as error:
            msg = f"{file.path} is damaged: its size {field.name} is {text!r}. Quantize the model again."
            raise ModelError(msg) from error
    shape = EncoderShape(**sizes)  # type: ignore[arg-type]
    if problem := shape.problem():
        msg = f"{file.path} is damaged: {problem}. Quantize the model again."
        raise ModelError(msg)
    return shape


def _layer(tensors: _Tensors, shape: EncoderShape, name: str) -> Int8Layer:
    hidden, inner = shape.hidden, shape.feed_forward
    return Int8Layer(
        query_key_value=tensors.linear(f"{name}.query_key_value", 3 * hidden, hidden),
        output=tensors.linear(f"{name}.output", hidden, hidden),
        attention_norm=tensors.norm(f"{name}.attention_norm", hidden),
        up=tensors.linear(f"{name}.up", inner, hidden),
        down=tensors.linear(f"{name}.down", hidden, inner),
        output_norm=tensors.norm(f"{name}.output_norm", hidden),
    )


@dataclass(frozen=True)
class _Tensors:
    """The tensors of a file, each checked as it is taken."""

    file: SafetensorsFile

    def take(self, name: str, dtype: str, *shape: int) -> np.ndarray:
        """Return a tensor of a type and a shape, C-contiguous and aligned."""
        if name not in self.file.names:
            raise self._damaged(name, "is missing")
        stored = self.file.tensor(name)
        if (stored.dtype, stored.array.shape) != (dtype, shape):
            found = f"is {stored.dtype} of shape {stored.array.shape}"
            raise self._damaged(name, f"{found}, where {dtype} of shape {shape} is expected")
        return np.require(stored.array, requirements=["C_CONTIGUOUS", "ALIGNED"])

    def floats(self, name: str, *shape: int) -> np.ndarray:
        array = self.take(name, "F32", *shape)
        if not np.isfinite(array).all():
            raise self._damaged(name, "holds infinite numbers, or some that are none (NaN)")
        return array

    def scales(self, name: str, count: int) -> np.ndarray:
        array = self.floats(name, count)
        if not (array > 0).all():
            raise self._damaged(name, "holds scales that are not above 0")
        return array

    def linear(self, name: str, outputs: int, inputs: int) -> Int8Linear:
        return Int8Linear(
            self.take(f"{name}.weight", "I8", outputs, inputs),
            self.scales(f"{name}.scale", outputs),
            self.floats(f"{name}.bias", outputs),
        )

    def norm(self, name: str, hidden: int) -> Norm:
        return Norm(self.floats(f"{name}.weight", hidden), self.floats(f"{name}.bias", hidden))

    def _damaged(self, name: str, what: str) -> ModelError:
        return ModelError(f"{self.file.path} is damaged: its tensor {name} {what}. Quantize the model again.")
