"""A relative path is that of the working directory where it was given, not of the one where it is first used."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from engines_here import ENGINES

from fastrag_quant import QuantizedEmbedder, quantize
from fastrag_quant.config import EmbedderConfig
from fastrag_quant.model.settings import SettingsOverrides, settings_from_files
from fastrag_quant.shared import SharedEmbedder


@pytest.fixture
def given(tiny_cls_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A relative path of the tiny model; the process is where it leads there."""
    shutil.copytree(tiny_cls_model, tmp_path / "work" / "models" / "tiny")
    monkeypatch.chdir(tmp_path / "work")
    return "models/tiny"


@pytest.fixture
def leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """A function that goes elsewhere, where another model has the same relative path."""

    def go() -> None:
        other = tmp_path / "elsewhere" / "models" / "tiny"
        other.mkdir(parents=True)
        (other / "config.json").write_text("{}")
        monkeypatch.chdir(tmp_path / "elsewhere")

    return go


@pytest.mark.parametrize("engine", ["torch", *ENGINES])
def test_an_embedder_embeds_and_is_copied_elsewhere(
    given: str, leave: Callable[[], None], minilm_int8: Path, engine: str
):
    if engine != "torch":
        given = os.path.relpath(minilm_int8)
    embedder = QuantizedEmbedder(given, engine)
    leave()

    vectors = embedder.embed_documents(["a class", "for"])
    assert vectors.shape[0] == 2
    assert np.allclose(copy.deepcopy(embedder).embed_documents(["a class", "for"]), vectors, atol=1e-6)


def test_what_is_loaded_later_is_what_was_named(given: str, leave: Callable[[], None], tmp_path: Path):
    shared = SharedEmbedder(EmbedderConfig(given, "torch"))
    leave()

    assert copy.deepcopy(shared).config == shared.config
    assert shared.config.model == str(tmp_path / "work" / "models" / "tiny")
    assert shared.embedder.dimension == 32


def test_a_path_and_the_absolute_one_are_one_model(given: str, tmp_path: Path):
    absolute = EmbedderConfig(tmp_path / "work" / "models" / "tiny", "torch")

    assert EmbedderConfig(given, "torch") == EmbedderConfig(Path(given), "torch") == absolute


def test_a_hub_name_stays_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    assert EmbedderConfig("BAAI/bge-small-en-v1.5").model == "BAAI/bge-small-en-v1.5"
    assert EmbedderConfig("all-MiniLM-L6-v2").model == "all-MiniLM-L6-v2"


@pytest.mark.parametrize("name", ["./models/none", "../none", "a/path/of/four", "~nobody-has-this-name/none"])
def test_what_no_hub_model_is_called_is_a_path_also_before_it_is_there(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)

    assert EmbedderConfig(name).model == str(tmp_path / name)


def test_a_link_is_followed_where_it_leads_then(given: str, tmp_path: Path):
    Path("current").symlink_to(given)

    assert EmbedderConfig("current").model == str(tmp_path / "work" / "current")


def test_a_home_is_that_of_now(tiny_cls_model: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tiny_cls_model.parent))

    assert EmbedderConfig(f"~/{tiny_cls_model.name}").model == str(tiny_cls_model)


def test_a_copy_of_a_well_known_model_is_known_by_any_path_to_it(tiny_model: Path, tmp_path: Path):
    directory = tmp_path / "Intel" / "bge-small-en-v1.5-rag-int8-static"
    shutil.copytree(tiny_model, directory)

    settings = settings_from_files(directory, str(directory), SettingsOverrides())

    assert settings.pooling == "cls"
    assert settings.query_prompt.startswith("Represent this sentence")


def test_a_folder_of_a_familys_name_does_not_make_a_model_one_of_it(
    tiny_cls_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    directory = tmp_path / "e5-small-experiments" / "runs" / "mine"
    shutil.copytree(tiny_cls_model, directory)

    with QuantizedEmbedder(directory, "torch"):
        assert "has no query prompt" not in caplog.text


@pytest.mark.parametrize("engine", ENGINES[:1])
def test_what_quantization_returns_leads_to_what_it_wrote(
    given: str, leave: Callable[[], None], passages: list[str], tmp_path: Path, engine: str
):
    result = quantize(given, "out", passages[:40], engine=engine, min_cosine=0)
    leave()

    assert result.directory == tmp_path / "work" / "out"
    assert (result.directory / "config.json").is_file()
