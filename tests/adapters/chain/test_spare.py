"""Who is asked beside the poll, and who is left alone for a while."""

from __future__ import annotations

from typing import Any, cast

import pytest

from livepeer_remote_signer.adapters.chain.endpoints import Endpoint
from livepeer_remote_signer.adapters.chain.json_rpc import MAX_RETRY_AFTER_SECONDS, JsonRpc, RpcFault, TooManyRequests
from livepeer_remote_signer.adapters.chain.reading import Known
from livepeer_remote_signer.adapters.chain.spare import SpareEndpoints

PAUSE_SECONDS = 10.0


class Node:
    """What stands for an endpoint's connection: it answers, or fails as it is told."""

    def __init__(self) -> None:
        self.fault: RpcFault | None = None

    async def batch(self, requests: list[Any], seconds: float) -> list[Any]:
        if self.fault is not None:
            raise self.fault
        return [seconds]


@pytest.fixture
def nodes() -> list[Node]:
    return [Node(), Node(), Node()]


@pytest.fixture
def endpoints(nodes: list[Node]) -> list[Endpoint]:
    return [Endpoint(cast(JsonRpc, node), place, known=cast(Known, object())) for place, node in enumerate(nodes)]


def test_who_is_in_use_comes_last_and_who_failed_or_is_not_known_does_not_come(endpoints: list[Endpoint]) -> None:
    spare = SpareEndpoints(endpoints, lambda: endpoints[0], lambda: 0.0, PAUSE_SECONDS)
    assert spare.order() == [endpoints[1], endpoints[2], endpoints[0]]
    endpoints[1].failures = 1
    endpoints[2].known = None
    assert spare.order() == [endpoints[0]]


@pytest.mark.parametrize(
    ("asked_for", "pause"), [(None, PAUSE_SECONDS), (3.0, 3.0), (MAX_RETRY_AFTER_SECONDS + 1, MAX_RETRY_AFTER_SECONDS)]
)
async def test_who_says_too_many_is_left_alone_for_as_long_as_it_says(
    nodes: list[Node], endpoints: list[Endpoint], asked_for: float | None, pause: float
) -> None:
    now = [100.0]
    spare = SpareEndpoints(endpoints, lambda: None, lambda: now[0], PAUSE_SECONDS)
    nodes[1].fault = TooManyRequests("too many requests (429)", asked_for)
    with pytest.raises(TooManyRequests):
        await spare.ask(endpoints[1], [], 1.0)
    assert spare.is_paused(endpoints[1])
    assert spare.order() == [endpoints[0], endpoints[2]]
    now[0] += pause - 0.01
    assert spare.is_paused(endpoints[1])
    now[0] += 0.01
    assert spare.order() == endpoints


async def test_another_fault_pauses_nobody(nodes: list[Node], endpoints: list[Endpoint]) -> None:
    spare = SpareEndpoints(endpoints, lambda: None, lambda: 0.0, PAUSE_SECONDS)
    nodes[0].fault = RpcFault("no answer")
    with pytest.raises(RpcFault):
        await spare.ask(endpoints[0], [], 1.0)
    assert spare.order() == endpoints
    assert await spare.ask(endpoints[1], [], 0.8) == [0.8]
