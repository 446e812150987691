"""Tables as pictures: groups of bars, one bar a row, and a line to hold them against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

_WIDTH, _LEFT, _ROW, _TOP, _GAP = 860, 330, 24, 44, 16


class Chart(NamedTuple):
    """One group of bars. Bars beyond `largest` are cut at the edge and say so by their number."""

    title: str
    rows: Mapping[str, float]
    form: str
    line: float
    line_name: str
    largest: float


def write_plot(path: Path, charts: Sequence[Chart]) -> None:
    """Writes an SVG that reads on light and dark ground."""
    tops = [0]
    for chart in charts:
        tops.append(tops[-1] + _TOP + _ROW * len(chart.rows) + _GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {tops[-1]}" font-family="sans-serif" font-size="13">',
        f'<rect width="{_WIDTH}" height="{tops[-1]}" fill="#fff"/>',
    ]
    for chart, top in zip(charts, tops, strict=False):
        parts += _draw(chart, top)
    path.write_text("\n".join([*parts, "</svg>", ""]), "utf-8")


def _draw(chart: Chart, top: int) -> list[str]:
    largest = min(chart.largest, max(chart.line, *chart.rows.values()))
    scale = (_WIDTH - _LEFT - 70) / largest
    line_x, first = _LEFT + chart.line * scale, top + _TOP
    end = first + _ROW * len(chart.rows)
    named = f'x="{line_x - 4:.1f}" y="{first - 6}" text-anchor="end"' if line_x > 0.7 * _WIDTH else f'x="{line_x + 4:.1f}" y="{first - 6}"'
    parts = [
        f'<text x="12" y="{top + 20}" fill="#222" font-weight="bold">{escape(chart.title)}</text>',
        f'<line x1="{line_x:.1f}" y1="{first - 14}" x2="{line_x:.1f}" y2="{end}" stroke="#c33" stroke-dasharray="4 3"/>',
        f'<text {named} fill="#c33">{escape(chart.line_name)}: {chart.line:{chart.form}}</text>',
    ]
    for index, (name, value) in enumerate(chart.rows.items()):
        y = first + index * _ROW
        width = min(value, largest) * scale
        parts += [
            f'<text x="{_LEFT - 8}" y="{y + 15}" text-anchor="end" fill="#222">{escape(name)}</text>',
            f'<rect x="{_LEFT}" y="{y + 3}" width="{width:.1f}" height="{_ROW - 8}" fill="#2a7f62"/>',
            f'<text x="{_LEFT + width + 5:.1f}" y="{y + 15}" fill="#222">{value:{chart.form}}</text>',
        ]
    return parts
