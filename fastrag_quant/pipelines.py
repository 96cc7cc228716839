"""load_pipeline(): a Haystack YAML pipeline with this package's parts in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fastrag_quant.errors import InputError
from fastrag_quant.extras import require

if TYPE_CHECKING:
    from haystack import Pipeline


def load_pipeline(path: str | Path, name: str | None = None) -> Pipeline:
    """Load a Haystack 1 YAML pipeline, with the nodes of this package registered.

    :param path: the YAML file.
    :param name: which of the file's pipelines to load, where it has several.
    :return: a ``haystack.Pipeline``.
    :raises InputError: if there is no such file.
    :raises MissingExtraError: if Haystack 1 is not installed.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        msg = f"There is no pipeline file {path}: pass the path of a YAML file."
        raise InputError(msg)
    require("haystack1", "load_pipeline")
    from haystack import Pipeline

    import fastrag_quant.nodes  # noqa: F401 - importing registers the nodes

    return Pipeline.load_from_yaml(path, pipeline_name=name)
