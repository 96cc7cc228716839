"""Which models are encoders as the module ``encoder`` describes them, and under which names they keep their weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastrag_quant.engines.native.encoder import EncoderShape, Fp32Encoder, Layer, Linear, Norm
from fastrag_quant.errors import ModelError


@dataclass(frozen=True)
class _Architecture:
    """The names that a family of models gives to the parts of an encoder.

    :param settings: name here → key in config.json; no epsilon where it is always the usual one.
    :param layer: what stands before the names of a layer's tensors, with a place for its number.
    :param token_types: whether a vector for the token type is added to each word's.
    :param padding_id: the usual id of padding where positions are numbered from the one behind it on; else None.
    """

    settings: Mapping[str, str]
    layer: str
    query: str
    key: str
    value: str
    output: str
    attention_norm: str
    up: str
    down: str
    output_norm: str
    token_types: bool
    padding_id: int | None = None


_EVERYWHERE = {"vocabulary": "vocab_size", "positions": "max_position_embeddings"}
_BERT = _Architecture(
    settings={
        **_EVERYWHERE,
        "hidden": "hidden_size",
        "heads": "num_attention_heads",
        "layers": "num_hidden_layers",
        "feed_forward": "intermediate_size",
        "activation": "hidden_act",
        "epsilon": "layer_norm_eps",
    },
    layer="encoder.layer.{}.",
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    output="attention.output.dense",
    attention_norm="attention.output.LayerNorm",
    up="intermediate.dense",
    down="output.dense",
    output_norm="output.LayerNorm",
    token_types=True,
)
_ROBERTA = replace(_BERT, padding_id=1)
_DISTILBERT = _Architecture(
    settings={
        **_EVERYWHERE,
        "hidden": "dim",
        "heads": "n_heads",
        "layers": "n_layers",
        "feed_forward": "hidden_dim",
        "activation": "activation",
    },
    layer="transformer.layer.{}.",
    query="attention.q_lin",
    key="attention.k_lin",
    value="attention.v_lin",
    output="attention.out_lin",
    attention_norm="sa_layer_norm",
    up="ffn.lin1",
    down="ffn.lin2",
    output_norm="output_layer_norm",
    token_types=False,
)

# By the model_type of config.json. ELECTRA and CamemBERT are BERT and RoBERTa under other names.
_ARCHITECTURES = {
    "bert": _BERT,
    "electra": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "distilbert": _DISTILBERT,
}

# The exact one and its approximations, which differ by less than int8 can express.
_GELU = ("gelu", "gelu_new", "gelu_fast", "gelu_python", "gelu_pytorch_tanh")
_USUAL_EPSILON = 1e-12

_SIZES = ("hidden", "heads", "layers", "feed_forward", "vocabulary", "positions")
_WORDS = "embeddings.word_embeddings"


def why_not(config: Mapping[str, Any]) -> str | None:
    """Say why the native engine cannot run a model, or return None where it can.

    :param config: the model's config.json.
    """
    if not config:
        return "it has no config.json"
    name = config.get("model_type")
    architecture = _ARCHITECTURES.get(name) if isinstance(name, str) else None
    if config.get("is_encoder_decoder") or config.get("is_decoder") or config.get("add_cross_attention"):
        return "it has a decoder, and this engine runs encoders"
    if architecture is None:
        own = ", code of its own (auto_map) that is never run" if config.get("auto_map") else ""
        return f"its model_type is {name!r}{own}, and this engine runs {', '.join(_ARCHITECTURES)}"
    keys = architecture.settings
    activation = config.get(keys["activation"], "gelu")
    if activation not in _GELU:
        return f"its activation is {activation!r}, and this engine runs {', '.join(_GELU)}"
    positions = config.get("position_embedding_type", "absolute")
    if positions != "absolute":
        return f"its position_embedding_type is {positions!r}, and this engine runs absolute positions"
    if architecture.token_types and config.get("type_vocab_size", 2) == 0:
        return "its type_vocab_size is 0, and its embeddings need the vector of a token type"
    for size in _SIZES:
        if type(config.get(keys[size])) is not int:
            return f"its config.json has no whole number {keys[size]}"
    if not isinstance(_epsilon(config, architecture), int | float):
        return f"its {keys['epsilon']} is {config[keys['epsilon']]!r}"
    if name == "electra" and config.get("embedding_size") != config["hidden_size"]:
        return "its words have vectors of another size than its layers"
    return _shape(config, architecture).problem()


def shape_of(config: Mapping[str, Any]) -> EncoderShape:
    """Return the sizes of a model.

    :param config: the model's config.json.
    :raises ModelError: if the native engine cannot run it, saying why.
    """
    if reason := why_not(config):
        msg = f"The native engine cannot run this model: {reason}."
        raise ModelError(msg)
    return _shape(config, _ARCHITECTURES[config["model_type"]])


def read_encoder(config: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> Fp32Encoder:
    """Return a model's weights under the names of this package.

    Layers are read whenever they are asked for, so that one at a time is in memory.

    :param config: the model's config.json.
    :param weights: name → array in float32, under the names that transformers and sentence-transformers write.
    :raises ModelError: if the native engine cannot run it, or a tensor is missing, of another shape than the
        configuration says, or holds what is no finite number; for a layer's tensors when they are asked for.
    """
    shape = shape_of(config)
    architecture = _ARCHITECTURES[config["model_type"]]
    tensors = _Tensors(weights, _prefix(weights))
    hidden = shape.hidden
    first = _first_position(config, architecture)
    positions = tensors.take("embeddings.position_embeddings.weight", first + shape.positions, hidden)
    positions = np.concatenate([positions[first:], positions[first - 1 : first]])  # at last that of padding, if any
    if architecture.token_types:
        name = "embeddings.token_type_embeddings.weight"
        positions = positions + tensors.take(name, config.get("type_vocab_size", 2), hidden)[0]
    return Fp32Encoder(
        shape,
        tensors.take(f"{_WORDS}.weight", shape.vocabulary, hidden),
        positions,
        tensors.norm("embeddings.LayerNorm", hidden),
        _LayersOnDemand(shape, architecture, tensors),
    )


def _shape(config: Mapping[str, Any], architecture: _Architecture) -> EncoderShape:
    sizes = {size: config[architecture.settings[size]] for size in _SIZES}
    sizes["positions"] -= _first_position(config, architecture)
    padding = _first_position(config, architecture) - 1
    return EncoderShape(**sizes, epsilon=_epsilon(config, architecture), padding=padding)


def _epsilon(config: Mapping[str, Any], architecture: _Architecture) -> float:
    return config.get(architecture.settings.get("epsilon", ""), _USUAL_EPSILON)


def _first_position(config: Mapping[str, Any], architecture: _Architecture) -> int:
    if architecture.padding_id is None:
        return 0
    padding = config.get("pad_token_id")
    return (architecture.padding_id if padding is None else int(padding)) + 1


def _prefix(weights: Mapping[str, np.ndarray]) -> str:
    """Return what stands before the names of all tensors, such as ``bert.`` or ``0.auto_model.``."""
    ending = f"{_WORDS}.weight"
    found = [name.removesuffix(ending) for name in weights if f".{name}".endswith(f".{ending}")]
    if len(found) != 1:
        several = f"{len(found)} encoders, under {' and '.join(map(repr, found))}"
        msg = f"The model holds {several if found else f'no tensor {ending}'}: it is no single text encoder."
        raise ModelError(msg)
    return found[0]


@dataclass(frozen=True)
class _Tensors:
    """Weights whose names have a prefix in common."""

    weights: Mapping[str, np.ndarray]
    prefix: str

    def take(self, name: str, *shape: int) -> np.ndarray:
        """Return a tensor that has the shape that the configuration says."""
        full_name = f"{self.prefix}{name}"
        if full_name not in self.weights:
            msg = f"The model lacks the tensor {full_name}, of shape {shape}: fetch the model again."
            raise ModelError(msg)
        array = self.weights[full_name]
        if array.shape != shape:
            msg = f"The tensor {full_name} has the shape {array.shape}, and by the model's config.json it is {shape}."
            raise ModelError(msg)
        if not np.isfinite(array).all():
            msg = f"The tensor {full_name} holds infinite numbers, or some that are none (NaN)."
            raise ModelError(msg)
        return array

    def linear(self, name: str, outputs: int, inputs: int) -> Linear:
        return Linear(self.take(f"{name}.weight", outputs, inputs), self.take(f"{name}.bias", outputs))

    def norm(self, name: str, hidden: int) -> Norm:
        # Checkpoints that were converted from TensorFlow name a normalisation's tensors as it does.
        as_tensorflow = f"{self.prefix}{name}.gamma" in self.weights
        weight, bias = ("gamma", "beta") if as_tensorflow else ("weight", "bias")
        return Norm(self.take(f"{name}.{weight}", hidden), self.take(f"{name}.{bias}", hidden))


@dataclass(frozen=True)
class _LayersOnDemand(Sequence[Layer]):
    """The layers of an encoder, each read whenever it is asked for."""

    shape: EncoderShape
    architecture: _Architecture
    tensors: _Tensors

    def __len__(self) -> int:
        return self.shape.layers

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self._read(number) for number in range(len(self))[index]]
        return self._read(range(len(self))[index])

    def _read(self, number: int) -> Layer:
        names, hidden, inner = self.architecture, self.shape.hidden, self.shape.feed_forward
        layer = names.layer.format(number)
        linear, norm = self.tensors.linear, self.tensors.norm
        attention = [linear(layer + name, hidden, hidden) for name in (names.query, names.key, names.value)]
        return Layer(
            query_key_value=Linear(
                np.concatenate([part.weight for part in attention]), np.concatenate([part.bias for part in attention])
            ),
            output=linear(layer + names.output, hidden, hidden),
            attention_norm=norm(layer + names.attention_norm, hidden),
            up=linear(layer + names.up, inner, hidden),
            down=linear(layer + names.down, hidden, inner),
            output_norm=norm(layer + names.output_norm, hidden),
        )
