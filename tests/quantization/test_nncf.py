"""NNCF quantizes encoders of every family, with their pooling, into one graph that OpenVINO runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastrag_quant import QuantizedEmbedder, quantize
from fastrag_quant.errors import ModelError

FAMILIES = ("bert", "roberta", "xlm-roberta", "mpnet", "distilbert", "modernbert")


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_int8_vectors_of_every_family_are_close_to_fp32(
    model_of: Callable[..., Path], family: str, pooling: str, passages: list[str], tmp_path: Path
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
    model_of: Callable[..., Path],
    family: str,
    passages: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    import nncf

    monkeypatch.setattr(nncf, "quantize", lambda model, *_, **__: model)
    # With weights so large, attention decides: a mask or a window that is lost would show.
    model = model_of(family, initializer_range=0.3)

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
