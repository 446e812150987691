"""What each picture is made from, and the two that are drawn."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "pictures"
BENCHMARKS = ROOT / "benchmarks" / "README.md"
PAGE = ROOT / "src" / "livepeer_remote_signer" / "api" / "console.html"
_ROW = re.compile(r"^\| ([^|]+) \| [\d.]+ \| \d+ \| \d+ \| ([\d.]+) \| ([\d.]+) \| \d+ \|$", re.MULTILINE)
SHOWN = 12


def benchmark_rows() -> list[tuple[str, float]]:
    """Each row's requests a core against go-livepeer's, as the benchmarks' page has them."""
    return [(name.strip(), float(against)) for name, against, _ in _ROW.findall(BENCHMARKS.read_text())][:SHOWN]


def sources() -> Mapping[str, str]:
    """By picture a digest of what it shows: with another one the picture is old."""
    made_from = {
        "console.png": PAGE.read_bytes(),
        "against-go.svg": repr(benchmark_rows()).encode(),
        "signer.svg": Path(__file__).read_bytes(),
    }
    return {name: sha256(content).hexdigest() for name, content in made_from.items()}


def _svg(width: int, height: int, title: str, commit: str, parts: Iterator[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13" role="img">'
    return "\n".join((head, f"<title>{title}</title>", f"<desc>made at {commit}</desc>", *parts, "</svg>", ""))


def draw_against_go(commit: str) -> str:
    """Requests a core and second, go-livepeer's own remote signer being 1."""
    rows = benchmark_rows()
    most, left, wide = max(value for _, value in rows), 250, 420

    def parts() -> Iterator[str]:
        yield f'<rect width="760" height="{60 + 26 * len(rows)}" fill="#fff"/>'
        yield '<text x="12" y="22" font-weight="bold" fill="#222">Requests a core, go-livepeer 0.9.1 being 1</text>'
        for index, (name, value) in enumerate(rows):
            y = 40 + 26 * index
            yield f'<text x="{left - 8}" y="{y + 13}" text-anchor="end" fill="#222">{escape(name)}</text>'
            yield f'<rect x="{left}" y="{y}" width="{value / most * wide:.1f}" height="17" rx="2" fill="#0f7b5f"/>'
            yield f'<text x="{left + value / most * wide + 6:.1f}" y="{y + 13}" fill="#222">{value:g}</text>'
        x = left + wide / most
        yield f'<line x1="{x:.1f}" x2="{x:.1f}" y1="32" y2="{44 + 26 * len(rows)}" stroke="#b3261e" stroke-dasharray="4 3"/>'

    return _svg(760, 60 + 26 * len(rows), "Requests a core against go-livepeer", commit, parts())


BOXES = {
    "gateway": (20, 90, "Gateway", "holds no key"),
    "signer": (300, 90, "Remote signer", "holds the key; checks price, funds, budget"),
    "orchestrator": (300, 240, "Orchestrator", "works, and takes tickets"),
    "chain": (620, 90, "Arbitrum One", "TicketBroker: deposit, reserve"),
    "ledger": (620, 10, "Ledger", "SQLite or PostgreSQL: spend, events"),
    "operator": (20, 10, "Operator", "console, metrics, kill switches"),
}
ARROWS = (
    ("M220 112 H298", 259, 106, "every 5 s"),
    ("M298 128 H222", 259, 144, "tickets"),
    ("M120 152 V262 H298", 205, 256, "work, and the headers"),
    ("M500 112 H618", 559, 106, "reads funds"),
    ("M500 98 H560 V36 H618", 590, 30, ""),
    ("M500 262 H720 V154", 625, 256, "redeems winners"),
    ("M220 32 H400 V88", 330, 26, "admin listener"),
)


def draw_signer(commit: str) -> str:
    """Where the signer stands."""

    def parts() -> Iterator[str]:
        yield '<rect width="840" height="310" fill="#fff"/>'
        yield '<defs><marker id="end" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        yield '<path d="M0 0L8 4L0 8z" fill="#5a6660"/></marker></defs>'
        for path, x, y, text in ARROWS:
            yield f'<path d="{path}" fill="none" stroke="#5a6660" marker-end="url(#end)"/>'
            yield f'<text x="{x}" y="{y}" text-anchor="middle" font-size="10" fill="#5a6660">{text}</text>'
        for name, (x, y, title, text) in BOXES.items():
            colour = "#dff2ea" if name == "signer" else "#f4f5f3"
            yield f'<rect x="{x}" y="{y}" width="200" height="62" rx="8" fill="{colour}" stroke="#0f7b5f"/>'
            yield f'<text x="{x + 100}" y="{y + 27}" text-anchor="middle" font-weight="bold" fill="#16201c">{title}</text>'
            yield f'<text x="{x + 100}" y="{y + 45}" text-anchor="middle" font-size="9" fill="#5a6660">{text}</text>'

    return _svg(840, 310, "Gateway, signer, orchestrator, chain and ledger", commit, parts())
