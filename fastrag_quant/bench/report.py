"""One page of HTML that holds everything it shows, made of results of speed, quality and pipeline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from operator import itemgetter
from statistics import median
from typing import Any

from fastrag_quant.bench.charts import Axes, interval_chart, legend, line_chart, percentile_chart, scatter_chart
from fastrag_quant.bench.quality import FP32, INT8
from fastrag_quant.bench.runners import MODES

Result = Mapping[str, Any]

_COLOURS = 8


def make_report(results: Iterable[tuple[str, Sequence[Result]]], title: str = "fastrag_quant benchmark") -> str:
    """Return the page.

    :param results: kind and results of each file, as :func:`fastrag_quant.bench.results.read_results` gives them.
    :return: HTML that loads nothing from anywhere.
    """
    by_kind: dict[str, list[Result]] = {"speed": [], "quality": [], "pipeline": []}
    for kind, of_kind in results:
        by_kind[kind] += of_kind
    sections = [
        _machines([result for of_kind in by_kind.values() for result in of_kind]),
        _speed(by_kind["speed"]),
        _quality(by_kind["quality"]),
        _accuracy_against_speed(by_kind["quality"], by_kind["speed"]),
        *map(_pipeline, by_kind["pipeline"]),
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
    for result in results:
        versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
        machine = (
            f"{result['cpu']}, {result['cores']} cores, {' '.join(result['isa'])}, allocator {result['allocator']}"
        )
        facts[machine, versions] = None
    listed = "".join(
        f"<dt>machine</dt><dd>{escape(machine)}</dd><dt>versions</dt><dd>{escape(versions)}</dd>"
        for machine, versions in facts
    )
    return f'<dl class="facts">{listed}</dl>'


def _speed(results: Sequence[Result]) -> str:
    if not results:
        return ""
    colours = _colours(result["mode"] for result in results)
    charts = []
    for input_name, of_input in _grouped(results, lambda result: result["input"]).items():
        charts.append(_lines(of_input, "batch_size", "samples_per_second", input_name, colours))
    for size, of_size in _grouped(results, lambda result: result["batch_size"]).items():
        fixed = [result for result in of_size if result["seq_len"] is not None]
        charts.append(_lines(fixed, "seq_len", "latency_p50_ms", f"batch size {size}", colours))
    headers = (
        *("mode", "batch", "length", "mean ms", "± std", "p50", "p95", "p99"),
        *("samples/s", "tokens/s", "first call ms", "peak MB", "threads"),
    )
    rows = [
        (
            *(result["mode"], result["batch_size"], result["seq_len"] or "text"),
            *(f"{result[f'latency_{name}_ms']:.2f}" for name in ("mean", "std", "p50", "p95", "p99")),
            *(f"{result['samples_per_second']:.1f}", f"{result['tokens_per_second']:.0f}"),
            *(f"{result['first_call_ms']:.0f}", f"{result['peak_memory_bytes'] / 1e6:.0f}", result["threads"]),
        )
        for result in results
    ]
    described = {name: mode.description for name, mode in MODES.items()}
    modes = "; ".join(
        f"{mode}: {described[name]}" for mode in colours if (name := mode.removesuffix("-bf16")) in described
    )
    note = (
        f"Latency is that of a call of one batch; charts draw the median of runs of the same mode and shape. {modes}."
    )
    return f"<h2>Speed</h2><p>{escape(note)}</p>{_charts(charts)}{_table(headers, rows)}"


_AXIS = {
    "batch_size": "texts per call",
    "seq_len": "tokens per text",
    "samples_per_second": "texts per second",
    "latency_p50_ms": "milliseconds per call, median",
}


def _lines(results: Sequence[Result], x: str, y: str, title: str, colours: Mapping[str, int]) -> str:
    series = {
        mode: [
            (value, median(result[y] for result in same))
            for value, same in sorted(_grouped(of_mode, itemgetter(x)).items())
        ]
        for mode, of_mode in _grouped(results, itemgetter("mode")).items()
    }
    if len({point[0] for points in series.values() for point in points}) < 2:  # one point is what the table says
        return ""
    chart = line_chart(series, Axes(_AXIS[x], _AXIS[y]), colours)
    return _figure(f"{_AXIS[y].capitalize()}, {title}", legend(list(series), colours) + chart)


def _quality(results: Sequence[Result]) -> str:
    if not results:
        return ""
    systems = list(dict.fromkeys(system for result in results for system in result["differences"]))
    intervals = {}
    rows = []
    for result in results:
        row = [result["task"], result["measure"], result["queries"] or "", f"{result['scores'][FP32]:.4f}"]
        for system in systems:
            difference = result["differences"].get(system)
            if difference is None:
                row += ["", "", ""]
                continue
            interval = ""
            if difference["low"] is not None:
                interval = f"{difference['low']:+.4f} … {difference['high']:+.4f}"
                name = f"{result['task']} {result['measure']}: {'int8' if system == INT8 else 'fp32 index'}"
                intervals[name] = (difference["absolute"], difference["low"], difference["high"])
            change = f"{difference['absolute']:+.4f} ({difference['relative']:+.1%})"
            row += [f"{result['scores'][system]:.4f}", change, interval]
        rows.append(row)
    headers = ["task", "measure", "queries", FP32]
    for system in systems:
        headers += [system, "difference", "95 % interval"]
    label = "difference to fp32, with its 95 % interval"
    charts = [_figure("Difference to fp32", interval_chart(intervals, label))] if intervals else []
    compared = dict.fromkeys(f"{result['model']} against {result['baseline']}" for result in results)
    note = f"{'; '.join(compared)}. An interval that holds 0 is no more than luck."
    return f"<h2>Quality</h2><p>{escape(note)}</p>{_charts(charts)}{_table(headers, rows)}"


def _accuracy_against_speed(quality: Sequence[Result], speed: Sequence[Result]) -> str:
    """Join by model: the fastest result of each mode, and the last score of each model, which is the average."""
    scores = {}
    for result in quality:
        scores[result["baseline"]] = (result["scores"][FP32], result)
        if INT8 in result["scores"]:
            scores[result["model"]] = (result["scores"][INT8], result)
    points: dict[str, tuple[float, float]] = {}
    for result in speed:
        if result["model"] in scores:
            mode, score = result["mode"], scores[result["model"]][0]
            points[mode] = max(points.get(mode, (0.0, score)), (result["samples_per_second"], score))
    if len(points) < 2:
        return ""
    colours = _colours(result["mode"] for result in speed)
    chart = scatter_chart(points, Axes("texts per second, the fastest of each mode", "score"), colours)
    last = next(reversed(scores.values()))[1]
    note = "A score belongs to a model, not to a mode: modes that run the same weights share it."
    figure = _figure(f"{last['task']}, {last['measure']}", legend(list(points), colours) + chart)
    return f"<h2>Accuracy against speed</h2><p>{escape(note)}</p>{_charts([figure])}"


def _pipeline(result: Result) -> str:
    rows = {**result["nodes"], "whole query": result["total"]}
    chart = percentile_chart(
        {name: (latency["p50_ms"], latency["p95_ms"], latency["p99_ms"]) for name, latency in rows.items()},
        "ms: bar to p50, thin bar to p95, mark at p99",
    )
    callers = "1 caller" if result["concurrency"] == 1 else f"{result['concurrency']} callers"
    note = f"{result['queries']} queries, {callers}, {result['queries_per_second']:.1f} queries/s"
    headers = ("node", "mean ms", "± std", "p50", "p95", "p99")
    cells = [
        (name, *(f"{latency[f'{column}_ms']:.2f}" for column in ("mean", "std", "p50", "p95", "p99")))
        for name, latency in rows.items()
    ]
    figure = _figure("Latency by node", chart)
    return f"<h2>Pipeline {escape(result['pipeline'])}</h2><p>{note}</p>{_charts([figure])}{_table(headers, cells)}"


def _figure(title: str, content: str) -> str:
    return f"<figure><h3>{escape(title)}</h3>{content}</figure>"


def _charts(figures: Sequence[str]) -> str:
    return f'<div class="charts">{"".join(figures)}</div>' if any(figures) else ""


def _table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    head = "".join(f"<th>{escape(header)}</th>" for header in headers)
    body = "".join(f"<tr>{''.join(f'<td>{escape(str(cell))}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _colours(names: Iterable[str]) -> dict[str, int]:
    return {name: index % _COLOURS for index, name in enumerate(dict.fromkeys(names))}


def _grouped(results: Sequence[Result], key: Any) -> dict[Any, list[Result]]:
    groups: dict[Any, list[Result]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    return groups
