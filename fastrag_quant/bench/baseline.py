"""Which engine runs a model, which fp32 model it is compared with, and when two models are the same."""

from __future__ import annotations

import hashlib

from fastrag_quant.config import Dtype, EmbedderConfig
from fastrag_quant.engines import AUTO
from fastrag_quant.engines.choice import choose_engine, fp32_of, int8_engines
from fastrag_quant.errors import InputError
from fastrag_quant.model.manifest import MANIFEST_NAME, FileRecord, Manifest
from fastrag_quant.model.source import METADATA_PATTERNS, ModelSource

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


def int8_engine(model: str, engine: str) -> str | None:
    """Return the engine that runs a model in int8, whichever "auto" is here: scores are an engine's.

    :param model: a directory or a hub name.
    :param engine: an engine's name, or "auto".
    :return: None for a model without int8 weights, unless an engine was named that makes them while it loads the model.
    :raises ModelError: if the engine that was named cannot run the model.
    """
    config = EmbedderConfig(model, engine)
    directory = config.source.fetch()
    manifest = Manifest.read(directory)
    if engine == AUTO and not int8_engines(directory, manifest):
        return None
    kind = choose_engine(config, directory, manifest).kind
    return kind.name if config.computes_in is Dtype.INT8 else None


def baseline_of(model: str) -> ModelSource:
    """Return the fp32 model that goes with a model: itself, or the hub model that its manifest names.

    :raises InputError: if it is quantized and does not say from which hub model.
    """
    if source := fp32_of(ModelSource(model)):
        return source
    msg = f"{model} is quantized, and the fp32 model that it was made from is needed too: pass it as --baseline."
    raise InputError(msg)


def digest_of_files(source: ModelSource) -> str:
    """Return a hash that changes when a model's files do.

    A quantized directory's manifest holds the hashes of its weights; a hub model's snapshot is named
    after its commit.
    """
    directory = source.fetch()
    digest = hashlib.sha256(b"" if source.is_local else directory.name.encode())
    patterns = METADATA_PATTERNS if (directory / MANIFEST_NAME).is_file() else (*METADATA_PATTERNS, *_WEIGHTS)
    for path in sorted({path for pattern in patterns for path in directory.rglob(pattern) if path.is_file()}):
        digest.update(str(path.relative_to(directory)).encode() + bytes.fromhex(FileRecord.of(path).sha256))
    return digest.hexdigest()
