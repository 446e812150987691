"""The chain that the tests of this folder share; each test has it back as it found it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.chain.evm import Anvil, Evm, Tools, ToolsMissing, install_tools, running_anvil


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/chain/" in item.nodeid:
            item.add_marker(pytest.mark.chain)


@pytest.fixture(scope="session")
def tools() -> Tools:
    try:
        return install_tools()
    except ToolsMissing as missing:
        if os.environ.get("LRS_REQUIRE_ALL") == "1":
            raise
        pytest.skip(f"anvil and solc could not be installed: {missing}")


@pytest.fixture(scope="session")
def anvil(tools: Tools) -> Iterator[Anvil]:
    with running_anvil(tools) as running:
        yield running


@pytest.fixture(scope="session")
def deployed(anvil: Anvil, tools: Tools) -> Evm:
    return Evm(anvil, tools)


@pytest.fixture
def evm(deployed: Evm) -> Iterator[Evm]:
    """The contracts, without any sender's funds."""
    with deployed.restored() as evm:
        yield evm
