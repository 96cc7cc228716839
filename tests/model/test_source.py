"""Models come from a directory or from the hub, and a missing one is named. The hub itself is a double."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from fastrag_quant.errors import ModelError
from fastrag_quant.model.source import METADATA_PATTERNS, ModelSource


class Hub:
    """Stands for the Hugging Face hub: remembers what was asked, and answers or fails."""

    def __init__(self, snapshot: Path) -> None:
        self.snapshot = snapshot
        self.asked: list[dict[str, Any]] = []
        self.error: Exception | None = None

    def snapshot_download(self, repo_id: str, **arguments: Any) -> str:
        self.asked.append({"repo_id": repo_id, **arguments})
        if self.error:
            raise self.error
        return str(self.snapshot)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """A hub that has every model."""
    hub = Hub(tmp_path)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", hub.snapshot_download)
    return hub


def test_a_directory_is_used_as_it_is_and_the_hub_is_not_asked(tmp_path: Path, hub: Hub):
    source = ModelSource(str(tmp_path))

    assert source.is_local
    assert source.fetch() == tmp_path
    assert hub.asked == []


def test_a_tilde_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "model").mkdir()

    assert ModelSource("~/model").fetch() == tmp_path / "model"


def test_a_hub_name_is_downloaded_with_all_that_the_caller_gave(hub: Hub):
    source = ModelSource("BAAI/bge-small-en-v1.5", revision="abc", token="secret", local_files_only=True)

    assert source.fetch(("*.json", "pytorch_model.bin")) == hub.snapshot
    assert hub.asked == [
        {
            "repo_id": "BAAI/bge-small-en-v1.5",
            "revision": "abc",
            "token": "secret",
            "local_files_only": True,
            "allow_patterns": ["*.json", "pytorch_model.bin"],
        }
    ]


def test_by_default_no_weights_are_downloaded(hub: Hub):
    ModelSource("some/model").fetch()

    patterns = hub.asked[0]["allow_patterns"]
    assert patterns == list(METADATA_PATTERNS)
    files = ["config.json", "1_Pooling/config.json", "vocab.txt", "model.safetensors", "onnx/model.onnx"]
    wanted = huggingface_hub.utils.filter_repo_objects(files, allow_patterns=patterns)
    assert list(wanted) == ["config.json", "1_Pooling/config.json", "vocab.txt"]


@pytest.mark.parametrize("name", ["/missing/model", "./model", "../model", "a/b/c", "models/", "-x y"])
def test_a_missing_path_is_named_and_the_hub_is_not_asked(hub: Hub, name: str):
    with pytest.raises(ModelError) as error:
        ModelSource(name).fetch()

    assert name in str(error.value)
    assert "pass an existing directory" in str(error.value)
    assert hub.asked == []


@pytest.mark.parametrize("name", ["all-MiniLM-L6-v2", "BAAI/bge-small-en-v1.5"])
def test_the_hubs_failure_becomes_one_line_that_says_what_to_check(hub: Hub, name: str):
    hub.error = OSError("Repository Not Found.\nMake sure you are authenticated\nand so on")

    with pytest.raises(ModelError) as error:
        ModelSource(name).fetch()

    message = str(error.value)
    assert "\n" not in message
    assert name in message
    assert "(Repository Not Found)" in message
    assert "Check the name, the network and the token" in message


def test_a_failure_without_a_message_is_named_by_its_type(hub: Hub):
    hub.error = TimeoutError()

    with pytest.raises(ModelError, match=r"\(TimeoutError\)"):
        ModelSource("some/model").fetch()


def test_a_token_that_the_hub_client_shows_in_its_error_is_shown_no_further(hub: Hub):
    token = "hf_secret\n"  # of a file, with its newline
    hub.error = ValueError(f"Illegal header value {'Bearer ' + token!r}")
    source = ModelSource("some/model", token=token)

    with pytest.raises(ModelError, match="the token holds characters that none has") as error:
        source.fetch()

    assert "hf_secret" not in "".join(traceback.format_exception(error.value))


def test_with_local_files_only_a_model_that_was_never_downloaded_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))

    with pytest.raises(ModelError, match="no-one/has-this"):
        ModelSource("no-one/has-this", local_files_only=True).fetch()


def test_the_public_name_of_a_directory_holds_no_path_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path / "model")

    assert ModelSource(str(tmp_path / "model")).public_name == "model"
    assert ModelSource(".").public_name == "model"


def test_the_public_name_of_a_hub_model_is_its_name():
    assert ModelSource("BAAI/bge-small-en-v1.5").public_name == "BAAI/bge-small-en-v1.5"
