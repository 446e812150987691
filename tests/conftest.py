"""What tests of many folders start once, and how property tests look for counter-examples."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.postgres import postgres_databases

# No example has a time limit, nor has making them: a machine that stands still for a moment is no counter-example. Where everything
# is required the same examples are tried each time: the same sources give the same answer there, and new examples are looked for here.
settings.register_profile(
    "ours",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=os.environ.get("LRS_REQUIRE_ALL") == "1",
    print_blob=True,
)
settings.load_profile("ours")


def pytest_configure(config: pytest.Config) -> None:
    """What the collector finds unclosed fails whichever test runs then. Where everything is required it is told, and fails nobody."""
    if os.environ.get("LRS_REQUIRE_ALL") == "1":
        config.addinivalue_line("filterwarnings", "default::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[Callable[[], str]]:
    """Gives the connection string of a new database at each call."""
    with postgres_databases() as create:
        yield create


@pytest.fixture(autouse=True)
def log_level_stays() -> Iterator[None]:
    """A signer sets the level of the whole process: the test that comes next does not see it."""
    root = logging.getLogger()
    level = root.level
    yield
    root.setLevel(level)
