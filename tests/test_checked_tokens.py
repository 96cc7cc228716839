"""No token id reaches an engine unchecked, a text of no tokens has a vector, and no vector holds what is no number."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastrag_quant import QuantizedEmbedder
from fastrag_quant.errors import InputError, ModelError
from fastrag_quant.model.manifest import MANIFEST_NAME, FileRecord
from fastrag_quant.model.tokenization import RaggedTokens

MINILM_ROWS = 30522

TEXTS = ["", "one text", "  ", "another, longer text", ""]
EMPTY = [0, 2, 4]


def with_tokenizer(model: Path, target: Path, edit: Callable[[dict[str, Any]], object]) -> Path:
    """Copy a model directory by hard links, with another tokenizer.json; a manifest's record of it follows."""
    shutil.copytree(model, target, copy_function=os.link)
    path, manifest = target / "tokenizer.json", target / MANIFEST_NAME
    tokenizer = json.loads(path.read_text())
    edit(tokenizer)
    replace(path, tokenizer)
    if manifest.exists():
        content = json.loads(manifest.read_text())
        content["files"][path.name] = asdict(FileRecord.of(path))
        replace(manifest, content)
    return target


def replace(path: Path, content: dict[str, Any]) -> None:
    path.unlink()
    path.write_text(json.dumps(content))


def without_special_tokens(tokenizer: dict[str, Any]) -> None:
    tokenizer["post_processor"] = None


def add_token(tokenizer: dict[str, Any]) -> None:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    tokenizer["added_tokens"].append({"id": MINILM_ROWS, "content": "<extra>", **flags})


def damage_special_token(tokenizer: dict[str, Any]) -> None:
    tokenizer["post_processor"]["special_tokens"]["[SEP]"]["ids"] = [99999]


@pytest.fixture(scope="module")
def bare(minilm_int8: Path, engine: str, tmp_path_factory: pytest.TempPathFactory) -> QuantizedEmbedder:
    """MiniLM without special tokens, on each engine."""
    directory = tmp_path_factory.mktemp("bare") / "model"
    return QuantizedEmbedder(with_tokenizer(minilm_int8, directory, without_special_tokens), engine)


# Texts of no tokens


@pytest.mark.parametrize("method", ["embed_queries", "embed_documents"])
def test_a_text_of_no_tokens_has_a_vector_of_zeros(bare: QuantizedEmbedder, method: str):
    embed = getattr(bare, method)

    vectors = embed(TEXTS)

    assert not vectors[EMPTY].any()
    np.testing.assert_allclose(np.linalg.norm(vectors[[1, 3]], axis=1), 1, atol=1e-5)
    assert vectors[1] @ embed(["one text"])[0] > 0.99
    assert vectors[3] @ embed(["another, longer text"])[0] > 0.99
    assert embed([""]).tolist() == np.zeros((1, 384)).tolist()


def test_texts_of_no_tokens_keep_their_places_in_a_stream(bare: QuantizedEmbedder, passages: list[str]):
    texts = [text for passage in passages for text in ("", passage)] + [" "]

    vectors = list(bare.iter_embed(iter(texts), batch_size=4))

    assert len(vectors) == len(texts)
    assert not any(vector.any() for vector in vectors[::2])
    assert (np.sum(np.stack(vectors[1::2]) * bare.embed_documents(passages), axis=1) > 0.98).all()


def test_token_ids_of_no_text_are_zeros_too(bare: QuantizedEmbedder):
    vectors = bare.encode(RaggedTokens.of([[], [2000, 2001], []]))

    assert vectors.any(axis=1).tolist() == [False, True, False]
    assert not bare.encode(RaggedTokens.of([[], []])).any()


def test_texts_of_no_tokens_count_as_progress(bare: QuantizedEmbedder, capsys: pytest.CaptureFixture[str]):
    bare.embed_documents(TEXTS, progress_bar=True)

    assert "5/5" in capsys.readouterr().err


# Token ids


@pytest.mark.parametrize(
    ("edit", "token", "token_id"), [(add_token, "<extra>", MINILM_ROWS), (damage_special_token, r"\[SEP\]", 99999)]
)
def test_a_token_beyond_the_embeddings_is_named_when_the_model_is_loaded(
    edit: Callable, token: str, token_id: int, minilm_int8: Path, engine: str, tmp_path: Path
):
    directory = with_tokenizer(minilm_int8, tmp_path / "model", edit)

    with pytest.raises(
        ModelError, match=rf"gives the token '{token}' the id {token_id}, .* embeddings for {MINILM_ROWS} tokens"
    ):
        QuantizedEmbedder(directory, engine)


def test_a_model_that_does_not_say_how_many_tokens_it_knows_is_refused(minilm: Path, tmp_path: Path):
    shutil.copytree(minilm, tmp_path / "model", copy_function=os.link)
    path = tmp_path / "model" / "config.json"
    replace(path, json.loads(path.read_text()) | {"vocab_size": None})

    with pytest.raises(ModelError, match="does not say how many tokens the model knows"):
        QuantizedEmbedder(tmp_path / "model", "torch")


@pytest.mark.parametrize("token_id", [MINILM_ROWS, 2**31 - 1, -1])
def test_ids_that_a_caller_gives_are_checked_too(token_id: int, embedder: QuantizedEmbedder):
    with pytest.raises(InputError, match=f"Text 2 has the token id {token_id}, .* the ids 0 to {MINILM_ROWS - 1}"):
        embedder.encode(RaggedTokens.of([[101, 102], [], [101, token_id, 102], [5]]))


def test_more_tokens_than_the_model_has_positions_for_are_refused(embedder: QuantizedEmbedder):
    with pytest.raises(InputError, match=r"Text 1 has 300 tokens, and the limit is 256 \(max_seq_len\)"):
        embedder.encode(RaggedTokens.of([[101], [101] * 300]))


# Vectors that are no numbers


@pytest.fixture
def overflowing(tiny_model: Path, tmp_path: Path) -> QuantizedEmbedder:
    """A model whose embedding of one token is infinite, and that token's text."""
    from transformers import AutoModel

    directory = tmp_path / "overflowing"
    shutil.copytree(tiny_model, directory)
    model = AutoModel.from_pretrained(directory)
    token = QuantizedEmbedder(tiny_model, "torch", pooling="mean")._tokenizer._tokenizer.token_to_id("class")
    model.embeddings.word_embeddings.weight.data[token] = float("inf")
    model.save_pretrained(directory)
    return QuantizedEmbedder(directory, "torch", pooling="mean")


@pytest.mark.parametrize(
    ("texts", "position"),
    [(["class"], 0), (["if", "the", "for class", "class", "if"], 2), (["if"] * 5000 + ["class"], 5000)],
)
def test_a_vector_that_is_not_finite_is_an_error(overflowing: QuantizedEmbedder, texts: list[str], position: int):
    with pytest.raises(ModelError, match=f"no finite vector for text {position}:"):
        overflowing.embed_documents(texts)


def test_token_ids_whose_vector_is_not_finite_are_an_error_too(overflowing: QuantizedEmbedder):
    tokens, _ = overflowing._tokenizer(["if", "class"])

    with pytest.raises(ModelError, match="no finite vector for text 1:"):
        overflowing.encode(tokens)
