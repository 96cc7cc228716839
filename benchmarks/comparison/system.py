"""What is known of a system before it runs, and what it gives once it is loaded."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


class Home(Enum):
    """The environment that has a system."""

    OURS = "this interpreter"
    PEERS = "--peer-python"
    FASTRAG = "--fastrag-python"


@dataclass(frozen=True)
class Setup:
    """What every system is told of the model that is measured; it travels to other interpreters as JSON.

    :param model: directory of the fp32 model.
    :param models: folder with a model for each system that needs one of its own form.
    :param calibration: texts for static quantization.
    :param pooling: "cls" or "mean".
    :param max_tokens: per text, special tokens included; longer texts are cut.
    """

    model: str
    models: str
    calibration: str
    pooling: str
    normalize: bool
    max_tokens: int

    def folder(self, name: str) -> Path:
        """Return where a system's model is."""
        return Path(self.models) / name

    def to_json(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Setup:
        """Read what :meth:`to_json` wrote."""
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Shape:
    """The sizes of an encoder that its costs hang on."""

    layers: int
    hidden: int
    feed_forward: int

    def operations(self, tokens: float) -> float:
        """Count multiplications and additions of the products with weights; attention is not among them."""
        return 2.0 * tokens * self.layers * (4 * self.hidden**2 + 2 * self.hidden * self.feed_forward)


@dataclass(frozen=True)
class Loaded:
    """A system that is ready to embed.

    :param embed: texts and whether they are queries → vectors of shape (texts, dimension).
    :param shape: of a model of the system's own; None for the model that is measured.
    :param count_tokens: by a tokenizer of the system's own; None for that of the model that is measured.
    """

    embed: Callable[[list[str], bool], np.ndarray]
    shape: Shape | None = None
    count_tokens: Callable[[list[str]], list[int]] | None = None


@dataclass(frozen=True)
class System:
    """A system that can be measured.

    :param load: makes it ready, in a process of its own.
    :param model: name of the folder with its model, None where it takes the fp32 model or brings its own.
    :param build: writes that folder, in the system's environment.
    :param variables: of its process's environment.
    :param is_int8: whether it is a match for int8 engines.
    :param own_model: it runs another model, so that only what it takes per layer and token compares.
    """

    home: Home
    load: Callable[[Setup], Loaded]
    model: str | None = None
    build: Callable[[Setup, Path], Any] | None = None
    variables: Mapping[str, str] = field(default_factory=dict)
    is_int8: bool = True
    own_model: bool = False
