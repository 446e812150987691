"""Every wait has an end on our side, and what was not answered is never signed afterwards."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from livepeer_remote_signer.adapters.auth.identifier import CallerIdentifier
from livepeer_remote_signer.adapters.ledger.engine import GroupCommitLedger
from livepeer_remote_signer.adapters.ledger.sqlite import SqliteStore
from livepeer_remote_signer.adapters.ledger.store import ConnectionLost, StoreFailed, Writes
from livepeer_remote_signer.service import payments
from tests.hooks import Hook, running_hook, silence
from tests.plans import NOW_NS, orchestrator_info
from tests.prometheus_text import Metric, parse_metrics
from tests.signer import PAY, RunningSigner, counted_signatures, running_signer

ANSWER_SECONDS = 1.5
LIMITS = {"answer_seconds": ANSWER_SECONDS}


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    async with running_hook() as running:
        yield running


def ledger(folder: Path) -> dict[str, Any]:
    return {"backend": "sqlite", "path": str(folder / "ledger.sqlite")}


def error_of(answer: httpx.Response) -> dict[str, Any]:
    error: dict[str, Any] = answer.json()["error"]
    return error


async def scrape(signer: RunningSigner) -> dict[str, Metric]:
    return parse_metrics((await signer.client.get("/metrics")).content)


class Gate:
    """A step of the store's that can be held up, before or after what it does; it takes no notice of who leaves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
        self.opened = asyncio.Event()
        self.opened.set()
        self.reached = asyncio.Event()
        real = getattr(SqliteStore, step)

        async def held(store: SqliteStore, *args: Any) -> Any:
            self.reached.set()
            while not self.opened.is_set():
                try:
                    await self.opened.wait()
                except asyncio.CancelledError:
                    continue  # as a database's client does that waits for a frozen server
            return await real(store, *args)

        monkeypatch.setattr(SqliteStore, step, held)

    def shut(self) -> None:
        self.opened.clear()
        self.reached.clear()


async def test_a_silent_webhook_is_given_up_in_time_and_left_alone_after_a_while(hook: Hook) -> None:
    hook.answer = silence
    auth = {"webhook": {"url": hook.url, "timeout_seconds": 30}}
    with counted_signatures() as signatures:
        async with running_signer(auth=auth, limits=LIMITS) as signer:
            before = signatures.made
            for _ in range(5):
                started = time.monotonic()
                late = await signer.pay()
                assert time.monotonic() - started >= ANSWER_SECONDS * 0.9
                assert (late.status_code, error_of(late)["code"], late.headers["retry-after"]) == (503, "timed_out", "1")
                assert error_of(late)["message"] == "the request could not be answered within 1.5 s: webhook did not end in time"
                assert error_of(late)["limit_seconds"] == ANSWER_SECONDS
                assert "may_be_recorded" not in error_of(late)
            held_back = await signer.pay()
            assert (held_back.status_code, len(hook.questions)) == (500, 5), "the breaker is open"
            assert signatures.made == before
            read = await scrape(signer)
            assert read["livepeer_signer_requests_total"].value(route=PAY, status="503", code="timed_out", type="live") == 5
            assert read["livepeer_signer_payments_in_doubt_total"].value() == 0
            assert read["livepeer_signer_requests_in_work"].value() == 0


async def test_what_waits_behind_a_frozen_commit_is_never_signed_and_what_was_in_it_is_found_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = Gate(monkeypatch, "commit")
    engines: list[GroupCommitLedger] = []
    real_start = GroupCommitLedger.start
    monkeypatch.setattr(GroupCommitLedger, "start", lambda engine: (engines.append(engine), real_start(engine)))
    info = orchestrator_info(now_ns=time.time_ns())
    with counted_signatures() as signatures:
        async with running_signer(ledger=ledger(tmp_path), limits=LIMITS) as signer:
            commit.shut()
            first = asyncio.create_task(signer.pay({"Idempotency-Key": "k1"}, info=info))
            await commit.reached.wait()
            before = signatures.made
            waiting = [asyncio.create_task(signer.pay({"Idempotency-Key": key}, info=info)) for key in ("k2", "k3")]
            in_doubt, *others = await asyncio.gather(first, *waiting)
            assert [answer.status_code for answer in (in_doubt, *others)] == [503] * 3
            assert not any(engine._queue for engine in engines), "what waited is gone from the queue"
            assert error_of(in_doubt)["may_be_recorded"] is True
            assert "identical request" in error_of(in_doubt)["hint"]
            assert not any("may_be_recorded" in error_of(answer) for answer in others)
            commit.opened.set()
            assert (await signer.pay({"Idempotency-Key": "k4"}, info=info)).status_code == 200
            signed_for_k4 = signatures.made - before
            again = await signer.pay({"Idempotency-Key": "k1"}, info=info)
            assert again.status_code == 200
            assert signatures.made - before == signed_for_k4, "neither the waiting ones nor the repeated one were signed"
            read = await scrape(signer)
            assert read["livepeer_signer_payments_in_doubt_total"].value() == 1
            assert read["livepeer_signer_requests_total"].value(route=PAY, status="503", code="timed_out", type="live") == 3
            assert read["livepeer_signer_payments_total"].value(type="live") == 1
            state = again.json()["state"]
            continued = await signer.pay(info=orchestrator_info(now_ns=time.time_ns()), state=state)
            assert continued.status_code in (200, 482), "and its session goes on"


async def test_nothing_is_signed_for_who_left_while_the_transaction_was_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin = Gate(monkeypatch, "begin")
    with counted_signatures() as signatures:
        async with running_signer(ledger=ledger(tmp_path), limits=LIMITS) as signer:
            before = signatures.made
            begin.shut()
            late = await signer.pay()
            assert (late.status_code, error_of(late)["code"]) == (503, "timed_out")
            assert "may_be_recorded" not in error_of(late)
            assert error_of(late)["message"].endswith("ledger did not end in time")
            assert signatures.made == before
            begin.opened.set()
            assert (await signer.pay()).status_code == 200
            read = await scrape(signer)
            assert read["livepeer_signer_signatures_total"].value() == read["livepeer_tickets_sent"].value() > 0


async def test_a_read_that_takes_no_notice_of_who_leaves_holds_nobody_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Gate(monkeypatch, "payment_of")
    async with running_signer(ledger=ledger(tmp_path), limits=LIMITS) as signer:
        read.shut()
        late = await signer.pay({"Idempotency-Key": "k"})
        assert error_of(late)["message"].endswith("lookup did not end in time")
        read.opened.set()
        assert (await signer.pay({"Idempotency-Key": "k"})).status_code == 200


async def test_a_commit_whose_answer_was_lost_is_no_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_commit, real_begin = SqliteStore.commit, SqliteStore.begin
    faults = {"commit": 1, "begin": 0}

    async def commit(store: SqliteStore, writes: Writes) -> None:
        await real_commit(store, writes)
        if faults["commit"]:
            faults.update(commit=0, begin=1)
            raise ConnectionLost("the connection broke", may_be_recorded=True)

    async def begin(store: SqliteStore, *args: Any) -> Any:
        if faults["begin"]:
            faults["begin"] = 0
            raise StoreFailed("nobody is there")
        return await real_begin(store, *args)

    monkeypatch.setattr(SqliteStore, "commit", commit)
    monkeypatch.setattr(SqliteStore, "begin", begin)
    info = orchestrator_info(now_ns=time.time_ns())
    async with running_signer(ledger=ledger(tmp_path), limits=LIMITS) as signer:
        lost = await signer.pay({"Idempotency-Key": "k"}, info=info)
        assert (lost.status_code, error_of(lost)["code"], error_of(lost)["may_be_recorded"]) == (503, "ledger_unavailable", True)
        assert "did not say whether" in error_of(lost)["message"]
        assert (await signer.pay({"Idempotency-Key": "k"}, info=info)).status_code == 200
        assert (await scrape(signer))["livepeer_signer_payments_in_doubt_total"].value() == 1
        assert (await scrape(signer))["livepeer_signer_payments_total"].value(type="live") == 0, "it was the lost one's reply"


async def test_the_other_routes_are_answered_in_time_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def identify(*_: object) -> None:
        await asyncio.sleep(3600)

    monkeypatch.setattr(CallerIdentifier, "identify", identify)
    auth = {"trusted_proxies": ["127.0.0.1/32"], "allow_unauthenticated": True}
    ahead = {"generate_live_payment": 60, "sign_ticket": 60}
    async with running_signer(auth=auth, limits=LIMITS, byoc_jobs=True, headroom_seconds=ahead) as signer:
        for path in ("/sign-orchestrator-info", "/getOrchestratorInfo", "/sign-byoc-job", PAY, "/signTicket"):
            late = await signer.client.post(path, content=b"{}")
            assert (late.status_code, error_of(late)["code"], late.headers["retry-after"]) == (503, "timed_out", "1"), path


async def test_an_orchestrator_that_does_not_answer_is_given_up_in_time() -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    orchestrators = {"allowed_networks": ["127.0.0.0/8"], "timeout_seconds": 30}
    async with server, running_signer(orchestrators=orchestrators, limits=LIMITS) as signer:
        late = await signer.client.post("/getOrchestratorInfo", content=json.dumps({"orchestrator": url}))
        assert (late.status_code, error_of(late)["code"]) == (503, "timed_out")


@pytest.mark.parametrize(("step", "status", "code"), [("begin", 482, "no_tickets"), ("commit", 503, "timed_out")])
async def test_where_nothing_was_due_that_is_told_unless_tickets_ahead_may_be_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, status: int, code: str
) -> None:
    gate = Gate(monkeypatch, step)
    sections = {"ledger": ledger(tmp_path), "limits": {"answer_seconds": 2}, "headroom_seconds": {"generate_live_payment": 60}}
    clock = [NOW_NS]
    async with running_signer(clock_ns=lambda: clock[0], **sections) as signer:
        info = orchestrator_info()
        first = await signer.pay(info=info)
        assert first.status_code == 200
        clock[0] += 15 * 10**9  # what was bought ahead lasts, and a minute ahead wants more
        gate.shut()
        late = await signer.pay(info=info, state=first.json()["state"])
        gate.opened.set()
        assert (late.status_code, error_of(late)["code"]) == (status, code), late.text
        assert error_of(late).get("may_be_recorded", False) is (step == "commit")


async def test_a_time_out_that_is_not_the_answers_own_is_a_fault_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    async def identify(*_: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(CallerIdentifier, "identify", identify)
    async with running_signer(auth={"trusted_proxies": ["127.0.0.1/32"], "allow_unauthenticated": True}) as signer:
        broken = await signer.pay()
        assert (broken.status_code, error_of(broken)["code"]) == (500, "internal")


async def test_a_session_whose_other_calls_are_always_faster_is_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payments, "MAX_RACES", 0)
    async with running_signer(ledger=ledger(tmp_path)) as signer:
        busy = await signer.pay()
        assert (busy.status_code, error_of(busy)["code"], busy.headers["retry-after"]) == (429, "session_busy", "1")
