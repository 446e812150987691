"""Tickets bought ahead are never the cause of a refusal: where nothing is due, whoever refuses them, the answer is 482."""

from __future__ import annotations

import json
import sqlite3
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from livepeer_remote_signer.adapters.ledger.engine import GroupCommitLedger
from livepeer_remote_signer.adapters.logs import LogWriter
from livepeer_remote_signer.app import create_app
from livepeer_remote_signer.config.loading import parse_config
from livepeer_remote_signer.core.errors import LedgerUnavailable
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_SECOND
from livepeer_remote_signer.core.rules.ledger import RequestKey
from livepeer_remote_signer.core.rules.payment import PaymentPlan
from livepeer_remote_signer.proto import net_pb2
from tests.asgi import Answer, call, running
from tests.hooks import running_hook, says, silence
from tests.plans import NOW_NS, ORCHESTRATOR, orchestrator_info
from tests.prometheus_text import parse_metrics
from tests.signer import PAY, configuration

RAND_HASH = bytes([9]) * 32
HEADROOM_SECONDS = 30
EV_WEI = 10**12


def info() -> bytes:
    """An offer at which 10 s cost more than one ticket, without a round of the orchestrator's."""
    offer = net_pb2.OrchestratorInfo.FromString(orchestrator_info(price_per_unit=110_000_000_000, rand_hash=RAND_HASH))
    offer.ticket_params.ClearField("expiration_params")
    return offer.SerializeToString()


class Signer:
    """A signer that is asked at times of the test's own."""

    def __init__(self, app: Any, clock: list[int]) -> None:
        self._app = app
        self._clock = clock

    async def pay(self, seconds: int, state: Any = None) -> Answer:
        """Asks so many seconds after the session's first payment."""
        self._clock[0] = NOW_NS + seconds * NS_PER_SECOND
        body = {"orchestrator": b64encode(info()).decode(), "state": state, "ManifestID": "m", "type": "live"}
        return await call(self._app, "POST", PAY, {}, json.dumps(body).encode())

    async def metrics(self) -> bytes:
        """What is counted."""
        return (await call(self._app, "GET", "/metrics", {}, b"")).body


@asynccontextmanager
async def signing(headroom_seconds: int = HEADROOM_SECONDS, logs: LogWriter | None = None, **sections: Any) -> AsyncIterator[Signer]:
    clock = [NOW_NS]
    told = configuration(headroom_seconds={"generate_live_payment": headroom_seconds})
    config = parse_config(json.dumps({**told, **sections}), {})
    async with running(create_app(config, clock_ns=lambda: clock[0], logs=logs)) as app:
        yield Signer(app, clock)


async def bought_ahead() -> Any:
    """The state of a session with credit for half a minute."""
    async with signing() as signer:
        first = await signer.pay(0)
        state = json.loads(first.body)["state"]
        assert (await signer.pay(8, state)).status == 200  # a ticket ahead
    return state


def tickets_of(reply: dict[str, Any]) -> int:
    return len(net_pb2.Payment.FromString(b64decode(reply["payment"])).ticket_sender_params)


async def nothing_due(state: Any) -> dict[str, Any]:
    """The error of a signer that buys nothing ahead."""
    async with signing(0) as signer:
        return error_of(await signer.pay(8, state), 482)


def error_of(answer: Answer, status: int) -> dict[str, Any]:
    assert answer.status == status, answer.body
    error: dict[str, Any] = json.loads(answer.body)["error"]
    del error["request_id"]
    return error


def ledger_file(folder: Path) -> Path:
    return folder / "ledger.sqlite"


def change_ledger(folder: Path, statement: str, *values: object) -> None:
    with sqlite3.connect(ledger_file(folder)) as connection:
        connection.execute(statement, values)
    connection.close()


NO_ROUND = {**configuration()["chain"]["static"], "last_initialized_round": 0}


@pytest.mark.parametrize(
    ("sections", "status", "code"),
    [
        ({"recipients": {"deny": ["0x" + ORCHESTRATOR.hex()]}}, 403, "recipient_refused"),
        ({"recipients": {"guard": {"max_spend_wei": 1}}}, 429, "orchestrator_paused"),
        ({"chain": {"source": "static", "static": NO_ROUND}}, 503, "round_unknown"),
    ],
)
async def test_who_refuses_tickets_ahead_refuses_nothing_that_is_due(sections: dict[str, Any], status: int, code: str) -> None:
    state = await bought_ahead()
    async with signing(**sections) as signer:
        assert error_of(await signer.pay(8, state), 482) == await nothing_due(state)
        assert error_of(await signer.pay(58, state), status)["code"] == code


async def test_also_in_the_last_second_of_the_credit_nothing_is_due() -> None:
    state, last = await bought_ahead(), 8
    async with signing(0) as signer:
        while (await signer.pay(last + 1, state)).status == 482:
            last += 1
    async with signing(recipients={"deny": ["0x" + ORCHESTRATOR.hex()]}) as signer:
        assert error_of(await signer.pay(last, state), 482)["code"] == "no_tickets"
        assert error_of(await signer.pay(last + 1, state), 403)["code"] == "recipient_refused"


async def test_a_webhook_that_refuses_tickets_ahead_refuses_nothing_that_is_due(tmp_path: Path) -> None:
    state = await bought_ahead()
    ledger = {"backend": "sqlite", "path": str(ledger_file(tmp_path))}
    async with running_hook() as hook:
        hook.answer = says({"status": 483, "reason": "insufficient balance"})
        for sections in ({}, {"ledger": ledger}):
            async with signing(auth={"webhook": {"url": hook.url}}, **sections) as signer:
                assert error_of(await signer.pay(8, state), 482) == await nothing_due(state)
                assert error_of(await signer.pay(58, state), 483)["message"] == "insufficient balance"


async def test_a_webhook_that_outlasts_our_time_ends_no_session_while_nothing_is_due() -> None:
    state = await bought_ahead()
    async with running_hook() as hook:
        hook.answer = silence
        auth = {"webhook": {"url": hook.url, "timeout_seconds": 30}}
        async with signing(auth=auth, limits={"answer_seconds": 1.5}) as signer:
            assert error_of(await signer.pay(8, state), 482) == await nothing_due(state)
            assert error_of(await signer.pay(58, state), 503)["code"] == "timed_out"
        assert len(hook.questions) == 2


async def test_a_ledger_that_refuses_tickets_ahead_refuses_nothing_that_is_due(tmp_path: Path) -> None:
    state = await bought_ahead()
    ledger = {"backend": "sqlite", "path": str(ledger_file(tmp_path))}
    async with signing(ledger=ledger, budgets=[{"scope": "global", "window": "day", "limit_wei": 1}]) as signer:
        refused, alone = error_of(await signer.pay(8, state), 482), await nothing_due(state)
        assert (refused["code"], refused["message"]) == (alone["code"], alone["message"])
        assert error_of(await signer.pay(58, state), 429)["code"] == "rate_exceeded"
    async with signing(ledger=ledger) as signer:
        change_ledger(tmp_path, "INSERT INTO lrs_nonces (rand_hash, last_nonce, used_ms) VALUES (?, 600, ?)", RAND_HASH, NOW_NS // 10**6)
        assert error_of(await signer.pay(8, state), 482) == await nothing_due(state)
        assert error_of(await signer.pay(58, state), 480)["code"] == "refresh_session"


async def test_a_kill_switch_is_told_of_also_where_nothing_is_due(tmp_path: Path) -> None:
    state = await bought_ahead()
    async with signing(ledger={"backend": "sqlite", "path": str(ledger_file(tmp_path))}) as signer:
        change_ledger(tmp_path, "INSERT INTO lrs_switches (name, auth_id, set_ms) VALUES ('all', x'', 1)")
        assert error_of(await signer.pay(8, state), 403)["code"] == "suspended"


async def test_where_something_is_due_only_the_tickets_ahead_are_refused(tmp_path: Path) -> None:
    """The guard and the webhook would let what is due pass: it is paid without them."""
    async with signing(0) as signer:
        due = json.loads((await signer.pay(0)).body)
    async with running_hook() as hook:
        hook.answer = says({"status": 200})
        limit = {"recipients": {"guard": {"max_spend_wei": str(tickets_of(due) * EV_WEI)}}}
        for sections in ({}, {"ledger": {"backend": "sqlite", "path": str(ledger_file(tmp_path))}}):
            async with signing(**limit, **sections) as signer:
                assert tickets_of(json.loads((await signer.pay(0)).body)) == tickets_of(due)
            async with signing(auth={"webhook": {"url": hook.url}}, **limit, **sections) as signer:
                assert tickets_of(json.loads((await signer.pay(0)).body)) == tickets_of(due)
    async with signing() as signer:
        assert tickets_of(json.loads((await signer.pay(0)).body)) > tickets_of(due)


async def test_who_refuses_what_is_due_is_asked_about_it_alone_and_refuses_it() -> None:
    async with running_hook() as hook:
        hook.answer = says({"status": 483, "reason": "insufficient balance"})
        async with signing(auth={"webhook": {"url": hook.url}}) as signer:
            assert error_of(await signer.pay(0), 483)["message"] == "insufficient balance"
        tickets = [question["num_tickets"] for question in hook.questions]
        assert tickets == sorted(tickets, reverse=True)
        assert len(set(tickets)) == len(tickets) == 2


async def test_what_fails_while_nothing_is_due_shows_to_the_operator(tmp_path: Path) -> None:
    state = await bought_ahead()
    with (tmp_path / "log").open("wb") as log:
        logs = LogWriter(descriptor=log.fileno())
        async with signing(logs=logs, auth={"webhook": {"url": "http://127.0.0.1:1/"}}) as signer:
            assert error_of(await signer.pay(8, state), 482)["code"] == "no_tickets"
            assert error_of(await signer.pay(58, state), 500)["code"] == "auth_failed"
            read = parse_metrics(await signer.metrics())["livepeer_signer_requests_total"]
        logs.close()
    assert [read.value(route=PAY, status=status, code="auth_failed", type="live") for status in ("482", "500")] == [1, 1]
    hidden = next(line for line in map(json.loads, (tmp_path / "log").read_text().splitlines()) if line.get("status") == 482)
    assert (hidden["level"], hidden["code"]) == ("error", "no_tickets")
    assert hidden["failure"].startswith("auth_failed: ")


async def test_who_fails_is_asked_once_a_payment_however_many_tickets_are_bought_ahead(tmp_path: Path) -> None:
    state = await bought_ahead()
    async with running_hook() as hook:
        for answer in (silence, says({"status": "nonsense"})):
            hook.questions.clear()
            hook.answer = answer
            async with signing(auth={"webhook": {"url": hook.url, "timeout_seconds": 1}}) as signer:
                assert error_of(await signer.pay(58, state), 500)["code"] == "auth_failed"
            assert len(hook.questions) == 1


async def test_a_ledger_that_fails_is_asked_once_a_payment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, asked = await bought_ahead(), []

    async def pay(self: GroupCommitLedger, key: RequestKey, plan: PaymentPlan, sign: object) -> None:
        asked.append(plan.num_tickets)
        raise LedgerUnavailable("the disk is full", retry_after_seconds=1)

    monkeypatch.setattr(GroupCommitLedger, "pay", pay)
    async with signing(ledger={"backend": "sqlite", "path": str(ledger_file(tmp_path))}) as signer:
        assert error_of(await signer.pay(58, state), 503)["code"] == "ledger_unavailable"
    assert len(asked) == 1


async def test_each_request_is_planned_once_where_nothing_is_due() -> None:
    state = await bought_ahead()
    async with signing(1) as signer:
        for _ in range(5):
            assert (await signer.pay(8, state)).status == 482
        read = parse_metrics(await signer.metrics())["livepeer_signer_phase_seconds"]
    assert read.value("_count", phase="policy") == read.value("_count", phase="open") == 5
