"""The threads that run torch for an engine: a stream for every core, each one thread without a team.

OpenMP keeps a team of threads for every thread that calls it. Once a process has two, as any server
that also runs a ranker, FAISS or a torch model of its own, they wait for one another at the end of
every operator: a query that took 4 ms took 19 (all-MiniLM-L6-v2, int8, two cores). So all torch work
of this package runs on threads of its own that have no team. A batch uses one core; many batches,
or many callers, use them all, and no stream waits for another: 31,000 tokens a second where a team
made 23,000 of batches of 8 by 128. Two cores in a team would save a lone query a tenth at best.

The process's own threads keep their affinity and their number of OpenMP threads.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from fastrag_quant.host.cpu import pin_threads

Input = TypeVar("Input")
Result = TypeVar("Result")

# Batches handed to each stream ahead of its results: one to run, one to follow without a gap.
_AHEAD = 2


class TorchThreads:
    """As many streams as there are threads, on request each bound to a core."""

    def __init__(self, count: int, pin: bool) -> None:
        """Note how many threads to start; they start when first needed."""
        self.count = count
        self._pin = pin
        self.forget()

    def forget(self) -> None:
        """Start new threads when next needed: a forked child, as of a preloading web server, has none of these."""
        self._starting = threading.Lock()
        self._warming_up = threading.Lock()  # two at once would each hold streams that the other waits for
        self._started: ThreadPoolExecutor | None = None

    @classmethod
    def shared(cls, count: int, pin: bool) -> TorchThreads:
        """Return the process's threads of that number and kind, which live as long as an engine holds them."""
        with _starting:
            threads = _running.get((count, pin))
            if threads is None:
                threads = _running[count, pin] = cls(count, pin)
            return threads

    def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call a function on a stream, in torch's inference mode, and wait for what it returns or raises."""
        return self._streams.submit(_in_inference_mode, function, *arguments).result()

    def map(self, function: Callable[[Input], Result], inputs: Iterable[Input]) -> Iterator[Result]:
        """Call a function on every input, the streams side by side, and yield results in input order.

        Inputs are read only as far ahead as the streams need.
        """
        pending: deque[Future[Result]] = deque()
        try:
            for value in inputs:
                pending.append(self._streams.submit(_in_inference_mode, function, value))
                if len(pending) >= self.count * _AHEAD:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()

    def warm_up(self, function: Callable[[Input], Any], value: Input) -> None:
        """Call a function on every stream, twice: what torch compiles is at full speed after two calls."""
        all_done = threading.Barrier(self.count)  # holds each stream until every other has its call

        def call(_: int) -> None:
            try:
                for _ in range(2):
                    function(value)
            finally:
                all_done.wait()

        with self._warming_up, _released_by_failure(all_done):
            list(self.map(call, range(self.count)))

    @property
    def _streams(self) -> ThreadPoolExecutor:
        with self._starting:
            if self._started is None:
                self._started = self._start()
            return self._started

    def _start(self) -> ThreadPoolExecutor:
        streams = ThreadPoolExecutor(self.count, thread_name_prefix="fastrag_quant-stream")
        started = threading.Barrier(self.count)  # so that each start runs in a thread of its own
        try:
            with _released_by_failure(started):
                thread_ids = list(streams.map(_start_stream, [started] * self.count))
        except BaseException:
            streams.shutdown(wait=False)
            raise
        if self._pin:
            pin_threads(thread_ids)
        return streams

    def __del__(self) -> None:
        """End the threads once no engine holds them."""
        if self._started is not None:
            self._started.shutdown(wait=False)


_running: WeakValueDictionary[tuple[int, bool], TorchThreads] = WeakValueDictionary()
_starting = threading.Lock()


def _forget_threads() -> None:
    global _starting  # a fork has no thread that could give it back
    _starting = threading.Lock()
    for threads in _running.values():
        threads.forget()


os.register_at_fork(after_in_child=_forget_threads)


@contextmanager
def _released_by_failure(barrier: threading.Barrier) -> Iterator[None]:
    """Let go of those that wait where the block fails: after Ctrl-C, calls that were still to come are cancelled."""
    try:
        yield
    except BaseException:
        barrier.abort()
        raise


def _in_inference_mode(function: Callable[..., Result], *arguments: Any) -> Result:
    import torch

    with torch.inference_mode():
        return function(*arguments)


def _start_stream(started: threading.Barrier) -> int:
    import torch

    torch.get_num_threads()  # torch sets each thread's number when first asked, and would undo ours later
    ctypes.CDLL(None).omp_set_num_threads(1)  # torch.set_num_threads would set that of the whole process
    started.wait()
    return threading.get_native_id()
