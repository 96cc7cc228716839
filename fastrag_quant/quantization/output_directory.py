"""The directory that quantization writes: whole or not at all, and nothing that was there is lost."""

from __future__ import annotations

import errno
import logging
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from fastrag_quant.errors import FastragQuantError, OutputError, OutputExistsError
from fastrag_quant.model.manifest import MANIFEST_NAME
from fastrag_quant.quantization.output_lock import locked
from fastrag_quant.quantization.renaming import aside_of, exchange, rename_to_new

logger = logging.getLogger(__name__)

# What ends the writing of files, whoever writes them.
_OF_THE_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


@contextmanager
def whole_or_not_at_all(output: Path, overwrite: bool) -> Iterator[Path]:
    """Give a directory beside the output that takes its place at the end, or vanishes on any error.

    What can be known of the output is checked before the directory is given. A link is followed: what it leads to is
    replaced, and the link stays. What killed processes of this machine left behind for this output is removed.

    :param overwrite: whether a model directory of this package may be replaced.
    :raises OutputExistsError: if the output exists and may not be replaced, before or after the work, or another
        process writes to it.
    :raises OutputError: if it cannot be written; what was there is still there.
    """
    with ExitStack() as cleaning:
        with _clear_errors(output):
            target, unfinished = _begin(output, overwrite, cleaning)
        with _clear_errors(output, _OF_THE_DISK):
            yield unfinished
        with _clear_errors(output):
            _put_in_place(unfinished, target, overwrite)


def _begin(output: Path, overwrite: bool, cleaning: ExitStack) -> tuple[Path, Path]:
    """Return what is written in the end and where it is written till then.

    :param cleaning: removes whatever is not the finished output.
    """
    _check(output, overwrite)
    target = output.resolve()
    for parent in reversed([parent for parent in target.parents if not parent.exists()]):
        cleaning.callback(_remove_empty, parent)
    target.parent.mkdir(parents=True, exist_ok=True)
    if cleaning.enter_context(locked(target)):
        _clear_up_after_the_dead(target)
    _check(target, overwrite)  # once more, now that nobody else writes
    unfinished = Path(tempfile.mkdtemp(prefix=_prefix(target), dir=target.parent))
    cleaning.callback(_remove, unfinished)  # at the end it is gone, or holds what was replaced
    unfinished.chmod(0o755)
    return target, unfinished


def _check(output: Path, overwrite: bool) -> None:
    """Raise where a directory may not be written.

    :raises OutputExistsError: if the path exists, save for what may be replaced.
    :raises OutputError: if it leads nowhere, or never could be replaced.
    """
    if not output.exists():
        if output.is_symlink():
            msg = f"{output} is a link to {output.readlink()}, which does not exist: make that, or remove the link."
            raise OutputError(msg)
        return
    if not overwrite:
        msg = f"{output} exists: choose another output path, or pass overwrite (--overwrite) to replace it."
        raise OutputExistsError(msg)
    if not output.is_dir() or (any(output.iterdir()) and not (output / MANIFEST_NAME).is_file()):
        msg = f"{output} is not a model directory of this package, so it is not overwritten: choose another path."
        raise OutputExistsError(msg)
    if output.resolve().is_mount():
        msg = f"{output} is a mount point, which cannot be replaced: choose a path inside it."
        raise OutputError(msg)


def _put_in_place(finished: Path, target: Path, overwrite: bool) -> None:
    if overwrite and target.exists():
        _check(target, overwrite)
        exchange(finished, target)
        return
    try:
        rename_to_new(finished, target)
    except FileExistsError as error:
        msg = f"{target} appeared while the model was quantized, and was left as it is: choose another output path."
        raise OutputExistsError(msg) from error


def _remove_empty(directory: Path) -> None:
    with suppress(OSError):
        directory.rmdir()


def _remove(directory: Path) -> None:
    try:
        shutil.rmtree(directory, ignore_errors=True)
    except BaseException:  # Ctrl-C once more, which a third time is obeyed at once
        shutil.rmtree(directory, ignore_errors=True)
        raise
    if directory.exists():
        logger.warning("%s could not be removed: remove it yourself.", directory)


def _prefix(target: Path) -> str:
    # The name of the machine, because a lock may not reach to others that share the file system.
    return f".{target.name}-unfinished-{platform.node().replace('/', '_')}-"


def _clear_up_after_the_dead(target: Path) -> None:
    """Remove what processes left that were killed; no living one writes to this target, which is locked."""
    left = re.compile(re.escape(_prefix(target)) + r"[a-z0-9_]{8}")
    for unfinished in [path for path in target.parent.iterdir() if left.fullmatch(path.name.removesuffix("-old"))]:
        was_target = unfinished == aside_of(unfinished.with_name(unfinished.name.removesuffix("-old")))
        if was_target and not target.exists():
            rename_to_new(unfinished, target)  # it was killed between the two steps of an exchange
        else:
            _remove(unfinished)


@contextmanager
def _clear_errors(output: Path, numbers: tuple[int, ...] | None = None) -> Iterator[None]:
    """Say of errors of the file system that the output cannot be written.

    :param numbers: of the errors that mean this; None is all of them.
    """
    try:
        yield
    except FastragQuantError:
        raise
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: links that lead to themselves
        if numbers is not None and getattr(error, "errno", None) not in numbers:
            raise
        reason = getattr(error, "strerror", None) or error
        msg = f"{output} cannot be written ({reason}): choose another output path. What was there is as it was."
        raise OutputError(msg) from error
