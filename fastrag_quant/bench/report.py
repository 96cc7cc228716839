"""One page of HTML that holds everything it shows, made of results of speed, quality and pipeline."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from operator import attrgetter
from statistics import median
from typing import Any, TypeVar

from fastrag_quant.bench.charts import Axes, interval_chart, legend, line_chart, percentile_chart, scatter_chart
from fastrag_quant.bench.environment import in_words
from fastrag_quant.bench.modes import MODES
from fastrag_quant.bench.pipeline import PipelineResult
from fastrag_quant.bench.quality import FP32, INT8, QualityResult
from fastrag_quant.bench.results import Result
from fastrag_quant.bench.speed import SpeedResult
from fastrag_quant.bench.tables import pipeline_table, quality_table, speed_table

_COLOURS = 8

Grouped = TypeVar("Grouped")


def make_report(results: Sequence[Result], title: str = "fastrag_quant benchmark") -> str:
    """Return the page.

    :param results: of any kind, as :func:`fastrag_quant.bench.results.read_results` gives them.
    :return: HTML that loads nothing from anywhere.
    """
    speed = [result for result in results if isinstance(result, SpeedResult)]
    quality = [result for result in results if isinstance(result, QualityResult)]
    pipelines = [result for result in results if isinstance(result, PipelineResult)]
    sections = [
        _machines([*speed, *quality, *pipelines]),
        _speed(speed),
        _quality(quality),
        _accuracy_against_speed(quality, speed),
        *map(_pipeline, pipelines),
    ]
    style = files("fastrag_quant.bench").joinpath("report.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head>\n"
        f"<body><h1>{escape(title)}</h1>{''.join(sections)}</body></html>\n"
    )


def _machines(results: Sequence[Result]) -> str:
    facts: dict[tuple[str, str], None] = {}
    for found in (result.environment for result in results):
        machine = f"{found.cpu}, {found.cores} cores, {' '.join(found.isa)}, allocator {found.allocator}"
        facts[machine, in_words(found.versions)] = None
    listed = "".join(
        f"<dt>machine</dt><dd>{escape(machine)}</dd><dt>versions</dt><dd>{escape(versions)}</dd>"
        for machine, versions in facts
    )
    return f'<dl class="facts">{listed}</dl>'


def _speed(results: Sequence[SpeedResult]) -> str:
    if not results:
        return ""
    colours = _colours(result.mode for result in results)
    charts = []
    for input_name, of_input in _grouped(results, attrgetter("input")).items():
        charts.append(_line_figure(of_input, "batch_size", "samples_per_second", input_name, colours))
    for size, of_size in _grouped(results, attrgetter("batch_size")).items():
        of_one_length = [result for result in of_size if result.seq_len is not None]
        charts.append(_line_figure(of_one_length, "seq_len", "latency.p50_ms", f"batch size {size}", colours))
    described = {mode: MODES[name] for mode in colours if (name := mode.removesuffix("-bf16")) in MODES}
    modes = "; ".join(f"{name}: {mode.description}" for name, mode in described.items())
    note = (
        f"Latency is that of a call of one batch; charts draw the median of runs of the same mode and shape. {modes}."
    )
    return f"<h2>Speed</h2><p>{escape(note)}</p>{_charts(charts)}{speed_table(results).html()}"


_AXIS = {
    "batch_size": "texts per call",
    "seq_len": "tokens per text",
    "samples_per_second": "texts per second",
    "latency.p50_ms": "milliseconds per call, median",
}


def _line_figure(results: Sequence[SpeedResult], x: str, y: str, title: str, colours: Mapping[str, int]) -> str:
    series = {
        mode: [
            (value, median(map(attrgetter(y), same)))
            for value, same in sorted(_grouped(of_mode, attrgetter(x)).items())
        ]
        for mode, of_mode in _grouped(results, attrgetter("mode")).items()
    }
    if len({point[0] for points in series.values() for point in points}) < 2:  # one point is what the table says
        return ""
    chart = line_chart(series, Axes(_AXIS[x], _AXIS[y]), colours)
    return _figure(f"{_AXIS[y].capitalize()}, {title}", legend(list(series), colours) + chart)


def _quality(results: Sequence[QualityResult]) -> str:
    if not results:
        return ""
    intervals = {}
    for result in results:
        for system, change in result.differences.items():
            if change.low is not None and change.high is not None:
                compared = "int8" if system == INT8 else "fp32 index"
                name = f"{result.task} {result.measure}: {compared} on {result.engine}"
                intervals[name] = (change.absolute, change.low, change.high)
    label = "difference to fp32, with its 95 % interval"
    charts = [_figure("Difference to fp32", interval_chart(intervals, label))] if intervals else []
    systems = dict.fromkeys(f"{result.model} against {result.baseline}" for result in results)
    note = f"{'; '.join(systems)}. An interval that holds 0 is no more than luck."
    return f"<h2>Quality</h2><p>{escape(note)}</p>{_charts(charts)}{quality_table(results).html()}"


def _accuracy_against_speed(quality: Sequence[QualityResult], speed: Sequence[SpeedResult]) -> str:
    """Join by model and engine: the fastest result of each mode, and the last score, which is the average."""
    scores: dict[tuple[str, str | None], float] = {}
    for result in quality:
        scores[result.baseline, None] = result.scores[FP32]
        if INT8 in result.scores:
            scores[result.model, result.engine] = result.scores[INT8]
    points: dict[str, tuple[float, float]] = {}
    for run in speed:
        mode = MODES.get(run.mode)  # not of bf16, in which nothing was scored
        score = scores.get((run.model, mode.kind.name if mode.is_int8 else None)) if mode else None
        if score is not None:
            points[run.mode] = max(points.get(run.mode, (0.0, score)), (run.samples_per_second, score))
    if len(points) < 2:
        return ""
    colours = _colours(run.mode for run in speed)
    chart = scatter_chart(points, Axes("texts per second, the fastest of each mode", "score"), colours)
    note = "int8 has the score that was measured on the engine of the mode; modes that run fp32 have that of fp32."
    figure = _figure(f"{quality[-1].task}, {quality[-1].measure}", legend(list(points), colours) + chart)
    return f"<h2>Accuracy against speed</h2><p>{escape(note)}</p>{_charts([figure])}"


def _pipeline(result: PipelineResult) -> str:
    chart = percentile_chart(
        {name: (latency.p50_ms, latency.p95_ms, latency.p99_ms) for name, latency in result.latencies().items()},
        "ms: bar to p50, thin bar to p95, mark at p99",
    )
    charts = _charts([_figure("Latency by node", chart)])
    title = f"Pipeline {escape(result.pipeline)}"
    return f"<h2>{title}</h2><p>{result.summary()}</p>{charts}{pipeline_table(result).html()}"


def _figure(title: str, content: str) -> str:
    return f"<figure><h3>{escape(title)}</h3>{content}</figure>"


def _charts(figures: Sequence[str]) -> str:
    return f'<div class="charts">{"".join(figures)}</div>' if any(figures) else ""


def _colours(names: Iterable[str]) -> dict[str, int]:
    return {name: index % _COLOURS for index, name in enumerate(dict.fromkeys(names))}


def _grouped(results: Sequence[Grouped], key: Callable[[Grouped], Any]) -> dict[Any, list[Grouped]]:
    groups: dict[Any, list[Grouped]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    return groups
