"""The optional dependencies: which extra brings what, and one message for a missing one."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution

from fastrag_quant.errors import MissingExtraError

DISTRIBUTIONS_OF_EXTRA = {
    "ipex": ("torch", "intel-extension-for-pytorch", "transformers"),
    "inc": (
        "torch",
        "intel-extension-for-pytorch",
        "optimum-intel",
        "neural-compressor",
        "transformers",
        "datasets",
    ),
    "openvino": ("openvino",),
    "nncf": ("openvino", "nncf", "torch", "transformers", "datasets"),
    "haystack1": ("farm-haystack",),
    "haystack": ("haystack-ai",),
    "fastrag": ("fastrag", "haystack-ai", "sentence-transformers"),
    "torch": ("torch", "transformers"),
    "bench": ("torch", "transformers", "aim"),
    "mteb": ("mteb",),
}


def missing_distributions(extra: str | None) -> list[str]:
    """Return the distributions of an extra that are not installed, without importing any.

    :param extra: a key of :data:`DISTRIBUTIONS_OF_EXTRA`; None needs nothing.
    :return: distribution names, empty where the extra is complete.
    """
    return [name for name in distributions_of(extra) if not is_installed(name)]


def distributions_of(extra: str | None) -> tuple[str, ...]:
    """Return what an extra brings; None brings nothing."""
    return DISTRIBUTIONS_OF_EXTRA[extra] if extra else ()


def require(extra: str | None, feature: str) -> None:
    """Raise where a feature's optional dependencies are missing.

    :param extra: a key of :data:`DISTRIBUTIONS_OF_EXTRA`; None needs nothing.
    :param feature: what needs it, as the subject of the message.
    :raises MissingExtraError: naming the missing distributions and the extra that brings them.
    """
    missing = missing_distributions(extra)
    if missing:
        msg = f"{feature} needs {', '.join(missing)}: pip install 'fastrag-quant[{extra}]'"
        raise MissingExtraError(msg)


def is_installed(name: str) -> bool:
    """Return whether a distribution is installed, without importing it."""
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
