"""What tests of many folders start once."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.postgres import postgres_databases


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[Callable[[], str]]:
    """Gives the connection string of a new database at each call."""
    with postgres_databases() as create:
        yield create
