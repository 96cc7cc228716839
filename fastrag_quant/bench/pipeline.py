"""Where a Haystack pipeline spends its time, under one caller or many."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import yaml
from tqdm.auto import tqdm

from fastrag_quant.arguments import check_whole_number
from fastrag_quant.bench.environment import Environment
from fastrag_quant.bench.latency import Latency
from fastrag_quant.errors import InputError
from fastrag_quant.host.extras import is_installed
from fastrag_quant.model.source import ModelSource
from fastrag_quant.pipelines import load_pipeline

if TYPE_CHECKING:
    from fastrag_quant.bench.pipeline_haystack1 import Haystack1Pipeline
    from fastrag_quant.bench.pipeline_haystack2 import Haystack2Pipeline

PIPELINES = Path(__file__).parents[2] / "pipelines"

# How this package's parts that run an int8 model spell it: the nodes of Haystack 1, and else the components.
_MODEL_PARAMETERS = {
    "QuantizedBiEncoderRetriever": "embedding_model",
    "QuantizedBiEncoderRanker": "model_name_or_path",
}
_COMPONENTS_MODULE = "fastrag_quant.components."


@dataclass(frozen=True)
class PipelineSettings:
    """How to run a pipeline.

    :param warmup: queries that are run before timing starts.
    :param concurrency: callers that send queries side by side, each the next one when it has its answer.
    """

    warmup: int = 5
    concurrency: int = 1

    def __post_init__(self) -> None:
        """Check the numbers.

        :raises InputError: for a negative warmup and fewer than one caller.
        """
        check_whole_number(self.warmup, "warmup", least=0)
        check_whole_number(self.concurrency, "concurrency")


@dataclass(frozen=True)
class PipelineResult:
    """What was measured.

    :param nodes: name → latency of each node that ran, in the order in which they run.
    :param total: latency of a query, as its caller sees it.
    :param model: the name of the model that took the place of the file's, None where that ran.
    :param changed: the parts that it was given to.
    """

    pipeline: str
    queries: int
    documents: int | None
    model: str | None
    changed: list[str]
    concurrency: int
    queries_per_second: float
    total: Latency
    nodes: dict[str, Latency]
    environment: Environment

    def latencies(self) -> dict[str, Latency]:
        """Return name → latency of every node, and of the whole query at last."""
        return {**self.nodes, "whole query": self.total}

    def summary(self) -> str:
        """Return how many queries ran and how fast, in one line."""
        callers = "1 caller" if self.concurrency == 1 else f"{self.concurrency} callers"
        run = f"{self.queries} queries, {callers}, {self.queries_per_second:.1f} queries/s"
        return f"{run}, {self.model} in {' and '.join(self.changed)}" if self.model else run


def default_pipeline() -> Path:
    """Return the latency pipeline of this repository for the Haystack that is installed.

    :raises InputError: if the package was installed without its repository.
    """
    path = PIPELINES / ("haystack1" if is_installed("farm-haystack") else "haystack2") / "latency.yaml"
    if not path.is_file():
        msg = "The repository's pipelines are not installed with the package: pass the path of a YAML file."
        raise InputError(msg)
    return path


def measure_pipeline(
    path: Path,
    queries: Sequence[str],
    documents: Sequence[str] | None = None,
    settings: PipelineSettings | None = None,
    *,
    model: str | None = None,
    progress_bar: bool = False,
) -> PipelineResult:
    """Load a pipeline and run it over queries.

    :param path: a YAML file of the Haystack that is installed.
    :param documents: texts to put into its document store first; None leaves the store as it is.
    :param model: what this package's parts run, in place of what the file says.
    :raises InputError: if there is no such file, there are no queries, nowhere to put documents, or
        nothing that could run the model.
    """
    settings = settings or PipelineSettings()
    if not queries:
        msg = "There are no queries to run."
        raise InputError(msg)
    # Haystack reports usage over the network unless told not to, before it is imported; not while we measure.
    os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"
    pipeline, changed = _load(path, model)
    if documents is not None:
        pipeline.write(documents)
    by_node: dict[str, list[float]] = {}
    for name, node in pipeline.nodes.items():
        node.run = _timed(node.run, functools.partial(by_node.setdefault, name))
    for query in queries[: settings.warmup]:
        pipeline.run(query)
    for seconds in by_node.values():
        seconds.clear()
    of_queries, elapsed = _run_all(pipeline.run, queries, settings.concurrency, progress_bar)
    return PipelineResult(
        pipeline=f"{path.parent.name}/{path.name}",
        queries=len(queries),
        documents=None if documents is None else len(documents),
        model=None if model is None else ModelSource(model).public_name,
        changed=changed,
        concurrency=settings.concurrency,
        queries_per_second=len(queries) / elapsed,
        total=Latency.of(of_queries),
        nodes={name: Latency.of(seconds) for name, seconds in by_node.items() if seconds},
        environment=Environment.current(),
    )


def _load(path: Path, model: str | None) -> tuple[Haystack1Pipeline | Haystack2Pipeline, list[str]]:
    """Return a pipeline, and the names of its parts that were given the model."""
    if model is None or not path.is_file():
        return _runnable(load_pipeline(path)), []
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        msg = f"{path} is not YAML that can be read: {error}"
        raise InputError(msg) from error
    changed = _set_model(content, model)
    if not changed:
        there = ", ".join(name for name, _ in _parts(content)) or "no components"
        msg = f"{path} has no part of this package that could run {model}; it has {there}. Leave --model-name out."
        raise InputError(msg)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        copy.write_text(yaml.safe_dump(content), encoding="utf-8")
        return _runnable(load_pipeline(copy)), changed


def _set_model(content: Any, model: str) -> list[str]:
    """Give a model to every part that runs one in what a YAML file holds, and return the components with such parts."""
    return [name for name, part in _parts(content) if _give_model(part, model)]


def _parts(content: Any) -> list[tuple[str, Any]]:
    components = content.get("components") if isinstance(content, dict) else None
    if isinstance(components, dict):
        return [(str(name), part) for name, part in components.items()]
    found = components if isinstance(components, list) else []
    return [(str(part.get("name")), part) for part in found if isinstance(part, dict)]


def _give_model(part: Any, model: str) -> bool:
    """Set the model of a part, or of parts inside it, named there or left out, and return whether there was one."""
    if isinstance(part, list):
        given = [_give_model(inner, model) for inner in part]  # to each, so no generator
        return any(given)
    if not isinstance(part, dict):
        return False
    kind = str(part.get("type"))
    is_component = kind.startswith(_COMPONENTS_MODULE) and "Quantized" in kind
    parameter = "model" if is_component else _MODEL_PARAMETERS.get(kind)
    if parameter is None:
        return _give_model(list(part.values()), model)
    name = "init_parameters" if is_component else "params"
    part[name] = {**(part.get(name) or {}), parameter: model}
    return True


def _runnable(pipeline: Any) -> Haystack1Pipeline | Haystack2Pipeline:
    if is_installed("farm-haystack"):
        from fastrag_quant.bench.pipeline_haystack1 import Haystack1Pipeline

        return Haystack1Pipeline(pipeline)
    from fastrag_quant.bench.pipeline_haystack2 import Haystack2Pipeline

    return Haystack2Pipeline(pipeline)


def _run_all(
    run: Callable[[str], Any], queries: Sequence[str], concurrency: int, progress_bar: bool
) -> tuple[list[float], float]:
    """Return the seconds of each query, as its caller sees it, and of all of them."""
    seconds: list[float] = []
    timed = _timed(run, lambda _: seconds)
    with ThreadPoolExecutor(concurrency) as callers:
        started = perf_counter()
        answers = callers.map(timed, queries)
        list(tqdm(answers, total=len(queries), desc="Running", unit=" queries", disable=not progress_bar))
        return seconds, perf_counter() - started


def _timed(function: Callable[..., Any], seconds: Callable[[list[float]], list[float]]) -> Callable[..., Any]:
    """Return a function that notes how long each of its calls takes.

    :param seconds: gives the list to note it in, once the first call ends: nodes come in that order.
    """

    @functools.wraps(function)  # Haystack reads the signature
    def timed(*arguments: Any, **keywords: Any) -> Any:
        started = perf_counter()
        try:
            return function(*arguments, **keywords)
        finally:
            seconds([]).append(perf_counter() - started)

    return timed
