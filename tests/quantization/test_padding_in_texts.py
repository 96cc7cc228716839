"""A text may hold the token of padding ("<pad>"): RoBERTa's kin give it no position, and the rest moves up."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from engines_here import ENGINES

from fastrag_quant import QuantizedEmbedder, quantize
from fastrag_quant.engines import ENGINE_KINDS
from fastrag_quant.errors import ModelError

TEXT = "[PAD] the if statement [PAD] [PAD] a class [PAD] for while del lambda"


@pytest.fixture(params=["roberta", "xlm-roberta", "mpnet"])
def model(request: pytest.FixtureRequest, model_of: Callable[..., Path]) -> Path:
    """A tiny model in which positions make much of a difference."""
    import torch
    from transformers import AutoModel

    directory = model_of(request.param)
    module = AutoModel.from_pretrained(directory)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        module.embeddings.position_embeddings.weight += 0.1 * torch.randn_like(
            module.embeddings.position_embeddings.weight
        )
    module.save_pretrained(directory)
    return directory


def in_transformers(model: Path, *, moves_up: bool) -> np.ndarray:
    """The vector of the text as transformers has it, or with a position for each token of padding too."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    inputs = AutoTokenizer.from_pretrained(model)(TEXT, return_tensors="pt")
    ids = inputs["input_ids"]
    assert (ids == 1).sum() == 4
    every = None if moves_up else torch.arange(2, 2 + ids.shape[1])[None]
    with torch.inference_mode():
        hidden = AutoModel.from_pretrained(model).eval()(
            input_ids=ids, attention_mask=inputs["attention_mask"], position_ids=every
        )[0]
    vector: np.ndarray = torch.nn.functional.normalize(hidden.mean(dim=1), dim=1).numpy()
    return vector[0]


@pytest.mark.parametrize("engine", ["torch", *ENGINES])
def test_every_engine_numbers_positions_as_transformers_does(
    model: Path, passages: list[str], tmp_path: Path, engine: str
):
    config = json.loads((model / "config.json").read_text())
    if reason := ENGINE_KINDS[engine].why_not_architecture(config):
        pytest.skip(reason)
    directory = model
    if engine != "torch":
        directory = tmp_path / "int8"
        quantize(model, directory, passages[:60], engine=engine, pooling="mean", min_cosine=0)
    right, wrong = in_transformers(model, moves_up=True), in_transformers(model, moves_up=False)
    assert right @ wrong < 0.98

    with QuantizedEmbedder(directory, engine, pooling="mean") as embedder:
        for [vector, *_] in (embedder.embed_documents([TEXT]), embedder.embed_documents([TEXT, "a much " * 20])):
            assert vector @ right > 0.98 > vector @ wrong
            assert engine != "torch" or np.allclose(vector, right, atol=1e-5)


@pytest.mark.parametrize("engine", ["torch", *({"native"} & set(ENGINES))])
@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_embeddings_without_any_token_type_are_refused(model_of: Callable[..., Path], family: str, engine: str):
    with pytest.raises(ModelError, match=r"type_vocab_size"):
        QuantizedEmbedder(model_of(family, type_vocab_size=0), engine, pooling="cls")
