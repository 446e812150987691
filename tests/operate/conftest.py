"""What the operating tests run on: a Kafka node, fetched and started once."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.operate.kafka.broker import KafkaNode, fetch_jars, missing_tool


def skip_or_fail(reason: str) -> None:
    """A part that this machine lacks: skipped, but a failure where everything is required."""
    if os.environ.get("LRS_REQUIRE_ALL") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaNode]:
    """A running node."""
    if (tool := missing_tool()) is not None:
        skip_or_fail(f"{tool} is not installed: Kafka runs on Java and comes with Maven")
    fetch_jars()
    node = KafkaNode(tmp_path_factory.mktemp("kafka"))
    node.start()
    yield node
    node.stop()
