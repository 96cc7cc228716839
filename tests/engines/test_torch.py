"""The torch engine runs any encoder as transformers loads it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from fastrag_quant import QuantizedEmbedder
from fastrag_quant.errors import ModelError


@pytest.fixture
def tiny_distilbert(tiny_model: Path, tmp_path: Path) -> Path:
    """A DistilBERT, which knows no token types, with random weights."""
    import torch
    from transformers import DistilBertConfig, DistilBertModel

    directory = tmp_path / "distilbert"
    shutil.copytree(tiny_model, directory, ignore=shutil.ignore_patterns("config.json", "*.safetensors"))
    config = DistilBertConfig(vocab_size=500, dim=32, n_layers=2, n_heads=2, hidden_dim=64, max_position_embeddings=64)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        DistilBertModel(config).save_pretrained(directory)
    return directory


def by_transformers(directory: Path, texts: list[str]) -> np.ndarray:
    """The vectors of the first tokens, computed without this package."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    inputs = AutoTokenizer.from_pretrained(directory)(texts, return_tensors="pt", padding=True)
    inputs.pop("token_type_ids")
    with torch.inference_mode():
        return AutoModel.from_pretrained(directory).eval()(**inputs).last_hidden_state[:, 0].numpy()


def test_vectors_are_those_of_transformers(tiny_cls_model: Path):
    texts = ["if", "a class of lambdas", "while"]

    vectors = QuantizedEmbedder(tiny_cls_model, "torch").embed_documents(texts)

    assert np.allclose(vectors, by_transformers(tiny_cls_model, texts), atol=1e-5)


def test_a_model_without_token_types_runs(tiny_distilbert: Path):
    texts = ["if", "a class of lambdas", "while"]

    embedder = QuantizedEmbedder(tiny_distilbert, "torch", pooling="cls", normalize=False)

    assert embedder.dimension == 32
    assert np.allclose(embedder.embed_documents(texts), by_transformers(tiny_distilbert, texts), atol=1e-5)


def test_bf16_is_close_to_fp32_and_not_the_same(minilm: Path, fp32_embedder: QuantizedEmbedder, passages: list[str]):
    fp32 = fp32_embedder.embed_documents(passages[:4])

    bf16 = QuantizedEmbedder(minilm, "torch", dtype="bfloat16").embed_documents(passages[:4])

    assert bf16.dtype == np.float32
    assert np.sum(fp32 * bf16, axis=1).min() > 0.99
    assert not np.allclose(fp32, bf16, atol=1e-5)


def test_a_model_without_fp32_weights_is_named(tiny_cls_model: Path):
    (tiny_cls_model / "model.safetensors").unlink()

    with pytest.raises(ModelError, match=f"cannot load the fp32 weights of {tiny_cls_model}"):
        QuantizedEmbedder(tiny_cls_model, "torch")


def test_a_model_with_damaged_weights_is_named(tiny_cls_model: Path):
    (tiny_cls_model / "model.safetensors").write_bytes(b"nonsense")

    with pytest.raises(ModelError, match=f"{tiny_cls_model}"):
        QuantizedEmbedder(tiny_cls_model, "torch")


def test_a_model_saved_without_its_pooler_loads_without_advice_to_train_it(tiny_cls_model: Path):
    import logging

    from transformers import BertModel

    model = BertModel.from_pretrained(tiny_cls_model, add_pooling_layer=False)
    model.save_pretrained(tiny_cls_model)
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("transformers").addHandler(handler)
    try:
        QuantizedEmbedder(tiny_cls_model, "torch").embed_documents(["if"])
    finally:
        logging.getLogger("transformers").removeHandler(handler)

    assert messages == []


def test_a_model_that_lacks_weights_is_not_filled_up_at_random(tiny_cls_model: Path):
    from safetensors.torch import load_file, save_file

    weights = load_file(tiny_cls_model / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, tiny_cls_model / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(ModelError, match=r"lacks 1 of its model's weights \(encoder.layer.1.output.dense.weight"):
        QuantizedEmbedder(tiny_cls_model, "torch")
