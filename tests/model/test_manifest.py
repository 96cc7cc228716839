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


# What a manifest may say


def change_at(directory: Path, place: str, value: Any) -> None:
    """Put a value at a place of the manifest such as settings.dimension."""
    path = directory / MANIFEST_NAME
    content = json.loads(path.read_text())
    *outer, last = place.split("/")
    inside = content
    for name in outer:
        inside = inside[name]
    inside[last] = value
    path.write_text(json.dumps(content))


RANGES = [[0.0] * 32, [1.0] * 32]


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("settings/dimension", "32"),
        ("settings/dimension", -32),
        ("settings/dimension", 0),
        ("settings/dimension", 32.0),
        ("settings/dimension", True),
        ("settings/dimension", 10**30),
        ("settings/normalize", "false"),
        ("settings/normalize", 0),
        ("settings/max_seq_len", None),
        ("settings/max_seq_len", 2),
        ("settings/pad_token_id", -1),
        ("settings/query_prompt", 1),
        ("settings/pooling", ["cls"]),
        ("source", "org/model"),
        ("calibration", []),
        ("engines/ipex/isa", "avx2"),
        ("engines/ipex/versions", {"torch": 2.8}),
        ("engines/ipex/fidelity", {"cosine_mean": "high"}),
        ("engines/ipex/speed", {"documents_per_second": []}),
        ("engines/ipex/files/pytorch_model.bin/size", -1),
        ("engines/ipex/files/pytorch_model.bin/size", 7.5),
        ("engines/ipex/files/pytorch_model.bin/sha256", "g" * 64),
        ("engines/ipex/files/pytorch_model.bin/sha256", "A" * 64),
        ("engines/ipex/files/pytorch_model.bin/sha256", 5),
        ("files", []),
        ("ranges", RANGES[:1]),
        ("ranges", [[0.0] * 31, [1.0] * 31]),
        ("ranges", RANGES[::-1]),
        ("ranges", [[0.0] * 32, [float("nan")] * 32]),
        ("ranges", [[float("-inf")] * 32, [1.0] * 32]),
        ("ranges", [["0"] * 32, [1.0] * 32]),
    ],
    ids=str,
)
def test_what_no_model_could_have_is_damage(directory: Path, place: str, value: Any):
    change_at(directory, place, value)

    with pytest.raises(ModelError, match=r"damaged.*quantize the model again"):
        Manifest.read(directory)


def test_ranges_that_make_sense_are_read(directory: Path):
    change_at(directory, "ranges", RANGES)

    assert read(directory).ranges == RANGES


def test_a_manifest_of_endless_depth_is_one_clear_error(directory: Path):
    (directory / MANIFEST_NAME).write_text("[" * 200_000)

    with pytest.raises(ModelError, match=r"fastrag_quant\.json cannot be read as JSON"):
        Manifest.read(directory)


def test_what_later_versions_add_is_passed_over(directory: Path):
    record = json.loads((directory / MANIFEST_NAME).read_text())["engines"]["ipex"]
    change_at(directory, "engines/npu", record | {"boards": 4})
    change_at(directory, "energy", {"joules": 1})

    assert set(read(directory).engines) == {"ipex", "npu"}


@pytest.mark.parametrize("what", ["directory", "link to nowhere", "link to itself"])
def test_a_manifest_that_is_no_file_is_not_taken_for_none(directory: Path, what: str):
    path = directory / MANIFEST_NAME
    path.unlink()
    path.mkdir() if what == "directory" else path.symlink_to(path.name if what == "link to itself" else "nowhere")

    with pytest.raises(ModelError, match="not a file that can be read"):
        Manifest.read(directory)


# Where its files may be


@pytest.mark.parametrize(
    "name", ["/etc/hostname", "../weights.bin", "1_Pooling/../../weights.bin", "", ".", "..\\weights", "a\0b", "a\nb"]
)
@pytest.mark.parametrize("of", ["files", "engines/ipex/files"])
def test_a_path_out_of_the_directory_is_refused(directory: Path, of: str, name: str):
    change_at(directory, of, {name: {"size": 7, "sha256": "0" * 64}})

    with pytest.raises(ModelError, match="is no path inside the directory"):
        Manifest.read(directory)


@pytest.mark.parametrize("linked", ["pytorch_model.bin", "1_Pooling"])
def test_a_link_out_of_the_directory_is_refused(directory: Path, tmp_path_factory: pytest.TempPathFactory, linked: str):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "theirs"
    (directory / linked).rename(elsewhere)
    (directory / linked).symlink_to(elsewhere)

    with pytest.raises(ModelError, match=f"{linked}.* is a link out of the directory"):
        Manifest.read(directory)


def test_a_link_inside_the_directory_is_none_out_of_it(directory: Path):
    (directory / "pytorch_model.bin").rename(directory / "weights")
    (directory / "pytorch_model.bin").symlink_to("weights")

    read(directory).check_hashes(directory, "ipex")


def test_the_directory_itself_may_be_a_link(directory: Path, tmp_path_factory: pytest.TempPathFactory):
    link = tmp_path_factory.mktemp("links") / "current"
    link.symlink_to(directory)

    read(link).check_hashes(link, "ipex")


def test_the_hubs_cache_links_into_its_own_blobs(directory: Path, tmp_path_factory: pytest.TempPathFactory):
    repository = tmp_path_factory.mktemp("models--org--int8")
    snapshot = repository / "snapshots" / "abc"
    snapshot.parent.mkdir()
    (repository / "blobs").mkdir()
    directory.rename(snapshot)
    (snapshot / "pytorch_model.bin").rename(repository / "blobs" / "def")
    (snapshot / "pytorch_model.bin").symlink_to("../../blobs/def")

    read(snapshot).check_hashes(snapshot, "ipex")
