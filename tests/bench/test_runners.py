"""Every mode runs the model it says: fp32 is fp32, a trace is a trace, and all give the model's own vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastrag_quant import QuantizedEmbedder
from fastrag_quant.engines.padded import TokenBatch
from fastrag_quant.bench.runners import MODES, RunnerOptions
from fastrag_quant.errors import InputError

TEXTS = ("a short text", "the same text with a few more words in it", "another", "raise an exception", "the end")
needs_ipex = pytest.mark.needs("ipex")
FP32_MODES = ("hf", pytest.param("ipex", marks=needs_ipex), pytest.param("ipex-ts", marks=needs_ipex))


def load(mode: str, model: Path, **options: object):
    given = {"batch_size": 2, "seq_len": 16, "random_tokens": False, **options}
    return MODES[mode].load(str(model), RunnerOptions(**given))


@pytest.fixture(scope="module")
def expected(minilm: Path) -> np.ndarray:
    """The vectors of sentence-transformers, whose model MiniLM is."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(minilm), device="cpu").encode(list(TEXTS), normalize_embeddings=True)


@pytest.mark.parametrize("mode", FP32_MODES)
def test_the_fp32_modes_give_the_vectors_of_sentence_transformers(mode: str, minilm: Path, expected: np.ndarray):
    vectors = load(mode, minilm).embed(TEXTS, 2)

    assert np.allclose(vectors, expected, atol=2e-6)


@pytest.mark.parametrize("mode", FP32_MODES)
def test_bf16_is_coarser_than_fp32_and_still_the_same_model(mode: str, minilm: Path, expected: np.ndarray):
    vectors = load(mode, minilm, bf16=True).embed(TEXTS, 2)

    cosines = np.sum(vectors * expected, axis=1)
    assert cosines.min() > 0.99
    assert np.abs(vectors - expected).max() > 1e-4


def test_the_vanilla_model_is_what_transformers_loads(tiny_cls_model: Path):
    import torch
    from transformers import AutoModel

    model = load("hf", tiny_cls_model)._model

    reference = AutoModel.from_pretrained(tiny_cls_model)
    assert type(model) is type(reference)
    assert model.config._attn_implementation == reference.config._attn_implementation
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@needs_ipex
def test_torch_script_is_traced_with_all_inputs_at_the_benchmarked_shape(minilm: Path):
    import torch

    model = load("ipex-ts", minilm, batch_size=4, seq_len=24)._model

    assert isinstance(model, torch.jit.ScriptModule)
    names = {value.debugName().split(".")[0] for value in model.graph.inputs()}
    assert {"input_ids", "attention_mask", "token_type_ids"} <= names


@needs_ipex
def test_torch_script_pads_texts_to_the_traced_length(tiny_cls_model: Path):
    runner = load("ipex-ts", tiny_cls_model, seq_len=24)

    assert runner._tokenize(list(TEXTS[:2]))["input_ids"].shape == (2, 24)


@needs_ipex
def test_random_tokens_give_the_same_vectors_in_every_fp32_mode(tiny_cls_model: Path):
    ids = np.random.default_rng(0).integers(1, 100, (2, 16))
    batch = TokenBatch(ids, np.ones_like(ids))

    vectors = [load(mode, tiny_cls_model, random_tokens=True).run(batch) for mode in ("hf", "ipex", "ipex-ts")]

    assert np.allclose(vectors[0], vectors[1], atol=1e-5)
    assert np.allclose(vectors[0], vectors[2], atol=1e-5)


@pytest.mark.parametrize(("mode", "engine"), [pytest.param("inc", "ipex", marks=needs_ipex), ("openvino", "openvino")])
def test_the_int8_modes_give_the_vectors_of_their_engine(mode: str, engine: str, minilm_int8: Path):
    vectors = load(mode, minilm_int8).embed(TEXTS, 5)

    assert np.allclose(vectors, QuantizedEmbedder(minilm_int8, engine).embed_documents(TEXTS), atol=1e-6)


def test_int8_with_bf16_is_refused(minilm_int8: Path):
    with pytest.raises(InputError, match="precision is fixed"):
        load("inc", minilm_int8, bf16=True)


def test_the_threads_asked_for_are_torchs_until_the_model_is_closed(tiny_cls_model: Path):
    import torch

    before = torch.get_num_threads()
    runner = load("hf", tiny_cls_model, threads=before + 1)

    assert (runner.threads, torch.get_num_threads()) == (before + 1, before + 1)
    runner.close()
    assert torch.get_num_threads() == before


def test_tokens_are_counted_as_this_package_counts_them(tiny_cls_model: Path, passages: list[str]):
    embedder = QuantizedEmbedder(tiny_cls_model, engine="torch")

    assert load("hf", tiny_cls_model).count_tokens(passages[:20]) == embedder.count_tokens(passages[:20])
