"""The funding commands on a node that loses its answers: nothing is paid twice, and what is not known is said."""

from __future__ import annotations

import argparse
import asyncio
import json
import shlex
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from eth_account import Account

from livepeer_remote_signer.adapters.funding import FundingChain
from livepeer_remote_signer.adapters.sent_transactions import SentTransactions
from livepeer_remote_signer.commands.funding import NOT_KNOWN, run
from tests.fake_chain import CHAIN_ID, CONTROLLER
from tests.pool_node import ETH, Node
from tests.rpc_node import RpcNode

SECRET = bytes.fromhex("0b" * 32)
SENDER = bytes.fromhex(Account.from_key(SECRET).address[2:])


@pytest.fixture
async def node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Node]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    one = Node()
    async with RpcNode(one.answer) as rpc:
        one.rpc = rpc
        key, config = tmp_path / "key", tmp_path / "config.yaml"
        key.write_text(SECRET.hex())
        key.chmod(0o600)
        chain = {"source": "rpc", "rpc": {"urls": [rpc.url], "controller": "0x" + CONTROLLER.hex(), "chain_id": CHAIN_ID}}
        config.write_text(yaml.safe_dump({"key": {"private_key_file": str(key)}, "chain": chain}))
        yield one


async def fund(tmp_path: Path, deposit: int = ETH) -> int:
    """The exit status of `fund --deposit ... --yes`."""
    arguments = argparse.Namespace(
        command="fund", config=tmp_path / "config.yaml", deposit=deposit, reserve=0, yes=True, timeout=0.2, max_gas_price=None, key=None
    )
    return await asyncio.to_thread(run, arguments)


def remembered(tmp_path: Path) -> list[str]:
    """The hashes that are kept."""
    record = SentTransactions(tmp_path / "state" / "livepeer-remote-signer", tmp_path / "config.yaml", CHAIN_ID, SENDER)
    return [one.hash for one in record.load()]


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 429},
        {"status": 502},
        {"cuts_answer": True},
        {"refusal": "already known"},
        {"refusal": "nonce too low"},
        {"refusal": "intrinsic gas too low"},
    ],
    ids=str,
)
async def test_a_transaction_that_was_mined_although_its_answer_was_lost_is_done(
    fault: dict[str, Any], node: Node, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vars(node).update(fault)
    assert await fund(tmp_path) == 0
    said = capsys.readouterr().out
    assert said.index(f"sending transaction {node.sent[0]}") < said.index("may have arrived, although") < said.index("done in block")
    assert (node.chain.deposit, len(node.sent), remembered(tmp_path)) == (ETH, 1, [])


@pytest.mark.parametrize("fault", [{"status": 429}, {"cuts_answer": True}], ids=str)
async def test_what_never_arrived_is_said_to_be_unknown_and_a_repeat_pays_once(
    fault: dict[str, Any], node: Node, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vars(node).update(fault)
    node.takes = False
    assert await fund(tmp_path) == NOT_KNOWN == 3
    assert f"transaction {node.sent[0]} may have arrived" in capsys.readouterr().err
    assert remembered(tmp_path) == node.sent
    vars(node).update({"status": 200, "cuts_answer": False, "takes": True})
    assert await fund(tmp_path) == 0
    assert "nonce 0 is taken again, so that one of them at the most can be mined" in capsys.readouterr().out
    assert (node.chain.deposit, node.nonce, remembered(tmp_path)) == (ETH, 1, [])


async def test_what_arrived_unseen_is_not_paid_again_by_a_repeat(node: Node, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node.is_mining, node.hides_pool, node.cuts_answer = False, True, True
    assert await fund(tmp_path) == NOT_KNOWN
    (first,) = node.sent
    node.mine()
    node.is_mining, node.hides_pool, node.cuts_answer = True, False, False
    assert await fund(tmp_path) == 0
    said = capsys.readouterr().out
    assert f"`fund --deposit {ETH}` was sent as {first}, and its end was not known" in said
    assert "nothing more is sent. To do it once more, run the command again" in said
    assert (node.chain.deposit, node.sent, remembered(tmp_path)) == (ETH, [first], [])
    assert await fund(tmp_path) == 0
    assert node.chain.deposit == 2 * ETH, "after that fresh look the operator has said it once more"


async def test_who_is_interrupted_while_it_waits_is_told_that_it_may_have_arrived(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object) -> int:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(FundingChain, "wait", interrupted)
        assert await fund(tmp_path) == NOT_KNOWN
    assert f"it was interrupted; transaction {node.sent[0]} may have arrived" in capsys.readouterr().err
    assert remembered(tmp_path) == node.sent
    assert await fund(tmp_path) == 0
    assert (node.chain.deposit, len(node.sent), remembered(tmp_path)) == (ETH, 1, [])


async def test_where_nobody_reads_any_more_it_may_have_arrived(node: Node, tmp_path: Path) -> None:
    """As in `fund ... | head -1`: status 1 would say that nothing was changed."""
    command = f"{shlex.quote(sys.executable)} -m livepeer_remote_signer fund --config config.yaml --deposit 1eth --yes"
    until_it_sends = 'while read -r line; do case "$line" in sending*) exit;; esac; done'
    piped = await asyncio.create_subprocess_exec(
        "bash", "-c", f"{command} | {{ {until_it_sends}; }}; exit ${{PIPESTATUS[0]}}", cwd=tmp_path, stderr=asyncio.subprocess.PIPE
    )
    _, said = await piped.communicate()
    assert piped.returncode == NOT_KNOWN, said
    assert f"it was interrupted; transaction {node.sent[0]} may have arrived" in said.decode()
    assert remembered(tmp_path) == node.sent
    assert await fund(tmp_path) == 0
    assert (node.chain.deposit, len(node.sent), remembered(tmp_path)) == (ETH, 1, [])


async def test_funds_tells_of_what_is_open(node: Node, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show = argparse.Namespace(command="funds", config=tmp_path / "config.yaml", json=True, key=None, sender=None)
    node.takes, node.cuts_answer = False, True
    assert await fund(tmp_path) == NOT_KNOWN
    capsys.readouterr()
    assert await asyncio.to_thread(run, show) == 0
    said = capsys.readouterr()
    assert f"was sent as {node.sent[0]}, and its end was not known; the next change looks it up" in said.err
    assert json.loads(said.out)["deposit_wei"] == "0"


async def test_two_that_took_one_nonce_are_both_looked_up(node: Node, tmp_path: Path) -> None:
    node.is_mining, node.hides_pool, node.cuts_answer = False, True, True
    assert await fund(tmp_path) == NOT_KNOWN
    assert await fund(tmp_path, deposit=2 * ETH) == NOT_KNOWN
    first, second = node.sent
    assert remembered(tmp_path) == [first, second]
    del node.pool[second]
    node.mine()
    node.is_mining, node.hides_pool, node.cuts_answer = True, False, False
    assert await fund(tmp_path) == 0
    assert (node.chain.deposit, node.sent) == (ETH, [first, second])


async def test_while_it_waits_to_be_mined_nothing_else_is_sent(node: Node, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node.is_mining = False
    assert await fund(tmp_path) == NOT_KNOWN
    assert "is known to the endpoint and may still be mined" in capsys.readouterr().err
    assert await fund(tmp_path, deposit=5) == NOT_KNOWN
    assert len(node.sent) == 1
    node.mine()
    assert await fund(tmp_path, deposit=5) == NOT_KNOWN, "the other one was done; this one waits for its own block"
    node.mine()
    assert node.chain.deposit == ETH + 5


async def test_where_nothing_can_be_kept_the_pool_is_looked_at(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(blocked))
    node.is_mining = False
    assert await fund(tmp_path) == NOT_KNOWN
    assert f"look {node.sent[0]} up before you repeat it" in capsys.readouterr().err
    assert await fund(tmp_path) == NOT_KNOWN
    assert "1 transactions of" in capsys.readouterr().err
    assert len(node.sent) == 1


async def test_what_is_refused_for_certain_is_a_failure_and_forgotten(
    node: Node, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node.takes, node.refusal = False, "insufficient funds for gas * price + value"
    assert await fund(tmp_path) == 1
    assert "it was not taken" in capsys.readouterr().err
    assert remembered(tmp_path) == []


async def test_a_second_one_that_is_refused_does_not_make_the_first_forgotten(node: Node, tmp_path: Path) -> None:
    node.is_mining, node.hides_pool, node.cuts_answer = False, True, True
    assert await fund(tmp_path) == NOT_KNOWN
    node.takes, node.cuts_answer, node.refusal = False, False, "replacement transaction underpriced"
    assert await fund(tmp_path, deposit=5) == 1
    assert remembered(tmp_path) == node.sent[:1]
    node.mine()
    node.hides_pool, node.refusal = False, None
    assert await fund(tmp_path) == 0
    assert (node.chain.deposit, len(node.sent)) == (ETH, 2)


async def test_an_endpoint_that_counts_a_nonce_before_it_finds_the_transaction_is_given_time(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.is_mining, node.hides_pool, node.cuts_answer = False, True, True
    assert await fund(tmp_path) == NOT_KNOWN
    node.mine()
    node.cuts_answer = False
    find, asked = node._eth_getTransactionReceipt, 0

    def late(name: str) -> dict[str, str] | None:
        nonlocal asked
        asked += 1
        return None if asked < 3 else find(name)

    node._eth_getTransactionReceipt, node._eth_getTransactionByHash = late, lambda _: None  # type: ignore[method-assign]
    assert await fund(tmp_path) == 0
    assert (node.chain.deposit, len(node.sent)) == (ETH, 1)


async def test_a_nonce_that_another_transaction_took_ends_the_doubt(node: Node, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node.takes, node.cuts_answer = False, True
    assert await fund(tmp_path) == NOT_KNOWN
    node.nonce, node.takes, node.cuts_answer = 1, True, False
    assert await fund(tmp_path) == 0
    assert "another transaction took nonce 0: it cannot be mined any more" in capsys.readouterr().out
    assert node.chain.deposit == ETH


async def test_an_endpoint_that_lags_behind_what_was_sent_is_not_trusted_with_a_repeat(
    node: Node, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node.is_mining, node.cuts_answer = False, True
    assert await fund(tmp_path) == NOT_KNOWN
    node.pool.clear()
    node._eth_getBlockByNumber = lambda block, _: None if block != "latest" else Node._eth_getBlockByNumber(node)  # type: ignore[method-assign]
    assert await fund(tmp_path) == NOT_KNOWN
    assert "the endpoint does not know block 5000000, which was there before" in capsys.readouterr().err
    assert len(node.sent) == 1


async def test_a_record_of_another_chain_with_the_same_id_does_not_count(node: Node, tmp_path: Path) -> None:
    node.takes, node.cuts_answer = False, True
    assert await fund(tmp_path) == NOT_KNOWN
    (path,) = (tmp_path / "state" / "livepeer-remote-signer").glob("sent-*")
    (record,) = json.loads(path.read_text())
    path.write_text(json.dumps([{**record, "head_hash": "0x" + "77" * 32, "nonce": 5}]))
    node.takes, node.cuts_answer = True, False
    assert await fund(tmp_path) == 0
    assert (node.chain.deposit, remembered(tmp_path)) == (ETH, [])


@pytest.mark.parametrize("text", ["", "[1]", "{}", '[{"hash": "0x1"}]', "[" * 5000])
async def test_a_record_that_cannot_be_understood_stops_the_command(
    text: str, node: Node, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node.takes, node.cuts_answer = False, True
    assert await fund(tmp_path) == NOT_KNOWN
    (path,) = (tmp_path / "state" / "livepeer-remote-signer").glob("sent-*")
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_text(text)
    assert await fund(tmp_path) == 1
    assert f"{path} is not what a funding command wrote" in capsys.readouterr().err
    assert len(node.sent) == 1
