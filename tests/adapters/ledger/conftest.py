from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.postgres import postgres_databases


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[Callable[[], str]]:
    """Gives the connection string of a new database at each call."""
    with postgres_databases() as create:
        yield create


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where a ledger is kept: a new file, or a new database."""
    if request.param == "sqlite":
        return tmp_path / "ledger.sqlite"
    create: Callable[[], str] = request.getfixturevalue("postgres_url")
    return create()
