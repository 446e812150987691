"""The services that the tests of this folder share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from tests.chain.evm import Anvil, Tools, ToolsMissing, install_tools, running_anvil
from tests.chain.livepeer import LivepeerEvm
from tests.custody.services import AWS_ENVIRONMENT, Kms, PartMissing, SoftHsm, install_local_kms, make_token, running_kms

_T = TypeVar("_T")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/custody/" in item.nodeid:
            item.add_marker(pytest.mark.custody)


def _or_skip(make: Callable[[], _T]) -> _T:
    try:
        return make()
    except (PartMissing, ToolsMissing) as missing:
        if os.environ.get("LRS_REQUIRE_ALL") == "1":
            raise
        pytest.skip(f"a part is missing: {missing}")


@pytest.fixture(scope="session")
def tools() -> Tools:
    return _or_skip(install_tools)


@pytest.fixture(scope="session")
def anvil(tools: Tools) -> Iterator[Anvil]:
    with running_anvil(tools) as running:
        yield running


@pytest.fixture(scope="module")
def livepeer(anvil: Anvil, tools: Tools) -> LivepeerEvm:
    return LivepeerEvm(anvil, tools)


@pytest.fixture
def evm(livepeer: LivepeerEvm) -> Iterator[LivepeerEvm]:
    """The contracts, without any sender's funds."""
    with livepeer.restored() as evm:
        yield evm


@pytest.fixture(scope="session")
def aws_environment() -> Iterator[None]:
    """Credentials where AWS's own tools look for them."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in AWS_ENVIRONMENT.items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def kms(tmp_path_factory: pytest.TempPathFactory, aws_environment: None) -> Iterator[Kms]:
    with running_kms(_or_skip(install_local_kms), tmp_path_factory.mktemp("kms")) as running:
        yield running


@pytest.fixture(scope="session")
def hsm(tmp_path_factory: pytest.TempPathFactory) -> SoftHsm:
    folder: Path = tmp_path_factory.mktemp("hsm")
    return _or_skip(lambda: make_token(folder))
