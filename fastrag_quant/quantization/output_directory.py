"""The directory that quantization writes: whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastrag_quant.errors import OutputExistsError
from fastrag_quant.model.manifest import MANIFEST_NAME


def check_output(output: Path, overwrite: bool) -> None:
    """Raise where a directory may not be written.

    :param overwrite: whether a model directory of this package may be replaced.
    :raises OutputExistsError: if the path exists, save for what may be replaced.
    """
    if not output.exists():
        return
    if not overwrite:
        msg = f"{output} exists: choose another output path, or pass overwrite (--overwrite) to replace it."
        raise OutputExistsError(msg)
    if not output.is_dir() or (any(output.iterdir()) and not (output / MANIFEST_NAME).is_file()):
        msg = f"{output} is not a model directory of this package, so it is not overwritten: choose another path."
        raise OutputExistsError(msg)


@contextmanager
def whole_or_not_at_all(output: Path) -> Iterator[Path]:
    """Give a directory beside the output that takes its place at the end, or vanishes on any error."""
    made = [parent for parent in output.parents if not parent.exists()]
    output.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{output.name}-", dir=output.parent))
    try:
        unfinished.chmod(0o755)
        yield unfinished
        _replace(output, unfinished)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        for parent in made:
            parent.rmdir()
        raise


def _replace(output: Path, finished: Path) -> None:
    if not output.exists():
        finished.rename(output)
        return
    old = finished.with_name(f"{finished.name}-old")
    output.rename(old)
    try:
        finished.rename(output)
    except BaseException:
        old.rename(output)
        raise
    shutil.rmtree(old)
