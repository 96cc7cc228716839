"""Threads that use, close and break off one embedder: each gets vectors or a clear error, and nothing stays behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fastrag_quant import QuantizedEmbedder
from fastrag_quant.errors import ClosedError, InputError
from fastrag_quant.model.tokenization import RaggedTokens, TextTokenizer

TEXTS = ["if", "a class of lambdas", "while"] * 10
CALLERS = 8


@pytest.fixture
def load(engine_and_model: tuple[str, Path]) -> Callable[[], QuantizedEmbedder]:
    """Loads a model on each engine."""
    engine, model = engine_and_model
    return lambda: QuantizedEmbedder(model, engine)


def calls_of(embedder: QuantizedEmbedder, tokens: RaggedTokens) -> list[Callable[[], object]]:
    """Every way to use an embedder."""
    return [
        lambda: embedder.embed_queries(TEXTS[:1]),
        lambda: embedder.embed_documents(TEXTS, batch_size=4),
        lambda: list(embedder.iter_embed(TEXTS, batch_size=2)),
        lambda: embedder.encode(tokens),
        lambda: embedder.warm_up([8], batch_size=1),
        lambda: embedder.warm_up([8], batch_size=2),
    ]


# Bad input


def test_of_threads_that_use_an_embedder_only_those_with_bad_input_get_an_error(
    load: Callable[[], QuantizedEmbedder], tiny_model: Path
):
    embedder = load()
    tokens, _ = TextTokenizer(tiny_model, 64)(TEXTS[:2])
    good = calls_of(embedder, tokens)
    expected = [call() for call in good]
    unknown = RaggedTokens.of([[embedder.vocabulary_size + 1_000_000], *tokens.texts()])

    def texts_that_end() -> Iterator[str]:
        yield from TEXTS
        raise gone

    gone = ConnectionError("the database is gone")
    bad: list[Callable[[], object]] = [
        lambda: embedder.embed_queries([*TEXTS, None]),  # type: ignore[list-item]
        lambda: embedder.embed_documents(iter([*TEXTS, "\ud800"]), batch_size=4),
        lambda: list(embedder.iter_embed(texts_that_end(), batch_size=2)),
        lambda: embedder.encode(unknown),
        lambda: embedder.embed_queries(TEXTS, batch_size=0),
    ]
    together = threading.Barrier(CALLERS, timeout=60)

    def fail(_: int) -> list[object]:
        together.wait()
        return [raised(call) for call in bad for _ in range(4)]

    def succeed(number: int) -> bool:
        together.wait()
        places = [(place + number) % len(good) for place in range(len(good))] * 3
        return all(same(good[place](), expected[place]) for place in places)

    with ThreadPoolExecutor(CALLERS) as pool:
        failing = [pool.submit(fail, number) for number in range(2)]
        succeeding = [pool.submit(succeed, number) for number in range(CALLERS - 2)]
        errors = [error for caller in failing for error in caller.result()]

        assert [caller.result() for caller in succeeding] == [True] * (CALLERS - 2)
    assert {type(error) for error in errors} == {InputError, ConnectionError}
    assert all(error is gone for error in errors if not isinstance(error, InputError))


def raised(call: Callable[[], object]) -> Exception | None:
    """What a call raises."""
    try:
        call()
    except Exception as error:
        return error
    return None


def same(found: object, expected: object) -> bool:
    """Whether two results of a call are the same vectors; padding makes them differ a little."""
    return found is expected is None or np.allclose(np.asarray(found), np.asarray(expected), atol=1e-5)


# The end of an embedder


def test_closing_while_threads_use_an_embedder_ends_each_with_the_error_that_says_so(
    load: Callable[[], QuantizedEmbedder], tiny_model: Path
):
    embedder = load()
    tokens, _ = TextTokenizer(tiny_model, 64)(TEXTS[:2])
    under_way = threading.Barrier(CALLERS + 1, timeout=60)

    def call_until_closed(call: Callable[[], object]) -> Exception:
        try:
            call()
            under_way.wait()
            while True:
                call()
        except Exception as error:
            return error

    calls = calls_of(embedder, tokens)
    with ThreadPoolExecutor(CALLERS) as pool:
        callers = [pool.submit(call_until_closed, calls[number % len(calls)]) for number in range(CALLERS)]
        under_way.wait()
        embedder.close()
        ends = [caller.result() for caller in callers]

    assert {type(end) for end in ends} == {ClosedError}, ends


def test_an_iterator_that_was_begun_ends_well_after_the_embedder_is_closed(
    load: Callable[[], QuantizedEmbedder], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("fastrag_quant.vectors.streaming._MOST_TEXTS", 3)
    embedder = load()
    expected = embedder.embed_documents(TEXTS, batch_size=1)
    vectors = embedder.iter_embed(TEXTS, batch_size=1)
    first = next(vectors)

    embedder.close()

    assert np.allclose(np.stack([first, *vectors]), expected, atol=1e-5)


def test_of_threads_that_close_at_once_none_fails(load: Callable[[], QuantizedEmbedder]):
    embedder = load()
    together = threading.Barrier(CALLERS, timeout=60)

    def close(_: int) -> None:
        together.wait()
        embedder.close()

    with ThreadPoolExecutor(CALLERS) as pool:
        list(pool.map(close, range(CALLERS)))

    with pytest.raises(ClosedError, match="This embedder is closed: make a new one"):
        embedder.embed_queries(TEXTS)
