"""Renaming a directory so that nothing is lost: never over what is there, or the two in one step."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

# Of renameat2, which Python has no name for. Linux has it since 3.15, and some file systems have not.
_NOREPLACE, _EXCHANGE = 1, 2
_AT_FDCWD = -100
_NOT_POSSIBLE = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


def rename_to_new(directory: Path, target: Path) -> None:
    """Rename a directory to a path that does not exist.

    :raises FileExistsError: if it does, and everything stays as it is.
    :raises OSError: if the file system refuses.
    """
    if _renameat2(directory, target, _NOREPLACE):
        return
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    directory.rename(target)  # never over a file or a directory that holds anything


def exchange(directory: Path, target: Path) -> None:
    """Let two directories change places; at no time is there none at the target, where the file system can do that.

    :raises OSError: if the file system refuses, and everything stays as it is.
    """
    if _renameat2(directory, target, _EXCHANGE):
        return
    aside = aside_of(directory)
    target.rename(aside)
    try:
        directory.rename(target)
    except BaseException:
        aside.rename(target)
        raise
    aside.rename(directory)


def aside_of(directory: Path) -> Path:
    """Return where a target is put for the moment that :func:`exchange` takes without the file system's help."""
    return directory.with_name(f"{directory.name}-old")


def _renameat2(source: Path, target: Path, flags: int) -> bool:
    """Rename, unless the file system cannot do it in this way.

    :return: whether it could.
    :raises OSError: if it could and failed.
    """
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:  # an old or another C library
        return False
    if rename(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), ctypes.c_uint(flags)) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NOT_POSSIBLE:
        return False
    raise OSError(number, os.strerror(number), str(source), None, str(target))
