"""Which fp32 model an int8 directory is compared with, and when two models are the same."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fastrag_quant.errors import InputError
from fastrag_quant.model.manifest import MANIFEST_NAME, Manifest
from fastrag_quant.model.settings import read_json
from fastrag_quant.model.source import METADATA_PATTERNS, ModelSource

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


def is_int8(model: str) -> bool:
    """Return whether a model is quantized: a directory of this package, or published int8 TorchScript."""
    directory = ModelSource(model).fetch()
    return (directory / MANIFEST_NAME).is_file() or bool(read_json(directory / "config.json").get("torchscript"))


def fp32_of(model: str) -> str:
    """Return the fp32 model that goes with a model: itself, or the hub model that its manifest names.

    :raises InputError: if it is quantized and does not say from which hub model.
    """
    if not is_int8(model):
        return model
    manifest = Manifest.read(ModelSource(model).fetch())
    name = str(manifest.source.get("model")) if manifest else ""
    if "/" in name:
        return name
    msg = f"{model} is quantized, and the fp32 model that it was made from is needed too: pass it as --baseline."
    raise InputError(msg)


def identity(model: str) -> str:
    """Return a hash that changes when a model's files do.

    A quantized directory's manifest holds the hashes of its weights; a hub model's snapshot is named
    after its commit.
    """
    source = ModelSource(model)
    directory = source.fetch()
    digest = hashlib.sha256(b"" if source.is_local else directory.name.encode())
    patterns = METADATA_PATTERNS if (directory / MANIFEST_NAME).is_file() else (*METADATA_PATTERNS, *_WEIGHTS)
    for path in sorted({path for pattern in patterns for path in directory.glob(pattern) if path.is_file()}):
        digest.update(str(path.relative_to(directory)).encode() + _sha256(path))
    return digest.hexdigest()


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
