"""What neural-compressor makes: int8 through and through, readable by optimum-intel, and no trace of it elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from fastrag_quant import QuantizedEmbedder, quantize
from fastrag_quant.errors import ModelError, UnsupportedCpuError
from fastrag_quant.model.settings import SettingsOverrides, settings_from_files
from fastrag_quant.model.source import ModelSource
from fastrag_quant.model.tokenization import RaggedTokens
from fastrag_quant.quantization.inc import quantize_with_inc
from fastrag_quant.quantization.job import QuantizationJob

if TYPE_CHECKING:
    import torch

    from tests.quantization.conftest import Run


@pytest.fixture(scope="module")
def graph(minilm_int8: Path) -> torch.Graph:
    """The program of the int8 MiniLM."""
    import torch

    return torch.jit.load(minilm_int8 / "pytorch_model.bin").inlined_graph


def is_dequantized(value: torch.Value) -> bool:
    """Whether a value of a graph comes straight from int8."""
    node = value.node()
    while node.kind() == "aten::alias":
        node = next(node.inputs()).node()
    return node.kind() == "aten::dequantize"


def inputs_of(graph: torch.Graph, kind: str) -> list[list[torch.Value]]:
    return [list(node.inputs())[:2] for node in graph.findAllNodes(kind)]


def test_both_products_of_every_attention_are_int8(graph: torch.Graph):
    products = inputs_of(graph, "aten::matmul")

    assert len(products) == 2 * 6  # queries by keys and weights by values, in six layers
    assert all(is_dequantized(value) for product in products for value in product)


def test_every_linear_layer_is_int8(graph: torch.Graph):
    layers = inputs_of(graph, "aten::linear")

    assert len(layers) == 6 * 6 + 1  # query, key, value, output and two of the feed-forward; the pooler
    assert all(is_dequantized(value) for layer in layers for value in layer)


def test_attention_is_not_hidden_in_one_operator(graph: torch.Graph):
    assert inputs_of(graph, "aten::scaled_dot_product_attention") == []


def test_optimums_own_ipexmodel_reads_the_directory_and_computes_the_same(
    embedder: QuantizedEmbedder, minilm_int8: Path, passages: list[str]
):
    import torch
    from optimum.intel import IPEXModel
    from transformers import AutoTokenizer

    inputs = AutoTokenizer.from_pretrained(minilm_int8)(passages[0], return_tensors="pt")
    with torch.inference_mode():
        hidden = IPEXModel.from_pretrained(minilm_int8)(**inputs).last_hidden_state
    expected = torch.nn.functional.normalize(hidden.mean(dim=1)).numpy()[0]

    assert np.dot(embedder.embed_documents(passages[:1])[0], expected) > 0.999


def test_the_config_says_torchscript(minilm_int8: Path):
    assert json.loads((minilm_int8 / "config.json").read_text())["torchscript"] is True


def test_the_working_directory_gets_the_model_and_nothing_else(run: Run):
    files = {path.relative_to(run.working_directory).parts[:2] for path in run.working_directory.rglob("*")}

    assert files == {("models",), ("models", "tiny-int8")}


def test_the_process_is_left_as_it_was(run: Run):
    changed = {name for name, value in run.before.items() if run.after[name] != value}

    assert changed == set()


def test_neural_compressors_workspace_is_the_users_again_even_after_a_failure(tiny_model: Path, tmp_path: Path):
    from neural_compressor.config import options

    before = options.workspace
    settings = settings_from_files(tiny_model, "tiny", SettingsOverrides(pooling="cls"))
    job = QuantizationJob(ModelSource(str(tiny_model)), settings, tmp_path, texts=[])
    vars(job)["calibration"] = RaggedTokens.of([[10_000]])  # a token id that the model has no vector for

    with pytest.raises(ModelError, match=r"neural-compressor cannot quantize .*tiny"):
        quantize_with_inc(job)

    assert options.workspace == before


def test_a_cpu_that_ipex_would_crash_on_is_refused_before_anything_is_loaded(
    tiny_model: Path, passages: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("fastrag_quant.host.cpu.cpu_flags", lambda: frozenset({"sse4_2"}))
    monkeypatch.setattr("fastrag_quant.quantization.quantizer.load_calibration", None)
    monkeypatch.setattr("fastrag_quant.quantization.inc.quantize_with_inc", None)

    with pytest.raises(UnsupportedCpuError, match="AVX2"):
        quantize(tiny_model, tmp_path / "int8", passages, pooling="cls", engine="ipex")
    assert list(tmp_path.iterdir()) == []


def test_on_such_a_cpu_all_engines_are_the_others(
    tiny_model: Path, passages: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("fastrag_quant.host.cpu.cpu_flags", lambda: frozenset({"sse4_2"}))

    result = quantize(tiny_model, tmp_path / "int8", passages, sample_size=20, pooling="cls", min_cosine=0)

    assert set(result.fidelity) == {"native", "openvino"}


def test_a_model_without_int8_operators_is_not_passed_off_as_int8(
    tiny_model: Path, passages: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def in_fp32(model: Any, dataset: Any, directory: Path, progress_bar: bool) -> None:
        import torch

        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), directory / "pytorch_model.bin")

    monkeypatch.setattr("fastrag_quant.quantization.inc._quantize", in_fp32)

    with pytest.raises(ModelError, match="without int8 operators"):
        quantize(tiny_model, tmp_path / "out", passages, pooling="cls")
    assert list(tmp_path.iterdir()) == []


def test_ranges_come_from_histograms_and_neural_compressor_is_left_as_it_was(
    tiny_model: Path, passages: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import torch
    from neural_compressor.adaptor.torch_utils import util

    histograms = []
    forward = torch.ao.quantization.HistogramObserver.forward
    monkeypatch.setattr(
        torch.ao.quantization.HistogramObserver, "forward", lambda *given: histograms.append(1) or forward(*given)
    )
    before = util.generate_activation_observer

    quantize(tiny_model, tmp_path / "int8", passages, sample_size=20, pooling="cls", engine="ipex", min_cosine=0)

    assert len(histograms) >= 20
    assert util.generate_activation_observer is before


def test_a_model_that_takes_token_types_and_has_but_one_is_quantized_too(
    model_of: Callable[..., Path], passages: list[str], tmp_path: Path
):
    result = quantize(model_of("roberta"), tmp_path / "int8", passages, sample_size=20, pooling="mean", min_cosine=0)

    settings = QuantizedEmbedder(result.directory).settings
    assert (settings.max_seq_len, settings.pad_token_id) == (64, 1)
    assert result.fidelity["ipex"].cosine_mean > 0.9
