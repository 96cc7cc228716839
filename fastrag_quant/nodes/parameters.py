"""The parameters of nodes: read by the types of the constructor, and saved by Haystack as they were read."""

import inspect
from functools import wraps
from typing import Any, Callable, Dict, TypeVar, cast, get_type_hints

from haystack.nodes.base import BaseComponent

from fastrag_quant.arguments import arguments_for, read_parameters
from fastrag_quant.config import EmbedderConfig
from fastrag_quant.shared import SharedEmbedder

Constructor = TypeVar("Constructor", bound=Callable[..., None])

# What Haystack 1 calls arguments of the embedder and of quantize().
_HAYSTACK1_NAMES = {
    "embedding_model": "model",
    "model_name_or_path": "model",
    "pooling_strategy": "pooling",
    "model_version": "revision",
    "use_auth_token": "token",
}


def plain_parameters(constructor: Constructor) -> Constructor:
    """Make a node's constructor take text where it takes truth values, numbers and lists.

    Haystack 1 hands on environment variables as text, and writes parameters to YAML as it recorded them before the
    constructor ran: so the record is put right too.

    :raises InputError: in the constructor, naming the node and the parameter that cannot be read.
    """
    signature, types = inspect.signature(constructor), get_type_hints(constructor)

    @wraps(constructor)
    def read_and_construct(self: BaseComponent, *arguments: Any, **named: Any) -> None:
        given = signature.bind(self, *arguments, **named).arguments
        del given["self"]
        plain = read_parameters(given, types, type(self).__name__)
        if inspect.unwrap(type(self).__init__) is constructor:  # else the record is of a subclass's own parameters
            self._component_config["params"].update(plain)
        constructor(self, **plain)

    return cast("Constructor", read_and_construct)


def handed_on(function: Callable[..., Any], parameters: Dict[str, Any]) -> Dict[str, Any]:
    """Return those of a node's parameters that a function has too, by the function's names."""
    return arguments_for(function, {_HAYSTACK1_NAMES.get(name, name): given for name, given in parameters.items()})


def embedder_of(parameters: Dict[str, Any]) -> SharedEmbedder:
    """Return the embedder that a node's parameters ask for, which is not loaded yet.

    :raises InputError: for what no model could satisfy.
    """
    arguments = handed_on(EmbedderConfig, parameters)
    return SharedEmbedder(EmbedderConfig(**arguments | {"pad_to_max": bool(arguments["pad_to_max"])}))


_OF_CALLS = {"top_k": int, "batch_size": int, "scale_score": bool}


def of_a_call(node: BaseComponent, **given: Any) -> Dict[str, Any]:
    """Return the parameters of a call, with the node's own in place of None.

    :param given: top_k, batch_size, scale_score, or some of them.
    :raises InputError: naming the node and the parameter that cannot be read, or is below 1.
    """
    asked = {name: getattr(node, name) if value is None else value for name, value in given.items()}
    return read_parameters(asked, _OF_CALLS, type(node).__name__)
