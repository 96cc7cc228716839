"""Every mode runs the model it says, on the engine it says, and gives the model's own vectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastrag_quant import QuantizedEmbedder
from fastrag_quant.bench.modes import FP32_MODES, MODES, int8_modes, mode_of
from fastrag_quant.config import Dtype
from fastrag_quant.engines import INT8_KINDS
from fastrag_quant.errors import InputError
from fastrag_quant.host.cpu import usable_cores
from fastrag_quant.model.tokenization import RaggedTokens

TEXTS = ("a short text", "the same text with a few more words in it", "another", "raise an exception", "the end")
needs_ipex = pytest.mark.needs("ipex")
EACH_FP32_MODE = ("hf", pytest.param("ipex", marks=needs_ipex), pytest.param("ipex-ts", marks=needs_ipex))


def load(
    mode: str, model: Path, shape: tuple[int, int] = (2, 16), random_tokens: bool = False, **options: Any
) -> QuantizedEmbedder:
    return MODES[mode].load(str(model), shape, random_tokens=random_tokens, **options)


def test_the_int8_modes_are_the_int8_engines_by_fastrags_names():
    int8 = {name: mode for name, mode in MODES.items() if mode.is_int8}

    assert {mode.kind.name: mode.kind for mode in int8.values()} == INT8_KINDS
    assert int8["inc"].kind is INT8_KINDS["ipex"]
    assert all(name == mode.kind.name for name, mode in int8.items() if name != "inc")
    assert all(mode.kind.name in mode.description for mode in int8.values())


def test_a_new_int8_engine_is_a_mode_by_itself():
    kind = replace(INT8_KINDS["openvino"], name="native")

    modes = int8_modes({**INT8_KINDS, "native": kind})

    assert list(modes) == ["inc", "native", "openvino"]
    assert (modes["native"].kind, modes["native"].dtype) == (kind, Dtype.INT8)


def test_the_fp32_modes_are_those_of_fastrag():
    assert FP32_MODES == ["hf", "ipex", "ipex-ts"]
    assert {MODES[name].dtype for name in FP32_MODES} == {Dtype.FLOAT32}


def test_an_unknown_mode_is_refused_with_the_known_ones():
    assert mode_of("hf") is MODES["hf"]
    with pytest.raises(InputError, match="Unknown mode 'gpu': use one of inc, native, openvino, hf, ipex, ipex-ts"):
        mode_of("gpu")


@pytest.fixture(scope="module")
def expected(minilm: Path) -> np.ndarray:
    """The vectors of sentence-transformers, whose model MiniLM is."""
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(minilm), device="cpu").encode(list(TEXTS), normalize_embeddings=True)


@pytest.mark.parametrize("mode", EACH_FP32_MODE)
def test_the_fp32_modes_give_the_vectors_of_sentence_transformers(mode: str, minilm: Path, expected: np.ndarray):
    vectors = load(mode, minilm).embed_documents(TEXTS, 2)

    assert np.allclose(vectors, expected, atol=2e-6)


@pytest.mark.parametrize("mode", EACH_FP32_MODE)
def test_bf16_is_coarser_than_fp32_and_still_the_same_model(mode: str, minilm: Path, expected: np.ndarray):
    vectors = load(mode, minilm, bf16=True).embed_documents(TEXTS, 2)

    cosines = np.sum(vectors * expected, axis=1)
    assert cosines.min() > 0.99
    assert np.abs(vectors - expected).max() > 1e-4


def test_the_vanilla_model_is_what_transformers_loads(tiny_cls_model: Path):
    import torch
    from transformers import AutoModel

    model = load("hf", tiny_cls_model)._engine._loaded[1]

    reference = AutoModel.from_pretrained(tiny_cls_model)
    assert type(model) is type(reference)
    assert model.config._attn_implementation == reference.config._attn_implementation
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@needs_ipex
def test_torch_script_is_traced_with_all_inputs_at_the_benchmarked_shape(minilm: Path):
    import torch

    model = load("ipex-ts", minilm, shape=(4, 24))._engine._loaded[1]

    assert isinstance(model, torch.jit.ScriptModule)
    names = {value.debugName().split(".")[0] for value in model.graph.inputs()}
    assert {"input_ids", "attention_mask", "token_type_ids"} <= names


@needs_ipex
def test_torch_script_is_traced_at_the_benchmarked_shape(tiny_cls_model: Path, monkeypatch: pytest.MonkeyPatch):
    import torch

    traced: list[dict[str, Any]] = []
    trace = torch.jit.trace

    def recording(module: Any, example_kwarg_inputs: dict[str, Any], **options: Any) -> Any:
        traced.append(example_kwarg_inputs)
        return trace(module, example_kwarg_inputs=example_kwarg_inputs, **options)

    monkeypatch.setattr(torch.jit, "trace", recording)

    load("ipex-ts", tiny_cls_model, shape=(4, 24))

    assert [{tuple(values.shape) for values in inputs.values()} for inputs in traced] == [{(4, 24)}]


@needs_ipex
def test_torch_script_pads_texts_to_the_traced_length(
    tiny_cls_model: Path, shapes_of: Callable[[QuantizedEmbedder], list[tuple[int, int]]]
):
    embedder = load("ipex-ts", tiny_cls_model, shape=(2, 24))
    shapes = shapes_of(embedder)

    embedder.embed_documents(TEXTS[:2], 2)

    assert shapes == [(2, 24)]


@needs_ipex
def test_random_tokens_give_the_same_vectors_in_every_fp32_mode(tiny_cls_model: Path):
    tokens = RaggedTokens.of(np.random.default_rng(0).integers(1, 100, (2, 16)).tolist())

    vectors = [load(mode, tiny_cls_model, random_tokens=True).encode(tokens) for mode in ("hf", "ipex", "ipex-ts")]

    assert np.allclose(vectors[0], vectors[1], atol=1e-5)
    assert np.allclose(vectors[0], vectors[2], atol=1e-5)


@pytest.mark.parametrize(("mode", "engine"), [pytest.param("inc", "ipex", marks=needs_ipex), ("openvino", "openvino")])
def test_the_int8_modes_give_the_vectors_of_their_engine(mode: str, engine: str, minilm_int8: Path):
    vectors = load(mode, minilm_int8).embed_documents(TEXTS, 5)

    assert np.allclose(vectors, QuantizedEmbedder(minilm_int8, engine).embed_documents(TEXTS), atol=1e-6)


def test_int8_with_bf16_is_refused(minilm_int8: Path):
    with pytest.raises(InputError, match="precision is fixed"):
        load("inc", minilm_int8, bf16=True)


def test_the_threads_asked_for_are_torchs_until_the_model_is_closed(tiny_cls_model: Path):
    import torch

    before = torch.get_num_threads()
    embedder = load("hf", tiny_cls_model, threads=before + 1)

    assert (MODES["hf"].threads(before + 1), torch.get_num_threads()) == (before + 1, before + 1)
    embedder.close()
    assert torch.get_num_threads() == before


def test_an_fp32_mode_has_torchs_own_number_of_threads_and_an_int8_mode_a_stream_a_core():
    import torch

    assert MODES["hf"].threads(None) == torch.get_num_threads()
    assert MODES["openvino"].threads(None) == usable_cores()
    assert MODES["openvino"].threads(1) == 1


def test_tokens_are_counted_as_this_package_counts_them(tiny_cls_model: Path, passages: list[str]):
    embedder = QuantizedEmbedder(tiny_cls_model, engine="torch")

    assert load("hf", tiny_cls_model).count_tokens(passages[:20]) == embedder.count_tokens(passages[:20])
