"""Texts of any number in bounded memory, in order, tokenized ahead."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from fastrag_quant.engines.padded import ShapePolicy
from fastrag_quant.errors import InputError
from fastrag_quant.model.tokenization import RaggedTokens, TextTokenizer
from fastrag_quant.vectors import streaming
from fastrag_quant.vectors.streaming import WindowEncoder


class EchoEngine:
    """Gives each text its token count and its second token, and takes batches two ahead."""

    def __init__(self) -> None:
        self.alone = 0
        self.together = 0
        self._shapes = ShapePolicy(token_budget=64, shortest=8, longest=64, streams=2)

    def plan(self, lengths: np.ndarray, limit: int) -> Iterator[np.ndarray]:
        return self._shapes.plan(lengths, limit)

    def encode(self, tokens: RaggedTokens) -> np.ndarray:
        self.alone += 1
        return self._vectors(tokens)

    def encode_all(self, batches: Iterable[RaggedTokens]) -> Iterator[np.ndarray]:
        self.together += 1
        ahead: list[RaggedTokens] = []
        for batch in batches:
            ahead.append(batch)
            if len(ahead) > 2:
                yield self._vectors(ahead.pop(0))
        yield from map(self._vectors, ahead)

    @staticmethod
    def _vectors(tokens: RaggedTokens) -> np.ndarray:
        second = tokens.ids[tokens.offsets[:-1] + 1]
        return np.stack([tokens.lengths, second], axis=1).astype(np.float32)


@pytest.fixture
def encoder(tiny_model: Path) -> WindowEncoder:
    """Windows over an engine that echoes."""
    return WindowEncoder(TextTokenizer(tiny_model, 64), EchoEngine(), dimension=2, rows=500)  # type: ignore[arg-type]


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of seven texts or a hundred characters."""
    monkeypatch.setattr(streaming, "_MOST_TEXTS", 7)
    monkeypatch.setattr(streaming, "_MOST_CHARACTERS", 100)


def ignore(_: int) -> None:
    pass


def texts_of(count: int) -> list[str]:
    words = ("if", "class", "for", "while", "del", "import", "try")
    return [" ".join([words[number % 7]] * (1 + number * 5 % 17)) for number in range(count)]


def expected(encoder: WindowEncoder, texts: list[str]) -> np.ndarray:
    tokens, _ = encoder.tokenizer(texts)
    return np.array([[len(ids), ids[1]] for ids in tokens.texts()], dtype=np.float32)


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("count", [1, 2, 6, 7, 8, 14, 15, 100])
@pytest.mark.parametrize("limit", [1, 3, 32])
def test_vectors_come_in_input_order_whatever_the_windows(encoder: WindowEncoder, count: int, limit: int):
    texts = texts_of(count)

    found = [window.vectors for window in encoder.encode(iter(texts), "", limit, ignore)]

    assert np.array_equal(np.concatenate(found), expected(encoder, texts))
    assert all(len(vectors) <= 7 for vectors in found)


def test_no_texts_have_no_windows(encoder: WindowEncoder):
    assert list(encoder.encode([], "", 32, ignore)) == []


def test_the_prompt_goes_in_front_of_every_text(encoder: WindowEncoder):
    (window,) = encoder.encode(["if", "class"], "for ", 32, ignore)

    assert np.array_equal(window.vectors, expected(encoder, ["for if", "for class"]))


def test_a_lone_batch_runs_for_latency_and_several_for_throughput(encoder: WindowEncoder):
    list(encoder.encode(["if"], "", 32, ignore))
    list(encoder.encode(["if"] * 40, "", 8, ignore))

    assert (encoder.engine.alone, encoder.engine.together) == (1, 1)  # type: ignore[attr-defined]


@pytest.mark.usefixtures("small_windows")
def test_one_flow_of_batches_crosses_the_borders_of_windows(encoder: WindowEncoder):
    list(encoder.encode(texts_of(50), "", 4, ignore))

    assert (encoder.engine.alone, encoder.engine.together) == (0, 1)  # type: ignore[attr-defined]


@pytest.mark.usefixtures("small_windows")
def test_texts_are_read_only_a_few_windows_ahead(encoder: WindowEncoder):
    read: list[str] = []

    def texts() -> Iterator[str]:
        for text in ["if"] * 1000:
            read.append(text)
            yield text

    next(encoder.encode(texts(), "", 32, ignore))

    assert len(read) <= 7 * 6


@pytest.mark.usefixtures("small_windows")
def test_texts_are_read_in_the_calling_thread(encoder: WindowEncoder):
    readers: set[threading.Thread] = set()

    def texts() -> Iterator[str]:
        for text in texts_of(100):
            readers.add(threading.current_thread())
            yield text

    list(encoder.encode(texts(), "", 4, ignore))

    assert readers == {threading.current_thread()}


@pytest.mark.usefixtures("small_windows")
def test_long_texts_make_windows_of_fewer(encoder: WindowEncoder):
    found = [len(window.vectors) for window in encoder.encode(["class " * 10] * 6, "", 32, ignore)]

    assert found == [2, 2, 2]


@pytest.mark.usefixtures("small_windows")
def test_progress_counts_every_text(encoder: WindowEncoder):
    counted: list[int] = []

    list(encoder.encode(texts_of(100), "", 4, counted.append))

    assert sum(counted) == 100
    assert len(counted) > 20


@pytest.mark.usefixtures("small_windows")
def test_cut_texts_are_counted_per_window(encoder: WindowEncoder):
    texts = ["class"] * 7 + ["if " * 99] + ["class"] * 3

    assert [window.truncated for window in encoder.encode(texts, "", 4, ignore)] == [0, 1, 0]


@pytest.mark.parametrize("bad", [None, 3, b"bytes"])
def test_what_is_no_string_is_named_by_its_position(encoder: WindowEncoder, bad: object):
    with pytest.raises(InputError, match=f"Text 2 is {type(bad).__name__}"):
        list(encoder.encode(iter(["a", "b", bad]), "", 32, ignore))  # type: ignore[list-item]


def test_a_list_is_checked_before_the_first_text_is_embedded(encoder: WindowEncoder):
    with pytest.raises(InputError, match="Text 9999"):
        list(encoder.encode(["a"] * 9999 + [None], "", 32, ignore))  # type: ignore[list-item]
    assert encoder.engine.together == 0  # type: ignore[attr-defined]
