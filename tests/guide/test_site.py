"""`make docs` builds one searchable site, of which nothing is fetched from elsewhere when it is read."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.guide, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]


def test_the_site_has_every_page_and_loads_nothing_from_elsewhere() -> None:
    done = subprocess.run(["make", "docs"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    site = ROOT / "build" / "site"
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert pages <= {path.stem for path in site.glob("*.html")}
    for page in site.glob("*.html"):
        loaded = re.findall(r'<(?:script|img|iframe)[^>]*\ssrc="([^"]*)"|<link[^>]*\shref="([^"]*)"', page.read_text())
        away = [one for pair in loaded for one in pair if re.match(r"(https?:)?//", one)]
        assert not away, (page.name, away)
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(['\"]?(https?:)?//|@import", style.read_text(errors="replace")), style
    index = json.loads((site / "search" / "search_index.json").read_text())
    assert any("max_head_age_seconds" in entry["text"] for entry in index["docs"])
