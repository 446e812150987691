"""Payments that are signed between two transactions, in both databases. Two ledgers on one database are two processes."""

from __future__ import annotations

import asyncio
import os
import random
from pathlib import Path
from typing import Any

import pytest

from livepeer_remote_signer.adapters.ledger.store import ConnectionLost, Minutes, Writes
from livepeer_remote_signer.core.errors import BadField, BudgetExceeded, OutboxFull, SignerError, Suspended
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_MS
from livepeer_remote_signer.core.rules.budgets import Budget
from livepeer_remote_signer.core.rules.custody import Held, Stamp
from livepeer_remote_signer.core.rules.ledger import Newest, Record, SegCreds, Stored
from livepeer_remote_signer.core.rules.reservation import SWEPT_MS, Reserved, restore_plan
from tests.ledgers import OpenLedger, Payment, Session, opened
from tests.plans import NOW_NS

Place = Path | str
NOW_MS = NOW_NS // NS_PER_MS
SENDER = bytes([5]) * 20
TICKET_WEI = 10**12
BUDGETS = (Budget("auth_id", "*", "total", "ev", 10 * TICKET_WEI), Budget("global", "*", "hour", "ev", 10**18))


async def reserve(ledger: OpenLedger, payment: Payment, at_ms: int = NOW_MS) -> Held:
    found = await ledger.engine.reserve(payment.key, payment.plan, Stamp(os.urandom(16), at_ms, SENDER))
    assert isinstance(found, Held), found
    return found


async def finish(ledger: OpenLedger, payment: Payment, held: Held, by: bytes = b"", **more: Any) -> bool:
    """As a signer does: what it recorded tells who it was."""
    record = payment.sign(held.plan)
    return await ledger.engine.finish(held, Record(record.state, record.kept + by, payment.event, **more), "")


def spent(ledger: OpenLedger) -> dict[str, str]:
    return {key: amounts for key, amounts in ledger.sql("SELECT key, amounts FROM lrs_usage") if amounts != "[]"}


async def test_budgets_are_counted_once_and_statistics_when_it_is_recorded(place: Place) -> None:
    async with opened(place, budgets=BUDGETS, reserves=True) as (ledger,):
        payment = Session(auth_id="alice").next(tickets=3, event=b"event")
        held = await reserve(ledger, payment)
        reserved = spent(ledger)
        assert len(reserved) == 2
        assert [await ledger.count(t) for t in ("lrs_reservations", "lrs_payments", "lrs_outbox", "lrs_spend")] == [1, 0, 0, 0]
        assert await finish(ledger, payment, held)
        assert spent(ledger) == reserved
        assert [await ledger.count(t) for t in ("lrs_reservations", "lrs_payments", "lrs_outbox", "lrs_spend")] == [0, 1, 1, 1]
        minute = payment.plan.now_ns // (60 * 10**9)
        ((_, line),) = await ledger.store.spend_over_time(Minutes(minute, minute), 1)
        assert (line.payments, line.tickets) == (1, 3)
        assert await ledger.engine.find(payment.key, payment.plan.now_ns) is None or payment.key.is_new
        assert not await finish(ledger, payment, held), "once"
        assert not await ledger.engine.release(held.reservation, NOW_NS)


async def test_whoever_sends_it_again_finishes_with_the_same_tickets_and_one_of_two_is_recorded(place: Place) -> None:
    async with opened(place, 2, budgets=BUDGETS, reserves=True) as (one, other):
        session = Session(auth_id="alice")
        first = session.next()
        assert await finish(one, first, await reserve(one, first))
        payment = session.next(tickets=2)
        held = await reserve(one, payment)
        found = await other.engine.find(payment.key, payment.plan.now_ns)
        assert isinstance(found, Reserved)
        assert found.reservation == held.reservation
        again = Held(found.reservation, restore_plan(payment.plan.session, found.reservation.plan, payment.plan.sender))
        assert again.plan == held.plan
        ended = await asyncio.gather(finish(one, payment, held, b" by one"), finish(other, payment, again, b" by other"))
        assert sorted(ended) == [False, True]
        winner = b" by one" if ended[0] else b" by other"
        for ledger in (one, other):
            stored = await ledger.engine.look_up(payment.key, payment.plan.now_ns)
            assert isinstance(stored, Stored)
            assert stored.kept.endswith(winner)
        assert [await one.count(t) for t in ("lrs_reservations", "lrs_payments")] == [0, 2]


async def test_what_is_given_back_is_free_again_but_for_its_nonces(place: Place) -> None:
    async with opened(place, budgets=BUDGETS, reserves=True) as (ledger,):
        session = Session(auth_id="alice")
        first = session.next(tickets=6)
        held = await reserve(ledger, first)
        with pytest.raises(BudgetExceeded):
            await reserve(ledger, Session(auth_id="alice").next(tickets=5))
        assert await ledger.engine.release(held.reservation, NOW_NS)
        assert not await ledger.engine.release(held.reservation, NOW_NS), "once"
        assert spent(ledger) == {}
        assert not await finish(ledger, first, held), "its signatures are thrown away"
        other = session.request(0, tickets=10)
        again = await reserve(ledger, other)
        assert again.plan.first_nonce == held.plan.first_nonce + 6
        assert await finish(ledger, other, again)
        with pytest.raises(BudgetExceeded):
            await reserve(ledger, Session(auth_id="alice").next())


async def test_another_request_of_the_session_finds_it_and_goes_on_from_the_newest_payment_once_it_has_ended(place: Place) -> None:
    async with opened(place, 2, reserves=True) as (one, other):
        session = Session()
        first = session.next()
        assert await finish(one, first, await reserve(one, first))
        lost = session.next()
        held = await reserve(one, lost)
        late = session.request(lost.key.sequence_number)
        found = await other.engine.reserve(late.key, late.plan, Stamp(b"t" * 16, NOW_MS, SENDER))
        assert found == Reserved(held.reservation)
        assert await other.engine.release(held.reservation, NOW_NS)
        again = await reserve(other, late)
        assert again.reservation.sequence_number == lost.key.sequence_number
        assert not await finish(one, lost, held)
        assert await finish(other, late, again)
        newest = await one.engine.look_up(lost.key, NOW_NS)
        assert isinstance(newest, Newest)
        assert newest.state.sequence_number == lost.key.sequence_number


async def test_a_new_session_is_found_by_its_idempotency_key_while_it_is_being_signed(place: Place) -> None:
    async with opened(place, 2, reserves=True) as (one, other):
        name = os.urandom(32)
        payment = Session().next(idempotency_key=name)
        held = await reserve(one, payment)
        same = Session().next(idempotency_key=name, digest=payment.key.digest)
        assert await other.engine.find(same.key, NOW_NS) == Reserved(held.reservation)
        assert await other.engine.reserve(same.key, same.plan, Stamp(b"t" * 16, NOW_MS, SENDER)) == Reserved(held.reservation)
        with pytest.raises(BadField):
            await other.engine.find(Session().next(idempotency_key=name).key, NOW_NS)
        assert await finish(one, payment, held)
        assert isinstance(await other.engine.find(same.key, NOW_NS), Stored)


async def test_two_processes_that_reserve_one_new_session_at_once_do_so_once(place: Place) -> None:
    async with opened(place, 2, reserves=True) as ledgers:
        for _ in range(10):
            name, digest = os.urandom(32), os.urandom(32)
            payments = [Session().next(idempotency_key=name, digest=digest) for _ in ledgers]
            found = await asyncio.gather(
                *(
                    ledger.engine.reserve(payment.key, payment.plan, Stamp(os.urandom(16), NOW_MS, SENDER))
                    for ledger, payment in zip(ledgers, payments, strict=True)
                )
            )
            held = [one for one in found if isinstance(one, Held)]
            assert len(held) == 1
            assert Reserved(held[0].reservation) in found


async def test_the_sweeper_gives_back_what_nobody_signs_and_leaves_what_is_young(place: Place) -> None:
    async with opened(place, 2, budgets=BUDGETS, reserves=True) as (one, other):
        old = [Session(auth_id=f"a{n}").next(tickets=2) for n in range(230)]
        await asyncio.gather(*(reserve(one, payment) for payment in old))
        young, ahead = Session(auth_id="young").next(), Session(auth_id="ahead").next()
        held = await reserve(one, young, NOW_MS + SWEPT_MS)
        await reserve(one, ahead, NOW_MS + 10 * SWEPT_MS)
        for ledger in (one, other):
            ledger.now_ns = (NOW_MS + SWEPT_MS) * NS_PER_MS
            await ledger.housekeeping.sweep()
        assert await one.count("lrs_reservations") == 231, "none is old enough"
        for ledger in (one, other):
            ledger.now_ns += 5 * NS_PER_MS
        await asyncio.gather(one.housekeeping.sweep(), other.housekeeping.sweep(), return_exceptions=True)
        await one.housekeeping.sweep()
        assert await one.count("lrs_reservations") == 1
        assert len(spent(one)) == 2, "the young one's alone"
        assert await finish(other, young, held)


async def test_whatever_the_order_one_signature_is_recorded_and_budgets_hold_what_was(place: Place) -> None:
    """Signers that finish twice, release, sweep and send again, on two processes at once."""
    async with opened(place, 2, budgets=(Budget("global", "*", "total", "ev", 10**18),), reserves=True) as ledgers:
        draw = random.Random(5)
        recorded: list[tuple[int, int]] = []

        async def session(number: int) -> None:
            client = Session(auth_id=f"a{number % 3}")
            for _ in range(6):
                payment = client.next(tickets=draw.randint(1, 3))
                while True:
                    found = await draw.choice(ledgers).engine.reserve(payment.key, payment.plan, Stamp(os.urandom(16), NOW_MS, SENDER))
                    assert isinstance(found, Held)
                    doings = [finish(draw.choice(ledgers), payment, found, bytes([n])) for n in range(draw.randint(0, 3))]
                    doings += [draw.choice(ledgers).engine.release(found.reservation, NOW_NS) for _ in range(draw.randint(0, 2))]
                    draw.shuffle(doings)
                    finishes = await asyncio.gather(*doings)
                    assert finishes.count(True) <= 1
                    if await ledgers[0].store.payment(payment.key.state_id, payment.key.sequence_number, payment.key.digest):
                        recorded.append((number, found.plan.num_tickets))
                        break
                    await ledgers[1].engine.release(found.reservation, NOW_NS)

        await asyncio.gather(*(session(number) for number in range(8)))
        assert len(recorded) == 48
        assert await ledgers[0].count("lrs_payments") == 48
        assert await ledgers[0].count("lrs_reservations") == 0
        total = sum(tickets for _, tickets in recorded) * TICKET_WEI
        assert spent(ledgers[0]) == {'["global","total","ev"]': f"[[0,{total}]]"}


async def test_a_commit_that_was_not_answered_is_found_and_no_second_signature_goes_out(place: Place) -> None:
    async with opened(place, reserves=True) as (ledger,):
        payment = Session().next()
        commit = ledger.store.commit
        lost: list[Writes] = []

        async def unanswered(writes: Writes) -> None:
            await commit(writes)
            if not lost:
                lost.append(writes)
                raise ConnectionLost("the line broke", may_be_recorded=True)

        ledger.store.commit = unanswered  # type: ignore[method-assign]
        held = await reserve(ledger, payment)
        assert lost.pop().reserved == [held.reservation]
        assert await ledger.count("lrs_reservations") == 1
        assert not await finish(ledger, payment, held), "an attempt before has recorded it: what was recorded is what is answered"
        assert await ledger.count("lrs_payments") == 1
        assert await ledger.count("lrs_reservations") == 0


async def test_a_kill_switch_between_the_two_wins(place: Place) -> None:
    async with opened(place, 2, budgets=BUDGETS, reserves=True) as (one, other):
        payment = Session(auth_id="alice").next()
        held = await reserve(one, payment)
        await other.controls.suspend(None, "test")
        with pytest.raises(Suspended):
            await finish(one, payment, held)
        assert await one.count("lrs_payments") == 0
        assert await one.engine.release(held.reservation, NOW_NS)
        assert spent(one) == {}


async def test_a_backlog_that_fills_up_refuses_what_begins_and_not_what_ends(place: Place) -> None:
    async with opened(place, reserves=True) as (ledger,):
        payment = Session().next(event=b"event")
        held = await reserve(ledger, payment)
        ledger.engine.set_outbox_full(OutboxFull("full"))
        with pytest.raises(OutboxFull):
            await reserve(ledger, Session().next())
        assert await finish(ledger, payment, held)


async def test_a_signer_that_holds_the_key_itself_and_one_that_does_not_share_a_ledger(place: Place) -> None:
    async with opened(place, 1, budgets=BUDGETS, reserves=True) as (outside,), opened(place, 1, budgets=BUDGETS) as (local,):
        session = Session(auth_id="alice")
        lost = session.next()
        held = await reserve(outside, lost)
        payment = session.request(0)
        assert await local.pay(payment) is None
        assert payment.made[-1].first_nonce == held.plan.first_nonce + held.plan.num_tickets
        assert not await finish(outside, lost, held)
        local.now_ns = (NOW_MS + SWEPT_MS + 1) * NS_PER_MS
        await local.housekeeping.sweep()
        assert await outside.count("lrs_reservations") == 0
        assert spent(local)['["auth_id","total","ev","alice"]'] == f"[[0,{TICKET_WEI}]]"


async def test_segment_credentials_are_kept_for_all_signers_and_forgotten_with_the_payments(place: Place) -> None:
    async with opened(place, 2, reserves=True, retention_seconds=3600) as (one, other):
        payment = Session().next()
        made = SegCreds(os.urandom(32), os.urandom(65))
        assert await other.engine.seg_creds(made.message) is None
        assert await finish(one, payment, await reserve(one, payment), seg_creds=made)
        assert await other.engine.seg_creds(made.message) == made.sig
        second = Session().next()
        assert await finish(other, second, await reserve(other, second), seg_creds=SegCreds(made.message, os.urandom(65)))
        assert await one.engine.seg_creds(made.message) == made.sig, "the first one stays"
        one.now_ns += 2 * 3600 * 10**9
        await one.housekeeping.prune()
        assert await other.engine.seg_creds(made.message) is None


async def test_a_reservation_that_cannot_be_given_back_is_told_and_holds_up_nobody(place: Place) -> None:
    async with opened(place, budgets=BUDGETS, reserves=True) as (ledger,):
        await reserve(ledger, Session(auth_id="a").next())
        await reserve(ledger, Session(auth_id="b").next())
        value = "CAST('nonsense' AS BLOB)" if isinstance(place, Path) else "'nonsense'::bytea"
        ledger.sql(f"UPDATE lrs_reservations SET spent = {value} WHERE state_id = (SELECT min(state_id) FROM lrs_reservations)")
        ledger.now_ns = (NOW_MS + SWEPT_MS + 1) * NS_PER_MS
        with pytest.raises(SignerError, match="reservations cannot be given back"):
            await ledger.housekeeping.sweep()
        assert await ledger.count("lrs_reservations") == 1
