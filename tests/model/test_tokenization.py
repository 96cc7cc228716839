"""Texts become the token ids that transformers would make of them, cut at the limit."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from fastrag_quant.errors import InputError, ModelError
from fastrag_quant.model.tokenization import RaggedTokens, TextTokenizer

TEXTS = ["Hello world", "", "naïve café — 日本語 🙂", "an-unbelievably-hyphenated word", "word " * 400]


@pytest.fixture
def tokenizer(minilm: Path) -> TextTokenizer:
    """MiniLM's, at 256 tokens."""
    return TextTokenizer(minilm, 256)


def token_ids(tokenizer: TextTokenizer, texts: list[str]) -> list[list[int]]:
    tokens, _ = tokenizer(texts)
    return [ids.tolist() for ids in tokens.texts()]


def test_the_ids_are_those_of_transformers(tokenizer: TextTokenizer, minilm: Path):
    from transformers import AutoTokenizer

    expected = AutoTokenizer.from_pretrained(minilm)(TEXTS, truncation=True, max_length=256)["input_ids"]

    assert token_ids(tokenizer, TEXTS) == expected


def test_one_text_becomes_what_it_becomes_among_many(tokenizer: TextTokenizer):
    assert [token_ids(tokenizer, [text])[0] for text in TEXTS] == token_ids(tokenizer, TEXTS)


def test_nothing_is_padded(tokenizer: TextTokenizer):
    tokens, _ = tokenizer(TEXTS)

    assert tokens.lengths.tolist() == [4, 2, 9, 15, 256]
    assert tokens.ids.shape == (4 + 2 + 9 + 15 + 256,)


def test_no_texts_make_no_ids(tokenizer: TextTokenizer):
    tokens, truncated = tokenizer([])

    assert tokens.texts() == []
    assert tokens.lengths.shape == (0,)
    assert truncated == 0


def test_longer_texts_are_cut_and_counted(minilm: Path):
    tokens, truncated = TextTokenizer(minilm, 4)(["one two", "one two three", "one two three four"])

    assert tokens.lengths.tolist() == [4, 4, 4]
    assert truncated == 2


def test_a_single_cut_text_is_counted_too(minilm: Path):
    _, truncated = TextTokenizer(minilm, 4)(["one two three"])

    assert truncated == 1


def test_a_cut_text_keeps_its_special_tokens(minilm: Path):
    (ids,) = token_ids(TextTokenizer(minilm, 3), ["one two three"])

    assert (ids[0], ids[-1], len(ids)) == (101, 102, 3)


def test_the_vocabulary_is_counted_with_its_special_tokens(tokenizer: TextTokenizer):
    assert tokenizer.vocabulary_size == 30522


def test_many_threads_may_use_one_tokenizer(tokenizer: TextTokenizer):
    expected = token_ids(tokenizer, TEXTS)

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: token_ids(tokenizer, TEXTS), range(64)))

    assert all(result == expected for result in results)


def test_an_old_directory_with_a_vocabulary_alone_is_converted(tokenizer: TextTokenizer, minilm: Path, tmp_path: Path):
    for name in ("config.json", "vocab.txt"):
        shutil.copy(minilm / name, tmp_path)

    assert token_ids(TextTokenizer(tmp_path, 256), TEXTS) == token_ids(tokenizer, TEXTS)


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


# Ragged tokens

RAGGED = [[101, 7, 102], [], [101, 102], [5], []]


@pytest.fixture
def ragged() -> RaggedTokens:
    """Tokens of five texts, two of which have none."""
    return RaggedTokens.of(RAGGED)


def assert_ragged(tokens: RaggedTokens) -> None:
    """Check that the ids lie one behind the other in int32, as an engine in C++ reads them."""
    assert tokens.ids.dtype == tokens.offsets.dtype == np.int32
    assert tokens.ids.flags.c_contiguous
    assert tokens.offsets.flags.c_contiguous
    assert (tokens.offsets[0], tokens.offsets[-1]) == (0, len(tokens.ids))
    assert len(tokens.offsets) == len(tokens) + 1


def test_texts_lie_one_behind_the_other_without_padding(ragged: RaggedTokens):
    assert_ragged(ragged)
    assert ragged.ids.tolist() == [101, 7, 102, 101, 102, 5]
    assert ragged.offsets.tolist() == [0, 3, 3, 5, 6, 6]
    assert ragged.lengths.tolist() == [3, 0, 2, 1, 0]
    assert len(ragged) == 5


@pytest.mark.parametrize("texts", [RAGGED, [[]], [[], []], [[1]], [[3, 2, 1], [1, 2, 3]], []], ids=str)
def test_the_texts_come_back(texts: list[list[int]]):
    tokens = RaggedTokens.of(texts)

    assert_ragged(tokens)
    assert len(tokens) == len(texts)
    assert [ids.tolist() for ids in tokens.texts()] == texts
    assert tokens.lengths.tolist() == [len(ids) for ids in texts]


def test_arrays_of_ids_are_joined_like_lists():
    tokens = RaggedTokens.of([np.array([4, 5], dtype=np.int64), np.array([6], dtype=np.uint16)])

    assert_ragged(tokens)
    assert tokens.ids.tolist() == [4, 5, 6]


@pytest.mark.parametrize("wanted", [[0], [1], [4, 3, 2, 1, 0], [2, 2, 0], [1, 4], [0, 1, 2, 3, 4]], ids=str)
def test_some_texts_are_taken_in_the_order_asked_for(ragged: RaggedTokens, wanted: list[int]):
    taken = ragged.take(np.array(wanted))

    assert_ragged(taken)
    assert [ids.tolist() for ids in taken.texts()] == [RAGGED[text] for text in wanted]


def test_taken_tokens_are_taken_from_again(ragged: RaggedTokens):
    taken = ragged.take(np.array([3, 2, 0])).take(np.array([2, 0]))

    assert [ids.tolist() for ids in taken.texts()] == [RAGGED[0], RAGGED[3]]


def test_what_is_taken_has_memory_of_its_own(ragged: RaggedTokens):
    ragged.take(np.array([0])).ids[:] = 0

    assert ragged.ids.tolist() == [101, 7, 102, 101, 102, 5]


@pytest.mark.parametrize("texts", [TEXTS, ["one"], [""], []], ids=len)
def test_a_tokenizer_gives_ragged_tokens(tokenizer: TextTokenizer, texts: list[str]):
    tokens, _ = tokenizer(texts)

    assert_ragged(tokens)
    assert len(tokens) == len(texts)


@pytest.mark.parametrize("wanted", [True, False, None])
@pytest.mark.parametrize("has", [True, False])
def test_a_space_before_the_first_word_is_as_the_tokenizers_class_has_it(
    has: bool, wanted: bool | None, tmp_path: Path
):
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=has)
    tokenizer.train_from_iterator(
        ["an if and an if"], trainers.BpeTrainer(special_tokens=["<unk>"], show_progress=False)
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    said = {} if wanted is None else {"add_prefix_space": wanted}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "RobertaTokenizerFast", **said}))

    with_space, without = (TextTokenizer(tmp_path, 64)([text])[0].ids.tolist() for text in (" if", "if"))

    assert (with_space == without) is bool(wanted)


@pytest.mark.parametrize("name", ["do_lower_case", "tokenize_chinese_chars", "split_special_tokens"])
def test_a_setting_of_the_tokenizer_that_is_no_flag_is_refused(name: str, minilm: Path, tmp_path: Path):
    for file in ("tokenizer.json", "config.json"):
        (tmp_path / file).write_bytes((minilm / file).read_bytes())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({name: "no"}))

    with pytest.raises(ModelError, match=f"has {name} 'no', which is neither true nor false"):
        TextTokenizer(tmp_path, 64)
