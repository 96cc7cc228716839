"""The exceptions of this package: every one says what was wrong and what to do."""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    """Return what an error of a third party says, in one line and without its full stop."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__


class FastragQuantError(Exception):
    """Base class of all errors that this package raises on purpose."""


class InputError(FastragQuantError, ValueError):
    """An argument, a text or a document that cannot be worked with."""


class InputTypeError(InputError, TypeError):
    """An argument of a kind that is not expected there."""


class ModelError(FastragQuantError):
    """A model or model directory that is missing, damaged or of an unsupported kind."""


class ClosedError(ModelError):
    """An embedder that was closed and is used all the same."""

    def __init__(self, message: str = "This embedder is closed: make a new one.") -> None:
        """Say so."""
        super().__init__(message)


class CalibrationError(InputError):
    """Calibration texts that cannot be read, or too few of them."""


class FidelityError(FastragQuantError):
    """An int8 model whose embeddings are too far from those of the fp32 model."""


class OutputError(FastragQuantError, OSError):
    """An output directory that cannot be written."""


class OutputExistsError(OutputError, FileExistsError):
    """An output directory that exists and was not to be overwritten."""


class UnsupportedCpuError(FastragQuantError):
    """A CPU that lacks the instructions an engine needs."""


class MissingExtraError(FastragQuantError, ImportError):
    """A feature whose optional dependencies are not installed."""
