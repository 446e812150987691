"""What payments leave to be added to the sums is added once, by whichever process, through faults at every step."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from livepeer_remote_signer.adapters.ledger import housekeeping as keeping
from livepeer_remote_signer.adapters.ledger import postgres_sums, sqlite_sums, tallies
from livepeer_remote_signer.adapters.ledger.store import Minutes, StoreFailed
from livepeer_remote_signer.core.rules.sums import OpenSums, Sums
from livepeer_remote_signer.core.rules.usage import UsageQuery
from tests.ledgers import OpenLedger, Session, fold_tallies, opened

_T = TypeVar("_T")
Place = Path | str
SUMS = (
    "SELECT coalesce(sum(payments), 0) FROM lrs_spend",
    "SELECT coalesce(sum(tickets), 0) FROM lrs_draws",
    "SELECT coalesce(sum(payments), 0) FROM lrs_daily",
)


def sums_of(ledger: OpenLedger) -> list[int]:
    """As they stand in the tables: payments of one ticket each."""
    return [int(ledger.sql(statement)[0][0]) for statement in SUMS]


def waiting(ledger: OpenLedger) -> int:
    return int(ledger.sql("SELECT count(*) FROM lrs_tallies")[0][0])


async def pay(ledger: OpenLedger, count: int, session: Session | None = None) -> None:
    """So many payments, each in a batch of its own."""
    session = session or Session()
    for _ in range(count):
        assert await ledger.pay(session.next()) is None


async def until(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not check():  # noqa: ASYNC110 - the database tells nobody
            await asyncio.sleep(0.01)


async def test_a_payment_leaves_its_tally_in_its_own_transaction_and_it_is_added_once(place: Place) -> None:
    async with opened(place) as (ledger,):
        await pay(ledger, 3)
        assert (waiting(ledger), sums_of(ledger)) == (3, [0, 0, 0])
        await ledger.store.fold()
        assert (waiting(ledger), sums_of(ledger)) == (0, [3, 3, 3])
        await ledger.store.fold()
        assert sums_of(ledger) == [3, 3, 3]


async def test_a_refused_payment_leaves_none(place: Place) -> None:
    async with opened(place) as (ledger,):
        session = Session()
        await pay(ledger, 1, session)
        assert await ledger.pay(session.request(0)) is not None
        assert waiting(ledger) == 1


async def test_more_than_one_step_holds_is_added_as_well(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallies, "FOLDED_AT_ONCE", 4)
    async with opened(place) as (ledger,):
        await pay(ledger, 11)
        await ledger.store.fold()
        assert (waiting(ledger), sums_of(ledger)) == (0, [11, 11, 11])


async def test_what_a_process_left_that_is_gone_is_added_by_the_next(place: Place) -> None:
    async with opened(place) as (ledger,):
        await pay(ledger, 2)
    fold_tallies(place)
    async with opened(place) as (ledger,):
        assert (waiting(ledger), sums_of(ledger)) == (0, [2, 2, 2])


async def test_processes_that_add_at_once_add_each_payment_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tallies, "FOLDED_AT_ONCE", 3)
    async with opened(place, 3) as ledgers:
        sessions = [Session(auth_id=f"a{number}") for number in range(6)]

        async def work(number: int) -> None:
            for step in range(8):
                assert await ledgers[number % 3].pay(sessions[number].next()) is None
                if step % 3 == number % 3:
                    await ledgers[(number + 1) % 3].store.fold()

        await asyncio.gather(*(work(number) for number in range(6)))
        await asyncio.gather(*(ledger.store.fold() for ledger in ledgers * 2))
        assert (waiting(ledgers[0]), sums_of(ledgers[0])) == (0, [48, 48, 48])


async def test_whoever_reads_sums_has_what_every_process_paid_before(place: Place) -> None:
    async with opened(place, 2) as (one, other):
        session = Session(auth_id="alice")
        minute = session.now_ns // (60 * 10**9)
        minutes, day = Minutes(minute - 60, minute + 60), minute // 1440
        readings: list[Callable[[], Awaitable[int]]] = [
            lambda: summed(other.store.spend_over_time(minutes, 1), lambda row: row[1].payments),
            lambda: summed(other.store.spend_of(minutes, "auth_id", [b"alice"], 1), lambda row: row[2].payments),
            lambda: summed(other.store.daily(UsageQuery(day - 1, day + 1)), lambda row: row.sums.payments),
            lambda: summed(other.store.draws_since(0), lambda line: line.signed.tickets),
        ]
        for paid, reading in enumerate(readings, 1):
            await pay(one, 1, session)
            assert await reading() == paid
        await pay(one, 1, Session(auth_id="bob"))
        assert await other.store.largest_spend(minutes, "auth_id", 5) == (2, [b"alice", b"bob"])


async def summed(rows: Awaitable[Sequence[_T]], value: Callable[[_T], int]) -> int:
    return sum(map(value, await rows))


@pytest.mark.parametrize("is_written", [True, False])
async def test_a_step_that_is_not_heard_of_is_neither_lost_nor_added_twice(
    place: Place, monkeypatch: pytest.MonkeyPatch, is_written: bool
) -> None:
    """Its lines stand there, or do not: what follows is written beside them."""
    async with opened(place) as (ledger,):
        session = Session()
        await pay(ledger, 2, session)
        await ledger.store.fold()
        await pay(ledger, 2, session)
        if is_written:

            def deaf(self: OpenSums, _: object) -> None:
                raise StoreFailed("the answer was lost")

            monkeypatch.setattr(OpenSums, "keep", deaf)
        else:
            broken = "INSERT INTO lrs_nowhere VALUES (1)"
            monkeypatch.setattr(tallies, "SQLITE_FOLDED", broken)
            monkeypatch.setattr(tallies, "POSTGRES_TAKE", broken)
        with pytest.raises(StoreFailed):
            await ledger.store.fold()
        monkeypatch.undo()
        assert sums_of(ledger) == ([4, 4, 4] if is_written else [2, 2, 2])
        await pay(ledger, 3, session)
        await ledger.store.fold()
        assert (waiting(ledger), sums_of(ledger)) == (0, [7, 7, 7])


async def test_they_are_added_while_payments_go_on_and_at_the_end(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "FOLD_SECONDS", 0.01)
    async with opened(place) as (ledger,):
        await ledger.housekeeping.start()
        await pay(ledger, 2)
        await until(lambda: sums_of(ledger) == [2, 2, 2])
        await ledger.housekeeping.close()
        ledger.housekeeping._tasks.clear()
        await pay(ledger, 1)
        await ledger.housekeeping.close()
        assert (waiting(ledger), sums_of(ledger)) == (0, [3, 3, 3])


async def test_a_step_goes_on_to_its_end_when_whoever_asked_leaves(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    began = asyncio.Event()
    kept = OpenSums.keep
    module = sqlite_sums if isinstance(place, Path) else postgres_sums
    parse, loop = module.parse_tallies, asyncio.get_running_loop()

    def noted(raw: bytes) -> Any:
        loop.call_soon_threadsafe(began.set)
        return parse(raw)

    monkeypatch.setattr(module, "parse_tallies", noted)
    told: list[None] = []

    def keep(self: OpenSums, sums: Sums) -> None:
        kept(self, sums)
        told.append(None)

    monkeypatch.setattr(OpenSums, "keep", keep)
    async with opened(place) as (ledger,):
        session = Session()
        await pay(ledger, 2, session)
        folding = asyncio.create_task(ledger.store.fold())
        await began.wait()
        folding.cancel()
        await asyncio.gather(folding, return_exceptions=True)
        await until(lambda: bool(told))
        await pay(ledger, 2, session)
        await ledger.store.fold()
        assert (waiting(ledger), sums_of(ledger)) == (0, [4, 4, 4])
