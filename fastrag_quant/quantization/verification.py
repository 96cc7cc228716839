"""What int8 weights are worth: their fidelity to fp32, their speed, the ranges of their vectors."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fastrag_quant.arguments import arguments_for, check_whole_number
from fastrag_quant.config import DEFAULTS, EmbedderConfig
from fastrag_quant.embedder import QuantizedEmbedder
from fastrag_quant.engines import ENGINE_KINDS, REFERENCE
from fastrag_quant.engines.choice import fp32_of, int8_engines, why_not_trusted
from fastrag_quant.engines.compiled_models import nothing_kept
from fastrag_quant.errors import FidelityError, InputError, ModelError
from fastrag_quant.model.json_files import read_json
from fastrag_quant.model.manifest import Manifest
from fastrag_quant.model.modules import transformer_directory
from fastrag_quant.model.settings import SettingsOverrides
from fastrag_quant.model.source import located
from fastrag_quant.quantization.calibration import CalibrationTexts, read_texts, sample
from fastrag_quant.quantization.engine_speed import measure_engine_speed
from fastrag_quant.quantization.fidelity import Fidelity, measure_fidelity


def verify(
    model: str | Path,
    texts: str | Path | Iterable[str] | None = None,
    *,
    fp32: str | Path | None = None,
    sample_size: int = DEFAULTS.verified,
    seed: int = DEFAULTS.seed,
    pooling: str | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
    allow_torchscript: bool = True,
) -> dict[str, Fidelity]:
    """Compare the vectors of an int8 model with those of its fp32 model, and write nothing.

    Its files are compared with its manifest by their hashes first.

    :param model: a quantized model directory, or the hub name of a published int8 model.
    :param texts: what to embed; as the calibration texts of :func:`fastrag_quant.quantize`.
    :param fp32: the model that it was made from; None is the hub model that its manifest names.
    :param sample_size: texts at the most.
    :param seed: of the sample.
    :param pooling: "cls" or "mean"; needed only where the int8 model's files do not say.
    :param token: access token of the hub.
    :param local_files_only: use the hub's local cache alone.
    :param allow_torchscript: whether int8 weights that are a program may be loaded, those of the engine ipex.
    :return: the fidelity on each engine that the model has weights for and that can run here.
    :raises InputError: if it is not known which fp32 model it was made from.
    :raises CalibrationError: if there are no usable texts.
    :raises ModelError: if the model is no int8 model, and as :class:`fastrag_quant.QuantizedEmbedder`.
    """
    check_whole_number(sample_size, "sample_size")
    int8 = EmbedderConfig(**arguments_for(EmbedderConfig, locals()))
    directory = int8.source.fetch()
    manifest = Manifest.read(directory)
    int8 = replace(int8, verify_hashes=manifest is not None)
    built = int8_engines(directory, manifest)
    if not built:
        msg = f"{int8.source.name} is not an int8 model: pass a directory that fastrag_quant-quantize wrote."
        raise ModelError(msg)
    origin = replace(int8.source, name=located(str(fp32)), revision=None) if fp32 else fp32_of(int8.source)
    if origin is None:
        msg = f"{int8.source.name} does not say which hub model it was made from: pass fp32 (--model-name)."
        raise InputError(msg)
    read, name = read_texts(texts, seed)
    chosen = sample(read, sample_size, seed, name)
    trusted = [name for name in built if why_not_trusted(ENGINE_KINDS[name], int8) is None]
    usable = [name for name in trusted if ENGINE_KINDS[name].why_not_here() is None]
    embedded = {}
    with _no_warnings_of_cut_texts(), nothing_kept():
        for name in usable or trusted or built:  # with none that is usable, the first says why
            with QuantizedEmbedder.from_config(replace(int8, engine=name)) as embedder:
                embedded[name] = _Vectors.of_int8(embedder, chosen)
                settings = embedder.settings
        # Texts are treated as the int8 model treats them.
        treated = arguments_for(SettingsOverrides, vars(settings))
        in_fp32 = EmbedderConfig(origin.name, "torch", **treated, **arguments_for(EmbedderConfig, vars(origin)))
        with _fp32_embedder(in_fp32) as embedder:
            if embedder.settings.dimension != settings.dimension:
                msg = (
                    f"{origin.name} has {embedder.settings.dimension} dimensions and {int8.source.name} "
                    f"{settings.dimension}: pass the fp32 model that it was made from."
                )
                raise InputError(msg)
            expected = _Vectors.of(embedder, chosen)
    return {name: expected.fidelity_of(vectors) for name, vectors in embedded.items()}


def verify_all(
    fp32: EmbedderConfig, directory: Path, manifest: Manifest, texts: CalibrationTexts, min_cosine: float
) -> tuple[Manifest, dict[str, Fidelity]]:
    """Embed texts in fp32 and with every engine of a model directory that was just written, and compare.

    :param fp32: the model that was quantized.
    :param directory: holds the weights and the manifest.
    :param manifest: without fidelity, speed and ranges.
    :param texts: fidelity is measured on those held out, speed on those calibrated with, ranges on both.
    :param min_cosine: smallest mean cosine that passes.
    :return: the manifest with what was measured, and the fidelity of each engine.
    :raises FidelityError: if an engine's vectors are too far from the fp32 ones.
    """
    whole = manifest.settings.dimension  # ranges are of all dimensions, however many the model keeps
    with _no_warnings_of_cut_texts(), nothing_kept():
        with _fp32_embedder(replace(fp32, truncate_dim=whole)) as embedder:
            expected = _Vectors.of(embedder, texts.held_out)
            calibrated = embedder.embed_documents(texts.texts)
        fidelities, engines = {}, {}
        for name, record in manifest.engines.items():
            with QuantizedEmbedder(directory, name, truncate_dim=whole) as int8:
                fidelity = expected.fidelity_of(_Vectors.of_int8(int8, texts.held_out))
                _check_fidelity(fidelity, min_cosine, f"{fp32.source.name} on {name}")
                speed = measure_engine_speed(int8, texts.texts)
            fidelities[name] = fidelity
            engines[name] = replace(record, fidelity=fidelity.as_dict(), speed=speed)
    both = np.concatenate([expected.documents, calibrated])
    ranges = np.stack([both.min(axis=0), both.max(axis=0)]).astype(float).round(6).tolist()
    return replace(manifest, engines=engines, ranges=ranges), fidelities


@dataclass(frozen=True)
class _Vectors:
    """One model's vectors of the same texts: as documents, as queries, and as documents that were embedded alone."""

    documents: np.ndarray
    queries: np.ndarray
    alone: np.ndarray | None = None

    @classmethod
    def of(cls, embedder: QuantizedEmbedder, texts: list[str]) -> _Vectors:
        documents = embedder.embed_documents(texts)
        prompts = embedder.settings.query_prompt, embedder.settings.document_prompt
        return cls(documents, documents if prompts[0] == prompts[1] else embedder.embed_queries(texts))

    @classmethod
    def of_int8(cls, embedder: QuantizedEmbedder, texts: list[str]) -> _Vectors:
        alone = np.concatenate([embedder.embed_documents([text]) for text in texts])
        return replace(cls.of(embedder, texts), alone=alone)

    def fidelity_of(self, int8: _Vectors) -> Fidelity:
        return measure_fidelity(self.documents, int8.documents, (self.queries, int8.queries), int8.alone)


def _fp32_embedder(config: EmbedderConfig) -> QuantizedEmbedder:
    """Load an fp32 model on torch, or without torch on what needs nothing installed, if that runs it."""
    kind = None
    if not ENGINE_KINDS[config.engine].is_installed:
        architecture = read_json(transformer_directory(config.source.fetch(), config.source.name) / "config.json")
        kind = REFERENCE if REFERENCE.why_not_architecture(architecture) is None else None
    return QuantizedEmbedder.from_config(config, kind)


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
