"""Small encoders of every architecture that the native engine runs, with all of their weights random."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastrag_quant.engines.native.architectures import read_encoder
from fastrag_quant.engines.native.encoder import Fp32Encoder
from fastrag_quant.model.source import ModelSource
from fastrag_quant.model.tokenization import RaggedTokens
from fastrag_quant.model.weights import open_weights

VOCABULARY = 100
POSITIONS = 40

SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "num_attention_heads": 2,
    "num_hidden_layers": 3,
    "intermediate_size": 96,
    "max_position_embeddings": POSITIONS,
}
# config.json of the smallest that says all that an engine asks of it.
BERT = {
    "model_type": "bert",
    "hidden_size": 32,
    "num_attention_heads": 2,
    "num_hidden_layers": 1,
    "intermediate_size": 64,
    "vocab_size": 100,
    "max_position_embeddings": 64,
}

WITH_OFFSET = {"max_position_embeddings": POSITIONS + 2, "pad_token_id": 1}

# The name of each architecture in transformers, and the configuration of a small model of it.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", SIZES),
    "electra": ("Electra", SIZES | {"embedding_size": 64}),
    "roberta": ("Roberta", SIZES | WITH_OFFSET | {"type_vocab_size": 1, "layer_norm_eps": 1e-5}),
    "xlm-roberta": ("XLMRoberta", SIZES | WITH_OFFSET | {"type_vocab_size": 1, "layer_norm_eps": 1e-5}),
    "camembert": ("Camembert", SIZES | WITH_OFFSET),
    "distilbert": (
        "DistilBert",
        {
            "vocab_size": VOCABULARY,
            "dim": 64,
            "n_heads": 2,
            "n_layers": 3,
            "hidden_dim": 96,
            "max_position_embeddings": POSITIONS,
        },
    ),
}


@dataclass(frozen=True)
class SmallModel:
    """A model as transformers runs and writes it."""

    module: Any
    directory: Path

    @property
    def config(self) -> dict[str, Any]:
        config: dict[str, Any] = json.loads((self.directory / "config.json").read_text())
        return config

    @property
    def encoder(self) -> Fp32Encoder:
        return read_encoder(self.config, open_weights(ModelSource(str(self.directory))))

    def token_vectors(self, tokens: RaggedTokens) -> np.ndarray:
        """Return what transformers computes, text by text."""
        import torch

        with torch.inference_mode():
            outputs = [self.module(torch.from_numpy(ids.astype(np.int64))[None])[0][0] for ids in tokens.texts()]
        return torch.cat(outputs).numpy()


def write_small_model(family: str, directory: Path, noise: float = 0.2, **changes: Any) -> SmallModel:
    """Make a small model of an architecture, with changes to its configuration.

    :param noise: how much is added to each weight; from about 2 / sqrt(hidden size) on attention sees one token alone.
    """
    import torch
    import transformers

    prefix, sizes = FAMILIES[family]
    config = getattr(transformers, f"{prefix}Config")(**{**sizes, **changes})
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        module = getattr(transformers, f"{prefix}Model")(config).eval()
        for parameter in module.parameters():  # biases and normalisations too, which are 0 and 1 to begin with
            parameter += noise * torch.randn_like(parameter)
    module.save_pretrained(directory)
    return SmallModel(module, directory)


def random_tokens(lengths: Iterable[int]) -> RaggedTokens:
    """Make texts of some lengths; none holds RoBERTa's token of padding, 1, as :func:`with_padding` makes them."""
    random = np.random.default_rng(0)
    return RaggedTokens.of([random.integers(2, VOCABULARY, length) for length in lengths])


def with_padding(tokens: RaggedTokens) -> RaggedTokens:
    """Put RoBERTa's token of padding into texts, as a text has it that says "<pad>": first, last, alone, in a row."""
    ids = tokens.ids.copy()
    for start, end in zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True):
        ids[[start, (start + end) // 2, min(start + 3, end - 1), end - 1]] = 1
    return RaggedTokens(ids, tokens.offsets)
