"""OpenVINO's cache of compiled models, by which they start faster: where it is, its bound, and clearing it."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache
from pathlib import Path

logger = logging.getLogger(__name__)

# Some ten models of 110 million parameters. Those unused for longest go first.
MOST_BYTES = 2 * 1024**3

_kept: ContextVar[bool] = ContextVar("_kept", default=True)


def cache_directory() -> Path | None:
    """Return where compiled models are: ``$XDG_CACHE_HOME/fastrag_quant/openvino``, by default below ``~/.cache``.

    :return: None for a user without a home.
    """
    try:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # neither HOME nor an entry of the user's tells
        return None
    return caches.absolute() / "fastrag_quant" / "openvino"


def writable_cache_directory() -> Path | None:
    """Return where to keep compiled models.

    :return: None inside :func:`nothing_kept`, and where nothing can be written, which a warning tells once.
    """
    return _writable(cache_directory()) if _kept.get() else None


@contextmanager
def nothing_kept() -> Iterator[None]:
    """Keep nothing of models that are loaded in the block: quantization's are not where they will be."""
    before = _kept.set(False)
    try:
        yield
    finally:
        _kept.reset(before)


def compiled_models(directory: Path) -> dict[Path, os.stat_result]:
    """Return the files of compiled models, the one unused for longest first."""
    found = {}
    for path in directory.glob("*.blob"):
        with suppress(OSError):  # another process removes them too
            found[path] = path.stat()
    return dict(sorted(found.items(), key=lambda file: max(file[1].st_atime_ns, file[1].st_mtime_ns)))


def trim(directory: Path, most_bytes: int = MOST_BYTES) -> None:
    """Remove compiled models until no more than so many bytes are left, and leave the latest in any case."""
    files = compiled_models(directory)
    total = sum(stat.st_size for stat in files.values())
    for path, stat in list(files.items())[:-1]:
        if total <= most_bytes:
            return
        with suppress(OSError):
            path.unlink()
        total -= stat.st_size


def clear_compiled_models() -> int:
    """Remove all compiled models; processes that run one go on with it.

    :return: how many bytes they were.
    """
    directory = cache_directory()
    freed = 0
    for path, stat in (compiled_models(directory) if directory else {}).items():
        with suppress(OSError):
            path.unlink()
            freed += stat.st_size
    return freed


@cache
def _writable(directory: Path | None) -> Path | None:
    try:
        if directory is None:
            reason = "this user has no home"
        else:
            directory.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=directory):
                return directory
    except OSError as error:
        reason = f"{directory} cannot be written: {error.strerror}"
    logger.warning(
        "OpenVINO compiles models anew at each start, because %s. Set XDG_CACHE_HOME to a directory that can be "
        "written.",
        reason,
    )
    return None
