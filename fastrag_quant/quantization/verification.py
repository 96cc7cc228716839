"""What a freshly quantized model directory is worth: its fidelity to fp32, its speed, the ranges of its vectors."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from fastrag_quant.embedder import QuantizedEmbedder
from fastrag_quant.errors import FidelityError
from fastrag_quant.manifest import Manifest
from fastrag_quant.quantization.calibration import CalibrationTexts
from fastrag_quant.quantization.engine_speed import measure_engine_speed
from fastrag_quant.quantization.fidelity import Fidelity, measure_fidelity
from fastrag_quant.settings import SettingsOverrides
from fastrag_quant.source import ModelSource


def verify(
    source: ModelSource,
    directory: Path,
    manifest: Manifest,
    overrides: SettingsOverrides,
    texts: CalibrationTexts,
    min_cosine: float,
) -> tuple[Manifest, dict[str, Fidelity]]:
    """Embed texts in fp32 and with every engine of a model directory, and compare.

    :param source: the fp32 model.
    :param directory: holds the weights and the manifest.
    :param manifest: without fidelity, speed and ranges.
    :param overrides: what the caller set in place of the model's own settings.
    :param texts: fidelity is measured on those held out, speed on those calibrated with, ranges on both.
    :param min_cosine: smallest mean cosine that passes.
    :return: the manifest with what was measured, and the fidelity of each engine.
    :raises FidelityError: if an engine's vectors are too far from the fp32 ones.
    """
    with _no_warnings_of_cut_texts():
        fp32 = _fp32_vectors(source, overrides, [*texts.held_out, *texts.texts])
        fidelities, engines = {}, {}
        for name, record in manifest.engines.items():
            with QuantizedEmbedder(directory, name) as int8:
                fidelity = measure_fidelity(fp32[: len(texts.held_out)], int8.embed_documents(texts.held_out))
                _check_fidelity(fidelity, min_cosine, f"{source.name} on {name}")
                speed = measure_engine_speed(int8, texts.texts)
            fidelities[name] = fidelity
            engines[name] = replace(record, fidelity=fidelity.as_dict(), speed=speed.as_dict())
    ranges = np.stack([fp32.min(axis=0), fp32.max(axis=0)]).astype(float).round(6).tolist()
    return replace(manifest, engines=engines, ranges=ranges), fidelities


def _fp32_vectors(source: ModelSource, overrides: SettingsOverrides, texts: list[str]) -> np.ndarray:
    with QuantizedEmbedder(
        source.name,
        "torch",
        overrides.pooling,
        overrides.max_seq_len,
        overrides.query_prompt,
        overrides.document_prompt,
        revision=source.revision,
        token=source.token,
        local_files_only=source.local_files_only,
    ) as fp32:
        return fp32.embed_documents(texts)


def _check_fidelity(fidelity: Fidelity, min_cosine: float, name: str) -> None:
    if not fidelity.cosine_mean >= min_cosine:  # also false for NaN
        msg = (
            f"The int8 vectors of {name} have a mean cosine of {fidelity.cosine_mean:.4f} to the fp32 ones, "
            f"{min_cosine - fidelity.cosine_mean:.4f} below the minimum of {min_cosine}; nothing was written. "
            "Calibrate on more texts (--sample-size) that are like those of your corpus (--calibration), "
            "or accept less (--min-cosine)."
        )
        raise FidelityError(msg)


@contextmanager
def _no_warnings_of_cut_texts() -> Iterator[None]:
    """Keep the embedder from saying of every comparison that the same texts were cut."""
    logger = logging.getLogger("fastrag_quant.embedder")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
