"""One process at a time writes to an output path: a lock that ends with its process, however that ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fastrag_quant.errors import OutputExistsError


@contextmanager
def locked(output: Path) -> Iterator[bool]:
    """Hold the lock of an output path, a file beside it that the kernel unlocks when the process ends.

    :return: whether it is locked; not so on a file system without locks.
    :raises OutputExistsError: if another process, or another thread, writes to the same path.
    """
    path = output.with_name(f".{output.name}.lock")
    descriptor, is_locked = _lock(path, output)
    try:
        yield is_locked
    finally:
        with suppress(OSError):
            path.unlink()  # before it is unlocked, so that what others lock is never what was removed
        if is_locked:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a process that was forked meanwhile holds it too
        os.close(descriptor)


def _lock(path: Path, output: Path) -> tuple[int, bool]:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            msg = f"Another process is quantizing to {output}: wait for it, or choose another output path."
            raise OutputExistsError(msg) from None
        except OSError:  # a file system without locks, as some network ones
            return descriptor, False
        if _is_still(path, descriptor):
            return descriptor, True
        os.close(descriptor)  # its last holder has removed it between opening and locking


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
