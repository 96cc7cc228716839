"""NNCF quantizes encoders of every family, with their pooling, into one graph that OpenVINO runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastrag_quant import QuantizedEmbedder, quantize
from fastrag_quant.errors import ModelError

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}

# The configuration of a tiny model of each family, and whether padding is token 1 as in RoBERTa's kin.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("Bert", SIZES | {"max_position_embeddings": 64}),
    "roberta": ("Roberta", SIZES | {"max_position_embeddings": 66, "pad_token_id": 1, "type_vocab_size": 1}),
    "xlm-roberta": ("XLMRoberta", SIZES | {"max_position_embeddings": 66, "pad_token_id": 1, "type_vocab_size": 1}),
    "mpnet": ("MPNet", SIZES | {"max_position_embeddings": 66, "pad_token_id": 1}),
    "distilbert": ("DistilBert", {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}),
    "modernbert": ("ModernBert", SIZES | {"max_position_embeddings": 64, "pad_token_id": 0, "local_attention": 16}),
}
SPECIAL = {0: ["[PAD]", "[UNK]", "[CLS]", "[SEP]"], 1: ["[CLS]", "[PAD]", "[SEP]", "[UNK]"]}


@pytest.fixture
def model_of(passages: list[str], tmp_path: Path) -> Callable[[str], Path]:
    """A function that makes a tiny fp32 model of a family, with random weights."""

    def make(family: str) -> Path:
        import torch
        import transformers

        prefix, sizes = FAMILIES[family]
        if not hasattr(transformers, f"{prefix}Model"):
            pytest.skip(f"transformers {transformers.__version__} has no {prefix}")
        directory = tmp_path / family
        vocabulary = write_tokenizer(directory, passages, SPECIAL[sizes.get("pad_token_id", 0)])
        config = getattr(transformers, f"{prefix}Config")(vocab_size=vocabulary, **sizes)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            getattr(transformers, f"{prefix}Model")(config).save_pretrained(directory)
        return directory

    return make


def write_tokenizer(directory: Path, passages: list[str], special: list[str]) -> int:
    from tokenizers import BertWordPieceTokenizer
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    tokenizer = BertWordPieceTokenizer()
    tokenizer.train_from_iterator(passages, vocab_size=500, show_progress=False, special_tokens=special)
    tokenizer._tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer._tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=64,
    ).save_pretrained(directory)
    return tokenizer.get_vocab_size()


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_int8_vectors_of_every_family_are_close_to_fp32(
    model_of: Callable[[str], Path], family: str, pooling: str, passages: list[str], tmp_path: Path
):
    model = model_of(family)

    result = quantize(model, tmp_path / "int8", passages, engine="openvino", sample_size=20, pooling=pooling)

    assert result.fidelity["openvino"].cosine_mean > 0.98
    embedder = QuantizedEmbedder(result.directory)
    fp32 = QuantizedEmbedder(model, "torch", pooling=pooling)
    texts = ["if", *passages[:7]]
    padded, alone = embedder.embed_documents(texts, batch_size=8), [embedder.embed_documents([one]) for one in texts]
    assert np.sum(padded * fp32.embed_documents(texts), axis=1).min() > 0.95
    assert np.sum(padded * np.concatenate(alone), axis=1).min() > 0.999


@pytest.mark.parametrize("family", FAMILIES)
def test_the_graph_computes_what_the_model_does(
    model_of: Callable[[str], Path],
    family: str,
    passages: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    import nncf

    # With weights so large, attention decides: a mask or a window that is lost would show.
    monkeypatch.setitem(FAMILIES[family][1], "initializer_range", 0.3)
    monkeypatch.setattr(nncf, "quantize", lambda model, *_, **__: model)
    model = model_of(family)

    quantize(model, tmp_path / "fp32", passages, engine="openvino", sample_size=20, pooling="mean")

    texts = ["if", *passages[:7]]
    fp32 = QuantizedEmbedder(model, "torch", pooling="mean").embed_documents(texts)
    assert np.allclose(QuantizedEmbedder(tmp_path / "fp32").embed_documents(texts), fp32, atol=1e-3)


def test_vectors_that_are_not_normalised_stay_so(tiny_model: Path, passages: list[str], tmp_path: Path):
    import json

    (tiny_model / "modules.json").write_text(
        json.dumps([{"type": f"sentence_transformers.models.{name}"} for name in ("Transformer", "Pooling")])
    )
    try:
        result = quantize(tiny_model, tmp_path / "int8", passages, engine="openvino", sample_size=20, pooling="mean")
    finally:
        (tiny_model / "modules.json").unlink()

    lengths = np.linalg.norm(QuantizedEmbedder(result.directory).embed_documents(passages[:5]), axis=1)
    assert not result.manifest.settings.normalize
    assert np.abs(lengths - 1).min() > 0.01


def test_calibration_tells_its_progress_on_standard_error_alone(
    tiny_model: Path, passages: list[str], tmp_path: Path, capfd: pytest.CaptureFixture
):
    quantize(tiny_model, tmp_path / "a", passages, engine="openvino", sample_size=20, pooling="cls", progress_bar=True)
    shown = capfd.readouterr()
    quantize(tiny_model, tmp_path / "b", passages, engine="openvino", sample_size=20, pooling="cls")
    quiet = capfd.readouterr()

    assert shown.out == ""
    assert "Calibrating: 100%" in shown.err
    assert (quiet.out, quiet.err) == ("", "")


def test_a_failure_of_nncf_is_an_error_of_this_package_and_leaves_nothing(
    tiny_model: Path, passages: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import nncf

    def fail(*_: Any, **__: Any) -> None:
        msg = "operation not supported"
        raise RuntimeError(msg)

    monkeypatch.setattr(nncf, "quantize", fail)

    with pytest.raises(ModelError, match=r"NNCF cannot quantize .* \(operation not supported\)"):
        quantize(tiny_model, tmp_path / "out" / "int8", passages, engine="openvino", pooling="cls")
    assert not (tmp_path / "out").exists()
