"""The table as a picture: CPU a request in signatures, one bar a row, go-livepeer's figure as a line."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from pathlib import Path

from benchmarks.measure import GO_SIGNATURES, Figures

_WIDTH, _LEFT, _ROW, _TOP = 860, 270, 24, 44


def write_plot(path: Path, found: Mapping[str, Figures]) -> None:
    """Writes an SVG that reads on light and dark ground. Rows beyond 40 signatures are cut at the edge and say so."""
    rows = [(name, figures.cpu_signatures) for name, figures in found.items()]
    largest = min(40.0, max([GO_SIGNATURES, *(value for _, value in rows)]))
    scale = (_WIDTH - _LEFT - 70) / largest
    height = _TOP + _ROW * len(rows) + 16
    go_x = _LEFT + GO_SIGNATURES * scale
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" font-family="sans-serif" font-size="13">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        '<text x="12" y="20" fill="#222" font-weight="bold">CPU a request, in signatures of libsecp256k1 (less is better)</text>',
        f'<line x1="{go_x:.1f}" y1="{_TOP - 14}" x2="{go_x:.1f}" y2="{height - 8}" stroke="#c33" stroke-dasharray="4 3"/>',
        f'<text x="{go_x + 4:.1f}" y="{_TOP - 6}" fill="#c33">go-livepeer 0.9.1: {GO_SIGNATURES}</text>',
    ]
    for index, (name, value) in enumerate(rows):
        y = _TOP + index * _ROW
        width = min(value, largest) * scale
        parts += [
            f'<text x="{_LEFT - 8}" y="{y + 15}" text-anchor="end" fill="#222">{escape(name)}</text>',
            f'<rect x="{_LEFT}" y="{y + 3}" width="{width:.1f}" height="{_ROW - 8}" fill="#2a7f62"/>',
            f'<text x="{_LEFT + width + 5:.1f}" y="{y + 15}" fill="#222">{value:.1f}</text>',
        ]
    path.write_text("\n".join([*parts, "</svg>", ""]), "utf-8")
