"""`doctor` tries what a configuration names, and tells what to do about what does not work."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from livepeer_remote_signer.adapters.keys import SigningKey
from livepeer_remote_signer.adapters.ledger.postgres import PostgresStore
from livepeer_remote_signer.cli import main
from livepeer_remote_signer.core.protocol.eip191 import checksum_address
from tests.fake_chain import CONTROLLER, FEED, LiveArbitrum
from tests.hooks import reply, running_hook
from tests.issuer import AUDIENCE, running_issuer
from tests.postgres import Postgres, postgres_server
from tests.rpc_node import RpcNode

ADDRESS = "0x1a642f0E3c3aF545E7AcBD38b07251B3990914F1"
DEAD = "http://127.0.0.1:1/"


def write(folder: Path, **sections: Any) -> str:
    """A configuration with a key of its own."""
    key = folder / "key"
    key.touch(0o600)
    key.write_text("01" * 32)
    file = folder / "config.yaml"
    file.write_text(
        yaml.safe_dump({"listen": "127.0.0.1:0", "key": {"private_key_file": str(key)}, "chain": {"source": "static"}, **sections})
    )
    return str(file)


def rpc(*urls: str, chain_id: int = 42161) -> dict[str, Any]:
    """A live chain at these endpoints."""
    return {"source": "rpc", "rpc": {"urls": list(urls), "controller": "0x" + CONTROLLER.hex(), "chain_id": chain_id, "timeout_seconds": 2}}


async def examined(capsys: pytest.CaptureFixture[str], file: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """The exit status, and the last line of each name."""
    status = await asyncio.to_thread(main, ["doctor", "--json", "--config", file])
    return status, {check["name"]: check for check in json.loads(capsys.readouterr().out)}


async def test_where_everything_works_it_says_so_line_by_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with RpcNode(LiveArbitrum().answer) as node, running_hook() as hook, running_issuer() as issuer:
        hook.answer = reply(b"", "405 Method Not Allowed")
        auth = {"webhook": {"url": hook.url, "secret": "s3cret-word"}, "jwt": {"issuer": issuer.url, "audience": AUDIENCE}}
        prices = {"max_price_per_hour": "1.80USD", "currency_feed": {"address": "0x" + FEED.hex()}}
        sinks = [{"type": "http", "url": hook.url}, {"type": "file", "path": str(tmp_path / "events")}]
        ledger = {"backend": "sqlite", "path": str(tmp_path / "ledger")}
        file = write(tmp_path, chain=rpc(node.url), auth=auth, prices=prices, events={"sinks": sinks}, ledger=ledger)
        status, checks = await examined(capsys, file)
    assert status == 0, checks
    assert all(check["ok"] for check in checks.values())
    assert ADDRESS in checks["key"]["reason"]
    assert checks["funds"]["reason"] == "deposit 1 ETH, reserve 2 ETH"
    assert "agrees with the chain's block times" in checks["clock"]["reason"]
    assert "1 of 1 RPC endpoints" in checks["rpc"]["reason"]
    assert "1 ETH is 3000.00 USD" in checks["price_feed"]["reason"]
    assert "HTTP 405 to an empty question" in checks["auth.webhook"]["reason"]
    assert "keys that can be used" in checks["auth.jwt"]["reason"]
    assert {"events.sinks.0", "events.sinks.1", "ledger", "listen", "configuration"} <= checks.keys()
    assert not (tmp_path / "ledger").exists(), "it makes nothing"
    assert hook.headers[0].get("authorization") in ("Bearer s3cret-word", None)


async def test_what_does_not_answer_is_a_fault_with_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    auth = {"webhook": {"url": DEAD}, "jwt": {"issuer": DEAD, "audience": AUDIENCE}}
    file = write(tmp_path, chain=rpc(DEAD), auth=auth, events={"sinks": [{"type": "http", "url": DEAD}]})
    status, checks = await examined(capsys, file)
    assert status == 1
    for name in ("chain", "auth.webhook", "auth.jwt", "events.sinks.0"):
        assert (checks[name]["ok"], checks[name]["to_do"] != "") == (False, True), checks[name]
        assert "refused" in checks[name]["reason"]
    assert checks["key"]["ok"]


async def test_who_calls_it_logs_afterwards_as_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("livepeer_remote_signer")
    before = logger.level
    await examined(capsys, write(tmp_path))
    assert logger.level == before
    assert logger.isEnabledFor(logging.WARNING)


async def test_a_webhook_that_refuses_the_secret_is_a_doubt_and_the_secret_is_not_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running_hook() as hook:
        for line, named in (
            ("401 Unauthorized", "refuses the credential"),
            ("404 Not Found", "no such path"),
            ("302 Found", "redirects are not"),
        ):
            hook.answer = reply(b"", line)
            _, checks = await examined(capsys, write(tmp_path, auth={"webhook": {"url": hook.url, "secret": "s3cret-word"}}))
            assert (checks["auth.webhook"]["ok"], checks["auth.webhook"]["degraded"]) == (True, True)
            assert named in checks["auth.webhook"]["reason"]
            assert "s3cret-word" not in json.dumps(checks).replace("s3cret-word stands", "")


async def test_another_chain_no_funds_and_a_wrong_clock_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chain = LiveArbitrum()
    async with RpcNode(chain.answer) as node:
        status, checks = await examined(capsys, write(tmp_path, chain=rpc(node.url, chain_id=5)))
        assert (status, checks["chain"]["ok"]) == (1, False)
        assert re.search("chain (id )?.*42161", checks["rpc"]["reason"]), checks["rpc"]
        chain.deposit = 0
        status, checks = await examined(capsys, write(tmp_path, chain=rpc(node.url)))
        assert (status, checks["chain"]["ok"], checks["funds"]["reason"]) == (1, False, "deposit 0 ETH, reserve 2 ETH")
        assert "`fund` pays in" in checks["chain"]["to_do"]


async def test_every_key_is_tried_and_every_senders_funds_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tenant = SigningKey(b"\x02" * 32).address
    async with RpcNode(LiveArbitrum(funds_of={tenant: (0, 0, 10**18)}).answer) as node:
        keys = {"ours": {"private_key": "01" * 32}, "tenant": {"private_key": "02" * 32}}
        gone = {"eth_sign": {"url": DEAD, "address": "0x" + "ab" * 20}}
        senders = [{"auth_id": "acme", "key": "tenant"}, {"auth_id": "*", "key": "ours"}]
        sections: dict[str, Any] = {
            "listen": "127.0.0.1:0",
            "keys": keys,
            "senders": senders,
            "state": {"mac_key": "3f" * 32},
            "auth": {"jwt": {"issuer": DEAD, "audience": AUDIENCE}},
            "chain": rpc(node.url),
        }
        file = tmp_path / "config.yaml"
        file.write_text(yaml.safe_dump(sections))
        _, checks = await examined(capsys, str(file))
        assert ADDRESS in checks["keys.ours"]["reason"]
        assert checksum_address(tenant) in checks["keys.tenant"]["reason"]
        assert checks["funds.ours"]["reason"] == "deposit 1 ETH, reserve 2 ETH"
        assert checks["funds.tenant"]["reason"] == "deposit 0 ETH, reserve 1 ETH"
        assert checks["senders.ours"]["reason"] == "can pay"
        assert "no deposit" in checks["senders.tenant"]["reason"]
        assert "`fund` pays in" in checks["senders.tenant"]["to_do"]
        ledger = {"backend": "sqlite", "path": str(tmp_path / "ledger")}
        file.write_text(yaml.safe_dump({**sections, "keys": {**keys, "tenant": gone}, "ledger": ledger}))
        status, checks = await examined(capsys, str(file))
        assert (status, checks["keys.ours"]["ok"], checks["keys.tenant"]["ok"]) == (1, True, False)
        assert "how to make one" in checks["keys.tenant"]["to_do"]


async def test_files_that_are_missing_are_faults_and_nothing_is_tried(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path, auth={"api_keys_file": str(tmp_path / "none")}, ledger={"backend": "sqlite", "path": str(tmp_path / "a" / "l")})
    status, checks = await examined(capsys, file)
    assert (status, checks["files"]["ok"], checks["configuration"]["ok"]) == (1, False, False)
    assert "mkdir -p" in checks["configuration"]["reason"]
    assert "key" not in checks


async def test_lines_are_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await asyncio.to_thread(main, ["doctor", "--config", write(tmp_path)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert any(re.match(r"FAULT  chain +the signer's address has no deposit", line) for line in lines), lines
    assert any(line.strip().startswith("-> `docs/operator-guide.md#funding`") for line in lines)
    assert any(re.match(r"doubt  warning +nobody is asked", line) for line in lines)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with postgres_server() as server:
        yield server


async def test_a_database_is_looked_at_and_left_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str], postgres: Postgres) -> None:
    url = postgres.create()

    async def said() -> dict[str, Any]:
        return (await examined(capsys, write(tmp_path, ledger={"backend": "postgres", "url": url})))[1]["ledger"]

    before = await said()
    assert (before["ok"], "steps are added to its tables at the next start" in before["reason"]) == (True, True)
    assert await said() == before, "nothing was made"
    store = PostgresStore(url, writer="w", timeout_seconds=5)
    await store.open()
    await store.close()
    assert (await said())["reason"] == "takes writes, and its tables are there"
    gone = (await examined(capsys, write(tmp_path, ledger={"backend": "postgres", "url": "postgresql://127.0.0.1:1/x"})))[1]["ledger"]
    assert (gone["ok"], gone["to_do"] != "") == (False, True)


def test_what_cannot_be_read_at_all_is_refused_as_ever(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("{")
    assert main(["doctor", "--config", os.fspath(tmp_path / "config.yaml")]) == 2
