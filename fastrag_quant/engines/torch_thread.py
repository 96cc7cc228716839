"""One thread that runs all of an engine's torch work.

OpenMP keeps a team of threads for every thread that calls it. With one caller there is one team,
however many threads a server has; and that team can be bound to cores without touching the
affinity of the process, its main thread or its children (OMP_PROC_BIND would bind all of them).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from fastrag_quant.engines import EngineOptions
from fastrag_quant.system import native_thread_ids, pin_threads

Result = TypeVar("Result")


class TorchThread:
    """A thread for torch, with its own OpenMP threads, on request each bound to a core."""

    def __init__(self, threads: int | None, pin_threads: bool) -> None:
        """Start the thread and its OpenMP team."""
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fastrag_quant-torch")
        self.run(_start_team, threads, pin_threads)

    @classmethod
    def shared(cls, options: EngineOptions) -> TorchThread:
        """Return the process's thread for these options, which lives as long as an engine holds it.

        Two engines of a process run one after the other in the same thread: two OpenMP teams would
        compete for the same cores. ``options.threads`` calls ``torch.set_num_threads``, which holds
        for the whole process.
        """
        key = (options.threads, options.pin_threads)
        with _starting:
            thread = _running.get(key)
            if thread is None:
                thread = _running[key] = cls(*key)
            return thread

    def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call a function in the thread, in torch's inference mode, and wait for what it returns or raises."""
        return self._executor.submit(_in_inference_mode, function, *arguments).result()

    def __del__(self) -> None:
        """End the thread once no engine holds it."""
        self._executor.shutdown(wait=False)


_running: WeakValueDictionary[tuple[int | None, bool], TorchThread] = WeakValueDictionary()
_starting = threading.Lock()


def _in_inference_mode(function: Callable[..., Result], *arguments: Any) -> Result:
    import torch

    with torch.inference_mode():
        return function(*arguments)


def _start_team(threads: int | None, pin: bool) -> None:
    import torch

    if threads:
        torch.set_num_threads(threads)
    before = native_thread_ids()
    # Large enough for torch to share it out, so that every thread of the team exists now.
    torch.ones(512, 512).exp_()
    if pin:
        pin_threads([threading.get_native_id(), *sorted(native_thread_ids() - before)])
