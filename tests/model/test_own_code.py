"""No code that comes with a model is run: what needs it is refused by name, and what does not runs without it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engines_here import ENGINES

from fastrag_quant import QuantizedEmbedder, quantize
from fastrag_quant.engines.torch_encoder import load_encoder
from fastrag_quant.errors import ModelError
from fastrag_quant.model import own_code
from fastrag_quant.model.source import ModelSource
from fastrag_quant.model.tokenization import TextTokenizer

OWN_MODEL = {"auto_map": {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}}
OWN_TOKENIZER = {"auto_map": {"AutoTokenizer": ["own.OwnTokenizer", "own.OwnTokenizerFast"]}}


@pytest.fixture(autouse=True)
def no_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Somebody at the keyboard who says yes to everything, as transformers asks; in the end nobody was asked."""
    asked: list[Any] = []
    monkeypatch.setattr("builtins.input", lambda *prompt: asked.append(prompt) or "y")
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    yield
    assert not (tmp_path / "ran").exists()
    assert asked == []


@pytest.fixture
def changed(tiny_cls_model: Path, tmp_path: Path) -> Callable[..., Path]:
    """A function that makes a model with a file of code of its own, and changes to what is said of it."""

    def make(config: dict[str, Any] | None = None, tokenizer: dict[str, Any] | None = None) -> Path:
        directory = tmp_path / "own"
        shutil.copytree(tiny_cls_model, directory)
        (directory / "own.py").write_text(
            f"open({str(tmp_path / 'ran')!r}, 'w')\n"
            "from transformers import BertConfig, BertModel, BertTokenizer, BertTokenizerFast\n"
            "class OwnConfig(BertConfig): model_type = 'own'\n"
            "class OwnModel(BertModel): config_class = OwnConfig\n"
            "class OwnTokenizer(BertTokenizer): pass\n"
            "class OwnTokenizerFast(BertTokenizerFast): pass\n"
        )
        for name, change in (("config.json", config), ("tokenizer_config.json", tokenizer)):
            content = json.loads((directory / name).read_text())
            (directory / name).write_text(json.dumps(content | (change or {})))
        return directory

    return make


def encoder_of(directory: Path) -> Any:
    return load_encoder(ModelSource(str(directory)))


# The model


def test_an_unknown_architecture_is_refused_where_it_is_loaded(changed: Callable[..., Path]):
    with pytest.raises(ModelError, match=r"model_type 'own', which this .* code of its own .*auto_map.* no code"):
        encoder_of(changed(OWN_MODEL | {"model_type": "own"}))


@pytest.mark.parametrize("engine", ["torch", "native"])
def test_an_unknown_architecture_is_refused_on_each_engine(changed: Callable[..., Path], engine: str):
    with pytest.raises(ModelError, match=r"model_type.* 'own'.* code of its own"):
        QuantizedEmbedder(changed(OWN_MODEL | {"model_type": "own"}), engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_it_is_not_quantized_and_no_text_is_read_for_it(changed: Callable[..., Path], tmp_path: Path, engine: str):
    with pytest.raises(ModelError, match="code of its own"):
        quantize(changed(OWN_MODEL | {"model_type": "own"}), tmp_path / "out", "no-such-file.txt", engine=engine)


@pytest.mark.parametrize("engine", ["torch", *({"native"} & set(ENGINES))])
def test_a_known_architecture_runs_by_what_is_known(changed: Callable[..., Path], tiny_cls_model: Path, engine: str):
    texts = ["the if statement", "a class"]
    expected = QuantizedEmbedder(tiny_cls_model, engine).embed_documents(texts)

    assert np.array_equal(QuantizedEmbedder(changed(OWN_MODEL), engine).embed_documents(texts), expected)


def test_a_known_architecture_with_other_weights_says_that_there_is_code(changed: Callable[..., Path]):
    directory = changed(OWN_MODEL | {"num_hidden_layers": 3})

    with pytest.raises(ModelError, match=r"lacks .* weights .* config\.json names code of its own \(auto_map\)"):
        encoder_of(directory)


def test_attention_out_of_a_repository_is_refused(changed: Callable[..., Path]):
    with pytest.raises(ModelError, match=r"attn_implementation 'somebody/attention' .* a repository of code"):
        encoder_of(changed({"attn_implementation": "somebody/attention"}))


# The tokenizer


def test_an_unknown_tokenizer_is_refused_beside_a_tokenizer_json(changed: Callable[..., Path]):
    with pytest.raises(ModelError, match=r"names the tokenizer OwnTokenizer, code of its own .* no code"):
        TextTokenizer(changed(None, OWN_TOKENIZER | {"tokenizer_class": "OwnTokenizer"}), 64)


def test_an_unknown_tokenizer_is_refused_where_one_would_be_made(changed: Callable[..., Path]):
    directory = changed(OWN_MODEL | {"model_type": "own"}, OWN_TOKENIZER | {"tokenizer_class": "OwnTokenizer"})
    (directory / "tokenizer.json").unlink()

    with pytest.raises(ModelError, match="names the tokenizer OwnTokenizer, code of its own"):
        TextTokenizer(directory, 64)


def test_a_tokenizer_without_a_name_is_not_made_by_code(changed: Callable[..., Path]):
    directory = changed(OWN_MODEL | {"model_type": "own"}, OWN_TOKENIZER | {"tokenizer_class": None})
    (directory / "tokenizer.json").unlink()

    with pytest.raises(ModelError, match="transformers could not make one"):
        TextTokenizer(directory, 64)


@pytest.mark.parametrize("kind", ["BertTokenizer", "BertTokenizerFast", "GPT2Tokenizer", "PreTrainedTokenizerFast"])
def test_a_known_tokenizer_runs_by_what_is_known(changed: Callable[..., Path], tiny_cls_model: Path, kind: str):
    tokenizer = TextTokenizer(changed(None, OWN_TOKENIZER | {"tokenizer_class": kind}), 64)

    assert np.array_equal(tokenizer(["a class"])[0].ids, TextTokenizer(tiny_cls_model, 64)(["a class"])[0].ids)


def test_the_common_tokenizers_are_known_without_transformers(
    changed: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
):
    import transformers

    assert all(hasattr(transformers, name) for name in own_code._COMMON_TOKENIZERS)
    monkeypatch.setitem(sys.modules, "transformers", None)

    TextTokenizer(changed(None, OWN_TOKENIZER | {"tokenizer_class": "XLMRobertaTokenizerFast"}), 64)


def test_others_are_refused_without_transformers(changed: Callable[..., Path], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "transformers", None)

    with pytest.raises(ModelError, match="names the tokenizer GPT2Tokenizer, code of its own"):
        TextTokenizer(changed(None, OWN_TOKENIZER | {"tokenizer_class": "GPT2Tokenizer"}), 64)
