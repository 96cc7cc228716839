"""A model directory says what it is, and damage to it is found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fastrag_quant.errors import ModelError
from fastrag_quant.model.manifest import MANIFEST_NAME, EngineRecord, FileRecord, Manifest
from fastrag_quant.model.settings import EmbedderSettings, Pooling


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A model directory of two files and their manifest."""
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"weights")
    manifest_of(tmp_path).write(tmp_path)
    return tmp_path


def manifest_of(directory: Path) -> Manifest:
    weights = {"pytorch_model.bin": FileRecord.of(directory / "pytorch_model.bin")}
    return Manifest(
        settings=EmbedderSettings(Pooling.CLS, True, 512, "query: ", "", dimension=32, pad_token_id=1),
        source={"model": "BAAI/bge-small-en-v1.5", "revision": "main"},
        calibration={"source": "passages.txt", "texts": 100, "seed": 42},
        engines={"ipex": EngineRecord(weights, {"torch": "2.8.0"}, ["avx2"], {"cosine_mean": 0.99})},
        files={"1_Pooling/config.json": FileRecord.of(directory / "1_Pooling" / "config.json")},
    )


def read(directory: Path) -> Manifest:
    manifest = Manifest.read(directory)
    assert manifest is not None
    return manifest


def change(directory: Path, **values: Any) -> None:
    path = directory / MANIFEST_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_what_is_written_is_what_is_read(directory: Path):
    assert read(directory) == manifest_of(directory)
    assert read(directory).settings.pooling is Pooling.CLS


def test_a_directory_may_have_no_manifest(tmp_path: Path):
    assert Manifest.read(tmp_path) is None


def test_a_file_record_holds_size_and_sha256(directory: Path):
    # printf weights | sha256sum
    sha256 = "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"

    assert FileRecord.of(directory / "pytorch_model.bin") == FileRecord(7, sha256)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format_version": 1}'])
def test_a_damaged_manifest_is_named(directory: Path, text: str):
    (directory / MANIFEST_NAME).write_text(text)

    with pytest.raises(ModelError) as error:
        Manifest.read(directory)
    assert str(directory) in str(error.value)


@pytest.mark.parametrize(
    "values",
    [
        {"settings": {"pooling": "cls"}},
        {"settings": {"pooling": "max"}},
        {"settings": []},
        {"engines": []},
        {"engines": {"ipex": {}}},
        {"files": {"config.json": {"size": 1}}},
        {"files": {"config.json": {"size": 1, "sha256": "", "colour": "red"}}},
    ],
    ids=str,
)
def test_a_manifest_with_wrong_contents_says_to_quantize_again(directory: Path, values: dict[str, Any]):
    change(directory, **values)

    with pytest.raises(ModelError, match=r"damaged.*quantize the model again"):
        Manifest.read(directory)


def test_a_manifest_of_a_newer_format_says_to_upgrade(directory: Path):
    change(directory, format_version=3)

    with pytest.raises(ModelError, match="format 3; this fastrag_quant reads up to 2: upgrade"):
        Manifest.read(directory)


def test_a_whole_directory_passes_both_checks(directory: Path):
    read(directory).check_sizes(directory, "ipex")
    read(directory).check_hashes(directory, "ipex")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "1_Pooling/config.json"])
@pytest.mark.parametrize("check", [Manifest.check_sizes, Manifest.check_hashes])
def test_a_missing_file_is_found(directory: Path, name: str, check: Any):
    (directory / name).unlink()

    with pytest.raises(ModelError, match=f"{name} is missing"):
        check(read(directory), directory, "ipex")


@pytest.mark.parametrize("check", [Manifest.check_sizes, Manifest.check_hashes])
def test_a_cut_file_is_found(directory: Path, check: Any):
    (directory / "pytorch_model.bin").write_bytes(b"weight")

    with pytest.raises(ModelError, match=r"pytorch_model\.bin has 6 bytes instead of 7"):
        check(read(directory), directory, "ipex")


def test_a_flipped_byte_is_found_by_the_hash_and_not_by_the_size(directory: Path):
    (directory / "pytorch_model.bin").write_bytes(b"weighty")

    read(directory).check_sizes(directory, "ipex")
    with pytest.raises(ModelError, match=r"SHA-256 of pytorch_model\.bin"):
        read(directory).check_hashes(directory, "ipex")


def test_files_that_the_manifest_does_not_name_are_left_alone(directory: Path):
    (directory / "notes.txt").write_text("mine")

    read(directory).check_hashes(directory, "ipex")


def test_a_manifest_of_format_1_has_neither_speed_nor_ranges(directory: Path):
    content = json.loads((directory / MANIFEST_NAME).read_text())
    del content["ranges"]
    for record in content["engines"].values():
        del record["speed"]
    (directory / MANIFEST_NAME).write_text(json.dumps(content | {"format_version": 1}))

    manifest = Manifest.read(directory)

    assert manifest is not None
    assert manifest.ranges is None
