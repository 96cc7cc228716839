"""The threads that run torch for an engine: one team for latency, many streams for throughput.

OpenMP keeps a team of threads for every thread that calls it, and teams compete for the same cores.
So all torch work of this package is done by threads of its own, however many threads a server has:

- a single batch runs on one thread with a team over all cores;
- many batches run on streams, a thread without a team per core. No stream waits for another at the
  end of every operator, which on two cores made 31,000 tokens a second of 23,000 (all-MiniLM-L6-v2,
  int8, batches of 8 by 128), and a busy core slows one stream down instead of all.

The process's own threads keep their affinity and their number of OpenMP threads.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from fastrag_quant.engines import EngineOptions
from fastrag_quant.system import native_thread_ids, pin_threads, usable_cores

Input = TypeVar("Input")
Result = TypeVar("Result")

# Batches handed to each stream ahead of its results: one to run, one to follow without a gap.
_AHEAD = 2


class TorchThreads:
    """One OpenMP team and as many streams, on request each thread bound to a core."""

    def __init__(self, threads: int | None, pin: bool) -> None:
        """Note how many threads to start; they start when first needed."""
        self.count = threads or usable_cores()
        self._pin = pin

    @classmethod
    def shared(cls, options: EngineOptions) -> TorchThreads:
        """Return the process's threads for these options, which live as long as an engine holds them."""
        key = (options.threads, options.pin_threads)
        with _starting:
            threads = _running.get(key)
            if threads is None:
                threads = _running[key] = cls(*key)
            return threads

    def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call a function with all cores at its disposal, and wait for what it returns or raises.

        The function runs in torch's inference mode.
        """
        return self._team.submit(_in_inference_mode, function, *arguments).result()

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

    @cached_property
    def _team(self) -> ThreadPoolExecutor:
        team = ThreadPoolExecutor(1, thread_name_prefix="fastrag_quant-team")
        team.submit(_start_team, self.count, self._pin).result()
        return team

    @cached_property
    def _streams(self) -> ThreadPoolExecutor:
        streams = ThreadPoolExecutor(self.count, thread_name_prefix="fastrag_quant-stream")
        started = threading.Barrier(self.count)  # so that each start runs in a thread of its own
        thread_ids = list(streams.map(_start_stream, [started] * self.count))
        if self._pin:
            pin_threads(thread_ids)
        return streams

    def __del__(self) -> None:
        """End the threads once no engine holds them."""
        for name in ("_team", "_streams"):
            if name in self.__dict__:
                self.__dict__[name].shutdown(wait=False)


_running: WeakValueDictionary[tuple[int | None, bool], TorchThreads] = WeakValueDictionary()
_starting = threading.Lock()


def _forget_threads() -> None:
    """Start new threads when next needed: a forked child, as of a preloading web server, has none of its parent's."""
    for threads in _running.values():
        threads.__dict__.pop("_team", None)
        threads.__dict__.pop("_streams", None)


os.register_at_fork(after_in_child=_forget_threads)


def _in_inference_mode(function: Callable[..., Result], *arguments: Any) -> Result:
    import torch

    with torch.inference_mode():
        return function(*arguments)


def _start_team(count: int, pin: bool) -> None:
    import torch

    before = native_thread_ids()
    _set_openmp_threads(count)
    torch.ones(1 << 18).exp_()  # large enough to be shared out, so that every thread of the team exists now
    if pin:
        pin_threads([threading.get_native_id(), *sorted(native_thread_ids() - before)])


def _start_stream(started: threading.Barrier) -> int:
    _set_openmp_threads(1)
    started.wait()
    return threading.get_native_id()


def _set_openmp_threads(count: int) -> None:
    """Set the calling thread's number; torch.set_num_threads would set that of the whole process."""
    import torch

    torch.get_num_threads()  # torch sets each thread's number when first asked, and would undo ours later
    ctypes.CDLL(None).omp_set_num_threads(count)
