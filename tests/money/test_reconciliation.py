"""What the chain pays is found in the ledger, each ticket once; a ticket that somebody else has signed is an alarm."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from livepeer_remote_signer.adapters.drawn.follower import Follower
from tests.chain.evm import CHAIN_ID, ETH
from tests.chain.livepeer import LivepeerEvm
from tests.ledgers import fold_tallies, run_sql
from tests.money.rig import (
    FACE_VALUE,
    INTERVAL_SECONDS,
    NS,
    SENDER,
    Clock,
    LuckyOrchestrator,
    Redeemer,
    Session,
    endpoints,
    sign_elsewhere,
    until,
)
from tests.prometheus_text import parse_metrics
from tests.signer import RunningSigner, configuration, running_signer

SESSIONS, ROUNDS = 40, 50
PAYMENTS = SESSIONS * ROUNDS
ALARM_MARGIN_SECONDS = 30
"""Beside the interval of polls: for a look at ten blocks at a time, the second endpoint's word, and a busy machine."""


class Rig:
    """The chain, the ledger's file and the signer's configuration."""

    def __init__(self, evm: LivepeerEvm, urls: list[str], folder: Path, **sections: Any) -> None:
        self.evm = evm
        self.senders = len(sections.get("keys", {})) or 1
        self.clock = Clock()
        self.ledger = folder / "ledger.sqlite"
        self.events = folder / "events.jsonl"
        self._config = folder / "config.yaml"
        self._token = folder / "token"
        self._token.write_text("an admin token of these tests")
        self._token.chmod(0o600)
        rpc = {"urls": urls, "controller": evm.controller.address, "chain_id": CHAIN_ID, "poll_seconds": 0.3, "max_age_seconds": 30}
        self.sections: dict[str, Any] = {
            "chain": {"source": "rpc", "rpc": rpc},
            "ledger": {"backend": "sqlite", "path": str(self.ledger)},
            "events": {"sinks": [{"type": "file", "path": str(self.events)}]},
            "drawn": {"poll_seconds": 0.3},
            **sections,
        }

    @asynccontextmanager
    async def signer(self, **drawn: Any) -> AsyncIterator[RunningSigner]:
        sections = {**self.sections, "drawn": {**self.sections["drawn"], **drawn}}
        async with running_signer(admin_token_file=self._token, clock_ns=self.clock, **sections) as signer:
            await until(lambda: self.sql("SELECT count(*) FROM lrs_followed WHERE value LIKE '%checkpoints\":[[%'") == [(self.senders,)])
            async with asyncio.timeout(30):
                while (await signer.client.get("/readyz")).status_code != 200:  # noqa: ASYNC110 - asked as a client would
                    await asyncio.sleep(0.1)
            yield signer

    async def settle(self, signer: RunningSigner) -> None:
        """Until it is sure which round it was when the ledger began, for every sender, and then the next round."""
        for _ in range(3):
            self.clock.ahead_ns += 50 * NS
            now_ms = self.clock() // 10**6
            await until(lambda now_ms=now_ms: self.watch["seen_ms"] >= now_ms)  # type: ignore[misc]
        assert self.watch["seen_ms"] >= self.watch["settles_ms"]
        round_ = self.evm.next_round()
        assert round_ >= self.watch["first_round"]
        async with asyncio.timeout(30):
            while f"round {round_}" not in (await signer.client.get("/readyz")).text:  # noqa: ASYNC110 - asked as a client would
                await asyncio.sleep(0.1)

    @property
    def watch(self) -> dict[str, Any]:
        ((text,), *_) = self.sql("SELECT value FROM lrs_followed")  # those of several senders are kept together
        names = ("first_round", "settles_ms", "seen_ms", "unsigned_ms", "ledger")
        return dict(zip(names, json.loads(text)["watch"], strict=True))

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        return run_sql(self.ledger, statement)

    def counts(self) -> dict[str, int]:
        return dict(self.sql("SELECT verdict, count(*) FROM lrs_redeemed WHERE is_gone = 0 GROUP BY verdict"))  # type: ignore[arg-type]

    async def statements(self, began_ns: int) -> list[dict[str, Any]]:
        """What `statement` prints, as an operator runs it, of the months that were paid in since then."""
        self._config.write_text(yaml.safe_dump(configuration(**self.sections)))
        months = {time.strftime("%Y-%m", time.gmtime(ns // NS)) for ns in (began_ns, self.clock())}
        command = [sys.executable, "-m", "livepeer_remote_signer", "statement", "--config", str(self._config), "--auth-id", ""]
        found = []
        for month in sorted(months):
            done = await asyncio.to_thread(subprocess.run, [*command, "--month", month], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            found.append(json.loads(done.stdout))
        return found

    async def metric(self, signer: RunningSigner, verdict: str, **labels: str) -> float:
        assert signer.admin is not None
        reply = await signer.admin.get("/metrics", headers={"authorization": "Bearer an admin token of these tests"})
        return parse_metrics(reply.content)["livepeer_signer_redeemed_tickets"].value(verdict=verdict, **labels)


async def pay_all(rig: Rig, signer: RunningSigner, sessions: list[Session], rounds: int) -> None:
    """Every session pays each interval, and has fresh params every fifth time."""
    for turn in range(rounds):
        for index, session in enumerate(sessions):
            if (turn + index) % 5 == 0:
                session.orchestrator.renew()
        await asyncio.gather(*(session.pay(signer.client) for session in sessions))
        rig.clock.ahead_ns += INTERVAL_SECONDS * NS


async def pay_until_each_has_won(rig: Rig, signer: RunningSigner, sessions: list[Session]) -> None:
    """Thirty rounds, in which one session of twenty-five has no luck, and more where it needs them."""
    await pay_all(rig, signer, sessions, 30)
    while not all(session.winners for session in sessions):
        await pay_all(rig, signer, sessions, 10)


@pytest.mark.timeout(600)
async def test_2000_payments_reconcile_to_the_wei_through_reorg_restart_and_small_steps(livepeer: LivepeerEvm, tmp_path: Path) -> None:
    evm = livepeer
    accounts = evm.web3.eth.accounts[5:9]
    for account in accounts:
        evm.join(account)
    evm.fund(SENDER, deposit=ETH, reserve=ETH)
    redeemer = Redeemer(evm)
    with endpoints(evm.url, 2) as nodes:
        rig = Rig(evm, [node.url for node in nodes], tmp_path)
        async with rig.signer() as signer:
            await rig.settle(signer)
            began_ns = rig.clock()
            sessions = [Session(LuckyOrchestrator(evm, accounts[i % 4], rig.clock)) for i in range(SESSIONS)]
            await pay_all(rig, signer, sessions, ROUNDS)
            winners = [winner for session in sessions for winner in session.winners]
            assert len(winners) > 120, "some 200 win"
            first, reorganized, away, rest = winners[:60], winners[60:75], winners[75:100], winners[100:]
            redeemer.redeem(first, 10)
            await until(rig.counts, {"ours": 60})

            snapshot = evm.rpc("evm_snapshot")
            assert redeemer.redeem(reorganized, 5) == 3
            await until(rig.counts, {"ours": 75})
            evm.rpc("evm_revert", snapshot)
            redeemer.redeem(reorganized[::-1][:9], 3)
            evm.mine(2)
            await until(rig.counts, {"ours": 69})
        redeemer.redeem(away, 10)
        async with rig.signer() as signer:
            await until(rig.counts, {"ours": 94})
            redeemer.redeem([*reorganized[:6], *rest], 20)
            await until(rig.counts, {"ours": len(winners)})
            assert await rig.metric(signer, "foreign") == 0
            spent, fees = check_sums(rig, sessions, winners)
            await check_statement(rig, began_ns, sessions, winners, (spent, fees))
    steps = [query for node in nodes for query in taken_steps(node)]
    assert steps
    assert all(last - first < 10 for first, last in steps), "every look-up that was answered was for ten blocks at most"


def taken_steps(node: Any) -> list[tuple[int, int]]:
    """The look-ups that it did not refuse."""
    queries = [r["params"][0] for body in node.bodies for r in _requests(body) if r["method"] == "eth_getLogs"]
    spans = [(int(query["fromBlock"], 16), int(query["toBlock"], 16)) for query in queries]
    return [(first, last) for first, last in spans if last - first < 10]


def _requests(body: bytes) -> list[dict[str, Any]]:
    document = json.loads(body)
    return document if isinstance(document, list) else [document]


def check_sums(rig: Rig, sessions: list[Session], winners: list[Any]) -> tuple[int, int]:
    """Chain, ledger, statistics and events say the same, to the wei: returned are expected value and fee of all payments."""
    tickets = sum(session.tickets for session in sessions)
    paid = len(winners) * FACE_VALUE
    assert rig.evm.deposit_of(SENDER) == ETH - paid
    fold_tallies(rig.ledger)
    rows = rig.sql("SELECT ticket, face_value_wei, paid_wei FROM lrs_redeemed WHERE is_gone = 0")
    assert len({row[0] for row in rows}) == len(rows) == len(winners)
    assert sum(int(row[1]) for row in rows) == sum(int(row[2]) for row in rows) == paid
    assert rig.sql("SELECT count(*), sum(payments), sum(tickets), sum(face_value_wei) FROM lrs_spend")[0][1:] == (
        PAYMENTS,
        tickets,
        tickets * FACE_VALUE,
    )
    assert rig.sql("SELECT sum(tickets), sum(face_value_wei) FROM lrs_draws") == [(tickets, tickets * FACE_VALUE)]
    events = [json.loads(payload) for (payload,) in rig.sql("SELECT payload FROM lrs_outbox")]
    assert len(events) == PAYMENTS
    assert sum(event["data"]["num_tickets"] for event in events) == tickets
    fees = sum(int(event["data"]["computed_fee"]) for event in events)
    spent = sum(int(event["data"]["total_ev"]) for event in events)
    assert (spent, fees) == tuple(sum(int(row[i]) for row in rig.sql("SELECT ev_wei, fee_wei FROM lrs_spend")) for i in (0, 1))
    return spent, fees


async def check_statement(rig: Rig, began_ns: int, sessions: list[Session], winners: list[Any], spent: tuple[int, int]) -> None:
    """What the auth id is billed, and what was drawn of it, are the same figures."""
    totals = [statement["total"] for statement in await rig.statements(began_ns)]
    for name, wanted in {
        "payments": PAYMENTS,
        "sessions": SESSIONS,
        "tickets": sum(session.tickets for session in sessions),
        "total_ev_wei": spent[0],
        "fee_wei": spent[1],
        "drawn_wei": len(winners) * FACE_VALUE,
    }.items():
        assert sum(int(total[name]) for total in totals) == wanted, name


class Polls:
    """How many looks of the follower have begun, and the newest one that came to its end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = self.ended = 0
        real = Follower.poll

        async def counted(follower: Follower) -> None:
            self.begun += 1
            number = self.begun
            await real(follower)
            self.ended = number

        monkeypatch.setattr(Follower, "poll", counted)


@pytest.mark.timeout(600)
async def test_a_ticket_that_was_signed_elsewhere_is_an_alarm_and_suspends(
    livepeer: LivepeerEvm, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    evm, polls = livepeer, Polls(monkeypatch)
    account = evm.web3.eth.accounts[5]
    evm.join(account)
    evm.fund(SENDER, deposit=ETH, reserve=ETH)
    with endpoints(evm.url, 2) as nodes, caplog.at_level(logging.ERROR):
        rig = Rig(evm, [node.url for node in nodes], tmp_path)
        before = sign_elsewhere(evm, account)
        async with rig.signer(on_foreign_ticket="suspend") as signer:
            Redeemer(evm).redeem([before], 1)
            await until(rig.counts, {"unjudged": 1})
            await rig.settle(signer)
            session = Session(LuckyOrchestrator(evm, account, rig.clock))
            await pay_until_each_has_won(rig, signer, [session])
            ours = session.winners
            stolen = sign_elsewhere(evm, account, like=ours[0])  # on params that the ledger knows
            Redeemer(evm).redeem([*ours, stolen], 50)
            redeemed, last_before = time.monotonic(), polls.begun
            await until(lambda: polls.ended > last_before)
            assert rig.counts() == {"unjudged": 1, "ours": len(ours), "foreign": 1}, "the first look after it finds it"
            assert caplog.text.count("SOMEBODY ELSE SIGNS") == 1
            assert time.monotonic() - redeemed < rig.sections["drawn"]["poll_seconds"] + ALARM_MARGIN_SECONDS
            async with asyncio.timeout(30):
                while await rig.metric(signer, "foreign") != 1:  # noqa: ASYNC110 - asked as a scraper would
                    await asyncio.sleep(0.1)
            rig.clock.ahead_ns += INTERVAL_SECONDS * NS
            with pytest.raises(AssertionError, match="suspended"):
                await session.pay(signer.client)
            await until(lambda: "foreign_ticket_redeemed" in rig.events.read_text())
    assert caplog.text.count("SOMEBODY ELSE SIGNS") == 1
    assert "all payments are suspended" in caplog.text
