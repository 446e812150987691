"""What every ledger guarantees, held against SQLite and a real PostgreSQL. Two ledgers on one database are two processes."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from livepeer_remote_signer.adapters.ledger.store import Aging, Minutes, Writes, usage_expires_ms
from livepeer_remote_signer.adapters.runways import read_burn
from livepeer_remote_signer.core.errors import (
    BadField,
    BudgetExceeded,
    LedgerUnavailable,
    RateExceeded,
    RefreshSession,
    SessionBusy,
    StaleState,
    Suspended,
)
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_SECOND
from livepeer_remote_signer.core.rules.budgets import Budget
from livepeer_remote_signer.core.rules.draws import Kind
from livepeer_remote_signer.core.rules.ledger import Newest, Record, SpendSum, Tip
from livepeer_remote_signer.core.rules.payment import PaymentPlan
from livepeer_remote_signer.core.rules.runway import Burn
from tests.ledgers import OpenLedger, Payment, Session, opened, outcome_of
from tests.plans import NOW_NS, ORCHESTRATOR

Place = Path | str


async def test_a_hundred_thousand_kill_switches_cost_a_payment_one_look(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(place, 2) as (ledger, other):
        numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)"
        name = "'[\"auth_id\", \"auth-' || i || '\"]'"
        raw = f"CAST('auth-' || i AS {'BLOB' if isinstance(place, Path) else 'bytea'})"
        ledger.sql(f"{numbers} INSERT INTO lrs_switches (name, auth_id, set_ms) SELECT {name}, {raw}, 1 FROM n")
        assert isinstance(await outcome_of(ledger, Session(auth_id="auth-77777").next()), Suspended)
        reads: list[int] = []
        for known in (ledger.store._switches, other.store._switches):  # type: ignore[attr-defined]
            replace_all = known.replace

            def counted(version: int, rows: Sequence[Any], replace_all: Any = replace_all) -> None:
                reads.append(len(rows))
                replace_all(version, rows)

            monkeypatch.setattr(known, "replace", counted)
        for n in range(20):
            assert await ledger.pay(Session(auth_id="free").next()) is None
            assert isinstance(await outcome_of(ledger, Session(auth_id=f"auth-{n + 1}").next()), Suspended)
        await ledger.housekeeping.refresh()
        assert reads == [], "none has changed, so none is read"
        await ledger.controls.suspend("free", "test")
        assert isinstance(await outcome_of(ledger, Session(auth_id="free").next()), Suspended)
        assert await ledger.controls.resume("auth-5", "test")
        assert await ledger.controls.resume("free", "test")
        await ledger.housekeeping.refresh()
        for auth_id in ("free", "auth-5"):
            assert await ledger.pay(Session(auth_id=auth_id).next()) is None
        assert reads == [], "what has changed is read, and nothing else"
        assert isinstance(await outcome_of(other, Session(auth_id="auth-100000").next()), Suspended)
        assert await other.pay(Session(auth_id="auth-5").next()) is None
        assert reads == [99_999], "who knows none of them reads all, once"


async def until(holds: Callable[[], bool], seconds: float = 20) -> None:
    """Waits for a condition."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)


def count_commits(ledger: OpenLedger) -> list[int]:
    """Payments by batch, from now on."""
    counts: list[int] = []
    commit = ledger.store.commit

    async def counted(writes: Writes) -> None:
        counts.append(len(writes.payments))
        await commit(writes)

    ledger.store.commit = counted  # type: ignore[method-assign]
    return counts


OLD_PAYMENTS = """INSERT INTO lrs_payments (state_id, seq, digest, auth_id, is_healed, made_ms, state, kept)
    SELECT a.state_id, 1000 + a.id * 900 + b.id * 30 + c.id, a.digest, a.auth_id, 0, 1, a.state, a.kept
    FROM lrs_payments a, lrs_payments b, lrs_payments c WHERE a.id < 8"""
OLD_ROWS = (
    "INSERT INTO lrs_nonces (rand_hash, last_nonce, used_ms) SELECT CAST('r' || seq AS BYTES), 1, seq FROM lrs_payments WHERE seq > 0",
    "INSERT INTO lrs_outbox (made_ms, sent, payload) SELECT 1, 1, digest FROM lrs_payments WHERE seq > 0",
    "INSERT INTO lrs_outbox (made_ms, sent, payload) VALUES (0, 0, '')",
    "INSERT INTO lrs_usage (key, amounts, expires_ms) SELECT '[' || seq || ']', '[]', 1 FROM lrs_payments WHERE seq > 0 GROUP BY seq",
    'INSERT INTO lrs_usage (key, amounts, expires_ms) VALUES (\'["global","total","ev"]\', \'[[0,5]]\', NULL)',
    """INSERT INTO lrs_spend (minute, writer, auth_id, orchestrator, payments, tickets, ev_wei, face_value_wei, fee_wei)
    SELECT seq, 'w', digest, state_id, 1, 1, '1', '1', '1' FROM lrs_payments WHERE seq > 0""",
)
"""As much as a busy hour leaves, and one event that nobody has sent."""

TICKET_WEI = 10**12
"""What a ticket of these sessions counts for: its expected value is a hair less, and is rounded up."""


async def test_the_identical_request_gets_the_identical_bytes_at_any_step_and_from_any_process(place: Place) -> None:
    async with opened(place, 2) as (one, other):
        session = Session(auth_id="alice")
        payments = [session.next() for _ in range(6)]
        for payment in payments:
            assert await one.pay(payment) is None
        for ledger in (one, other):
            for payment in payments[1:]:
                assert await ledger.pay(payment) == payment.stored
        assert all(len(payment.made) == 1 for payment in payments)


async def test_another_request_on_a_used_place_is_told_the_newest_state(place: Place) -> None:
    async with opened(place, 2) as ledgers:
        session = Session()
        payments = [session.next() for _ in range(4)]
        for payment in payments:
            assert await ledgers[0].pay(payment) is None
        for ledger in ledgers:
            late = session.request(2)
            found = await ledger.pay(late)
            assert isinstance(found, Newest)
            assert found.state == payments[-1].made[-1].state
            assert late.made == []


async def test_a_healed_request_is_answered_again_with_its_own_bytes(place: Place) -> None:
    async with opened(place, 2) as (one, other):
        session = Session()
        for _ in range(3):
            assert await one.pay(session.next()) is None
        late = session.request(2)
        assert isinstance(await one.pay(late), Newest)
        healed = session.next(digest=late.key.digest, is_healed=True)
        assert await one.pay(healed) is None
        assert await other.pay(late) == healed.stored
        assert await one.pay(late) == healed.stored


async def test_a_late_request_is_healed_once_however_often_it_is_sent_at_the_same_time(place: Place) -> None:
    async with opened(place, 2) as ledgers:
        for _ in range(5):
            session = Session()
            for _ in range(3):
                assert await ledgers[0].pay(session.next()) is None
            late = session.request(1)
            # each was told the newest state, and another call went ahead of some of them
            changes = {"digest": late.key.digest, "is_healed": True, "last_update_ns": session.now_ns}
            copies = [session.request(number, **changes) for number in (3, 4, 3, 4)]
            results = await asyncio.gather(*(ledgers[n % 2].engine.pay(c.key, c.plan, c.sign) for n, c in enumerate(copies)))
            assert results.count(None) == 1
            assert set(results) == {None, copies[results.index(None)].stored}


async def test_a_young_state_that_is_not_known_is_adopted_and_an_old_one_is_not(place: Place) -> None:
    async with opened(place, retention_seconds=3600) as (ledger,):
        foreign = Session()
        assert await ledger.pay(foreign.request(17)) is None
        assert isinstance(await ledger.pay(foreign.request(17)), Newest)
        too_old = Session().request(17, last_update_ns=NOW_NS - 3600 * NS_PER_SECOND)
        with pytest.raises(StaleState, match="3600 s ago"):
            await ledger.pay(too_old)
        assert too_old.made == []


async def test_a_session_that_catches_up_goes_on_from_the_time_that_was_paid_and_from_no_earlier_one(place: Place) -> None:
    async with opened(place, 2) as (one, other):
        session = Session()
        assert await one.pay(session.next()) is None
        session.now_ns += 100 * NS_PER_SECOND
        part = owing(session.next(), 80)
        assert await one.pay(part) is None
        left_ns = part.plan.updated_ns
        # what a signer of the release before compares a state's LastUpdate with
        assert await other.store.tip(session.state_id) == Tip(1, left_ns // 10**6)
        for branch_ns in (left_ns - 10**6, left_ns - 80 * NS_PER_SECOND):
            assert isinstance(await other.pay(session.request(2, last_update_ns=branch_ns)), Newest)
        next_part = owing(session.next(last_update_ns=left_ns), 40)
        assert await other.pay(next_part) is None
        assert isinstance(await one.pay(session.request(3, last_update_ns=left_ns)), Newest)
        assert await one.pay(session.next(last_update_ns=next_part.plan.updated_ns)) is None
        assert await one.store.tip(session.state_id) == Tip(3, session.now_ns // 10**6)


def owing(payment: Payment, seconds: int) -> Payment:
    """The payment as one that leaves so many seconds unpaid."""
    plan = payment.plan
    owed_ns = seconds * NS_PER_SECOND
    payment.plan = replace(plan, owed_ns=owed_ns, state=replace(plan.state, last_update_ns=plan.now_ns - owed_ns))
    return payment


async def test_a_budget_that_a_wrong_clock_used_up_frees_up_with_its_window_where_the_clock_is_right(place: Place) -> None:
    hour, ahead = 3600, 40 * 86_400
    budgets = [Budget("global", "*", "hour", "ev", TICKET_WEI)]
    async with opened(place, 2, budgets=budgets) as (one, other):
        assert await one.pay(Session(started_ns=NOW_NS + ahead * NS_PER_SECOND).next()) is None
        for ledger, seconds, is_clock_right, is_paid in (
            (one, 0, False, False),
            (other, 10, True, False),
            (one, 20, True, False),
            (other, hour - 60, True, False),
            (one, hour + 200, True, True),
            (other, hour + 300, True, False),
        ):
            payment = Session(started_ns=NOW_NS + seconds * NS_PER_SECOND).next()
            payment.plan = replace(payment.plan, is_clock_right=is_clock_right)
            paid = await outcome_of(ledger, payment)
            assert paid is None if is_paid else isinstance(paid, RateExceeded), (seconds, paid)


async def test_of_two_branches_of_an_adopted_session_only_one_is_paid(place: Place) -> None:
    async with opened(place, 2) as ledgers:
        for _ in range(5):
            foreign = Session()
            branches = [foreign.request(number) for number in (17, 19, 18, 17)]
            results = await asyncio.gather(*(outcome_of(ledgers[n % 2], payment) for n, payment in enumerate(branches)))
            assert results.count(None) == 1
            assert all(isinstance(result, Newest | SessionBusy | None) for result in results)


async def test_one_place_is_paid_once_however_many_ask_at_the_same_time(place: Place) -> None:
    async with opened(place, 2) as ledgers:
        session = Session()
        assert await ledgers[0].pay(session.next()) is None
        for _ in range(5):
            honest = session.next()
            crowd = [honest, *(session.request(session.sequence_number) for _ in range(3))]
            copies = [Payment(payment.key, payment.plan) for payment in crowd for _ in range(2)]
            results = await asyncio.gather(*(outcome_of(ledgers[n % 2], payment) for n, payment in enumerate(copies)))
            assert results.count(None) == 1
            paid = copies[results.index(None)]
            for payment, result in zip(copies, results, strict=True):
                if payment.key.digest == paid.key.digest and payment is not paid:
                    assert result == paid.stored or isinstance(result, SessionBusy)
                elif payment is not paid:
                    assert isinstance(result, Newest | SessionBusy)


async def test_sessions_that_share_params_never_share_a_nonce(place: Place) -> None:
    async with opened(place, 2) as ledgers:
        rand_hash = os.urandom(32)
        sessions = [Session(rand_hash=rand_hash) for _ in range(10)]
        payments = []
        for _ in range(4):
            step = [session.next(tickets=random.randint(1, 3)) for session in sessions]
            results = await asyncio.gather(*(outcome_of(ledgers[n % 2], payment) for n, payment in enumerate(step)))
            assert results == [None] * len(step)
            payments += step
        nonces = [nonce for payment in payments for nonce in payment.nonces]
        assert sorted(nonces) == [(rand_hash, nonce) for nonce in range(1, len(nonces) + 1)]
        for payment in payments:
            assert payment.made[-1].state.sender_nonce == payment.nonces[-1][1]


async def test_params_whose_nonces_are_used_up_are_refreshed_and_nothing_is_signed(place: Place) -> None:
    async with opened(place) as (ledger,):
        rand_hash = os.urandom(32)
        for _ in range(5):
            assert await ledger.pay(Session(rand_hash=rand_hash).next(tickets=100)) is None
        late = Session(rand_hash=rand_hash).next()
        with pytest.raises(RefreshSession, match="500"):
            await ledger.pay(late)
        assert late.made == []


@pytest.mark.parametrize("window", ["total", "hour"])
async def test_a_budget_holds_to_the_wei_between_processes(place: Place, window: str) -> None:
    budget = Budget("auth_id", "*", window, "ev", 23 * TICKET_WEI)  # type: ignore[arg-type]
    async with opened(place, 2, budgets=[budget]) as ledgers:
        payments = [Session(auth_id="alice").next(tickets=n % 3 + 1) for n in range(40)]
        others = [Session(auth_id="bob").next() for _ in range(5)]
        results = await asyncio.gather(*(outcome_of(ledgers[n % 2], p) for n, p in enumerate([*payments, *others])))
        paid = [p for p, result in zip(payments, results, strict=False) if result is None]
        assert sum(p.made[-1].num_tickets for p in paid) == 23
        refusal = BudgetExceeded if window == "total" else RateExceeded
        assert all(result is None or isinstance(result, refusal) for result in results)
        assert results[40:] == [None] * 5
        assert await outcome_of(ledgers[0], Session(auth_id="alice").next()) is not None
        use = next(use for use in await ledgers[1].controls.usage() if use.id == "alice")
        assert await ledgers[1].controls.usage(1) == [use], "the fullest"
        assert (use.spent_wei, use.left_wei) == (23 * TICKET_WEI, 0)


async def test_a_payment_that_could_not_be_signed_costs_nobody_anything(place: Place) -> None:
    budget = Budget("global", "*", "total", "ev", 2 * TICKET_WEI)
    async with opened(place, budgets=[budget]) as (ledger,):
        session = Session()
        broken = session.next(tickets=2)

        def fail(_: PaymentPlan) -> Record:
            raise RuntimeError("the key is gone")

        fine = Session().next()
        results = await asyncio.gather(ledger.engine.pay(broken.key, broken.plan, fail), ledger.pay(fine), return_exceptions=True)
        assert isinstance(results[0], RuntimeError)
        assert results[1] is None
        assert await ledger.count("lrs_payments") == 1
        assert await ledger.pay(Session().next()) is None
        with pytest.raises(BudgetExceeded):
            await ledger.pay(session.request(0))


async def test_a_caller_that_left_before_its_turn_is_not_signed_for(place: Place) -> None:
    async with opened(place) as (ledger,):
        gone, stays = Session().next(), Session().next()
        task = asyncio.create_task(ledger.pay(gone))
        await asyncio.sleep(0)
        task.cancel()
        assert await ledger.pay(stays) is None
        assert gone.made == []
        assert await ledger.count("lrs_payments") == 1


async def test_an_idempotency_key_starts_one_session_and_belongs_to_its_request(place: Place) -> None:
    async with opened(place, 2) as ledgers:
        key, digest = os.urandom(32), os.urandom(32)
        tries = [Session().next(idempotency_key=key, digest=digest) for _ in range(6)]
        results = await asyncio.gather(*(outcome_of(ledgers[n % 2], payment) for n, payment in enumerate(tries)))
        assert results.count(None) == 1
        assert all(result in (None, tries[results.index(None)].stored) for result in results)
        with pytest.raises(BadField, match="Idempotency-Key"):
            await ledgers[0].pay(Session().next(idempotency_key=key))
        assert await ledgers[1].pay(Session().next(idempotency_key=os.urandom(32), digest=digest)) is None


async def test_the_same_first_request_without_a_key_starts_a_session_each_time(place: Place) -> None:
    async with opened(place) as (ledger,):
        digest = os.urandom(32)
        for _ in range(3):
            assert await ledger.pay(Session().next(digest=digest)) is None


@pytest.mark.parametrize("auth_id", ["alice", None, 'a"\\\x00\u2028é', "x" * 1024])
async def test_a_kill_switch_stops_every_process_at_its_next_payment(place: Place, auth_id: str | None) -> None:
    async with opened(place, 2) as (one, other):
        session = Session(auth_id=auth_id or "alice")
        first, second = session.next(), session.next()
        assert await one.pay(first) is None
        assert await one.pay(second) is None
        await other.controls.suspend(auth_id, "test")
        await other.controls.suspend(auth_id, "test")
        assert [switch.auth_id for switch in await one.controls.switches()] == [auth_id]
        with pytest.raises(Suspended):
            await one.pay(session.next())
        with pytest.raises(Suspended):  # even what was signed before is not handed out
            await one.pay(second)
        bystander = Session(auth_id="bob").next()
        assert isinstance(await outcome_of(one, bystander), Suspended if auth_id is None else type(None))
        assert await other.controls.resume(auth_id, "test")
        assert not await other.controls.resume(auth_id, "test")
        await one.housekeeping.refresh()
        assert await one.pay(session.request(session.sequence_number)) is None


async def test_payments_that_come_together_share_transactions(place: Place) -> None:
    async with opened(place) as (ledger,):
        batches = count_commits(ledger)
        for _ in range(3):
            await asyncio.gather(*(ledger.pay(Session().next()) for _ in range(50)))
        assert sum(batches) == 150
        assert len(batches) <= 12


async def test_a_batch_is_bounded_by_its_tickets(place: Place) -> None:
    async with opened(place) as (ledger,):
        batches = count_commits(ledger)
        await asyncio.gather(*(ledger.pay(Session().next(tickets=100)) for _ in range(12)))
        assert len(batches) >= 4


async def test_statistics_of_all_processes_add_up(place: Place) -> None:
    async with opened(place, 2) as ledgers:
        for ledger in ledgers:
            sessions = [Session(auth_id=auth_id) for auth_id in ("alice", "bob", "alice\x00")]
            for _ in range(14):  # 70 s: more than one minute
                await asyncio.gather(*(ledger.pay(session.next(tickets=2)) for session in sessions))
        first = NOW_NS // (60 * NS_PER_SECOND)
        span, controls = Minutes(first - 1, first + 2), ledgers[1].controls
        by_minute = await controls.spend_over_time(span, 1)
        assert len(by_minute) >= 2
        assert by_minute == sorted(by_minute)
        total = sum_of(by_minute)
        assert (total.payments, total.tickets, total.ev_wei) == (84, 168, 168 * TICKET_WEI)
        assert total.fee_wei > 0
        assert total.face_value_wei > total.ev_wei
        assert await controls.spend_over_time(span, 10**9) == [(0, total)]
        distinct, spenders = await controls.largest_spend(span, "auth_id", 2, 1)
        assert distinct == 3
        assert [name for name, _ in spenders] == [b"alice", b"alice\x00"], "equal spenders stand in the order of their names"
        assert [sum_of(buckets).payments for _, buckets in spenders] == [28, 28]
        assert len(spenders[0][1]) == len(by_minute)
        distinct, paid = await controls.largest_spend(span, "orchestrator", 6, 1)
        assert (distinct, [(name, sum_of(buckets)) for name, buckets in paid]) == (1, [(ORCHESTRATOR, total)])
        before = Minutes(first - 20, first - 10)
        assert (await controls.spend_over_time(before, 1), await controls.largest_spend(before, "auth_id", 6, 1)) == ([], (0, []))


async def test_the_burn_is_what_all_processes_have_signed_in_the_last_hour_with_its_face_values(place: Place) -> None:
    async with opened(place, 2) as ledgers:
        for ledger in ledgers:
            assert await read_burn(ledger.store, lambda: NOW_NS) == Burn(0, ())  # type: ignore[arg-type] # both stores are made of it
        for ledger in ledgers:
            assert await ledger.pay(Session().next(tickets=3)) is None
        for ledger in ledgers:
            burn = await read_burn(ledger.store, lambda: NOW_NS + 5 * NS_PER_SECOND)  # type: ignore[arg-type]
            assert burn.wei_per_hour == 6 * TICKET_WEI
            ((face_value, winners, _),) = burn.kinds
            assert (face_value, face_value * winners) == (1_200_000_000_000_000, pytest.approx(6 * TICKET_WEI))
            assert (await read_burn(ledger.store, lambda: NOW_NS + 62 * 60 * NS_PER_SECOND)).wei_per_hour == 0  # type: ignore[arg-type]
        ledgers[0].sql("DELETE FROM lrs_draws")  # as where a release before has paid all of it
        burn = await read_burn(ledgers[0].store, lambda: NOW_NS + 5 * NS_PER_SECOND)  # type: ignore[arg-type]
        assert burn.kinds == (Kind(1_200_000_000_000_000, 6 * TICKET_WEI / 1_200_000_000_000_000),)


def sum_of(buckets: Sequence[tuple[int, SpendSum]]) -> SpendSum:
    return reduce(SpendSum.plus, (paid for _, paid in buckets))


@pytest.mark.parametrize("digits", [1, 9, 10, 18, 19, 20, 26])
async def test_amounts_of_any_size_are_added_up_to_the_wei(place: Place, digits: int) -> None:
    least, most = 10 ** (digits - 1), 10**digits - 1
    async with opened(place) as (ledger,):
        paid = {b"least": SpendSum(1, 2, least, least, least), b"most": SpendSum(3, 4, most, 10 * most, most - 1)}
        kind = "BLOB" if isinstance(place, Path) else "bytea"
        for index, (name, sums) in enumerate(paid.items()):
            values = f"{100 + index}, 'w', CAST('{name.decode()}' AS {kind}), CAST('o' AS {kind}), {sums.payments}, {sums.tickets}"
            ledger.sql(f"INSERT INTO lrs_spend VALUES ({values}, '{sums.ev_wei}', '{sums.face_value_wei}', '{sums.fee_wei}')")
        assert await ledger.controls.spend_over_time(Minutes(100, 101), 50) == [(2, paid[b"least"].plus(paid[b"most"]))]
        distinct, names = await ledger.controls.largest_spend(Minutes(0, 200), "auth_id", 5, 1)
        assert distinct == 2
        assert {name: sum_of(buckets) for name, buckets in names} == paid
        assert [name for name, _ in names] == ([b"least", b"most"] if least == most else [b"most", b"least"])


async def test_what_is_older_than_the_retention_is_forgotten_and_the_rest_is_not(place: Place) -> None:
    async with opened(place, retention_seconds=3600, budgets=[Budget("auth_id", "*", "minute", "ev", 10**18)]) as (ledger,):
        young = Session(auth_id="young", started_ns=NOW_NS + 7000 * NS_PER_SECOND)
        await asyncio.gather(*(ledger.pay(Session(auth_id="old").next()) for _ in range(250)))
        kept = [young.next() for _ in range(3)]
        for payment in kept:
            assert await ledger.pay(payment) is None
        ledger.now_ns = NOW_NS + 7100 * NS_PER_SECOND
        for _ in range(3):
            await ledger.housekeeping.prune()
        assert await ledger.count("lrs_payments") == 3
        assert await ledger.count("lrs_nonces") == 1
        assert await ledger.count("lrs_usage") == 1
        assert [name for name, _ in (await ledger.controls.largest_spend(Minutes(0, 10**9), "auth_id", 9, 1)).names] == [b"young"]
        assert await ledger.pay(kept[1]) == kept[1].stored


async def test_a_change_is_known_while_rows_are_being_forgotten(place: Place) -> None:
    async with opened(place, retention_seconds=3600) as (ledger,):
        seen: asyncio.Queue[dict[str, str]] = asyncio.Queue()
        ledger.housekeeping.on_settings = seen.put_nowait
        await asyncio.gather(*(ledger.pay(Session().next()) for _ in range(30)))
        ledger.sql("UPDATE lrs_payments SET made_ms = 1")
        forgetting, may_go_on = asyncio.Event(), asyncio.Event()
        forget = ledger.store.forget

        async def slow(kind: Aging, before_ms: int, limit: int) -> int:
            forgetting.set()
            await may_go_on.wait()
            return await forget(kind, before_ms, limit)

        ledger.store.forget = slow  # type: ignore[method-assign]
        await ledger.housekeeping.start()
        await asyncio.wait_for(forgetting.wait(), 20)
        await ledger.controls.put_setting("ceilings", "x", "test")
        assert await asyncio.wait_for(seen.get(), 20) == {"ceilings": "x"}
        assert await ledger.count("lrs_payments") == 30
        may_go_on.set()
        await until(lambda: ledger.sql("SELECT count(*) FROM lrs_payments") == [(0,)])
        await ledger.housekeeping.close()


async def test_thousands_of_old_rows_of_every_kind_go_in_one_round_and_what_is_young_or_unsent_stays(place: Place) -> None:
    async with opened(place, 2, retention_seconds=3600) as (ledger, other):
        await asyncio.gather(*(ledger.pay(Session(auth_id="young").next(event=b"young")) for _ in range(30)))
        ledger.sql(OLD_PAYMENTS)
        ledger.sql("UPDATE lrs_payments SET made_ms = 1 WHERE seq > 0")
        for statement in OLD_ROWS:
            ledger.sql(statement.replace("BYTES", "BLOB" if isinstance(place, Path) else "bytea"))
        assert await ledger.count("lrs_payments") > 6_000
        await asyncio.gather(ledger.housekeeping.prune(), other.housekeeping.prune())
        kept = {table: await ledger.count(table) for table in ("lrs_payments", "lrs_nonces", "lrs_outbox", "lrs_usage", "lrs_spend")}
        assert kept == {"lrs_payments": 30, "lrs_nonces": 30, "lrs_outbox": 31, "lrs_usage": 1, "lrs_spend": 1}
        assert ledger.sql("SELECT made_ms FROM lrs_outbox WHERE sent = 0 ORDER BY made_ms LIMIT 1") == [(0,)]
        await ledger.housekeeping.prune()  # one of the two had the lease, and this one may have looked before
        assert set(ledger.housekeeping.forgetting.behind_seconds.values()) <= {0}
        assert await ledger.pay(Session().next()) is None


async def test_settings_are_shared(place: Place) -> None:
    async with opened(place, 2) as (one, other):
        seen: list[dict[str, str]] = []
        other.housekeeping.on_settings = seen.append
        await one.controls.put_setting("ceilings", '{"a": 1}', "test")
        await other.housekeeping.refresh()
        await other.housekeeping.refresh()
        await one.controls.put_setting("ceilings", None, "test")
        await other.housekeeping.refresh()
        assert seen == [{"ceilings": '{"a": 1}'}, {}]


async def test_a_closed_ledger_takes_no_more_payments(place: Place) -> None:
    async with opened(place) as (ledger,):
        assert await ledger.pay(Session().next()) is None
        await ledger.engine.close()
        with pytest.raises(LedgerUnavailable):
            await ledger.pay(Session().next())


async def test_names_of_any_kind_and_length_are_only_names(place: Place) -> None:
    budgets = [Budget("app", "*", "hour", "ev", 10**18), Budget("auth_id", "*", "total", "face_value", 10**30)]
    async with opened(place, budgets=budgets) as (ledger,):
        for name in ("", "\x00", "'; DROP TABLE lrs_payments; --", "é😀\u2028", "x" * 100_000, "%s ? $1"):
            assert await ledger.pay(Session(auth_id=name[:1024], app=name).next()) is None
        assert await ledger.count("lrs_payments") == 6
        assert len(await ledger.controls.usage()) == 12


async def test_a_stored_answer_is_not_for_somebody_who_was_suspended_since_however_little_the_request_says_of_him(place: Place) -> None:
    async with opened(place, 1) as (ledger,):
        session = Session(auth_id="alice")
        await ledger.pay(session.next())
        paid = session.next()
        await ledger.pay(paid)
        asked = replace(paid.key, auth_id="")  # the webhook named him, and is not asked again
        assert await ledger.engine.find(asked, NOW_NS) == paid.stored
        await ledger.controls.suspend("alice", "test")
        await ledger.housekeeping.refresh()
        with pytest.raises(Suspended):
            await ledger.engine.find(asked, NOW_NS)


@pytest.mark.parametrize("step", ["begin", "commit"])
async def test_a_fault_of_ours_reaches_its_caller_and_the_next_payment_is_recorded(
    place: Place, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    async with opened(place, 1) as (ledger,):

        async def broken(*_: object) -> None:
            raise RuntimeError("a fault")

        with monkeypatch.context() as fault:
            fault.setattr(ledger.store, step, broken)
            with pytest.raises(RuntimeError, match="a fault"):
                await ledger.pay(Session().next())
        async with asyncio.timeout(20):
            assert await ledger.pay(Session().next()) is None
        assert await ledger.count("lrs_payments") == 1


def test_spending_in_a_window_may_go_when_two_windows_have_passed_and_a_total_never() -> None:
    assert usage_expires_ms('["global","hour","ev"]', 5) == 5 + 2 * 3_600_000
    assert usage_expires_ms('["auth_id","day","ev","alice"]', 5) == 5 + 2 * 86_400_000
    assert usage_expires_ms('["global","total","ev"]', 5) is None


async def test_what_another_process_has_healed_is_not_healed_again_at_a_later_step(place: Place) -> None:
    async with opened(place, 2) as (one, other):
        session = Session()
        for _ in range(3):
            assert await one.pay(session.next()) is None
        late = session.request(1)
        changes = {"digest": late.key.digest, "is_healed": True, "last_update_ns": session.now_ns}
        first, second = (session.request(number, **changes) for number in (3, 4))
        assert await one.engine.pay(first.key, first.plan, first.sign) is None
        assert await other.engine.pay(second.key, second.plan, second.sign) == first.stored
        assert second.made == []
