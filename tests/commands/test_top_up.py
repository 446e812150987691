"""`top-up` on a node that loses its answers, run again and again as a timer does: never more than the day's limit, never twice."""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from eth_account import Account

from livepeer_remote_signer.adapters.funding import FundingChain
from livepeer_remote_signer.adapters.sent_transactions import SentTransactions
from livepeer_remote_signer.adapters.topped_up import ToppedUp
from livepeer_remote_signer.cli import main
from livepeer_remote_signer.commands.funding import NOT_KNOWN, run
from tests.fake_chain import CHAIN_ID, CONTROLLER
from tests.pool_node import ETH, Node
from tests.rpc_node import RpcNode

SECRET = bytes.fromhex("0b" * 32)
PAYER = bytes.fromhex(Account.from_key(SECRET).address[2:])
SENDER = b"\x77" * 20
Captured = pytest.CaptureFixture[str]


@pytest.fixture
async def node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Node]:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    one = Node()
    async with RpcNode(one.answer) as rpc:
        one.rpc = rpc
        key, config = tmp_path / "key", tmp_path / "config.yaml"
        key.write_text(SECRET.hex())
        key.chmod(0o600)
        chain = {"source": "rpc", "rpc": {"urls": [rpc.url], "controller": "0x" + CONTROLLER.hex(), "chain_id": CHAIN_ID}}
        config.write_text(yaml.safe_dump({"key": {"private_key_file": str(key)}, "chain": chain}))
        yield one


async def top_up(tmp_path: Path, **changes: Any) -> int:
    """The exit status of one run: below 5 ETH to 10 ETH, at most 12 ETH a day."""
    marks = {"below": 5 * ETH, "to": 10 * ETH, "max_per_day": 12 * ETH, "sender": SENDER, "timeout": 0.2, "max_gas_price": None, **changes}
    return await asyncio.to_thread(run, argparse.Namespace(command="top-up", config=tmp_path / "config.yaml", key=None, **marks))


async def test_a_low_deposit_is_filled_up_once_and_then_there_is_nothing_to_do(node: Node, tmp_path: Path, capsys: Captured) -> None:
    assert await top_up(tmp_path) == 0
    said = capsys.readouterr().out
    assert "is 0 ETH, below 5 ETH; 0 ETH were paid in within the last day" in said
    assert "pays 10 ETH in, of 10 ETH that are missing" in said
    assert "done in block" in said
    assert node.chain.deposit == 10 * ETH
    assert await top_up(tmp_path) == 0
    assert "is 10 ETH, not below 5 ETH: nothing to do" in capsys.readouterr().out
    assert len(node.sent) == 1


async def test_the_days_limit_holds_over_runs_and_says_so_when_it_is_reached(node: Node, tmp_path: Path, capsys: Captured) -> None:
    assert await top_up(tmp_path) == 0
    node.chain.deposit = 3 * ETH
    assert await top_up(tmp_path) == 0
    assert "pays 2 ETH in, of 7 ETH that are missing" in capsys.readouterr().out
    assert node.chain.deposit == 5 * ETH
    node.chain.deposit = 1
    assert await top_up(tmp_path) == 1
    assert "12 ETH were paid in within the last day, and --max-per-day is 12 ETH: look at what spends so much" in capsys.readouterr().err
    assert len(node.sent) == 2


async def test_what_may_have_arrived_is_waited_for_and_never_paid_twice(node: Node, tmp_path: Path, capsys: Captured) -> None:
    node.is_mining, node.hides_pool, node.cuts_answer = False, True, True
    assert await top_up(tmp_path) == NOT_KNOWN
    node.mine()
    node.is_mining, node.hides_pool, node.cuts_answer = True, False, False
    assert await top_up(tmp_path) == 0
    said = capsys.readouterr().out
    assert "was mined in block" in said
    assert "nothing to do" in said
    assert (node.chain.deposit, len(node.sent)) == (10 * ETH, 1)
    node.chain.deposit = 0
    assert await top_up(tmp_path) == 0
    assert node.chain.deposit == 2 * ETH, "what was found to be mined counts for the day"


async def test_while_one_waits_to_be_mined_nothing_is_sent(node: Node, tmp_path: Path) -> None:
    node.is_mining = False
    for _ in range(3):
        assert await top_up(tmp_path) == NOT_KNOWN
    assert len(node.sent) == 1
    node.mine()
    assert await top_up(tmp_path) == 0
    assert (node.chain.deposit, len(node.sent)) == (10 * ETH, 1)


async def test_what_the_node_lost_is_sent_again_under_the_same_nonce_and_counts_once(node: Node, tmp_path: Path) -> None:
    node.takes, node.cuts_answer = False, True
    assert await top_up(tmp_path) == NOT_KNOWN
    assert await top_up(tmp_path) == NOT_KNOWN
    node.takes, node.cuts_answer = True, False
    node.chain.deposit = 1 * ETH
    assert await top_up(tmp_path) == 0
    assert (node.chain.deposit, node.nonce) == (10 * ETH, 1)
    node.chain.deposit = 0
    assert await top_up(tmp_path) == 0
    assert node.chain.deposit == 3 * ETH, "9 ETH were paid in, so 3 are left of the day"


@pytest.mark.parametrize("refusal", ["insufficient funds for gas * price + value", "intrinsic gas too low"])
async def test_what_was_refused_for_certain_does_not_count(node: Node, tmp_path: Path, refusal: str) -> None:
    node.takes, node.refusal = False, refusal
    for _ in range(3):
        assert await top_up(tmp_path) == 1
    node.takes, node.refusal = True, None
    assert await top_up(tmp_path) == 0
    assert node.chain.deposit == 10 * ETH


class Killed(BaseException):
    """What ends a process anywhere."""


@pytest.mark.parametrize("place", [(SentTransactions, "remember"), (FundingChain, "send"), (FundingChain, "wait"), (ToppedUp, "mined")])
async def test_a_run_that_was_killed_anywhere_pays_once_with_the_next(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: tuple[type, str]
) -> None:
    def fail(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(*place, fail)
        with pytest.raises(Killed):
            await top_up(tmp_path)
    (path,) = (tmp_path / "state").glob("topped-up-*")
    assert [note["wei"] for note in json.loads(path.read_text())] == [str(10 * ETH)]
    assert await top_up(tmp_path) == 0
    assert (node.chain.deposit, node.nonce) == (10 * ETH, 1)
    node.chain.deposit = 0
    assert await top_up(tmp_path) == 0
    assert node.chain.deposit == 2 * ETH, "it counts for the day"


async def test_two_runs_at_once_pay_once(node: Node, tmp_path: Path, capsys: Captured) -> None:
    statuses = await asyncio.gather(*(top_up(tmp_path, timeout=30) for _ in range(4)))
    assert node.chain.deposit == 10 * ETH
    assert len(node.sent) == 1
    assert set(statuses) <= {0, 1}
    record = SentTransactions(tmp_path / "state", tmp_path / "config.yaml", CHAIN_ID, PAYER)
    with record.alone():
        node.chain.deposit = 0
        assert await top_up(tmp_path) == 1
    assert "another command of this sender is at work" in capsys.readouterr().err
    assert len(node.sent) == 1


async def test_an_endpoint_that_lags_behind_the_last_one_is_not_believed(node: Node, tmp_path: Path, capsys: Captured) -> None:
    assert await top_up(tmp_path) == 0
    node.chain.number -= 1
    node.chain.deposit = 0
    assert await top_up(tmp_path) == NOT_KNOWN
    assert "it lags" in capsys.readouterr().err
    assert len(node.sent) == 1


async def test_without_a_place_to_remember_nothing_is_sent(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setenv("STATE_DIRECTORY", str(blocked))
    assert await top_up(tmp_path) == 1
    for name in ("STATE_DIRECTORY", "XDG_STATE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    assert await top_up(tmp_path) == 1
    assert "no place for what was sent" in capsys.readouterr().err
    assert node.sent == []


async def test_dust_is_not_worth_its_gas(node: Node, tmp_path: Path, capsys: Captured) -> None:
    assert await top_up(tmp_path, max_per_day=5) == 1
    assert "0.000000000000000005 ETH are all that --max-per-day leaves now, and gas may cost as much" in capsys.readouterr().err
    assert node.sent == []


@pytest.mark.parametrize(
    ("below", "to", "most", "said"),
    [("0", "1eth", "1eth", "must be above 0"), ("2eth", "1eth", "1eth", "not under it"), ("1eth", "1eth", "0", "--max-per-day must be")],
)
def test_marks_that_cannot_be_meant_are_refused(tmp_path: Path, capsys: Captured, below: str, to: str, most: str, said: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"key": {"private_key": "0x" + SECRET.hex()}, "chain": {"source": "static"}}))
    assert main(["top-up", "--config", str(config), "--below", below, "--to", to, "--max-per-day", most]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("address", ["0x12", "ab" * 20, "0x" + "zz" * 20, "0x7E5F4552091A69125d5DfCb7b8C2659029395bdf"])
def test_an_address_with_a_digit_wrong_is_refused(tmp_path: Path, address: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["fund", "--config", "c", "--for", address, "--deposit", "1"])
    assert ended.value.code == 2


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_the_node_does_no_day_sees_more_than_its_limit_and_no_run_fills_over_the_mark(
    node: Node, tmp_path: Path, seed: int
) -> None:
    """A hundred faults at random; every ETH that ever arrived is counted against the limit."""
    chance = random.Random(seed)
    arrived = 0
    for _ in range(10):
        node.is_mining, node.hides_pool = chance.random() < 0.6, chance.random() < 0.3
        node.takes, node.cuts_answer = chance.random() < 0.7, chance.random() < 0.4
        node.status = chance.choice([200, 200, 429, 502])
        before = node.chain.deposit
        await top_up(tmp_path, timeout=0.05)
        if chance.random() < 0.5:
            node.mine()
        arrived += node.chain.deposit - before
        assert node.chain.deposit <= 10 * ETH
        if chance.random() < 0.5:
            node.chain.deposit = chance.randrange(node.chain.deposit + 1)
    assert arrived <= 12 * ETH
