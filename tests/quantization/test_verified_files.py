"""verify_hashes and verify() cover every file that can change a vector, and every one that could be added."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from engines_here import ENGINES

from fastrag_quant import QuantizedEmbedder, quantize, verify
from fastrag_quant.engines import ENGINE_KINDS
from fastrag_quant.errors import ModelError
from fastrag_quant.model.manifest import MANIFEST_NAME, Manifest
from fastrag_quant.model.settings import setting_files

# Of a model that carries every kind of setting. What of them is there hangs on the version of transformers.
WRITTEN = {
    "modules.json": '[{"type": "sentence_transformers.models.Transformer", "path": ""}, '
    '{"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}]',
    "1_Pooling/config.json": '{"pooling_mode_cls_token": true, "include_prompt": true}',
    "config_sentence_transformers.json": '{"prompts": {"query": "q: "}}',
    "sentence_bert_config.json": '{"max_seq_length": 32, "do_lower_case": true}',
}
OF_TOKENIZER_AND_ENCODER = ("config.json", "tokenizer.json", "tokenizer_config.json")

# What sentence-transformers or transformers would read, and quantization had no reason to write.
ADDED = {
    **WRITTEN,
    "sentence_roberta_config.json": '{"do_lower_case": true}',
    "sentence_xlnet_config.json": '{"max_seq_length": 4}',
    "adapter_config.json": "{}",
}


def change_a_byte(path: Path) -> None:
    """Change a letter, and neither the size nor whether it is JSON where that can be."""
    content = bytearray(path.read_bytes())
    at = next((place for place, byte in enumerate(content) if chr(byte).isalpha()), 0)
    content[at] ^= 1
    path.write_bytes(content)


@pytest.fixture(scope="module")
def whole(tiny_model: Path, passages: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with every kind of setting, quantized for an engine that takes no time for it."""
    folder = tmp_path_factory.mktemp("whole")
    shutil.copytree(tiny_model, folder / "fp32")
    for name, content in WRITTEN.items():
        (folder / "fp32" / name).parent.mkdir(exist_ok=True)
        (folder / "fp32" / name).write_text(content)
    quantize(folder / "fp32", folder / "int8", passages[:40], engine="native", min_cosine=0)
    return folder / "int8"


@pytest.fixture
def bare(whole: Path, tmp_path: Path) -> Path:
    """The same without the settings that a model need not have, and with a manifest that knows of none."""
    directory = tmp_path / "bare"
    shutil.copytree(whole, directory)
    manifest = json.loads((directory / MANIFEST_NAME).read_text())
    for name in WRITTEN:
        (directory / name).unlink()
        del manifest["files"][name]
    (directory / MANIFEST_NAME).write_text(json.dumps(manifest))
    return directory


def listed(directory: Path) -> set[str]:
    manifest = Manifest.read(directory)
    assert manifest is not None
    return set(manifest.all_files)


def test_a_whole_directory_passes(whole: Path, bare: Path):
    for directory in (whole, bare):
        with QuantizedEmbedder(directory, "native", verify_hashes=True) as embedder:
            assert embedder.dimension == 32


def test_every_file_of_the_directory_is_listed(whole: Path):
    found = {str(path.relative_to(whole)) for path in whole.rglob("*") if path.is_file()}

    assert listed(whole) == found - {MANIFEST_NAME}
    assert found >= {*WRITTEN, *OF_TOKENIZER_AND_ENCODER}


@pytest.mark.parametrize("name", [*WRITTEN, *OF_TOKENIZER_AND_ENCODER, *ENGINE_KINDS["native"].weights])
def test_one_byte_of_any_is_found_before_it_is_used(whole: Path, tmp_path: Path, name: str):
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    change_a_byte(copy / name)

    with pytest.raises(ModelError, match=f"SHA-256 of {name} is not the manifest's"):
        QuantizedEmbedder(copy, "native", verify_hashes=True)


@pytest.mark.parametrize("engine", ENGINES)
def test_one_byte_of_any_weights_is_found(minilm_int8: Path, tmp_path: Path, engine: str):
    for name in ENGINE_KINDS[engine].weights:
        copy = tmp_path / name
        shutil.copytree(minilm_int8, copy)
        change_a_byte(copy / name)

        with pytest.raises(ModelError, match=f"SHA-256 of {name} is not the manifest's"):
            QuantizedEmbedder(copy, engine, verify_hashes=True)


@pytest.mark.parametrize("name", ADDED)
def test_a_file_that_was_added_is_found(bare: Path, name: str):
    (bare / name).parent.mkdir(exist_ok=True)
    (bare / name).write_text(ADDED[name])

    with pytest.raises(ModelError, match=f"has {name}, which its manifest says nothing of"):
        QuantizedEmbedder(bare, "native", verify_hashes=True)


def test_folders_that_were_added_are_found(bare: Path):
    shutil.copytree(bare, bare / "0_Other", ignore=shutil.ignore_patterns("*.safetensors"))
    (bare / "modules.json").write_text(WRITTEN["modules.json"].replace('"path": ""', '"path": "0_Other"'))

    with pytest.raises(ModelError, match=r"has modules\.json, which its manifest says nothing of"):
        QuantizedEmbedder(bare, "native", verify_hashes=True)


def test_what_no_vector_hangs_on_may_be_added(bare: Path):
    (bare / "notes.txt").write_text("mine")
    (bare / "README.md").write_text("mine")

    QuantizedEmbedder(bare, "native", verify_hashes=True).close()


def test_a_directory_without_a_manifest_is_not_taken_for_verified(whole: Path, tmp_path: Path):
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    (copy / MANIFEST_NAME).unlink()

    QuantizedEmbedder(copy, "native").close()
    with pytest.raises(ModelError, match="has no manifest with hashes to compare with"):
        QuantizedEmbedder(copy, "native", verify_hashes=True)


@pytest.mark.parametrize("name", ["tokenizer.json", "1_Pooling/config.json", "native.safetensors"])
def test_verification_compares_the_files_first(whole: Path, tmp_path: Path, passages: list[str], name: str):
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    change_a_byte(copy / name)

    with pytest.raises(ModelError, match=f"SHA-256 of {name} is not the manifest's"):
        verify(copy, passages[:30], fp32=whole.parent / "fp32")


def test_verification_finds_what_was_added(bare: Path, whole: Path, passages: list[str]):
    (bare / "modules.json").write_text(WRITTEN["modules.json"])

    with pytest.raises(ModelError, match=r"has modules\.json, which its manifest says nothing of"):
        verify(bare, passages[:30], fp32=whole.parent / "fp32")


@pytest.mark.parametrize("directory", ["whole", "bare"])
def test_no_file_is_read_that_neither_is_listed_nor_would_be_found(
    directory: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
):
    place: Path = request.getfixturevalue(directory)
    asked_for: set[Path] = set()
    is_file: Callable[[Path], bool] = Path.is_file
    monkeypatch.setattr(Path, "is_file", lambda path: asked_for.add(path) or is_file(path))

    QuantizedEmbedder(place, "native").close()

    names = {str(path.relative_to(place)) for path in asked_for if path.is_relative_to(place)}
    assert names >= {"modules.json", "tokenizer.json", "adapter_config.json"}
    assert names <= listed(place) | set(setting_files(place, "model")) | {MANIFEST_NAME}
