"""Texts become the token ids that transformers would make of them, cut at the limit."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from fastrag_quant.errors import InputError, ModelError
from fastrag_quant.model.tokenization import TextTokenizer

TEXTS = ["Hello world", "", "naïve café — 日本語 🙂", "an-unbelievably-hyphenated word", "word " * 400]


@pytest.fixture
def tokenizer(minilm: Path) -> TextTokenizer:
    """MiniLM's, at 256 tokens."""
    return TextTokenizer(minilm, 256)


def test_the_ids_are_those_of_transformers(tokenizer: TextTokenizer, minilm: Path):
    from transformers import AutoTokenizer

    expected = AutoTokenizer.from_pretrained(minilm)(TEXTS, truncation=True, max_length=256)["input_ids"]

    assert tokenizer(TEXTS).token_ids == expected


def test_one_text_becomes_what_it_becomes_among_many(tokenizer: TextTokenizer):
    assert [tokenizer([text]).token_ids[0] for text in TEXTS] == tokenizer(TEXTS).token_ids


def test_nothing_is_padded(tokenizer: TextTokenizer):
    assert tokenizer(TEXTS).lengths.tolist() == [4, 2, 9, 15, 256]


def test_no_texts_make_no_ids(tokenizer: TextTokenizer):
    tokenized = tokenizer([])

    assert tokenized.token_ids == []
    assert tokenized.lengths.shape == (0,)


def test_longer_texts_are_cut_and_counted(minilm: Path):
    tokenized = TextTokenizer(minilm, 4)(["one two", "one two three", "one two three four"])

    assert tokenized.lengths.tolist() == [4, 4, 4]
    assert tokenized.truncated == 2


def test_a_single_cut_text_is_counted_too(minilm: Path):
    assert TextTokenizer(minilm, 4)(["one two three"]).truncated == 1


def test_a_cut_text_keeps_its_special_tokens(minilm: Path):
    (ids,) = TextTokenizer(minilm, 3)(["one two three"]).token_ids

    assert (ids[0], ids[-1], len(ids)) == (101, 102, 3)


def test_the_vocabulary_is_counted_with_its_special_tokens(tokenizer: TextTokenizer):
    assert tokenizer.vocabulary_size == 30522


def test_many_threads_may_use_one_tokenizer(tokenizer: TextTokenizer):
    expected = tokenizer(TEXTS).token_ids

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: tokenizer(TEXTS).token_ids, range(64)))

    assert all(result == expected for result in results)


def test_an_old_directory_with_a_vocabulary_alone_is_converted(tokenizer: TextTokenizer, minilm: Path, tmp_path: Path):
    for name in ("config.json", "vocab.txt"):
        shutil.copy(minilm / name, tmp_path)

    assert TextTokenizer(tmp_path, 256)(TEXTS).token_ids == tokenizer(TEXTS).token_ids


def test_a_directory_without_any_tokenizer_is_named(minilm: Path, tmp_path: Path):
    shutil.copy(minilm / "config.json", tmp_path)

    with pytest.raises(ModelError, match=f"{tmp_path} has no tokenizer.json"):
        TextTokenizer(tmp_path, 256)


def test_a_damaged_tokenizer_is_named(tmp_path: Path):
    (tmp_path / "tokenizer.json").write_text("{")

    with pytest.raises(ModelError, match=r"tokenizer\.json cannot be read"):
        TextTokenizer(tmp_path, 256)


@pytest.mark.parametrize("texts", [["\ud800"], ["fine", "\ud800"]])
def test_text_that_utf8_cannot_express_is_refused(tokenizer: TextTokenizer, texts: list[str]):
    with pytest.raises(InputError, match="lone surrogates"):
        tokenizer(texts)
