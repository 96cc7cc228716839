"""A quantized model directory has the tokenizer of its source, byte for byte; one that has to be made is compared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from fastrag_quant.errors import ModelError
from fastrag_quant.model.settings import EmbedderSettings, Pooling
from fastrag_quant.model.tokenization import TextTokenizer
from fastrag_quant.quantization import metadata
from fastrag_quant.quantization.metadata import write_metadata

SETTINGS = EmbedderSettings(Pooling.MEAN, True, 32, "", "", 32)
# Characters that NFKC folds, capitals, accents, and a script without spaces.
TEXTS = ["The FOR statement, naïve ﬁne ½ ² width", "日本語 and  two spaces", "raise-exception_name(1234)", ""]
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")


def wordpiece() -> tuple[Tokenizer, Any]:
    tokenizer = Tokenizer(models.WordPiece(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return tokenizer, trainers.WordPieceTrainer(vocab_size=400, special_tokens=list(SPECIAL), show_progress=False)


def unigram() -> tuple[Tokenizer, Any]:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=400, special_tokens=list(SPECIAL), unk_token="<unk>", show_progress=False
    )
    return tokenizer, trainer


def unigram_that_folds() -> tuple[Tokenizer, Any]:
    tokenizer, trainer = unigram()
    tokenizer.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()])
    return tokenizer, trainer


def digit_by_digit() -> tuple[Tokenizer, Any]:
    tokenizer, trainer = wordpiece()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(True)])
    return tokenizer, trainer


@pytest.fixture
def source_of(passages: list[str], tmp_path: Path) -> Callable[..., Path]:
    """A function that makes a model directory, save for the weights, of a tokenizer and a kind of model."""

    def make(made: tuple[Tokenizer, Any], model_type: str) -> Path:
        tokenizer, trainer = made
        tokenizer.train_from_iterator(passages, trainer)
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
        )
        directory = tmp_path / "source"
        directory.mkdir()
        tokenizer.save(str(directory / "tokenizer.json"))
        config = {"model_type": model_type, "vocab_size": tokenizer.get_vocab_size(), "hidden_size": 32}
        (directory / "config.json").write_text(json.dumps(config))
        return directory

    return make


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """An empty directory."""
    (tmp_path / "int8").mkdir()
    return tmp_path / "int8"


@pytest.mark.parametrize(
    ("tokenizer", "model_type"),
    [
        (wordpiece, "roberta"),
        (wordpiece, "camembert"),
        (unigram, "bert"),
        (digit_by_digit, "bert"),
        (unigram_that_folds, "xlm-roberta"),
    ],
)
def test_the_ids_stay_whatever_transformers_makes_of_the_configuration(
    tokenizer: Callable[[], tuple[Tokenizer, Any]], model_type: str, source_of: Callable[..., Path], output: Path
):
    source = source_of(tokenizer(), model_type)
    (source / "tokenizer_config.json").write_text('{"model_max_length": 512}')

    write_metadata(source, output, SETTINGS, TEXTS, "model")

    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        assert (output / name).read_bytes() == (source / name).read_bytes()
    own = Tokenizer.from_file(str(source / "tokenizer.json"))
    written = TextTokenizer(output, 512)
    assert [written([text])[0].ids.tolist() for text in TEXTS] == [own.encode(text).ids for text in TEXTS]


def test_all_that_tokenizers_are_made_of_is_copied(minilm: Path, output: Path):
    write_metadata(minilm, output, SETTINGS, TEXTS, "model")

    names = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt", "1_Pooling/config.json")
    for name in names:
        assert (output / name).read_bytes() == (minilm / name).read_bytes()
    assert not list(output.rglob("*.safetensors"))


@pytest.fixture
def old(tiny_model: Path, tmp_path: Path) -> Path:
    """A source whose tokenizer is but a vocabulary."""
    modern = shutil.ignore_patterns("tokenizer*", "special*", "*.safetensors")
    return Path(shutil.copytree(tiny_model, tmp_path / "old", ignore=modern))


def test_a_tokenizer_that_was_made_gives_the_ids_of_the_source(old: Path, output: Path, passages: list[str]):
    from transformers import AutoTokenizer

    write_metadata(old, output, SETTINGS, passages, "model")

    expected = AutoTokenizer.from_pretrained(old)(passages, truncation=True, max_length=32)["input_ids"]
    assert [ids.tolist() for ids in TextTokenizer(output, 32)(passages)[0].texts()] == expected


def test_a_tokenizer_that_was_made_and_gives_other_ids_is_refused(
    old: Path, output: Path, passages: list[str], monkeypatch: pytest.MonkeyPatch
):
    def another(directory: Path) -> Tokenizer:
        tokenizer = Tokenizer.from_str(load(directory).to_str())
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        return tokenizer

    load = metadata.load_tokenizer
    monkeypatch.setattr(metadata, "load_tokenizer", another)

    with pytest.raises(ModelError, match=r"model has no tokenizer\.json, .* save the model with a tokenizer\.json"):
        write_metadata(old, output, SETTINGS, passages, "model")


def test_a_token_beyond_the_embeddings_is_found_before_anything_is_quantized(
    source_of: Callable[..., Path], output: Path
):
    source = source_of(wordpiece(), "bert")
    (source / "config.json").write_text('{"model_type": "bert", "vocab_size": 399, "hidden_size": 32}')

    with pytest.raises(ModelError, match="the id 399, and the model has embeddings for 399 tokens"):
        write_metadata(source, output, SETTINGS, TEXTS, "model")
