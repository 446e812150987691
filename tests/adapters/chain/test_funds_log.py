"""The log says once when funds come, unlock, run low or leave."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from livepeer_remote_signer.adapters.chain.funds_log import FundsLog
from tests.fake_chain import CHAIN_ID, CONTROLLER, FakeChain
from tests.plans import CHAIN
from tests.rpc_node import RpcNode

ETH = 10**18


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged since the last call."""
    texts = [f"{record.levelname} {record.getMessage()}" for record in caplog.records if record.name.endswith("funds_log")]
    caplog.clear()
    return texts


def test_each_change_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    log, view = FundsLog(), replace(CHAIN, deposit_wei=ETH, reserve_wei=2 * ETH, withdraw_round=0)
    log.note(view)
    assert said(caplog) == ["INFO the deposit is 1 ETH", "INFO the reserve is 2 ETH"]
    log.note(view)
    log.note(replace(view, deposit_wei=ETH // 2))
    assert said(caplog) == []
    low = replace(view, deposit_wei=ETH // 11)
    log.note(low)
    (told,) = said(caplog)
    assert told.startswith("WARNING the deposit runs low: ")
    assert "of 1 ETH" in told
    log.note(low)
    assert said(caplog) == []
    log.note(replace(low, withdraw_round=77))
    (told,) = said(caplog)
    assert told.startswith("WARNING the funds unlock in round 77")
    log.note(low)
    assert said(caplog) == ["INFO the funds are locked again"]
    log.note(replace(low, deposit_wei=0, reserve_wei=0))
    gone = said(caplog)
    assert [line.split(" any more")[0] for line in gone] == ["WARNING there is no deposit", "WARNING there is no reserve"]
    log.note(view)
    assert said(caplog) == ["INFO the deposit is 1 ETH", "INFO the reserve is 2 ETH"]


def test_a_sender_without_funds_is_told_of_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    FundsLog().note(replace(CHAIN, deposit_wei=0, reserve_wei=0, withdraw_round=5))
    assert [line.split(":")[0] for line in said(caplog)] == [
        "WARNING the funds unlock in round 5",
        "WARNING there is no deposit",
        "WARNING there is no reserve",
    ]


async def test_the_poller_tells_of_what_it_reads(caplog: pytest.LogCaptureFixture) -> None:
    from livepeer_remote_signer.adapters.chain.endpoints import Pace
    from livepeer_remote_signer.adapters.chain.reading import ChainQuestion
    from livepeer_remote_signer.adapters.chain.rpc import RpcChain

    caplog.set_level(logging.INFO)
    chain = FakeChain()
    async with RpcNode(chain.answer) as node:
        rpc = RpcChain([node.url], ChainQuestion(CHAIN_ID, CONTROLLER, bytes(20)), Pace(5, 4, 60, None))
        await rpc.poll()
        assert "INFO the deposit is 1 ETH" in said(caplog)
        chain.withdraw_round = 9
        chain.number += 1
        await rpc.poll()
        assert any("unlock in round 9" in line for line in said(caplog))
        await rpc.stop()
