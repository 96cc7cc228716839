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

from fastrag_quant.engines import EngineOptions
from fastrag_quant.system import native_thread_ids, pin_threads

Result = TypeVar("Result")


class TorchThread:
    """A thread for torch, with its own number of OpenMP threads and, on request, bound to cores.

    Setting ``options.threads`` calls ``torch.set_num_threads``, which holds for the whole process.
    """

    def __init__(self, options: EngineOptions) -> None:
        """Start the thread and its OpenMP team."""
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fastrag_quant-torch")
        self.run(_start_team, options)

    def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Call a function in the thread, in torch's inference mode, and wait for what it returns or raises."""
        return self._executor.submit(_in_inference_mode, function, *arguments).result()

    def close(self) -> None:
        """End the thread once its work is done."""
        self._executor.shutdown()


def _in_inference_mode(function: Callable[..., Result], *arguments: Any) -> Result:
    import torch

    with torch.inference_mode():
        return function(*arguments)


def _start_team(options: EngineOptions) -> None:
    import torch

    if options.threads:
        torch.set_num_threads(options.threads)
    before = native_thread_ids()
    # Large enough for torch to share it out, so that every thread of the team exists now.
    torch.ones(512, 512).exp_()
    if options.pin_threads:
        pin_threads([threading.get_native_id(), *sorted(native_thread_ids() - before)])
