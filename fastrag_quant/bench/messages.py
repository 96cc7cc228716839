"""What a benchmark logs: it embeds again and again what is too long for the model, and says so once."""

from __future__ import annotations

import logging
from contextlib import ExitStack


def log_each_message_once() -> ExitStack:
    """Let each kind of message pass once, whatever its figures, until what is returned is closed."""
    undo = ExitStack()
    for handler in logging.getLogger().handlers or filter(None, [logging.lastResort]):
        once = _EachMessageOnce()
        handler.addFilter(once)
        undo.callback(handler.removeFilter, once)
    return undo


class _EachMessageOnce(logging.Filter):
    def __init__(self) -> None:
        super().__init__()
        self._passed: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a message's template is new."""
        is_new = str(record.msg) not in self._passed
        self._passed.add(str(record.msg))
        return is_new
