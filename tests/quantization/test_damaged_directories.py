"""A damaged model directory ends in one error of this package that names it, or in the vectors it always gave."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from engines_here import ENGINES

from fastrag_quant import QuantizedEmbedder
from fastrag_quant.engines import ENGINE_KINDS
from fastrag_quant.errors import FastragQuantError
from fastrag_quant.model.manifest import MANIFEST_NAME

if TYPE_CHECKING:
    from tests.quantization.conftest import Run

TEXTS = ["the if statement", "a class"]


def rewritten(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def rewrite(path: Path) -> None:
        path.write_text(json.dumps(change(json.loads(path.read_text()))))

    return rewrite


def replaced(old: bytes, new: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(path.read_bytes().replace(old, new)) and None


def every_value(value: Any) -> Callable[[Any], Any]:
    """A function that puts a value in the place of all that is inside an object or a list."""

    def change(content: Any) -> Any:
        return dict.fromkeys(content, value) if isinstance(content, dict) else [value]

    return change


def to_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def to_link(target: str) -> Callable[[Path], None]:
    def link(path: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    return link


OF_ANY_FILE: dict[str, Callable[[Path], Any]] = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-40]),
    "half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "garbage": lambda path: path.write_bytes(bytes(range(256)) * 40),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "directory": to_directory,
    "link to itself": lambda path: to_link(path.name)(path),
    "link to nowhere": to_link("nowhere"),
    "link out": to_link("/etc/hostname"),
    "device": to_link("/dev/null"),
}
OF_JSON: dict[str, Callable[[Path], Any]] = {
    "deep": lambda path: path.write_text('{"a":' + "[" * 200_000),
    "deep and whole": lambda path: path.write_text('{"a":' + "[" * 200_000 + "]" * 200_000 + "}"),
    "a list": lambda path: path.write_text("[]"),
    "a number": lambda path: path.write_text("1"),
    "null": lambda path: path.write_text("null"),
    "nothing in it": lambda path: path.write_text("{}"),
    "all null": rewritten(every_value(None)),
    "all text": rewritten(every_value("x")),
    "all lists": rewritten(every_value([])),
    "all objects": rewritten(every_value({})),
    "all -1": rewritten(every_value(-1)),
    "all 0": rewritten(every_value(0)),
    "all true": rewritten(every_value(True)),
    "all huge": rewritten(every_value(10**30)),
    "all NaN": rewritten(every_value(float("nan"))),
    "all infinite": rewritten(every_value(float("inf"))),
    "a number of 5,000 digits": lambda path: path.write_text('{"hidden_size": ' + "9" * 5000 + "}"),
    "byte order mark": lambda path: path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes()),
    "UTF-16": lambda path: path.write_text(path.read_text(), encoding="utf-16"),
    "line ends of Windows": replaced(b"\n", b"\r\n"),
    "duplicate keys": replaced(b"{", b'{"hidden_size": "x", '),
}
OF_SETTINGS = {**OF_ANY_FILE, **OF_JSON}
IN_EACH = ("config.json", "tokenizer.json", "tokenizer_config.json")
WITHOUT_A_MANIFEST = ("1_Pooling/config.json", "modules.json")


def test_the_undamaged_is_what_damage_is_compared_with(models: dict[str, tuple[Path, dict[str, Any], np.ndarray]]):
    assert {name.split()[0] for name in models} == {*ENGINES, "torch"}
    assert all(vectors.shape == (2, 32) for _, _, vectors in models.values())


@pytest.fixture(scope="module")
def models(
    run: Run, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Path, dict[str, Any], np.ndarray]]:
    """A model for each engine, with and without a manifest: its directory, arguments and vectors."""
    fp32 = tmp_path_factory.mktemp("models") / "fp32"
    shutil.copytree(tiny_model, fp32)
    add_settings(fp32)
    made: dict[str, tuple[Path, dict[str, Any]]] = {"torch": (fp32, {"engine": "torch"})}
    for engine in ENGINES:
        made[engine] = (run.directory, {"engine": engine})
        published = tmp_path_factory.mktemp("models") / engine
        shutil.copytree(run.directory, published, ignore=shutil.ignore_patterns(MANIFEST_NAME))
        add_settings(published)
        made[f"{engine} without a manifest"] = (published, {"engine": engine})
    return {
        name: (directory, arguments, QuantizedEmbedder(directory, **arguments).embed_documents(TEXTS))
        for name, (directory, arguments) in made.items()
    }


def add_settings(directory: Path) -> None:
    (directory / "1_Pooling").mkdir()
    (directory / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    modules = [{"type": f"sentence_transformers.models.{name}"} for name in ("Transformer", "Pooling", "Normalize")]
    (directory / "modules.json").write_text(json.dumps(modules))


def damaged(directory: Path, name: str, damage: Callable[[Path], Any], place: Path) -> Path:
    copy = place / "the-model"
    shutil.copytree(directory, copy)
    damage(copy / name)
    return copy


def check(directory: Path, arguments: dict[str, Any], expected: np.ndarray) -> None:
    """Load and embed: one clear error, or the vectors of the undamaged model."""
    try:
        with QuantizedEmbedder(directory, **arguments) as embedder:
            vectors = embedder.embed_documents(TEXTS)
    except FastragQuantError as error:
        assert str(directory) in str(error) or directory.name in str(error)
    else:
        assert np.allclose(vectors, expected, atol=1e-4)


KINDS = ["torch", *ENGINES, *(f"{engine} without a manifest" for engine in ENGINES)]


FILES = [
    *((kind, name) for kind in KINDS for name in IN_EACH),
    *((kind, name) for kind in KINDS if kind not in ENGINES for name in WITHOUT_A_MANIFEST),
]


@pytest.mark.parametrize("damage", OF_SETTINGS)
@pytest.mark.parametrize(("kind", "name"), FILES)
def test_damage_of_settings_and_tokenizer(
    models: dict[str, tuple[Path, dict[str, Any], np.ndarray]], tmp_path: Path, kind: str, name: str, damage: str
):
    directory, arguments, expected = models[kind]

    check(damaged(directory, name, OF_SETTINGS[damage], tmp_path), arguments, expected)


def files_of_weights() -> Iterator[tuple[str, str]]:
    yield "torch", "model.safetensors"
    for engine in ENGINES:
        for name in ENGINE_KINDS[engine].weights:
            yield engine, name
            yield f"{engine} without a manifest", name


@pytest.mark.parametrize("damage", OF_ANY_FILE)
@pytest.mark.parametrize(("kind", "name"), files_of_weights())
def test_damage_of_weights(
    models: dict[str, tuple[Path, dict[str, Any], np.ndarray]], tmp_path: Path, kind: str, name: str, damage: str
):
    directory, arguments, _ = models[kind]

    with pytest.raises(FastragQuantError) as error:
        if QuantizedEmbedder(damaged(directory, name, OF_ANY_FILE[damage], tmp_path), **arguments):
            pytest.fail("it loaded")
    assert "the-model" in str(error.value)


@pytest.mark.parametrize("damage", OF_SETTINGS)
@pytest.mark.parametrize("engine", ENGINES)
def test_damage_of_the_manifest(
    models: dict[str, tuple[Path, dict[str, Any], np.ndarray]], tmp_path: Path, engine: str, damage: str
):
    directory, arguments, expected = models[engine]

    check(damaged(directory, MANIFEST_NAME, OF_SETTINGS[damage], tmp_path), arguments, expected)


# What the sizes do not show


def flip(path: Path) -> None:
    """Change a letter and keep the size."""
    content = path.read_bytes()
    at = len(content) // 2
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])


@pytest.mark.parametrize("name", ["tokenizer.json", "tokenizer_config.json"])
def test_verify_hashes_does_too(run: Run, tmp_path: Path, some_engine: str, name: str):
    copy = damaged(run.directory, name, flip, tmp_path)

    with pytest.raises(FastragQuantError, match=f"SHA-256 of {name}|{name} cannot be read"):
        QuantizedEmbedder(copy, some_engine, verify_hashes=True)


# A manifest that does not go with the rest


def with_manifest(directory: Path, place: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    def rewrite(path: Path) -> None:
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return damaged(directory, MANIFEST_NAME, rewrite, place)


def test_a_dimension_that_is_not_the_weights_is_refused(run: Run, tmp_path: Path, engine: str):
    def change(content: dict[str, Any]) -> None:
        content["settings"]["dimension"] = 31
        content["ranges"] = None

    with pytest.raises(FastragQuantError, match=r"has dimension 31, its config\.json 32"):
        QuantizedEmbedder(with_manifest(run.directory, tmp_path, change), engine)


def test_a_dimension_that_config_json_confirms_and_the_weights_do_not_is_refused(run: Run, tmp_path: Path, engine: str):
    copy = damaged(run.directory, MANIFEST_NAME, Path.unlink, tmp_path)
    rewritten(lambda content: content | {"hidden_size": 30})(copy / "config.json")

    with pytest.raises(FastragQuantError, match="the-model give 32 dimensions, its settings 30"):
        QuantizedEmbedder(copy, engine, pooling="cls")


def test_more_tokens_than_there_are_positions_are_refused(run: Run, tmp_path: Path, engine: str):
    def change(content: dict[str, Any]) -> None:
        content["settings"]["max_seq_len"] = 65

    with pytest.raises(FastragQuantError, match="max_seq_len 65, and the model has positions for 64 tokens"):
        QuantizedEmbedder(with_manifest(run.directory, tmp_path, change), engine)


def test_a_manifest_that_leaves_the_weights_out_is_refused(run: Run, tmp_path: Path, engine: str):
    def change(content: dict[str, Any]) -> None:
        content["engines"][engine]["files"] = {}

    with pytest.raises(FastragQuantError, match=f"says nothing of {ENGINE_KINDS[engine].weights[0]}"):
        QuantizedEmbedder(with_manifest(run.directory, tmp_path, change), engine)


def test_weights_for_unknown_engines_alone_are_named(run: Run, tmp_path: Path):
    def change(content: dict[str, Any]) -> None:
        content["engines"] = {"npu": next(iter(content["engines"].values()))}

    with pytest.raises(FastragQuantError, match="has int8 weights for npu, and this fastrag_quant runs those for"):
        QuantizedEmbedder(with_manifest(run.directory, tmp_path, change))
