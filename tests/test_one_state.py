"""A process serves a model whole, from one state of its directory, also where that is overwritten."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastrag_quant import QuantizedEmbedder
from fastrag_quant.config import EmbedderConfig
from fastrag_quant.errors import ModelError
from fastrag_quant.model.manifest import Manifest
from fastrag_quant.model.tokenization import TextTokenizer
from fastrag_quant.quantization.output_directory import whole_or_not_at_all
from fastrag_quant.shared import SharedEmbedder

TEXTS = ["the if statement"]


@pytest.fixture
def other_model(tiny_cls_model: Path) -> Callable[[Path], None]:
    """A function that overwrites a directory, as quantize() does, with a model of other weights."""

    def overwrite(directory: Path) -> None:
        import torch
        from transformers import AutoModel

        with torch.random.fork_rng():
            torch.manual_seed(1)
            other = AutoModel.from_config(AutoModel.from_pretrained(tiny_cls_model).config)
        finished = directory.with_name("finished")
        shutil.copytree(directory, finished)
        other.save_pretrained(finished)
        directory.rename(directory.with_name("replaced"))
        finished.rename(directory)

    return overwrite


def config_of(directory: Path | str) -> EmbedderConfig:
    return EmbedderConfig(str(directory), "torch")


def test_who_asks_after_a_directory_was_overwritten_gets_the_new_model(
    tiny_cls_model: Path, other_model: Callable[[Path], None]
):
    first = SharedEmbedder(config_of(tiny_cls_model))
    before = first.embedder.embed_documents(TEXTS)

    other_model(tiny_cls_model)
    anew = SharedEmbedder(config_of(tiny_cls_model)).embedder

    assert anew is not first.embedder
    assert not np.allclose(anew.embed_documents(TEXTS), before)
    assert np.array_equal(first.embedder.embed_documents(TEXTS), before)  # what was opened stays what it was


def test_who_asks_while_nothing_changed_gets_the_same(tiny_cls_model: Path):
    first = SharedEmbedder(config_of(tiny_cls_model))

    assert SharedEmbedder(config_of(tiny_cls_model)).embedder is first.embedder


def test_an_overwritten_int8_model_is_not_served_from_memory(
    minilm_int8: Path, some_engine: str, embedder: QuantizedEmbedder, tmp_path: Path
):
    directory = tmp_path / "int8"
    shutil.copytree(minilm_int8, directory)
    held = SharedEmbedder(EmbedderConfig(directory, some_engine))
    assert held.embedder.settings.query_prompt == ""
    expected = held.embedder.embed_documents(TEXTS)

    with whole_or_not_at_all(directory, overwrite=True) as finished:
        shutil.copytree(minilm_int8, finished, dirs_exist_ok=True)
        manifest = Manifest.read(finished)
        assert manifest is not None
        object.__setattr__(manifest.settings, "query_prompt", "new: ")
        manifest.write(finished)

    assert SharedEmbedder(EmbedderConfig(directory, some_engine)).embedder.settings.query_prompt == "new: "
    assert held.embedder.settings.query_prompt == ""
    assert np.array_equal(held.embedder.embed_documents(TEXTS), expected)


class Replacer:
    """Replaces a directory whenever a tokenizer has been loaded, in the middle of loading a model."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, replace: Callable[[], None], times: int) -> None:
        self.times = times
        load = TextTokenizer.__init__

        def replacing(tokenizer: TextTokenizer, *arguments: Any, **named: Any) -> None:
            load(tokenizer, *arguments, **named)
            if self.times:
                self.times -= 1
                replace()

        monkeypatch.setattr(TextTokenizer, "__init__", replacing)


def test_a_directory_that_is_replaced_while_it_is_loaded_is_loaded_again(
    tiny_cls_model: Path, other_model: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
):
    def replace() -> None:
        other_model(tiny_cls_model)
        (tiny_cls_model / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')

    replacer = Replacer(monkeypatch, replace, times=1)

    embedder = QuantizedEmbedder(tiny_cls_model, "torch")

    assert replacer.times == 0
    assert embedder.settings.pooling == "mean"  # not the settings of one and the weights of the other


def test_a_directory_that_is_always_being_replaced_is_an_error(tiny_cls_model: Path, monkeypatch: pytest.MonkeyPatch):
    Replacer(monkeypatch, lambda: (tiny_cls_model / "config.json").touch(), times=10)

    with pytest.raises(ModelError, match="changed while it was loaded, twice"):
        QuantizedEmbedder(tiny_cls_model, "torch")
