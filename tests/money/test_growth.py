"""What the ledger grows by for a payment with fresh params, so that redeemed tickets can be found and statements be proven."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from livepeer_remote_signer.adapters.ledger import work
from livepeer_remote_signer.core.rules.ledger import Books
from livepeer_remote_signer.core.rules.payment import PaymentPlan
from tests.ledgers import Payment, Session, opened, run_sql

PAYMENTS = int(os.environ.get("LRS_GROWTH_PAYMENTS", "20000"))
"""What each of them takes is the same: a hundred thousand only take longer."""

AT_ONCE = 500
MOST_BYTES = {"sqlite": 96, "postgres": 160}
SIGNED_BYTES = 22


def fresh_payments() -> list[Payment]:
    """Each of a session of its own, with params of its own."""
    sessions = [Session(auth_id=f"tenant-{number % 40}") for number in range(PAYMENTS)]
    return [session.next() for session in sessions]


def note_nothing(plan: PaymentPlan, books: Books) -> None:
    """In the place of `note_tickets`: the nonces alone."""
    books.signed[plan.session.info.ticket_params.recipient_rand_hash] = b""


async def filled(place: Path | str, payments: Sequence[Payment]) -> int:
    """What a ledger with these payments takes, bytes: the file as it is after its inserts; of a server its rows, each rounded up as
    it is stored, and their indexes, as how many rows of this length fill a page is chance."""
    store = {} if isinstance(place, Path) else {"timeout_seconds": 30}
    async with opened(place, store=store) as (ledger,):
        for at in range(0, len(payments), AT_ONCE):
            await asyncio.gather(*(ledger.engine.pay(one.key, one.plan, one.sign) for one in payments[at : at + AT_ONCE]))
            await ledger.store.fold()
        assert await ledger.count("lrs_payments") == len(payments)
    if isinstance(place, Path):
        ((size,),) = run_sql(place, "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
        return int(size)
    rows = "SELECT sum((pg_column_size({0}.*) + 7) / 8 * 8) + pg_indexes_size('{0}') FROM {0}"
    return sum(int(run_sql(place, rows.format(table))[0][0]) for table in ("lrs_payments", "lrs_nonces", "lrs_sessions"))


@pytest.mark.timeout(600 + PAYMENTS // 200)
@pytest.mark.parametrize("database", MOST_BYTES)
async def test_a_payment_with_fresh_params_costs_few_bytes_more(
    database: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def place(name: str) -> Path | str:
        if database == "sqlite":
            return tmp_path / f"{name}.sqlite"
        create: Callable[[], str] = request.getfixturevalue("postgres_url")
        return create()

    real, payments = work.add_payment, fresh_payments()
    whole = place("whole")
    with_it = await filled(whole, payments)
    ((count, kept),) = run_sql(whole, "SELECT count(*), sum(length(signed)) FROM lrs_nonces")
    assert (count, kept) == (PAYMENTS, PAYMENTS * SIGNED_BYTES)
    ((count, accounts),) = run_sql(whole, "SELECT count(*), sum(length(account)) FROM lrs_payments WHERE length(account) > 0")
    assert count == PAYMENTS
    assert run_sql(whole, "SELECT sum(tickets) FROM lrs_draws") == [(PAYMENTS,)]
    for table in ("lrs_draws", "lrs_digests"):
        assert run_sql(whole, f"SELECT count(*) FROM {table}") == [(1,)], "lines are of a time, not of a payment"

    monkeypatch.setattr(work, "note_tickets", note_nothing)
    monkeypatch.setattr(work, "add_payment", lambda *line: real(*line) and b"")
    bare = place("bare")
    without = await filled(bare, payments)
    assert run_sql(bare, "SELECT count(*) FROM lrs_nonces WHERE length(signed) > 0") == [(0,)]
    assert run_sql(bare, "SELECT count(*) FROM lrs_payments WHERE length(account) > 0") == [(0,)]
    each = (with_it - without) / PAYMENTS
    least = (kept + accounts) / PAYMENTS  # a file that had room left in its pages does not grow by what fits there
    assert SIGNED_BYTES < max(each, least) <= MOST_BYTES[database], f"{each:.1f} bytes a payment, {least:.1f} of them its own"
