"""Where a Haystack pipeline spends its time, under one caller or many."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import yaml
from tqdm.auto import tqdm

from fastrag_quant.bench.latency import Latency
from fastrag_quant.bench.results import environment
from fastrag_quant.errors import InputError
from fastrag_quant.host.extras import is_installed
from fastrag_quant.pipelines import load_pipeline

PIPELINES = Path(__file__).parents[2] / "pipelines"

# How this package's nodes and components spell the model that they run.
_MODEL_PARAMETERS = ("embedding_model", "model_name_or_path", "model")


class RunnablePipeline(Protocol):
    """A pipeline of either generation of Haystack."""

    @property
    def nodes(self) -> Mapping[str, Any]:
        """Name → what has a ``run`` method to time."""
        ...

    def run(self, query: str) -> Any:
        """Answer a query."""
        ...

    def write(self, texts: Sequence[str]) -> None:
        """Put texts into the pipeline's document store, with their vectors.

        :raises InputError: if the pipeline has no retriever with a store.
        """


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
        if self.warmup < 0 or self.concurrency < 1:
            msg = f"warmup must be at least 0 and concurrency at least 1, not {self.warmup} and {self.concurrency}."
            raise InputError(msg)


@dataclass(frozen=True)
class PipelineResult:
    """What was measured.

    :param nodes: name → latency of each node that ran, in the order in which they run.
    :param total: latency of a query, as its caller sees it.
    """

    pipeline: str
    queries: int
    documents: int | None
    concurrency: int
    queries_per_second: float
    total: Latency
    nodes: dict[str, Latency]

    def as_dict(self) -> dict[str, Any]:
        """Return the result for a JSON file, with the machine's facts."""
        return {**asdict(self), **environment()}


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
    :raises InputError: if there is no such file, there are no queries, or nowhere to put documents.
    """
    settings = settings or PipelineSettings()
    if not queries:
        msg = "There are no queries to run."
        raise InputError(msg)
    # Haystack reports usage over the network unless told not to, before it is imported; not while we measure.
    os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"
    pipeline = _load(path, model)
    if documents is not None:
        pipeline.write(documents)
    seconds = _time_nodes(pipeline.nodes)
    for query in queries[: settings.warmup]:
        pipeline.run(query)
    for durations in seconds.values():
        durations.clear()
    totals, elapsed = _run_all(pipeline.run, queries, settings.concurrency, progress_bar)
    return PipelineResult(
        pipeline=f"{path.parent.name}/{path.name}",
        queries=len(queries),
        documents=None if documents is None else len(documents),
        concurrency=settings.concurrency,
        queries_per_second=len(queries) / elapsed,
        total=Latency.of(totals),
        nodes={name: Latency.of(durations) for name, durations in seconds.items() if durations},
    )


def _load(path: Path, model: str | None) -> RunnablePipeline:
    if model is None or not path.is_file():
        return _runnable(load_pipeline(path))
    with tempfile.TemporaryDirectory() as folder:
        changed = Path(folder) / path.name
        changed.write_text(yaml.safe_dump(_with_model(yaml.safe_load(path.read_text(encoding="utf-8")), model)))
        return _runnable(load_pipeline(changed))


def _with_model(content: dict[str, Any], model: str) -> dict[str, Any]:
    components = content["components"]
    for part in components.values() if isinstance(components, dict) else components:
        if "Quantized" in part["type"]:
            parameters = part.get("init_parameters") or part.get("params") or {}
            parameters.update({name: model for name in _MODEL_PARAMETERS if name in parameters})
    return dict(content)


def _runnable(pipeline: Any) -> RunnablePipeline:
    if is_installed("farm-haystack"):
        from fastrag_quant.bench.pipeline_haystack1 import Haystack1Pipeline

        return Haystack1Pipeline(pipeline)
    from fastrag_quant.bench.pipeline_haystack2 import Haystack2Pipeline

    return Haystack2Pipeline(pipeline)


def _time_nodes(nodes: Mapping[str, Any]) -> dict[str, list[float]]:
    """Let every node note how long each of its runs takes; nodes come in the order in which they first end one."""
    seconds: dict[str, list[float]] = {}
    for name, node in nodes.items():
        node.run = _timed(node.run, functools.partial(seconds.setdefault, name))
    return seconds


def _timed(function: Callable[..., Any], durations: Callable[[list[float]], list[float]]) -> Callable[..., Any]:
    @functools.wraps(function)  # Haystack reads the signature
    def timed(*arguments: Any, **keywords: Any) -> Any:
        started = perf_counter()
        try:
            return function(*arguments, **keywords)
        finally:
            durations([]).append(perf_counter() - started)

    return timed


def _run_all(
    run: Callable[[str], Any], queries: Sequence[str], concurrency: int, progress_bar: bool
) -> tuple[list[float], float]:
    def timed(query: str) -> float:
        started = perf_counter()
        run(query)
        return perf_counter() - started

    with ThreadPoolExecutor(concurrency) as callers:
        started = perf_counter()
        answers = callers.map(timed, queries)
        totals = list(tqdm(answers, total=len(queries), desc="Running", unit=" queries", disable=not progress_bar))
        return totals, perf_counter() - started
