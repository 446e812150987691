"""Livepeer's own contracts on a chain of these tests' own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chain.conftest import tools
from tests.chain.evm import Tools, running_anvil
from tests.chain.livepeer import LivepeerEvm

__all__ = ["livepeer", "tools"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/money/" in item.nodeid:
            item.add_marker(pytest.mark.money)


@pytest.fixture
def livepeer(tools: Tools) -> Iterator[LivepeerEvm]:
    with running_anvil(tools) as anvil:
        yield LivepeerEvm(anvil, tools)
