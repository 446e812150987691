"""What is kept of signed tickets stands in the rows of the batch, for as long as they can be redeemed."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from livepeer_remote_signer.core.protocol.timestamps import NS_PER_SECOND
from livepeer_remote_signer.core.rules.signed import UNKNOWN_TERMS, digest_terms, find_run, signed_runs
from tests.ledgers import OpenLedger, Session, opened, run_sql

Place = Path | str
THREE_DAYS = 3 * 24 * 3600


def signed_of(ledger: OpenLedger) -> bytes:
    """What is kept of the only params."""
    ((signed,),) = ledger.sql("SELECT signed FROM lrs_nonces")
    return bytes(signed)


async def test_each_ticket_is_found_whichever_process_signed_it(place: Place) -> None:
    async with opened(place, 3) as ledgers:
        session = Session(auth_id="alice")
        for step in range(9):
            await ledgers[step % 3].pay(session.next(tickets=2))
        params = session.request(9).plan.session.info.ticket_params
        plan = session.request(9).plan
        terms = digest_terms(plan.sender, params.recipient, params.face_value, params.win_prob, params.recipient_rand_hash, plan.aux_data)
        assert [nonce for nonce in range(30) if find_run(signed_of(ledgers[0]), terms, nonce)] == list(range(1, 19))
        await ledgers[0].store.fold()
        counted = ledgers[0].sql("SELECT sum(tickets) FROM lrs_draws")
        assert counted == [(18,)]


async def test_payments_of_one_batch_on_the_same_params_are_all_kept(place: Place) -> None:
    async with opened(place) as (ledger,):
        rand_hash = os.urandom(32)
        payments = [Session(auth_id=f"a{i}", rand_hash=rand_hash).next() for i in range(20)]
        await asyncio.gather(*(ledger.engine.pay(p.key, p.plan, p.sign) for p in payments))
        assert [run.first for run in signed_runs(signed_of(ledger))] == list(range(1, 21))


async def test_what_another_release_signs_on_the_same_params_is_marked(place: Place) -> None:
    async with opened(place) as (ledger,):
        session = Session()
        await ledger.pay(session.next())
        run_sql(place, "UPDATE lrs_nonces SET last_nonce = 7")  # as the release before does it
        async with opened(place) as (restarted,):
            await restarted.pay(session.next())
        runs = list(signed_runs(signed_of(ledger)))
        assert [(run.terms == UNKNOWN_TERMS, run.first, run.last) for run in runs] == [(False, 1, 1), (True, 2, 7), (False, 8, 8)]


async def test_params_are_kept_for_as_long_as_their_tickets_can_be_redeemed(place: Place) -> None:
    async with opened(place, retention_seconds=3600) as (ledger,):
        ledger.engine.params_kept_seconds = THREE_DAYS
        await ledger.pay(Session(started_ns=ledger.now_ns).next())
        ledger.now_ns += (THREE_DAYS - 10) * NS_PER_SECOND
        await ledger.housekeeping.prune()
        assert [await ledger.count(table) for table in ("lrs_payments", "lrs_nonces", "lrs_draws")] == [0, 1, 1]
        ledger.now_ns += 400 * NS_PER_SECOND
        await ledger.housekeeping.prune()
        assert await ledger.count("lrs_nonces") == 0
        ledger.now_ns += 3 * 24 * 3600 * NS_PER_SECOND
        await ledger.housekeeping.prune()
        assert await ledger.count("lrs_draws") == 0
