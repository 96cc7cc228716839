"""What a model directory says of itself: the file fastrag_quant.json."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any

from fastrag_quant.errors import ModelError
from fastrag_quant.model.json_files import read_json
from fastrag_quant.model.schema import typed
from fastrag_quant.model.settings import SHORTEST_TEXT, EmbedderSettings

MANIFEST_NAME = "fastrag_quant.json"
FORMAT_VERSION = 2
# Format 1 lacks speed and ranges, which nothing depends on.
_READABLE_FORMATS = (1, FORMAT_VERSION)


@dataclass(frozen=True)
class FileRecord:
    """A file's size in bytes and SHA-256 in hexadecimal."""

    size: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> FileRecord:
        """Measure a file."""
        with path.open("rb") as file:
            return cls(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


@dataclass(frozen=True)
class EngineRecord:
    """One engine's weights in a model directory.

    :param files: relative path → record of each file that this engine reads.
    :param versions: distribution → version of what made the weights.
    :param isa: the CPU flags of the machine that made them.
    :param fidelity: the measures of :class:`fastrag_quant.quantization.fidelity.Fidelity`.
    :param speed: the measures of :mod:`fastrag_quant.quantization.engine_speed` on that machine.
    """

    files: dict[str, FileRecord]
    versions: dict[str, str]
    isa: list[str]
    fidelity: dict[str, float | None]
    speed: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """The whole record of a quantized model directory.

    :param settings: how the embedder treats texts.
    :param source: model name and revision of the fp32 embedder.
    :param calibration: source, number of texts, seed and token statistics.
    :param engines: engine name → its weights.
    :param files: relative path → record of the files that all engines share.
    :param ranges: the smallest and largest value of each dimension over the calibration texts,
        shape (2, dimension), for vectors in int8 and uint8; None in a manifest of format 1.
    """

    settings: EmbedderSettings
    source: dict[str, Any]
    calibration: dict[str, Any]
    engines: dict[str, EngineRecord]
    files: dict[str, FileRecord] = field(default_factory=dict)
    ranges: list[list[float]] | None = None

    def write(self, directory: Path) -> None:
        """Write the manifest into a model directory."""
        content = {"format_version": FORMAT_VERSION, **asdict(self)}
        (directory / MANIFEST_NAME).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, directory: Path) -> Manifest | None:
        """Read a directory's manifest, and check it as a whole before any of it is used.

        What later versions add outside the settings is passed over.

        :return: the manifest, or None where the directory has none.
        :raises ModelError: if it is damaged, names files outside the directory, or is of a newer format.
        """
        path = directory / MANIFEST_NAME
        if not os.path.lexists(path):
            return None
        if not path.is_file():
            msg = f"{path} is not a file that can be read: copy or quantize the model again."
            raise ModelError(msg)
        content = read_json(path)
        version = content.get("format_version", FORMAT_VERSION)
        if version not in _READABLE_FORMATS:
            msg = (
                f"{directory} has a manifest of format {version}; this fastrag_quant reads up to {FORMAT_VERSION}: "
                "upgrade fastrag-quant, or quantize the model again."
            )
            raise ModelError(msg)
        try:
            engines = typed(dict[str, dict[str, Any]], content.get("engines"), "engines")
            engines = {name: _known(EngineRecord, record) for name, record in engines.items()}
            manifest: Manifest = typed(cls, _known(cls, content | {"engines": engines}), "it")
            _check_values(manifest)
            for name in manifest.all_files:
                _check_name(name)
                _check_stays_inside(directory, name)
        except (TypeError, ValueError, OSError) as error:
            msg = f"The manifest in {directory} is damaged ({error}): quantize the model again."
            raise ModelError(msg) from error
        return manifest

    @property
    def all_files(self) -> dict[str, FileRecord]:
        """The record of every file, whichever engines read it."""
        return self.files | {name: file for record in self.engines.values() for name, file in record.files.items()}

    def check_sizes(self, directory: Path, engine: str) -> None:
        """Compare the size of every file that an engine reads with the manifest.

        :raises ModelError: naming the first file that is missing or of another size.
        """
        _check_sizes(directory, self._files_of(engine))

    def check_hashes(self, directory: Path, engine: str) -> None:
        """Compare the SHA-256 of every file that an engine reads with the manifest.

        Hashes that lie beside the files prove integrity, not where the files come from.

        :raises ModelError: naming the first file that differs.
        """
        _check_hashes(directory, self._files_of(engine))

    def check_shared(self, directory: Path) -> None:
        """Compare the SHA-256 of every file that all engines share with the manifest.

        :raises ModelError: naming the first file that is missing or differs.
        """
        _check_hashes(directory, self.files)

    def _files_of(self, engine: str) -> dict[str, FileRecord]:
        return self.files | self.engines[engine].files


def _check_sizes(directory: Path, files: dict[str, FileRecord]) -> None:
    for name, record in files.items():
        path = directory / name
        size = path.stat().st_size if path.is_file() else None
        if size != record.size:
            found = "is missing" if size is None else f"has {size} bytes instead of {record.size}"
            msg = f"{directory} is damaged: {name} {found}. Copy the whole directory again, or quantize again."
            raise ModelError(msg)


def _check_hashes(directory: Path, files: dict[str, FileRecord]) -> None:
    _check_sizes(directory, files)
    for name, record in files.items():
        if FileRecord.of(directory / name) != record:
            msg = f"{directory} is damaged: the SHA-256 of {name} is not the manifest's. Copy or quantize it again."
            raise ModelError(msg)


def _known(wanted: type, content: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a dataclass that a JSON object has."""
    return {entry.name: content[entry.name] for entry in fields(wanted) if entry.name in content}


_SHA256 = re.compile("[0-9a-f]{64}")

# The smallest of each number of the settings; None of a setting is any.
_SMALLEST = {"dimension": 1, "max_seq_len": SHORTEST_TEXT, "pad_token_id": 0, "truncate_dim": 1}


def _check_values(manifest: Manifest) -> None:
    """Raise where values are of the right type and can be of no model.

    :raises ValueError: naming the value.
    """
    settings = manifest.settings
    for name, smallest in _SMALLEST.items():
        value = getattr(settings, name, None)
        if value is not None and not smallest <= value < 2**31:
            msg = f"settings.{name} is {value}"
            raise ValueError(msg)
    for name, file in manifest.all_files.items():
        if file.size < 0 or not _SHA256.fullmatch(file.sha256):
            msg = f"{name} has the size {file.size} and the SHA-256 {file.sha256!r}"
            raise ValueError(msg)
    if manifest.ranges is not None:
        _check_ranges(manifest.ranges, settings.dimension)


def _check_ranges(ranges: list[list[float]], dimension: int) -> None:
    if [len(row) for row in ranges] != [dimension, dimension]:
        msg = f"ranges are not the smallest and the largest of {dimension} values"
        raise ValueError(msg)
    for low, high in zip(*ranges, strict=True):
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            msg = f"ranges hold {low} to {high}"
            raise ValueError(msg)


def _check_name(name: str) -> None:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\\" in name or not name.isprintable():
        msg = f"{name!r} is no path inside the directory"
        raise ValueError(msg)


def _check_stays_inside(directory: Path, name: str) -> None:
    """Raise where a file leaves the directory through a link, save into the blobs that the hub's cache links to."""
    inside = directory.resolve()
    blobs = inside.parent.parent / "blobs" if inside.parent.name == "snapshots" else inside
    path = Path(os.path.realpath(directory / name))
    if not (path.is_relative_to(inside) or path.is_relative_to(blobs)):
        msg = f"{name} is a link out of the directory"
        raise ValueError(msg)
