"""Charts as inline SVG: no script, no font and no file but the page's own style sheet."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 420, 270
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 14, 12, 44
_ROW = 26


@dataclass(frozen=True)
class Axes:
    """What the axes are called, with units."""

    x: str
    y: str


def line_chart(series: Mapping[str, Sequence[tuple[float, float]]], axes: Axes, colours: Mapping[str, int]) -> str:
    """Draw lines over values of x that are evenly spaced, as batch sizes are, from zero up.

    :param series: name → points, sorted by x.
    :param colours: name → number of its colour, the same in every chart.
    """
    columns = sorted({x for points in series.values() for x, _ in points})
    top = _ceiling(max(y for points in series.values() for _, y in points))
    step = (_WIDTH - _LEFT - _RIGHT) / len(columns)
    position = {x: _LEFT + step * (index + 0.5) for index, x in enumerate(columns)}
    parts = _frame(axes, top, {f"{x:g}": position[x] for x in columns})
    for name, points in series.items():
        colour = colours[name]
        path = " ".join(f"{position[x]:.1f},{_height(y, top):.1f}" for x, y in points)
        parts.append(f'<polyline class="line c{colour}" points="{path}"/>')
        parts += [_dot(position[x], _height(y, top), colour, f"{name}: {_number(y)} at {x:g}") for x, y in points]
    return _svg(parts, _HEIGHT, f"{axes.y} against {axes.x}")


def scatter_chart(points: Mapping[str, tuple[float, float]], axes: Axes, colours: Mapping[str, int]) -> str:
    """Draw a named point each; x starts at zero, y does not."""
    right = _ceiling(max(x for x, _ in points.values()))
    low, high = min(y for _, y in points.values()), max(y for _, y in points.values())
    margin = max((high - low) * 0.4, 0.005)
    low, high = low - margin, high + margin
    ticks = {_number(right * part / 4): _LEFT + (_WIDTH - _LEFT - _RIGHT) * part / 4 for part in range(5)}
    parts = _frame(axes, None, ticks)
    for part in range(5):
        value = low + (high - low) * part / 4
        parts.append(_y_tick(_height(value - low, high - low), f"{value:.3f}"))
    for name, (x, y) in points.items():
        across, down = _LEFT + (_WIDTH - _LEFT - _RIGHT) * x / right, _height(y - low, high - low)
        parts.append(_dot(across, down, colours[name], f"{name}: {y:.4f} at {_number(x)}", 7))
    return _svg(parts, _HEIGHT, f"{axes.y} against {axes.x}")


def percentile_chart(rows: Mapping[str, tuple[float, float, float]], unit: str) -> str:
    """Draw a bar for p50, a thin one up to p95 and a mark at p99, a row each."""
    left = 110
    right = _ceiling(max(p99 for _, _, p99 in rows.values()))
    scale = (_WIDTH - left - _RIGHT) / right
    height = _TOP + _ROW * len(rows) + 40
    parts = [_x_tick(left + scale * right * part / 4, height - 34, _number(right * part / 4)) for part in range(5)]
    for index, (name, (p50, p95, p99)) in enumerate(rows.items()):
        middle = _TOP + _ROW * (index + 0.5)
        label = escape(f"{name}: p50 {_number(p50)}, p95 {_number(p95)}, p99 {_number(p99)} {unit}")
        parts += [
            f'<text x="{left - 8}" y="{middle + 4:.1f}" text-anchor="end">{escape(_short(name))}</text>',
            f"<g><title>{label}</title>",
            f'<rect class="thin" x="{left}" y="{middle - 3:.1f}" width="{p95 * scale:.1f}" height="6"/>',
            f'<rect class="thick" x="{left}" y="{middle - 8:.1f}" width="{p50 * scale:.1f}" height="16"/>',
            f'<line class="mark" x1="{left + p99 * scale:.1f}" x2="{left + p99 * scale:.1f}" '
            f'y1="{middle - 8:.1f}" y2="{middle + 8:.1f}"/></g>',
        ]
    parts.append(f'<text x="{_WIDTH - _RIGHT}" y="{height - 4}" text-anchor="end">{escape(unit)}</text>')
    return _svg(parts, height, "Latency percentiles by node")


def interval_chart(rows: Mapping[str, tuple[float, float, float]], label: str) -> str:
    """Draw a point with its interval beside a line at zero, a row each.

    :param rows: name → value, low and high.
    """
    left = 190
    reach = max(abs(value) for row in rows.values() for value in row) * 1.15 or 0.01
    scale = (_WIDTH - left - _RIGHT) / (2 * reach)
    zero = left + reach * scale
    height = _TOP + _ROW * len(rows) + 40
    parts = [_x_tick(zero + value * scale, height - 34, f"{value:+.3f}") for value in (-reach / 1.5, reach / 1.5)]
    parts.append(f'<line class="zero" x1="{zero:.1f}" x2="{zero:.1f}" y1="{_TOP}" y2="{height - 36}"/>')
    parts.append(f'<text x="{zero:.1f}" y="{height - 20}" text-anchor="middle">0</text>')
    for index, (name, (value, low, high)) in enumerate(rows.items()):
        middle = _TOP + _ROW * (index + 0.5)
        parts += [
            f'<text x="{left - 8}" y="{middle + 4:.1f}" text-anchor="end">{escape(_short(name, 32))}</text>',
            f'<line class="mark" x1="{zero + low * scale:.1f}" x2="{zero + high * scale:.1f}" '
            f'y1="{middle:.1f}" y2="{middle:.1f}"/>',
            _dot(zero + value * scale, middle, 0, f"{name}: {value:+.4f}, {low:+.4f} … {high:+.4f}", 5),
        ]
    parts.append(f'<text x="{_WIDTH - _RIGHT}" y="{height - 4}" text-anchor="end">{escape(label)}</text>')
    return _svg(parts, height, label)


def legend(names: Sequence[str], colours: Mapping[str, int]) -> str:
    """Return the key to the colours of a chart."""
    keys = "".join(f'<span><i class="key c{colours[name]}"></i>{escape(name)}</span>' for name in names)
    return f'<p class="legend">{keys}</p>'


def _frame(axes: Axes, top: float | None, ticks: Mapping[str, float]) -> list[str]:
    bottom = _HEIGHT - _BOTTOM
    parts = [f'<line class="axis" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{bottom}" y2="{bottom}"/>']
    parts += [_x_tick(x, bottom + 4, label) for label, x in ticks.items()]
    if top is not None:
        parts += [_y_tick(_height(top * part / 4, top), _number(top * part / 4)) for part in range(5)]
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    return [*parts, f'<text x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(axes.x)}</text>']


def _x_tick(x: float, y: float, label: str) -> str:
    return f'<text x="{x:.1f}" y="{y + 12:.1f}" text-anchor="middle">{escape(label)}</text>'


def _y_tick(y: float, label: str) -> str:
    grid = f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return f'{grid}<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{escape(label)}</text>'


def _dot(x: float, y: float, colour: int, title: str, radius: float = 3.5) -> str:
    return (
        f'<circle class="dot c{colour}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}"><title>{escape(title)}</title></circle>'
    )


def _height(value: float, top: float) -> float:
    return _HEIGHT - _BOTTOM - (_HEIGHT - _BOTTOM - _TOP) * value / top


def _ceiling(value: float) -> float:
    """Return the next number above that four ticks divide well."""
    power = 10.0 ** math.floor(math.log10(value)) if value > 0 else 1.0
    return next(power * step for step in (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10) if power * step >= value)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _short(name: str, longest: int = 16) -> str:
    return name if len(name) <= longest else f"{name[: longest - 1]}…"


def _svg(parts: Sequence[str], height: float, label: str) -> str:
    content = "".join(parts)
    return f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(label)}">{content}</svg>'
