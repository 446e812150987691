"""The image, built once, and an engine that runs it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.environments.conftest import skip_or_fail
from tests.image.engine import Engine, NoEngine, running_engine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/image/" in item.nodeid:
            item.add_marker(pytest.mark.image)
            item.add_marker(pytest.mark.timeout(1500))  # the first of them builds


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    try:
        with running_engine() as running:
            yield running
    except NoEngine as missing:
        skip_or_fail(str(missing))
