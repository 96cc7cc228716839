"""What a model directory says of itself: the file fastrag_quant.json."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fastrag_quant.errors import ModelError
from fastrag_quant.model.settings import EmbedderSettings, Pooling, read_json

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
    :param speed: the measures of :class:`fastrag_quant.quantization.engine_speed.EngineSpeed` on that machine.
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
        """Read a directory's manifest.

        :return: the manifest, or None where the directory has none.
        :raises ModelError: if it is damaged or of a newer format.
        """
        if not (directory / MANIFEST_NAME).is_file():
            return None
        content = read_json(directory / MANIFEST_NAME)
        version = content.get("format_version", FORMAT_VERSION)
        if version not in _READABLE_FORMATS:
            msg = (
                f"{directory} has a manifest of format {version}; this fastrag_quant reads up to {FORMAT_VERSION}: "
                "upgrade fastrag-quant, or quantize the model again."
            )
            raise ModelError(msg)
        try:
            return cls(
                settings=EmbedderSettings(**content["settings"] | {"pooling": Pooling(content["settings"]["pooling"])}),
                source=content["source"],
                calibration=content["calibration"],
                engines={name: _engine_record(record) for name, record in content["engines"].items()},
                files=_file_records(content["files"]),
                ranges=content.get("ranges"),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            msg = f"The manifest in {directory} is damaged ({error!r}): quantize the model again."
            raise ModelError(msg) from error

    def check_sizes(self, directory: Path, engine: str) -> None:
        """Compare the size of every file that an engine reads with the manifest.

        :raises ModelError: naming the first file that is missing or of another size.
        """
        for name, record in self._files_of(engine).items():
            path = directory / name
            size = path.stat().st_size if path.is_file() else None
            if size != record.size:
                found = "is missing" if size is None else f"has {size} bytes instead of {record.size}"
                msg = f"{directory} is damaged: {name} {found}. Copy the whole directory again, or quantize again."
                raise ModelError(msg)

    def check_hashes(self, directory: Path, engine: str) -> None:
        """Compare the SHA-256 of every file that an engine reads with the manifest.

        Hashes that lie beside the files prove integrity, not where the files come from.

        :raises ModelError: naming the first file that differs.
        """
        self.check_sizes(directory, engine)
        for name, record in self._files_of(engine).items():
            if FileRecord.of(directory / name) != record:
                msg = f"{directory} is damaged: the SHA-256 of {name} is not the manifest's. Copy or quantize it again."
                raise ModelError(msg)

    def _files_of(self, engine: str) -> dict[str, FileRecord]:
        return self.files | self.engines[engine].files


def _engine_record(content: dict[str, Any]) -> EngineRecord:
    return EngineRecord(**content | {"files": _file_records(content["files"])})


def _file_records(content: dict[str, Any]) -> dict[str, FileRecord]:
    return {name: FileRecord(**record) for name, record in content.items()}
