"""quantize(): from an fp32 embedder to a verified int8 model directory, whole or not at all."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import numpy as np

from fastrag_quant.arguments import absolute_path, arguments_for, check_flag, check_whole_number
from fastrag_quant.config import ALLOW_VARIABLE, DEFAULTS, EmbedderConfig, environment_refuses_torchscript
from fastrag_quant.engines import QUANTIZED_KINDS, EngineKind
from fastrag_quant.engines.choice import int8_engines
from fastrag_quant.errors import InputError, MissingExtraError, ModelError
from fastrag_quant.host.cpu import isa
from fastrag_quant.host.extras import distributions_of, missing_distributions, require
from fastrag_quant.model.json_files import read_json
from fastrag_quant.model.manifest import EngineRecord, FileRecord, Manifest
from fastrag_quant.model.modules import transformer_directory
from fastrag_quant.model.own_code import refuse_code_of_model
from fastrag_quant.model.settings import settings_from_files
from fastrag_quant.model.source import ModelSource
from fastrag_quant.quantization.calibration import CalibrationTexts, load_calibration
from fastrag_quant.quantization.fidelity import Fidelity
from fastrag_quant.quantization.job import QuantizationJob
from fastrag_quant.quantization.metadata import write_metadata
from fastrag_quant.quantization.output_directory import whole_or_not_at_all
from fastrag_quant.quantization.verification import verify_all

logger = logging.getLogger(__name__)

_FP32_WEIGHTS = ("model*.safetensors", "pytorch_model*.bin")


@dataclass(frozen=True)
class QuantizationResult:
    """What :func:`quantize` made.

    :param directory: the model directory.
    :param manifest: what the directory says of itself.
    :param fidelity: engine name → how close its vectors are to fp32.
    :param fp32_bytes: size of the source's weights on disk.
    :param int8_bytes: engine name → size of its weights on disk.
    """

    directory: Path
    manifest: Manifest
    fidelity: dict[str, Fidelity]
    fp32_bytes: int
    int8_bytes: dict[str, int]


def quantize(
    model: str | Path,
    output_path: str | Path,
    calibration: str | Path | Iterable[str] | None = None,
    *,
    sample_size: int = DEFAULTS.sample_size,
    engine: str = DEFAULTS.quantize_for,
    min_cosine: float = DEFAULTS.min_cosine,
    pooling: str | None = None,
    max_seq_len: int | None = None,
    query_prompt: str | None = None,
    document_prompt: str | None = None,
    seed: int = DEFAULTS.seed,
    overwrite: bool = False,
    progress_bar: bool = False,
    revision: str | None = None,
    token: str | bool | None = None,
    local_files_only: bool = False,
) -> QuantizationResult:
    """Quantize an embedder to static int8, measure its fidelity and write a model directory.

    The directory appears whole with its manifest, or not at all.

    :param model: the fp32 embedder, a directory or hub name.
    :param output_path: the model directory to write.
    :param calibration: a .txt or .jsonl file, a data set as ``name:column``, texts, or None for
        qasper; see :func:`fastrag_quant.quantization.calibration.load_calibration`.
    :param sample_size: calibration texts at the most.
    :param engine: which engine to quantize for: "native", "openvino", "ipex", or "all" that are installed.
    :param min_cosine: smallest mean cosine of int8 to fp32 on held-out texts, 0 … 1.
    :param pooling: "cls" or "mean"; needed only where the model's files do not say.
    :param max_seq_len: tokens per text at the most; None is the model's own limit.
    :param query_prompt: prefix of queries; None is the model's own.
    :param document_prompt: prefix of documents; None is the model's own.
    :param seed: of the sample of texts.
    :param overwrite: replace an output directory that this package wrote.
    :param progress_bar: whether to show calibration's progress on standard error.
    :param revision: branch, tag or commit of a hub model.
    :param token: access token of the hub.
    :param local_files_only: use the hub's local cache alone.
    :return: the directory, its manifest, fidelity and sizes.
    :raises InputError: for an argument out of range.
    :raises OutputExistsError: if the output directory exists and may not be overwritten, or another process
        quantizes to it.
    :raises OutputError: if the output directory cannot be written.
    :raises CalibrationError: if there are no usable calibration texts.
    :raises ModelError: if the model is missing or cannot be quantized.
    :raises FidelityError: if the int8 vectors are too far from the fp32 ones.
    :raises MissingExtraError: if what quantizes for the engine is not installed.
    """
    kinds = _kinds(engine)
    _check_arguments(sample_size, min_cosine, overwrite)
    fp32 = EmbedderConfig(**arguments_for(EmbedderConfig, {**locals(), "engine": "torch"}))
    output = absolute_path(output_path)
    source = fp32.source
    with whole_or_not_at_all(output, overwrite) as directory:
        metadata = source.fetch()
        _check_source(source, metadata, kinds)
        settings = settings_from_files(metadata, source.name, fp32.overrides)
        texts = load_calibration(calibration, sample_size, seed)
        write_metadata(metadata, directory, settings, texts.texts, source.name)
        job = QuantizationJob(source, settings, directory, texts.texts, progress_bar)
        records = {kind.name: _quantize_for(kind, job) for kind in kinds}
        manifest = _manifest(job, texts, seed, records)
        manifest.write(directory)
        logger.info("Comparing with fp32 on %d texts that calibration did not see.", len(texts.held_out))
        manifest, fidelity = verify_all(fp32, directory, manifest, texts, min_cosine)
        manifest.write(directory)
    return QuantizationResult(
        directory=output,
        manifest=manifest,
        fidelity=fidelity,
        fp32_bytes=_fp32_bytes(transformer_directory(metadata)),
        int8_bytes={name: sum(file.size for file in record.files.values()) for name, record in records.items()},
    )


def _kinds(wanted: str) -> list[EngineKind]:
    """Return the engines to quantize for, all of which can be quantized for here."""
    if wanted == "all":
        kinds = [
            kind
            for kind in QUANTIZED_KINDS.values()
            if not missing_distributions(kind.quantization_extra)
            and kind.why_not_cpu() is None
            and not _is_refused(kind)
        ]
        if not kinds:
            extras = filter(None, (kind.quantization_extra for kind in QUANTIZED_KINDS.values()))
            commands = " or ".join(f"pip install 'fastrag-quant[{extra}]'" for extra in extras)
            msg = f"Nothing that quantizes is installed: {commands}"
            raise MissingExtraError(msg)
        return kinds
    if wanted not in QUANTIZED_KINDS:
        msg = f"Cannot quantize for the engine {wanted!r}: use one of all, {', '.join(QUANTIZED_KINDS)}."
        raise InputError(msg)
    kind = QUANTIZED_KINDS[wanted]
    if _is_refused(kind):
        msg = f"What is quantized for {wanted} is TorchScript, a program, which {ALLOW_VARIABLE} refuses: take another."
        raise InputError(msg)
    require(kind.quantization_extra, f"Quantization for the {wanted} engine")
    kind.check_cpu()
    return [kind]


def _is_refused(kind: EngineKind) -> bool:
    return kind.is_program and environment_refuses_torchscript()


def _check_arguments(sample_size: int, min_cosine: float, overwrite: bool) -> None:
    check_whole_number(sample_size, "sample_size")
    if not isinstance(min_cosine, int | float) or not 0 <= min_cosine <= 1:
        msg = f"min_cosine must be between 0 and 1, not {min_cosine!r}."
        raise InputError(msg)
    check_flag(overwrite, "overwrite")


def _check_source(source: ModelSource, metadata: Path, kinds: list[EngineKind]) -> None:
    if int8_engines(metadata, Manifest.read(metadata)):
        msg = f"{source.name} is quantized already: quantize the fp32 embedder it was made from."
        raise ModelError(msg)
    config = read_json(transformer_directory(metadata, source.name) / "config.json")
    for kind in kinds:
        if reason := kind.why_not_architecture(config):
            msg = f"{source.name} cannot be quantized for the {kind.name} engine: {reason}."
            raise ModelError(msg)
        if kind.quantization_extra:  # through transformers
            refuse_code_of_model(config, source.name)


def _quantize_for(kind: EngineKind, job: QuantizationJob) -> EngineRecord:
    logger.info("Quantizing %s for %s on %d texts.", job.source.name, kind.name, len(job.texts))
    assert kind.quantizer is not None  # of all of QUANTIZED_KINDS
    module, _, function = kind.quantizer.partition(":")
    try:
        getattr(import_module(module), function)(job)
    except ModelError as error:
        others = ", ".join(name for name in QUANTIZED_KINDS if name != kind.name)
        msg = f"{error} To leave the {kind.name} engine out, quantize for another alone (--engine): {others}."
        raise ModelError(msg) from error
    return EngineRecord(
        files={name: FileRecord.of(job.directory / name) for name in kind.weights},
        versions={name: version(name) for name in distributions_of(kind.quantization_extra) or ("fastrag-quant",)},
        isa=isa(),
        fidelity={},
    )


def _manifest(job: QuantizationJob, texts: CalibrationTexts, seed: int, engines: dict[str, EngineRecord]) -> Manifest:
    lengths = job.calibration.lengths
    directory = job.directory
    shared = [path for path in directory.rglob("*") if path.is_file() and path.suffix in (".json", ".txt", ".model")]
    return Manifest(
        settings=job.settings,
        source={"model": job.source.public_name, "revision": job.source.revision},
        calibration={
            "source": texts.source,
            "texts": len(texts.texts),
            "seed": seed,
            "tokens_mean": round(float(np.mean(lengths)), 1),
            "tokens_min": int(lengths.min()),
            "tokens_max": int(lengths.max()),
        },
        engines=engines,
        files={str(path.relative_to(directory)): FileRecord.of(path) for path in sorted(shared)},
    )


def _fp32_bytes(metadata: Path) -> int:
    for pattern in _FP32_WEIGHTS:
        sizes = [path.stat().st_size for path in metadata.glob(pattern)]
        if sizes:
            return sum(sizes)
    return 0
