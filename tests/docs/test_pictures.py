"""The README's pictures show what is: each carries the commit it was made at, and none is older than what it shows."""

from __future__ import annotations

import json
import re

import pytest

from tests.pictures.drawing import FOLDER, ROOT, benchmark_rows, draw_against_go, draw_signer, sources

MADE = json.loads((FOLDER / "made.json").read_text())


def test_no_picture_is_older_than_what_it_shows() -> None:
    assert MADE["sources"] == sources(), "run make pictures"


def test_the_drawings_are_those_of_today_at_their_commit() -> None:
    assert (FOLDER / "against-go.svg").read_text() == draw_against_go(MADE["commit"])
    assert (FOLDER / "signer.svg").read_text() == draw_signer(MADE["commit"])
    assert len(benchmark_rows()) > 5


@pytest.mark.parametrize("name", ["console.png", "against-go.svg", "signer.svg"])
def test_each_is_shown_and_carries_its_commit(name: str) -> None:
    assert re.fullmatch("[0-9a-f]{40}", MADE["commit"])
    assert f"made at {MADE['commit']}".encode() in (FOLDER / name).read_bytes()
    assert f"(docs/pictures/{name})" in (ROOT / "README.md").read_text()
