"""Torch runs in threads of the package's own, a core each; the caller's stay as they are."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fastrag_quant import QuantizedEmbedder
from fastrag_quant.config import EmbedderConfig
from fastrag_quant.engines.torch_threads import TorchThreads


@pytest.fixture
def threads() -> TorchThreads:
    """Two threads."""
    return TorchThreads(2, pin=False)


def native_thread_ids() -> set[int]:
    """Return the kernel's ids of this process's threads."""
    return {int(task.name) for task in Path("/proc/self/task").iterdir()}


def openmp_threads(_: Any = None) -> int:
    import torch

    return torch.get_num_threads()


def current_thread(_: Any = None) -> threading.Thread:
    return threading.current_thread()


def affinity_of_this_thread(_: Any = None) -> tuple[int, ...]:
    return tuple(sorted(os.sched_getaffinity(0)))


def fail(_: Any = None) -> None:
    msg = "out of memory"
    raise RuntimeError(msg)


# One batch


def test_a_function_runs_in_a_thread_of_the_package_and_its_result_comes_back(threads: TorchThreads):
    assert threads.run(divmod, 7, 3) == (2, 1)
    assert threads.run(current_thread) is not threading.current_thread()


def test_what_a_function_raises_comes_back(threads: TorchThreads):
    with pytest.raises(RuntimeError, match="out of memory"):
        threads.run(fail)
    assert threads.run(abs, -1) == 1


def test_no_gradients_are_kept(threads: TorchThreads):
    import torch

    assert threads.run(torch.is_inference_mode_enabled)
    assert list(threads.map(lambda _: torch.is_inference_mode_enabled(), [1])) == [True]
    assert not torch.is_inference_mode_enabled()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_no_batch_starts_a_team(count: int):
    before = openmp_threads()
    threads = TorchThreads(count, pin=False)

    assert threads.run(openmp_threads) == 1
    assert set(threads.map(openmp_threads, range(8))) == {1}
    assert openmp_threads() == before


@pytest.mark.parametrize("count", [1, 2, 3])
def test_there_are_as_many_streams_as_threads(count: int):
    assert streams_of(TorchThreads(count, pin=False), count) == count


def streams_of(threads: TorchThreads, expected: int) -> int:
    """How many threads run batches when each of the expected ones is kept busy."""
    meet = threading.Barrier(expected, timeout=30)

    def meet_here(_: int) -> threading.Thread:
        meet.wait()
        return threading.current_thread()

    return len(set(threads.map(meet_here, range(expected * 3))))


# Many batches


def test_results_come_in_the_order_of_the_inputs(threads: TorchThreads):
    assert list(threads.map(lambda number: number * number, range(100))) == [number**2 for number in range(100)]


def test_no_inputs_have_no_results(threads: TorchThreads):
    assert list(threads.map(abs, [])) == []


def test_many_batches_run_side_by_side(threads: TorchThreads):
    both = threading.Barrier(2, timeout=30)  # breaks unless two calls wait for each other

    assert sorted(threads.map(lambda _: both.wait(), range(2))) == [0, 1]


def test_inputs_are_read_only_a_little_ahead(threads: TorchThreads):
    read: list[int] = []

    def inputs() -> Iterator[int]:
        for number in range(1000):
            read.append(number)
            yield number

    results = threads.map(abs, inputs())
    next(results)

    assert len(read) <= 4  # two threads with one batch each to run and one to follow


def test_one_failure_among_many_comes_back_and_ends_them(threads: TorchThreads):
    done: list[int] = []

    def encode(number: int) -> None:
        if number == 5:
            fail()
        done.append(number)

    with pytest.raises(RuntimeError, match="out of memory"):
        list(threads.map(encode, range(1000)))
    assert len(done) < 20
    assert list(threads.map(abs, [-1, -2])) == [1, 2]


def test_many_callers_share_the_threads(threads: TorchThreads):
    def call(number: int) -> list[int]:
        return [threads.run(abs, -number), *threads.map(abs, [-number, -number])]

    with ThreadPoolExecutor(8) as callers:
        assert list(callers.map(call, range(64))) == [[number] * 3 for number in range(64)]


# Warming up


@pytest.mark.parametrize("count", [1, 2, 5])
def test_warming_up_reaches_every_stream(count: int):
    called: list[threading.Thread] = []
    threads = TorchThreads(count, pin=False)

    threads.warm_up(lambda _: called.append(threading.current_thread()), None)

    assert len(set(called)) == count
    assert all(called.count(thread) == 2 for thread in called)


def test_two_callers_may_warm_up_at_once(threads: TorchThreads):
    with ThreadPoolExecutor(8) as callers:
        results = [callers.submit(threads.warm_up, abs, -1) for _ in range(8)]
        assert [result.result(timeout=30) for result in results] == [None] * 8


def test_a_failure_while_warming_up_comes_back_and_holds_no_stream(threads: TorchThreads):
    with pytest.raises(RuntimeError, match="out of memory"):
        threads.warm_up(fail, None)
    assert list(threads.map(abs, [-1, -2])) == [1, 2]


# Sharing


def test_engines_that_want_the_same_threads_share_them():
    one = TorchThreads.shared(3, pin=False)

    assert TorchThreads.shared(3, pin=False) is one
    assert TorchThreads.shared(2, pin=False) is not one
    assert TorchThreads.shared(3, pin=True) is not one


def test_engines_of_different_models_share_their_threads(tiny_cls_model: Path):
    told = EmbedderConfig(tiny_cls_model, "torch", threads=3)

    def threads_of(config: EmbedderConfig) -> TorchThreads:
        return QuantizedEmbedder.from_config(config)._engine._loaded[0]

    one = threads_of(told)
    assert threads_of(replace(told, dtype="bfloat16", pooling="mean")) is one
    assert threads_of(replace(told, threads=2)) is not one
    assert threads_of(replace(told, pin_threads=True)) is not one


def test_engines_that_start_at_once_share_their_threads():
    with ThreadPoolExecutor(8) as callers:
        found = list(callers.map(lambda _: TorchThreads.shared(3, pin=False), range(8)))

    assert len({id(threads) for threads in found}) == 1


def test_the_threads_end_when_no_engine_holds_them():
    threads = TorchThreads(2, pin=False)
    used = {threads.run(current_thread), *threads.map(current_thread, range(8))}
    del threads
    gc.collect()
    for thread in used:
        thread.join(timeout=30)

    assert not any(thread.is_alive() for thread in used)


# Pinning


def test_pinned_threads_have_a_core_each_and_no_other_thread_is_bound():
    before = affinity_of_this_thread()
    others = native_thread_ids()
    affinities = {thread: os.sched_getaffinity(thread) for thread in others}
    threads = TorchThreads(len(before), pin=True)
    meet = threading.Barrier(len(before), timeout=30)

    def affinity_of_a_stream(_: int) -> tuple[int, ...]:
        meet.wait()  # so that every stream is asked
        return affinity_of_this_thread()

    of_streams = list(threads.map(affinity_of_a_stream, before))

    assert sorted(of_streams) == [(core,) for core in before]
    assert affinity_of_this_thread() == before
    assert all(os.sched_getaffinity(thread) == affinities[thread] for thread in others & native_thread_ids())


def test_threads_are_not_pinned_unless_asked_for(threads: TorchThreads):
    assert threads.run(affinity_of_this_thread) == affinity_of_this_thread()
    assert set(threads.map(affinity_of_this_thread, range(4))) == {affinity_of_this_thread()}
