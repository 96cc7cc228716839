"""The tables of the benchmarks: each is built once, for the console and for the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from tabulate import tabulate

from fastrag_quant.bench.latency import Latency
from fastrag_quant.bench.pipeline import PipelineResult
from fastrag_quant.bench.quality import FP32, Difference, QualityResult
from fastrag_quant.bench.speed import SpeedResult

_LATENCY_HEADERS = ("mean ± std ms", "p50", "p95", "p99")


@dataclass(frozen=True)
class Table:
    """Cells as they are shown, and what each column is."""

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]

    def text(self) -> str:
        """Return the table for a console."""
        return tabulate(self.rows, headers=self.headers, disable_numparse=True)

    def html(self) -> str:
        """Return the table for a page."""
        head = "".join(f"<th>{escape(header)}</th>" for header in self.headers)
        body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in self.rows)
        return f'<div class="table"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def speed_table(results: Sequence[SpeedResult]) -> Table:
    """Return a row per measurement."""
    rows = [
        (
            *(result.mode, str(result.batch_size), str(result.seq_len or "text"), *latency_cells(result.latency)),
            *(f"{result.samples_per_second:.1f}", f"{result.tokens_per_second:.0f}"),
            *(f"{result.first_call_ms:.0f}", f"{result.peak_memory_bytes / 1e6:.0f}", str(result.threads)),
        )
        for result in results
    ]
    headers = (
        *("mode", "batch", "length", *_LATENCY_HEADERS),
        *("samples/s", "tokens/s", "first call ms", "peak MB", "threads"),
    )
    return Table(headers, rows)


def quality_table(results: Sequence[QualityResult]) -> Table:
    """Return a row per task and measure."""
    systems = list(dict.fromkeys(system for result in results for system in result.differences))
    headers = ["task", "measure", "engine", "queries", FP32]
    for system in systems:
        headers += [system, "difference", "95 % interval"]
    rows = []
    for result in results:
        row = [
            result.task,
            result.measure,
            result.engine or "",
            str(result.queries or ""),
            f"{result.scores[FP32]:.4f}",
        ]
        for system in systems:
            difference = result.differences.get(system)
            row += ["", "", ""] if difference is None else [f"{result.scores[system]:.4f}", *_change(difference)]
        rows.append(row)
    return Table(headers, rows)


def pipeline_table(result: PipelineResult) -> Table:
    """Return a row per node, and one of the whole query."""
    rows = [(name, *latency_cells(latency)) for name, latency in result.latencies().items()]
    return Table(("node", *_LATENCY_HEADERS), rows)


def latency_cells(latency: Latency) -> tuple[str, str, str, str]:
    """Return mean ± standard deviation, p50, p95 and p99, in milliseconds."""
    spread = f"{latency.mean_ms:.2f} ± {latency.std_ms:.2f}"
    return spread, f"{latency.p50_ms:.2f}", f"{latency.p95_ms:.2f}", f"{latency.p99_ms:.2f}"


def _change(difference: Difference) -> tuple[str, str]:
    interval = "" if difference.low is None else f"{difference.low:+.4f} … {difference.high:+.4f}"
    return f"{difference.absolute:+.4f} ({difference.relative:+.1%})", interval
