"""quantize(): from an fp32 embedder to a verified int8 model directory, whole or not at all."""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np

from fastrag_quant.defaults import DEFAULTS
from fastrag_quant.embedder import QuantizedEmbedder
from fastrag_quant.engines import ENGINE_KINDS, EngineKind
from fastrag_quant.errors import CalibrationError, FidelityError, InputError, ModelError, OutputExistsError
from fastrag_quant.extras import require
from fastrag_quant.manifest import MANIFEST_NAME, EngineRecord, FileRecord, Manifest
from fastrag_quant.quantization.calibration import CalibrationTexts, load_calibration
from fastrag_quant.quantization.fidelity import Fidelity, measure_fidelity
from fastrag_quant.settings import EmbedderSettings, SettingsOverrides, settings_from_files
from fastrag_quant.source import ModelSource
from fastrag_quant.system import isa
from fastrag_quant.tokenization import TOKENIZER_NAME, TextTokenizer, TokenizedTexts

logger = logging.getLogger(__name__)

_SENTENCE_TRANSFORMERS_FILES = (
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
)

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
    engine: str = "ipex",
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
    :param engine: which engine to quantize for: "ipex".
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
    :raises OutputExistsError: if the output directory exists and may not be overwritten.
    :raises CalibrationError: if there are no usable calibration texts.
    :raises ModelError: if the model is missing or cannot be quantized.
    :raises FidelityError: if the int8 vectors are too far from the fp32 ones.
    :raises MissingExtraError: if the engine is not installed.
    """
    kind = _check_arguments(engine, sample_size, min_cosine)
    output = Path(output_path).expanduser()
    _check_output(output, overwrite)
    overrides = SettingsOverrides(
        pooling=pooling, max_seq_len=max_seq_len, query_prompt=query_prompt, document_prompt=document_prompt
    )
    source = ModelSource(str(model), revision, token, local_files_only)
    metadata = source.fetch()
    _refuse_int8_source(metadata, source)
    settings = settings_from_files(metadata, source.name, overrides)
    require(kind.extra, f"Quantization for the {engine} engine")
    texts = load_calibration(calibration, sample_size, seed)
    with _whole_or_not_at_all(output) as directory:
        _write_tokenizer(metadata, directory)
        tokenized = _tokenize(directory, settings, texts.texts)
        logger.info("Quantizing %s for %s on %d texts.", source.name, engine, len(texts.texts))
        files = _quantizer_of(engine)(source, tokenized, directory, progress_bar)
        manifest = _manifest(source, settings, texts, tokenized, seed, directory)
        manifest.engines[engine] = _engine_record(engine, files, directory)
        manifest.write(directory)
        fidelity = _fidelity(source, directory, engine, overrides, texts.held_out)
        _check_fidelity(fidelity, min_cosine, source.name)
        manifest.engines[engine].fidelity.update(fidelity.as_dict())
        manifest.write(directory)
    return QuantizationResult(
        directory=output,
        manifest=manifest,
        fidelity={engine: fidelity},
        fp32_bytes=_fp32_bytes(metadata),
        int8_bytes={engine: sum(record.size for record in manifest.engines[engine].files.values())},
    )


def _check_arguments(engine: str, sample_size: int, min_cosine: float) -> EngineKind:
    if engine not in _QUANTIZERS:
        msg = f"Cannot quantize for the engine {engine!r}: use one of {', '.join(_QUANTIZERS)}."
        raise InputError(msg)
    if not isinstance(sample_size, int) or isinstance(sample_size, bool) or sample_size < 1:
        msg = f"sample_size must be a whole number of at least 1, not {sample_size!r}."
        raise InputError(msg)
    if not isinstance(min_cosine, int | float) or not 0 <= min_cosine <= 1:
        msg = f"min_cosine must be between 0 and 1, not {min_cosine!r}."
        raise InputError(msg)
    return ENGINE_KINDS[engine]


def _check_output(output: Path, overwrite: bool) -> None:
    if not output.exists():
        return
    if not overwrite:
        msg = f"{output} exists: choose another output path, or pass overwrite (--overwrite) to replace it."
        raise OutputExistsError(msg)
    if not output.is_dir() or (any(output.iterdir()) and not (output / MANIFEST_NAME).is_file()):
        msg = f"{output} is not a model directory of this package, so it is not overwritten: choose another path."
        raise OutputExistsError(msg)


def _refuse_int8_source(metadata: Path, source: ModelSource) -> None:
    if (metadata / MANIFEST_NAME).is_file():
        msg = f"{source.name} is quantized already: quantize the fp32 embedder it was made from."
        raise ModelError(msg)


@contextmanager
def _whole_or_not_at_all(output: Path) -> Iterator[Path]:
    """Give a directory beside the output that takes its place at the end, or vanishes on any error."""
    made = [parent for parent in output.parents if not parent.exists()]
    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        unfinished.chmod(0o755)
        yield unfinished
        _replace(output, unfinished)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        for parent in made:
            parent.rmdir()
        raise


def _replace(output: Path, finished: Path) -> None:
    if not output.exists():
        finished.rename(output)
        return
    old = finished.with_name(f"{finished.name}-old")
    output.rename(old)
    try:
        finished.rename(output)
    except BaseException:
        old.rename(output)
        raise
    shutil.rmtree(old)


def _write_tokenizer(metadata: Path, directory: Path) -> None:
    """Copy what sentence-transformers reads, and write the tokenizer as transformers and tokenizers read it."""
    from transformers import AutoTokenizer

    try:
        AutoTokenizer.from_pretrained(metadata, use_fast=True).save_pretrained(directory)
    except (OSError, ValueError) as error:
        msg = f"transformers cannot load the tokenizer in {metadata}: {error}"
        raise ModelError(msg) from error
    if not (directory / TOKENIZER_NAME).is_file():
        msg = f"The tokenizer in {metadata} has no fast version, which this package needs."
        raise ModelError(msg)
    for name in _SENTENCE_TRANSFORMERS_FILES:
        if (metadata / name).is_file():
            (directory / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(metadata / name, directory / name)


def _tokenize(directory: Path, settings: EmbedderSettings, texts: list[str]) -> TokenizedTexts:
    tokenizer = TextTokenizer(directory, settings.max_seq_len)
    # One by one, because IPEX and neural-compressor fork, and tokenizers warns of forks after parallel work.
    cut = [tokenizer([settings.document_prompt + text]) for text in texts]
    return TokenizedTexts([ids for one in cut for ids in one.token_ids], sum(one.truncated for one in cut))


def _manifest(
    source: ModelSource,
    settings: EmbedderSettings,
    texts: CalibrationTexts,
    tokenized: TokenizedTexts,
    seed: int,
    directory: Path,
) -> Manifest:
    lengths = tokenized.lengths
    shared = [path for path in directory.rglob("*") if path.is_file() and path.suffix in (".json", ".txt", ".model")]
    return Manifest(
        settings=settings,
        source={"model": source.public_name, "revision": source.revision},
        calibration={
            "source": texts.source,
            "texts": len(texts.texts),
            "seed": seed,
            "tokens_mean": round(float(np.mean(lengths)), 1),
            "tokens_min": int(lengths.min()),
            "tokens_max": int(lengths.max()),
        },
        engines={},
        files={str(path.relative_to(directory)): FileRecord.of(path) for path in sorted(shared)},
    )


def _engine_record(engine: str, files: list[str], directory: Path) -> EngineRecord:
    return EngineRecord(
        files={name: FileRecord.of(directory / name) for name in files},
        versions={name: version(name) for name in _distributions_of(engine)},
        isa=isa(),
        fidelity={},
    )


def _fidelity(
    source: ModelSource, directory: Path, engine: str, overrides: SettingsOverrides, held_out: list[str]
) -> Fidelity:
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
        expected = fp32.embed_documents(held_out)
    with QuantizedEmbedder(directory, engine) as int8:
        return measure_fidelity(expected, int8.embed_documents(held_out))


def _check_fidelity(fidelity: Fidelity, min_cosine: float, name: str) -> None:
    if not fidelity.cosine_mean >= min_cosine:  # also false for NaN
        msg = (
            f"The int8 vectors of {name} have a mean cosine of {fidelity.cosine_mean:.4f} to the fp32 ones, "
            f"{min_cosine - fidelity.cosine_mean:.4f} below the minimum of {min_cosine}; nothing was written. "
            "Calibrate on more texts (--sample-size) that are like those of your corpus (--calibration), "
            "or accept less (--min-cosine)."
        )
        raise FidelityError(msg)


def _fp32_bytes(metadata: Path) -> int:
    for pattern in _FP32_WEIGHTS:
        sizes = [path.stat().st_size for path in metadata.glob(pattern)]
        if sizes:
            return sum(sizes)
    return 0


def _inc(source: ModelSource, calibration: TokenizedTexts, directory: Path, progress_bar: bool) -> list[str]:
    from fastrag_quant.quantization.inc import quantize_with_inc

    return quantize_with_inc(source, calibration, directory, progress_bar)


_QUANTIZERS: dict[str, Callable[[ModelSource, TokenizedTexts, Path, bool], list[str]]] = {"ipex": _inc}


def _quantizer_of(engine: str) -> Callable[[ModelSource, TokenizedTexts, Path, bool], list[str]]:
    return _QUANTIZERS[engine]


def _distributions_of(engine: str) -> tuple[str, ...]:
    from fastrag_quant.extras import DISTRIBUTIONS_OF_EXTRA

    return DISTRIBUTIONS_OF_EXTRA[ENGINE_KINDS[engine].extra]


__all__ = ["CalibrationError", "QuantizationResult", "quantize"]
