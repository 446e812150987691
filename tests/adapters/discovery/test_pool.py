"""The on-chain pool, read with one call once it is known."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from eth_abi.abi import encode

from livepeer_remote_signer.adapters.chain.abi import Call, call_data, contract_id
from livepeer_remote_signer.adapters.chain.reading import Contracts
from livepeer_remote_signer.adapters.chain.rpc import ChainUnavailable
from livepeer_remote_signer.adapters.discovery.messages import SourceFault
from livepeer_remote_signer.adapters.discovery.pool import MAX_POOL, OnChainPool

CONTROLLER, MANAGER, REGISTRY, NOTHING = (bytes([n]) * 20 for n in (1, 2, 3, 4))


def member(number: int) -> bytes:
    return number.to_bytes(20, "big")


class FakeChain:
    """BondingManager's list and a registry, as contract reads; counts the calls."""

    def __init__(self, order: list[bytes]) -> None:
        self.order = order
        self.uris = {address: f"https://o{int.from_bytes(address, 'big')}.example:8935" for address in order}
        self.contracts: Contracts | None = Contracts(bytes(20), bytes(20), MANAGER)
        self.reads = 0
        self.fails_at = 0
        self.reverting: set[bytes] = set()

    async def read_contracts(self, calls: Sequence[Call]) -> list[bytes | None]:
        self.reads += 1
        if self.reads == self.fails_at:
            raise ChainUnavailable("no endpoint answered")
        return [self._answer(call) for call in calls]

    def _answer(self, call: Call) -> bytes | None:
        argument = call.data[-20:]
        if call == Call(CONTROLLER, call_data("getContract(bytes32)", contract_id("ServiceRegistry"))):
            return REGISTRY.rjust(32, b"\0")
        if call == Call(MANAGER, call_data("getFirstTranscoderInPool()")):
            return (self.order[0] if self.order else bytes(20)).rjust(32, b"\0")
        if call == Call(MANAGER, call_data("getNextTranscoderInPool(address)", argument)):
            at = self.order.index(argument) + 1 if argument in self.order else len(self.order)
            return (self.order[at] if at < len(self.order) else bytes(20)).rjust(32, b"\0")
        if call.target == NOTHING:
            return b""
        assert call == Call(REGISTRY, call_data("getServiceURI(address)", argument))
        return None if argument in self.reverting else encode(["string"], [self.uris.get(argument, "")])


async def test_a_known_pool_costs_one_call() -> None:
    chain = FakeChain([member(n) for n in range(1, 6)])
    pool = OnChainPool(chain, CONTROLLER)
    urls = await pool.urls()
    assert urls == [f"https://o{n}.example:8935" for n in range(1, 6)]
    chain.reads = 0
    assert await pool.urls() == urls
    assert chain.reads == 1


async def test_newcomers_and_leavers_are_found() -> None:
    chain = FakeChain([member(n) for n in (1, 2, 3)])
    pool = OnChainPool(chain, CONTROLLER, REGISTRY)
    await pool.urls()
    chain.order = [member(9), member(1), member(3)]
    chain.uris[member(9)] = "https://new.example:8935/"
    chain.reads = 0
    assert await pool.urls() == ["https://new.example:8935", "https://o1.example:8935", "https://o3.example:8935"]
    assert chain.reads == 2


async def test_a_walk_that_breaks_off_is_not_begun_anew() -> None:
    chain = FakeChain([member(n) for n in range(1, 31)])
    pool = OnChainPool(chain, CONTROLLER, REGISTRY)
    chain.fails_at = 20
    with pytest.raises(SourceFault, match="no endpoint answered"):
        await pool.urls()
    chain.fails_at, chain.reads = 0, 0
    assert len(await pool.urls()) == 30
    assert chain.reads == 1 + 30 - 18
    chain.fails_at, chain.reads = 1, 0
    with pytest.raises(SourceFault, match="no endpoint answered"):
        await pool.urls()
    chain.fails_at, chain.reads = 0, 0
    assert len(await pool.urls()) == 30
    assert chain.reads == 1


async def test_a_member_without_a_readable_uri_is_left_out() -> None:
    chain = FakeChain([member(1), member(2), member(3), member(4)])
    chain.uris[member(1)] = "gopher://x"
    chain.reverting = {member(2)}
    chain.uris[member(3)] = ""
    assert await OnChainPool(chain, CONTROLLER, REGISTRY).urls() == ["https://o4.example:8935"]


async def test_members_that_cannot_be_asked_are_told_once_and_those_without_a_uri_not(caplog: pytest.LogCaptureFixture) -> None:
    chain = FakeChain([member(n) for n in (1, 2, 3)])
    chain.uris |= {member(1): "http://o1.example:8935", member(2): ""}
    pool = OnChainPool(chain, CONTROLLER, REGISTRY)
    for _ in range(2):
        assert await pool.urls() == ["https://o3.example:8935"]
    (told,) = [r.message for r in caplog.records if "left out" in r.message]
    assert "'http://o1.example:8935': the orchestrator's URL must start with https://" in told
    chain.uris[member(1)] = "o1.example:8935"
    await pool.urls()
    assert len([r for r in caplog.records if "left out" in r.message]) == 2


async def test_a_list_that_bites_its_tail_or_never_ends_is_cut() -> None:
    chain = FakeChain([member(1), member(2), member(1)])
    assert len(await OnChainPool(chain, CONTROLLER, REGISTRY).urls()) == 2
    endless = FakeChain([member(n) for n in range(1, MAX_POOL + 50)])
    assert len(await OnChainPool(endless, CONTROLLER, REGISTRY).urls()) == MAX_POOL


async def test_a_registry_that_is_no_contract_is_a_fault_that_says_what_to_set() -> None:
    with pytest.raises(SourceFault, match=r"no contract stands at .* 0x0404.*: discovery\.ai_service_registry must name"):
        await OnChainPool(FakeChain([member(1)]), CONTROLLER, NOTHING).urls()


async def test_an_empty_pool_is_empty() -> None:
    assert await OnChainPool(FakeChain([]), CONTROLLER, REGISTRY).urls() == []


async def test_without_contracts_nothing_is_read() -> None:
    chain = FakeChain([member(1)])
    chain.contracts = None
    with pytest.raises(SourceFault, match="not known yet"):
        await OnChainPool(chain, CONTROLLER).urls()
    assert chain.reads == 0
