"""The chain over the payments in both databases: closed by one process, whatever clocks, replicas and releases do."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from livepeer_remote_signer.adapters.ledger.closing import CLOSED_AFTER_MINUTES, LEASE
from livepeer_remote_signer.adapters.ledger.proving import PAGE, compare, export_lines
from livepeer_remote_signer.adapters.ledger.store import ConnectionLost, Writes
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_SECOND
from livepeer_remote_signer.core.rules.ledger_proof import Proof
from livepeer_remote_signer.core.rules.usage import UsageQuery
from tests.ledgers import OpenLedger, Session, opened, run_sql
from tests.plans import NOW_NS

Place = Path | str
MINUTE = 60 * NS_PER_SECOND
DAY = 86_400 * NS_PER_SECOND
THEN = (CLOSED_AFTER_MINUTES + 1) * MINUTE


async def proof_of(ledger: OpenLedger) -> tuple[Proof, list[str]]:
    """What the ledger's own rows come to, and an export of them."""
    proof, export = Proof(), [line async for line in export_lines(ledger.store.digests)]
    for line in export:
        proof.take(line)
    proof.end()
    assert (await compare(ledger.store.digests, proof)).faults == []
    return proof, export


async def close(ledger: OpenLedger, now_ns: int) -> None:
    ledger.now_ns = now_ns
    await ledger.housekeeping.close_minutes()


async def test_payments_of_several_processes_are_chained_closed_and_proven(place: Place) -> None:
    async with opened(place, 3) as ledgers:
        draw = random.Random(3)
        sessions = [Session(auth_id=auth_id) for auth_id in "aabbc"]
        for turn in range(40):
            session = draw.choice(sessions)
            session.now_ns += draw.randrange(40) * NS_PER_SECOND
            assert await ledgers[turn % 3].pay(session.next(tickets=draw.randrange(1, 3))) is None
        await close(ledgers[0], NOW_NS + DAY)
        await close(ledgers[1], NOW_NS + DAY)
        proof, _ = await proof_of(ledgers[2])
        assert (proof.faults, proof.payments, proof.forgotten) == ([], 40, 0)
        for auth_id in "abc":
            told = await ledgers[0].store.daily(UsageQuery(0, 10**6, auth_id, group=("day", "orchestrator")))
            assert [(row.day, row.orchestrator, row.sums) for row in proof.of(auth_id, (0, 10**6))] == [
                (row.day, row.orchestrator, row.sums) for row in told
            ]


async def test_a_minute_is_closed_when_it_is_over_and_once(place: Place) -> None:
    async with opened(place, 2) as (one, other):
        assert await one.pay(Session().next()) is None
        await close(one, NOW_NS + MINUTE)
        assert await one.count("lrs_closings") == 0
        await asyncio.gather(close(one, NOW_NS + THEN), close(other, NOW_NS + THEN))
        await close(other, NOW_NS + THEN)
        ((number, payments),) = one.sql("SELECT number, payments FROM lrs_closings")
        assert (number, payments) == (1, 1)
        assert await one.pay(Session(started_ns=NOW_NS + THEN).next()) is None
        assert await one.store.take_lease(LEASE, "somebody", 10_000)
        await close(one, NOW_NS + 2 * THEN)
        assert await one.count("lrs_closings") == 1, "somebody else is at it"
        await one.store.give_lease(LEASE, "somebody")
        await close(one, NOW_NS + 2 * THEN)
        assert (await proof_of(one))[0].payments == 2


async def test_a_payment_by_a_slow_clock_is_covered_by_a_later_closing(place: Place) -> None:
    async with opened(place, 2) as (slow, fast):
        session = Session(auth_id="a")
        assert await slow.pay(session.next()) is None
        assert await fast.pay(Session(auth_id="a", started_ns=NOW_NS + THEN).next()) is None
        await close(fast, NOW_NS + THEN)
        late = session.next()
        assert await slow.pay(late) is None
        assert len(late.made) == 2, "its line was closed: it was judged again, on another one"
        assert await slow.pay(session.next()) is None
        await close(fast, NOW_NS + 3 * THEN)
        proof, _ = await proof_of(fast)
        assert (proof.payments, len(proof.closings), proof.faults) == (4, 3, [])
        (row,) = await fast.store.daily(UsageQuery(0, 10**6))
        assert row.sums.payments == 4


async def test_clocks_that_step_back_and_commits_that_are_not_answered_keep_the_chain_whole(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(place) as (ledger,):
        for minutes in (0, 3, 1, 2, 0, 3):
            assert await ledger.pay(Session(started_ns=NOW_NS + minutes * MINUTE).next()) is None
        commit = ledger.store.commit

        async def unheard(writes: Writes) -> None:
            await commit(writes)
            raise ConnectionLost("the answer is missing", may_be_recorded=True)

        monkeypatch.setattr(ledger.store, "commit", unheard)
        session = Session()
        lost = session.next(idempotency_key=b"k" * 32)
        assert await ledger.pay(lost) == lost.stored
        monkeypatch.setattr(ledger.store, "commit", commit)
        assert await ledger.pay(session.next()) is None
        await close(ledger, NOW_NS + DAY)
        proof, _ = await proof_of(ledger)
        assert (proof.payments, proof.forgotten) == (8, 0)


async def test_payments_of_a_release_without_digests_do_not_break_the_chain(place: Place) -> None:
    async with opened(place) as (ledger,):
        assert await ledger.pay(Session().next()) is None
        names = "state_id, seq, digest, auth_id, is_healed, made_ms, state, kept"
        copied = names.replace("seq", "seq + 100")
        ledger.sql(f"INSERT INTO lrs_payments ({names}) SELECT {copied} FROM lrs_payments")
        assert await ledger.pay(Session().next()) is None
        await close(ledger, NOW_NS + DAY)
        proof, _ = await proof_of(ledger)
        assert (proof.payments, proof.faults) == (2, [])
        assert await ledger.count("lrs_payments") == 3


async def test_an_export_proves_what_the_ledger_has_forgotten_and_closings_stay_as_long_as_usage(place: Place) -> None:
    async with opened(place, retention_seconds=3600, usage_retention_days=40) as (ledger,):
        for minutes in range(4):
            assert await ledger.pay(Session(auth_id="a", started_ns=NOW_NS + minutes * MINUTE).next()) is None
        await close(ledger, NOW_NS + THEN + 4 * MINUTE)
        _, export = await proof_of(ledger)
        ledger.now_ns = NOW_NS + DAY
        await ledger.housekeeping.prune()
        assert [await ledger.count(table) for table in ("lrs_payments", "lrs_digests", "lrs_closings")] == [0, 0, 4]
        now, _ = await proof_of(ledger)
        assert now.payments == 0
        assert await ledger.pay(Session(auth_id="a", started_ns=NOW_NS + DAY).next()) is None
        await close(ledger, NOW_NS + DAY + THEN)
        proof = Proof()
        for line in export:
            proof.take(line)
        proof.end()
        assert await compare(ledger.store.digests, proof) == (5, 0, [])
        (told,) = await ledger.store.daily(UsageQuery(0, NOW_NS // DAY, "a"))
        (row,) = proof.of("a", (0, NOW_NS // DAY))
        assert row.sums == told.sums
        ledger.now_ns = NOW_NS + 41 * DAY
        await ledger.housekeeping.prune()
        assert ledger.sql("SELECT number FROM lrs_closings ORDER BY number") == [(5,)]
        assert (await compare(ledger.store.digests, proof)).older == 4
        ledger.now_ns += 365 * DAY
        await ledger.housekeeping.prune()
        assert ledger.sql("SELECT number FROM lrs_closings") == [(5,)], "the chain goes on from the newest"


async def test_what_was_altered_in_the_ledger_shows(place: Place) -> None:
    async with opened(place) as (ledger,):
        for minutes in range(3):
            assert await ledger.pay(Session(auth_id="a", started_ns=NOW_NS + minutes * MINUTE).next()) is None
        await close(ledger, NOW_NS + DAY)
        _, export = await proof_of(ledger)
        raw = "CAST('b' AS BLOB)" if isinstance(place, Path) else "'b'::bytea"
        ledger.sql(f"UPDATE lrs_payments SET auth_id = {raw} WHERE id = 2")
        proof = Proof()
        async for line in export_lines(ledger.store.digests):
            proof.take(line)
        proof.end()
        assert "not those that its digest was made of" in proof.faults[0]
        ledger.sql("UPDATE lrs_closings SET payments = 7 WHERE number = 2")
        proof = Proof()
        for line in export:
            proof.take(line)
        proof.end()
        faults = (await compare(ledger.store.digests, proof)).faults
        assert faults == ["closing 2 does not follow from the one before it", "closing 2 is another one in the ledger"]
        ledger.sql("DELETE FROM lrs_closings WHERE number = 2")
        assert (await compare(ledger.store.digests, proof)).faults == ["closing 2 is missing in the ledger"]


async def test_an_export_of_more_than_a_page_and_of_sessions_that_owe_time_is_whole(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livepeer_remote_signer.adapters.ledger.proving.PAGE", 3)
    assert PAGE > 3
    async with opened(place, 2) as ledgers:
        sessions = [Session(auth_id="a", started_ns=NOW_NS + (turn % 5) * MINUTE) for turn in range(20)]
        for turn, session in enumerate(sessions):
            assert await ledgers[turn % 2].pay(session.next()) is None
        await close(ledgers[0], NOW_NS + DAY)
        proof, _ = await proof_of(ledgers[0])
        assert (proof.payments, len(proof.closings)) == (20, 5)
        assert sum(sums.payments for sums in proof.sums.values()) == 20


@pytest.mark.parametrize("count", [2000])
async def test_a_payment_takes_few_bytes_more(tmp_path: Path, count: int) -> None:
    async with opened(tmp_path / "ledger.sqlite") as (ledger,):
        sessions = [Session(auth_id="client:7") for _ in range(count)]
        await asyncio.gather(*(ledger.pay(session.next()) for session in sessions))
        ((accounts,),) = run_sql(tmp_path / "ledger.sqlite", "SELECT avg(length(account)) FROM lrs_payments")
        assert accounts <= 42
