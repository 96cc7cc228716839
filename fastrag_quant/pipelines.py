"""load_pipeline(): a Haystack YAML pipeline with this package's parts in it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fastrag_quant.errors import InputError
from fastrag_quant.host.extras import is_installed, require

if TYPE_CHECKING:
    from haystack import Pipeline


def load_pipeline(path: str | Path, name: str | None = None) -> Pipeline:
    """Load a YAML pipeline of the Haystack that is installed, with the parts of this package made known to it.

    :param path: the YAML file.
    :param name: which of the file's pipelines to load, where it has several; Haystack 1 alone knows such files.
    :return: a ``haystack.Pipeline``.
    :raises InputError: if there is no such file, and for a name in Haystack 2 and 3.
    :raises MissingExtraError: if no Haystack is installed.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        msg = f"There is no pipeline file {path}: pass the path of a YAML file."
        raise InputError(msg)
    if is_installed("farm-haystack"):
        return _load_nodes(path, name)
    if name is not None:
        msg = f"A pipeline file of Haystack 2 and 3 holds one pipeline, without a name: leave {name!r} out."
        raise InputError(msg)
    return _load_components(path)


def _load_nodes(path: Path, name: str | None) -> Pipeline:
    require("haystack1", "load_pipeline")
    from haystack import Pipeline

    import fastrag_quant.nodes  # noqa: F401 - importing registers the nodes

    return Pipeline.load_from_yaml(path, pipeline_name=name)


def _load_components(path: Path) -> Pipeline:
    require("haystack", "load_pipeline")
    from haystack import Pipeline
    from haystack.core import serialization

    # Haystack 3 makes no objects of modules that the process did not allow; Haystack 2 has no such list.
    if hasattr(serialization, "allow_deserialization_module"):
        serialization.allow_deserialization_module("fastrag_quant")
    with path.open(encoding="utf-8") as file:
        return Pipeline.load(file)
