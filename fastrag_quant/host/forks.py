"""Forks, as of a preloading web server: none happens while a model is being loaded, and locks are free in the child."""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401 - see below
import logging
import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)

# Seconds that a fork waits for other threads' loads: longer than any but a download takes.
LONGEST_WAIT = 60.0


class _Loads:
    """The loads under way, by thread. A child of a fork in their middle would wait for ever.

    Locks of Python's imports and of the libraries' own stay taken where the thread that took them is not in the child.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._threads: Counter[int] = Counter()
        self._forking = False

    @contextmanager
    def one(self) -> Iterator[None]:
        thread = threading.get_ident()
        with self._changed:
            self._threads[thread] += 1
        try:
            yield
        finally:
            with self._changed:
                self._threads[thread] -= 1
                self._changed.notify_all()

    def before_fork(self) -> None:
        self._changed.acquire()
        self._forking = True
        if not self._changed.wait_for(lambda: not self._of_others(), LONGEST_WAIT):
            logger.warning(
                "A process forked while another thread loaded a model for more than %g s: the child may wait for ever "
                "where it loads one too. Fork before models are loaded, or after.",
                LONGEST_WAIT,
            )

    def after_fork_in_parent(self) -> None:
        if self._forking:
            self._forking = False
            self._changed.release()

    def after_fork_in_child(self) -> None:
        thread = threading.get_ident()
        own = self._threads[thread]
        self._changed = threading.Condition(threading.Lock())
        self._threads = Counter({thread: own})
        self._forking = False

    def _of_others(self) -> int:
        return self._threads.total() - self._threads[threading.get_ident()]


_loads = _Loads()

# What is registered last runs first before a fork. The locks that logging and thread pools take there are registered
# with their imports, above: loads need them while a fork waits.
os.register_at_fork(
    before=_loads.before_fork,
    after_in_parent=_loads.after_fork_in_parent,
    after_in_child=_loads.after_fork_in_child,
)


@contextmanager
def no_fork_meanwhile() -> Iterator[None]:
    """Let forks by other threads wait until the block has ended, a minute at the longest; one by this thread may be."""
    with _loads.one():
        yield
