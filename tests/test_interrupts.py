"""Calls that end early, by Ctrl-C, an error or a reader who leaves: nothing stays under way, the embedder goes on."""

from __future__ import annotations

import dis
import gc
import sys
import threading
from collections.abc import Callable, Iterator
from functools import cache
from itertools import count
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import numpy as np
import pytest

import fastrag_quant
from fastrag_quant import QuantizedEmbedder
from fastrag_quant.errors import ModelError
from fastrag_quant.vectors import streaming

PACKAGE = str(Path(fastrag_quant.__file__).parent)
TEXTS = ["if", "a class of lambdas", "while", "for"] * 4


@pytest.fixture
def embedder(engine_and_model: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> QuantizedEmbedder:
    """An embedder on each engine, of windows of a few texts."""
    monkeypatch.setattr(streaming, "_MOST_TEXTS", 5)
    engine, model = engine_and_model
    return QuantizedEmbedder(model, engine)


@pytest.fixture
def under_way(embedder: QuantizedEmbedder, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[object]]:
    """A function that returns what an embedder has under way: threads that tokenize, and batches."""
    batches: Callable[[], list[object]]
    if embedder.engine == "native":
        batches = lambda: list(embedder._engine._loaded[1]._submitted)  # noqa: E731
    elif embedder.engine == "openvino":
        running = running_requests(monkeypatch)
        batches = lambda: list(running)  # noqa: E731
    else:
        batches = lambda: held_streams(embedder)  # noqa: E731

    def found() -> list[object]:
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("fastrag_quant-tokenizer")]
        for thread in threads:
            thread.join(timeout=30)
        return [*batches(), *(thread for thread in threads if thread.is_alive())]

    return found


def running_requests(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Of OpenVINO: those that were started and not waited for."""
    from openvino import InferRequest

    running: set[int] = set()
    start_async, wait = InferRequest.start_async, InferRequest.wait

    def started(request: InferRequest, *arguments: Any, **named: Any) -> None:
        running.add(id(request))
        start_async(request, *arguments, **named)

    def waited_for(request: InferRequest) -> None:
        wait(request)
        running.discard(id(request))

    monkeypatch.setattr(InferRequest, "start_async", started)
    monkeypatch.setattr(InferRequest, "wait", waited_for)
    return running


def held_streams(embedder: QuantizedEmbedder) -> list[object]:
    """Of torch: whether a stream takes no work any more."""
    threads = embedder._engine._loaded[0]
    all_here = threading.Barrier(threads.count, timeout=30)
    try:
        list(threads.map(lambda _: all_here.wait(), range(threads.count)))
    except threading.BrokenBarrierError as broken:
        return [broken]
    return []


# Ctrl-C


@cache
def places(code: CodeType) -> set[int]:
    """Where Python 3.11 calls a signal's handler: behind calls, where functions and generators go on, and in loops."""
    found: set[int] = set()
    calls = False
    for instruction in dis.get_instructions(code):
        if calls:
            found.add(instruction.offset)
        calls = instruction.opname in ("CALL", "CALL_FUNCTION_EX", "RESUME")
        if instruction.opname.startswith("JUMP_BACKWARD"):
            found.add(instruction.argval)
    return found


def interrupt(call: Callable[[], object], number: int) -> KeyboardInterrupt | None:
    """Interrupt a call at so manieth of the package's places that it comes to, or return None where it has fewer."""
    met: set[tuple[CodeType, int]] = set()

    def trace(frame: FrameType, event: str, _: object) -> Any:
        if not frame.f_code.co_filename.startswith(PACKAGE) or frame.f_code.co_name == "<module>":
            return None
        frame.f_trace_opcodes = True
        if event == "opcode" and frame.f_lasti in places(frame.f_code):
            met.add((frame.f_code, frame.f_lasti))
            if len(met) > number:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt as error:
        return error
    finally:
        sys.settrace(before)
    return None


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="other Pythons call handlers elsewhere")
@pytest.mark.parametrize(
    "call",
    [
        lambda embedder: embedder.embed_queries(TEXTS[:1]),
        lambda embedder: list(embedder.iter_embed(iter(TEXTS), batch_size=2)),
        lambda embedder: embedder.warm_up([8], batch_size=1),
        lambda embedder: embedder.warm_up([8], batch_size=2),
    ],
    ids=["a query", "documents", "warming a query up", "warming documents up"],
)
def test_interrupted_anywhere_an_embedder_has_nothing_under_way_and_goes_on(
    embedder: QuantizedEmbedder, under_way: Callable[[], list[object]], call: Callable[[QuantizedEmbedder], object]
):
    expected = embedder.embed_documents(TEXTS, batch_size=2)
    call(embedder)

    for number in count():
        error = interrupt(lambda: call(embedder), number)
        if error is None:
            break
        assert under_way() == [], error  # while it is held, and with it what its traceback holds
        assert np.allclose(embedder.embed_documents(TEXTS[:3], batch_size=2), expected[:3], atol=1e-5)

    assert number > 20
    assert np.allclose(embedder.embed_documents(TEXTS, batch_size=2), expected, atol=1e-5)


# Errors


def test_an_error_of_the_texts_comes_out_as_it_is_and_leaves_nothing_under_way(
    embedder: QuantizedEmbedder, under_way: Callable[[], list[object]]
):
    expected = embedder.embed_documents(TEXTS, batch_size=2)
    gone = ConnectionError("the database is gone")

    def texts() -> Iterator[str]:
        yield from TEXTS
        raise gone

    for call in (embedder.embed_documents, lambda *given: list(embedder.iter_embed(*given))):
        with pytest.raises(ConnectionError) as caught:
            call(texts(), 2)
        assert caught.value is gone
        assert gone.__cause__ is gone.__context__ is None
        assert under_way() == []
        assert np.allclose(embedder.embed_documents(TEXTS, batch_size=2), expected, atol=1e-5)


def test_an_error_in_the_vectors_leaves_nothing_under_way(
    embedder: QuantizedEmbedder, under_way: Callable[[], list[object]], monkeypatch: pytest.MonkeyPatch
):
    expected = embedder.embed_documents(TEXTS, batch_size=2)

    def fail(*_: object) -> None:
        msg = "not finite"
        raise ModelError(msg)

    with monkeypatch.context() as patch, pytest.raises(ModelError) as caught:
        patch.setattr(streaming, "check_finite", fail)
        embedder.embed_documents(TEXTS, batch_size=2)

    assert under_way() == [], caught
    assert np.allclose(embedder.embed_documents(TEXTS, batch_size=2), expected, atol=1e-5)


# Readers who leave


def begun(embedder: QuantizedEmbedder) -> Iterator[np.ndarray]:
    vectors = embedder.iter_embed(TEXTS * 4, batch_size=1)
    next(vectors)
    return vectors


def leave_in_a_loop(embedder: QuantizedEmbedder) -> None:
    for _ in embedder.iter_embed(TEXTS * 4, batch_size=1):
        break


def leave_to_another_thread(embedder: QuantizedEmbedder) -> None:
    vectors = [begun(embedder)]
    thread = threading.Thread(target=vectors.clear)
    thread.start()
    thread.join()


def leave_by_an_error(embedder: QuantizedEmbedder) -> None:
    with pytest.raises(ZeroDivisionError):
        begun(embedder).throw(ZeroDivisionError())


@pytest.mark.parametrize(
    "leave",
    [leave_in_a_loop, lambda embedder: begun(embedder).close(), leave_to_another_thread, leave_by_an_error],
    ids=["break", "close", "another thread", "throw"],
)
def test_an_iterator_left_half_way_leaves_nothing_under_way(
    embedder: QuantizedEmbedder, under_way: Callable[[], list[object]], leave: Callable[[QuantizedEmbedder], None]
):
    expected = embedder.embed_documents(TEXTS, batch_size=2)

    leave(embedder)

    assert under_way() == []
    assert np.allclose(embedder.embed_documents(TEXTS, batch_size=2), expected, atol=1e-5)


def test_an_iterator_that_becomes_garbage_in_its_own_thread_ends_in_silence(
    embedder: QuantizedEmbedder, under_way: Callable[[], list[object]], monkeypatch: pytest.MonkeyPatch
):
    ignored: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: ignored.append(unraisable.exc_value))
    abandoned, collected = threading.Event(), threading.Event()
    tokenizer, windows = embedder._tokenizer, count(1)

    def tokenize(texts: list[str]) -> Any:
        if next(windows) == 3:  # which is begun before the first vector is there
            abandoned.wait(timeout=30)
            gc.collect()
            collected.set()
        return tokenizer(texts)

    class Cycle:
        def __init__(self) -> None:
            self.itself, self.vectors = self, begun(embedder)

    monkeypatch.setattr(embedder, "_tokenizer", tokenize)
    gc.disable()  # until the thread does it
    try:
        Cycle()
        abandoned.set()
        assert collected.wait(timeout=30)
    finally:
        gc.enable()

    assert under_way() == []
    assert ignored == []
