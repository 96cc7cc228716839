"""What a benchmark logs: it embeds again and again what is too long for the model, and says so once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack


def log_each_message_once() -> ExitStack:
    """Let each kind of message pass once, whatever its figures, until what is returned is closed."""
    undo = ExitStack()
    for handler in logging.getLogger().handlers or filter(None, [logging.lastResort]):
        once = _each_once()
        handler.addFilter(once)
        undo.callback(handler.removeFilter, once)
    return undo


def _each_once() -> Callable[[logging.LogRecord], bool]:
    """Return a filter that lets a message's template pass the first time."""
    passed: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        before = len(passed)
        passed.add(str(record.msg))
        return len(passed) > before

    return is_new
