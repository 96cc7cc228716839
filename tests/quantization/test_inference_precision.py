"""What an OpenVINO model computes in where it is not int8 is measured, and only what the CPU has is asked for."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastrag_quant import QuantizedEmbedder, quantize
from fastrag_quant.engines import openvino as openvino_engine
from fastrag_quant.engines.openvino import IR_NAME, PRECISION_KEY, inference_precisions
from fastrag_quant.host.cpu import cpu_flags
from fastrag_quant.quantization import inference_precision
from fastrag_quant.quantization.inference_precision import best_precision, choose_inference_precision

needs_bf16 = pytest.mark.skipif("avx512_bf16" not in cpu_flags(), reason="needs a CPU with BF16")


class Core:
    """Of a CPU with these capabilities."""

    def __init__(self, *capabilities: str) -> None:
        self._capabilities = capabilities

    def get_property(self, device: str, name: str) -> list[str]:
        assert (device, name) == ("CPU", "OPTIMIZATION_CAPABILITIES")
        return list(self._capabilities)


def test_bf16_is_asked_for_only_where_the_cpu_has_it():
    assert inference_precisions(Core("FP32", "INT8")) == ["f32"]
    assert inference_precisions(Core("BF16", "FP32", "FP16", "INT8")) == ["f32", "bf16"]


@pytest.mark.parametrize(
    ("bf16_seconds", "bf16_cosine", "best"),
    [
        (0.5, 0.9999, "bf16"),
        (0.5, 0.998, "f32"),  # not the same vectors
        (0.95, 0.9999, "f32"),  # not worth it: within what one run differs from the next
        (1.5, 0.9999, "f32"),
        (0.5, float("nan"), "f32"),
    ],
)
def test_a_lower_precision_must_be_both_faster_and_faithful(bf16_seconds: float, bf16_cosine: float, best: str):
    assert best_precision({"f32": 1.0, "bf16": bf16_seconds}, {"f32": 1.0, "bf16": bf16_cosine}) == best


@pytest.fixture
def ir(minilm_int8: Path) -> Any:
    """The int8 MiniLM as OpenVINO reads it."""
    import openvino

    return openvino.Core().read_model(minilm_int8 / IR_NAME)


def single_text(length: int) -> dict[str, np.ndarray]:
    ids = np.full((1, length), 2000)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


@needs_bf16
def test_each_precision_of_the_cpu_is_measured_on_the_texts(ir: Any, monkeypatch: pytest.MonkeyPatch):
    measured: list[Any] = []
    monkeypatch.setattr(inference_precision, "best_precision", lambda *measures: measured.extend(measures) or "found")

    assert choose_inference_precision(ir, [single_text(8), single_text(40)]) == "found"
    seconds, cosines = measured
    assert set(seconds) == set(cosines) == {"f32", "bf16"}
    assert 0 < seconds["bf16"] < float("inf")
    assert cosines["f32"] == pytest.approx(1)
    assert 0.9 < cosines["bf16"] < 1


def test_a_cpu_with_f32_alone_has_nothing_to_measure(ir: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(inference_precision, "inference_precisions", lambda _: ["f32"])
    monkeypatch.setattr(inference_precision, "_compiled", None)

    assert choose_inference_precision(ir, [single_text(8)]) == "f32"


def test_quantization_writes_the_choice_into_the_model(
    tiny_model: Path, passages: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    import openvino

    monkeypatch.setattr(inference_precision, "best_precision", lambda *_: "bf16")
    monkeypatch.setattr(inference_precision, "inference_precisions", lambda _: ["f32", "f32"])

    quantize(tiny_model, tmp_path / "int8", passages, engine="openvino", sample_size=20, pooling="cls")

    ir = openvino.Core().read_model(tmp_path / "int8" / IR_NAME)
    assert ir.get_rt_info(["fastrag_quant", PRECISION_KEY]).value == "bf16"


@needs_bf16
@pytest.mark.parametrize(("of_the_cpu", "hint"), [(["f32", "bf16"], "bfloat16"), (["f32"], "float32")])
def test_the_engine_computes_in_what_the_model_says_where_the_cpu_has_it(
    minilm_int8: Path, ir: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_the_cpu: list[str], hint: str
):
    import openvino

    directory = Path(shutil.copytree(minilm_int8, tmp_path / "int8", ignore=shutil.ignore_patterns("*.bin")))
    ir.set_rt_info("bf16", ["fastrag_quant", PRECISION_KEY])
    openvino.save_model(ir, directory / IR_NAME, compress_to_fp16=False)
    (directory / "fastrag_quant.json").unlink()
    monkeypatch.setattr(openvino_engine, "inference_precisions", lambda _: of_the_cpu)

    with QuantizedEmbedder(directory, "openvino", pooling="mean") as embedder:
        compiled = embedder._engine._compile("latency")

    assert hint in str(compiled.get_property("INFERENCE_PRECISION_HINT"))


@needs_bf16
def test_a_model_for_which_bf16_was_chosen_computes_in_it_and_keeps_its_vectors(
    tiny_model: Path, passages: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    told = {"engine": "openvino", "sample_size": 20, "pooling": "mean"}
    found: dict[str, list[np.ndarray]] = {}
    for precision in ("f32", "bf16"):
        monkeypatch.setattr(inference_precision, "best_precision", lambda *_, chosen=precision: chosen)
        result = quantize(tiny_model, tmp_path / precision, passages, **told)
        assert result.fidelity["openvino"].cosine_mean > 0.99
        with QuantizedEmbedder(tmp_path / precision) as embedder:
            found[precision] = [
                embedder.embed_queries(["raise an error"]),
                embedder.embed_documents(passages[:1]),
                embedder.embed_documents(passages),
            ]

    for f32, bf16 in zip(found["f32"], found["bf16"], strict=True):
        assert np.sum(f32 * bf16, axis=1).min() > 0.999
        assert not np.allclose(f32, bf16, atol=1e-5), "these are vectors in f32 under the name of bf16"
