"""The table as a picture: CPU a request and p99 in signatures, one bar a row, go-livepeer's figures as lines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import NamedTuple

from benchmarks.measure import GO_P99_SIGNATURES, GO_SIGNATURES, Figures

_WIDTH, _LEFT, _ROW, _TOP, _GAP = 860, 270, 24, 44, 16


class _Chart(NamedTuple):
    """One group of bars. Bars beyond `largest` are cut at the edge and say so by their number."""

    title: str
    value: Callable[[Figures], float]
    go: float
    go_name: str
    largest: float
    form: str


_CHARTS = (
    _Chart("CPU a request, in signatures of libsecp256k1", lambda f: f.cpu_signatures, GO_SIGNATURES, "go-livepeer", 40.0, ".1f"),
    _Chart("p99, in signatures", lambda f: f.p99_signatures, GO_P99_SIGNATURES, "go-livepeer at c=16", 1500.0, ".0f"),
)
"""In both less is better."""


def write_plot(path: Path, found: Mapping[str, Figures]) -> None:
    """Writes an SVG that reads on light and dark ground."""
    height = len(_CHARTS) * (_TOP + _ROW * len(found) + _GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="13">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
    ]
    for index, chart in enumerate(_CHARTS):
        parts += _draw(chart, found, index * height // len(_CHARTS))
    path.write_text("\n".join([*parts, "</svg>", ""]), "utf-8")


def _draw(chart: _Chart, found: Mapping[str, Figures], top: int) -> list[str]:
    rows = [(name, chart.value(figures)) for name, figures in found.items()]
    largest = min(chart.largest, max([chart.go, *(value for _, value in rows)]))
    scale = (_WIDTH - _LEFT - 70) / largest
    go_x, first = _LEFT + chart.go * scale, top + _TOP
    end = first + _ROW * len(rows)
    parts = [
        f'<text x="12" y="{top + 20}" fill="#222" font-weight="bold">{escape(chart.title)}</text>',
        f'<line x1="{go_x:.1f}" y1="{first - 14}" x2="{go_x:.1f}" y2="{end}" stroke="#c33" stroke-dasharray="4 3"/>',
        f'<text x="{go_x + 4:.1f}" y="{first - 6}" fill="#c33">{chart.go_name}: {chart.go}</text>',
    ]
    for index, (name, value) in enumerate(rows):
        y = first + index * _ROW
        width = min(value, largest) * scale
        parts += [
            f'<text x="{_LEFT - 8}" y="{y + 15}" text-anchor="end" fill="#222">{escape(name)}</text>',
            f'<rect x="{_LEFT}" y="{y + 3}" width="{width:.1f}" height="{_ROW - 8}" fill="#2a7f62"/>',
            f'<text x="{_LEFT + width + 5:.1f}" y="{y + 15}" fill="#222">{value:{chart.form}}</text>',
        ]
    return parts
