"""The numbers of a well-known model's vectors stay what they are, on each engine."""

from __future__ import annotations

from pathlib import Path

import canonical_vectors
import numpy as np
import pytest

from fastrag_quant import QuantizedEmbedder
from fastrag_quant.engines.native import library

CANONICAL = canonical_vectors.read()
LEVELS = [level.name for level in library.levels() if level.is_built and level.runs_here]

# How far a number may be from the canonical one. fp32: what another CPU and version of torch round otherwise.
FP32 = 1e-4
# The kernels of one level compute the same on every CPU.
LEVEL = 0.002
# Ranges are calibrated where the test runs, and openvino and ipex choose their kernels by the CPU. Another sample of
# calibration texts moved these numbers by up to 0.014 on openvino.
CALIBRATED = 0.02
# Between two levels, which round otherwise: 63 texts were 0.0125 apart in a number, and 0.9978 in cosine, at worst.
BETWEEN_LEVELS = 0.02
COSINE_BETWEEN_LEVELS = 0.996
# To fp32, of the two texts. Measured: native 0.9985 at the lowest of three levels.
COSINE_TO_FP32 = {"native": 0.997, "openvino": 0.993, "ipex": 0.98}


def vectors_of(embedder: QuantizedEmbedder) -> np.ndarray:
    return np.concatenate([embedder.embed_documents([text]) for text in canonical_vectors.TEXTS])


def assert_canonical(found: np.ndarray, name: str, tolerance: float) -> None:
    np.testing.assert_allclose(found[:, : canonical_vectors.NUMBERS], CANONICAL[name], rtol=0, atol=tolerance)


def test_in_fp32(fp32_embedder: QuantizedEmbedder):
    assert_canonical(vectors_of(fp32_embedder), "torch", FP32)


@pytest.mark.parametrize("level", LEVELS)
def test_on_each_level_of_native(
    level: str, minilm: Path, fp32_embedder: QuantizedEmbedder, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(library.LEVEL_VARIABLE, level)

    found = vectors_of(QuantizedEmbedder(minilm, "native"))

    if (name := f"native {level}") in CANONICAL:
        assert_canonical(found, name, LEVEL)
    for other in (name for name in CANONICAL if name.startswith("native ")):
        assert_canonical(found, other, BETWEEN_LEVELS)
    assert np.sum(found * vectors_of(fp32_embedder), axis=1).min() >= COSINE_TO_FP32["native"]


def test_levels_of_native_are_near_each_other(minilm: Path, passages: list[str], monkeypatch: pytest.MonkeyPatch):
    found = []
    for level in LEVELS:
        monkeypatch.setenv(library.LEVEL_VARIABLE, level)
        found.append(QuantizedEmbedder(minilm, "native").embed_documents(passages[:40]))

    for left in found:
        for right in found:
            assert np.sum(left * right, axis=1).min() >= COSINE_BETWEEN_LEVELS
            assert np.abs(left - right).max() <= BETWEEN_LEVELS


def test_on_engines_that_are_calibrated(minilm_int8: Path, engine: str, fp32_embedder: QuantizedEmbedder):
    if engine not in CANONICAL:
        pytest.skip(f"{engine} is not calibrated")

    found = vectors_of(QuantizedEmbedder(minilm_int8, engine))

    assert_canonical(found, engine, CALIBRATED)
    assert np.sum(found * vectors_of(fp32_embedder), axis=1).min() >= COSINE_TO_FP32[engine]
