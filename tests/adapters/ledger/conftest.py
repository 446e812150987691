from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where a ledger is kept: a new file, or a new database."""
    if request.param == "sqlite":
        return tmp_path / "ledger.sqlite"
    create: Callable[[], str] = request.getfixturevalue("postgres_url")
    return create()
