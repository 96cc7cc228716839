"""What a benchmark logs: it embeds again and again what is too long for the model, and says so once."""

from __future__ import annotations

import logging


def log_each_message_once() -> None:
    """Let each kind of message pass once in this process, whatever its figures."""
    for handler in logging.getLogger().handlers or filter(None, [logging.lastResort]):
        handler.addFilter(_EachMessageOnce())


class _EachMessageOnce(logging.Filter):
    def __init__(self) -> None:
        super().__init__()
        self._passed: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether a message's template is new."""
        is_new = str(record.msg) not in self._passed
        self._passed.add(str(record.msg))
        return is_new
