"""Tables of an older release take the steps they lack; tables of a newer kind are refused; both are used beside each other."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from livepeer_remote_signer.adapters.ledger import sqlite_connections, steps
from livepeer_remote_signer.adapters.ledger.postgres import PostgresStore
from livepeer_remote_signer.adapters.ledger.sqlite import SqliteStore
from livepeer_remote_signer.adapters.ledger.steps import NEWEST_STEP, STEPS, Step
from livepeer_remote_signer.adapters.ledger.store import Store, StoreFailed
from livepeer_remote_signer.core.errors import BudgetExceeded, Suspended
from livepeer_remote_signer.core.rules.budgets import Budget
from livepeer_remote_signer.core.rules.ledger import RequestKey, Stored
from tests.ledgers import Session, opened, run_sql
from tests.plans import NOW_NS

Place = Path | str
RECORDED = Path(__file__).parent / "recorded"
BUDGETS = [Budget("auth_id", "*", "total", "ev", 10**18), Budget("global", "*", "day", "ev", 10**18)]


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A copy of a file that release 792b947 wrote."""
    return Path(shutil.copy(RECORDED / "ledger-792b947.sqlite", tmp_path / "ledger.sqlite"))


def recorded_payments() -> list[dict[str, Any]]:
    payments: list[dict[str, Any]] = json.loads((RECORDED / "ledger-792b947.json").read_text())
    return payments


def make_first_tables(place: Place) -> None:
    """What the first step made, without a word of steps, as the release did that had none."""
    if isinstance(place, Path):
        for statement in (*STEPS[0].sqlite, "PRAGMA user_version = 1"):
            run_sql(place, statement)
        return
    for statement in (*STEPS[0].postgres, "INSERT INTO lrs_meta VALUES ('schema_version', '1')"):
        run_sql(place, statement)


def store_at(place: Place) -> Store:
    return SqliteStore(place, writer="w") if isinstance(place, Path) else PostgresStore(place, writer="w")


def set_version(place: Place, version: int) -> None:
    if isinstance(place, Path):
        run_sql(place, f"PRAGMA user_version = {version}")
    else:
        run_sql(place, f"UPDATE lrs_meta SET value = '{version}' WHERE name = 'schema_version'")


async def test_a_file_of_the_release_before_the_steps_is_taken_over_with_all_that_it_knows(recorded: Path) -> None:
    async with opened(recorded, budgets=BUDGETS) as (ledger,):
        await ledger.housekeeping.refresh()
        for payment in recorded_payments():
            key = RequestKey(
                state_id=payment["state_id"],
                sequence_number=payment["sequence_number"],
                digest=bytes.fromhex(payment["digest"]),
                auth_id=payment["auth_id"],
                idempotency_key=bytes.fromhex(payment["idempotency_key"]),
                last_update_ns=payment["last_update_ns"],
                is_new=payment["sequence_number"] == 0,
            )
            if payment["auth_id"] == "carol":
                with pytest.raises(Suspended):
                    await ledger.engine.find(key, NOW_NS)
                continue
            stored = Stored(bytes.fromhex(payment["kept"]), payment["auth_id"], payment["state"].encode())
            assert await ledger.engine.find(key, NOW_NS) == stored
        last = next(payment for payment in recorded_payments() if payment["last_nonce"] == 6)
        again = Session(auth_id="bob", rand_hash=bytes.fromhex(last["rand_hash"]))
        assert await ledger.pay(first := again.next()) is None
        assert [nonce for _, nonce in first.nonces] == [last["last_nonce"] + 1], "no nonce is used twice"
        spent = {(use.budget.scope, use.id): use.spent_wei for use in await ledger.controls.usage()}
        assert spent["auth_id", "alice"] == 6 * 10**12
        assert spent["auth_id", "bob"] == 7 * 10**12
        assert [event.payload for event in await ledger.outbox.unsent(100)][:7] == [
            *(b"alice 2", b"bob 0", b"bob 1", b"bob 2", b"carol 0", b"carol 1", b"carol 2")
        ]
        assert await ledger.controls.settings() == {"ceilings": "{}"}
        assert ledger.sql("SELECT value FROM lrs_meta WHERE name = 'schema_step'") == [(str(NEWEST_STEP),)]
        assert ledger.sql("PRAGMA integrity_check") == [("ok",)]


async def test_first_tables_take_the_steps_once_however_many_processes_start_at_once(place: Place) -> None:
    make_first_tables(place)
    stores = [store_at(place) for _ in range(4)]
    await asyncio.gather(*(store.open() for store in stores))
    for store in stores:
        await store.close()
    assert run_sql(place, "SELECT value FROM lrs_meta WHERE name = 'schema_step'") == [(str(NEWEST_STEP),)]
    async with opened(place) as (ledger,):
        assert await ledger.pay(Session().next()) is None


async def test_steps_are_taken_whole_or_not_at_all(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    make_first_tables(place)
    broken = Step(NEWEST_STEP + 1, *[("CREATE TABLE lrs_more (a integer)", "CREATE TABLE lrs_more (a integer)")] * 2)
    monkeypatch.setattr(steps, "STEPS", (*STEPS, broken))
    store = store_at(place)
    with pytest.raises(StoreFailed):
        await store.open()
    if not isinstance(place, Path):
        await store.close()
    assert run_sql(place, "SELECT count(*) FROM lrs_meta WHERE name = 'schema_step'") == [(0,)]
    monkeypatch.undo()
    async with opened(place) as (ledger,):
        assert await ledger.pay(Session().next()) is None


async def test_tables_of_a_newer_kind_are_refused_and_left_as_they_are(place: Place) -> None:
    async with opened(place) as (ledger,):
        assert await ledger.pay(Session().next()) is None
    set_version(place, 2)
    store = store_at(place)
    with pytest.raises(StoreFailed, match=r"schema version 2, this release knows 1: start the release that wrote it, or a newer one"):
        await store.open()
    if not isinstance(place, Path):
        await store.close()
    set_version(place, 1)
    async with opened(place) as (ledger,):
        assert await ledger.count("lrs_payments") == 1


async def test_steps_of_a_newer_release_that_only_add_do_not_keep_this_one_out(place: Place) -> None:
    async with opened(place):
        run_sql(place, "CREATE TABLE lrs_of_the_next_release (a integer)")
        run_sql(place, f"UPDATE lrs_meta SET value = '{NEWEST_STEP + 5}' WHERE name = 'schema_step'")
    async with opened(place) as (ledger,):
        assert await ledger.pay(Session().next()) is None
    assert run_sql(place, "SELECT value FROM lrs_meta WHERE name = 'schema_step'") == [(str(NEWEST_STEP + 5),)]


async def test_a_switch_that_an_older_release_sets_or_takes_back_is_obeyed_with_the_next_payment(place: Place) -> None:
    async with opened(place, budgets=BUDGETS) as (ledger,):
        session = Session(auth_id="alice")
        assert await ledger.pay(session.next()) is None
        name = "CAST('alice' AS BLOB)" if isinstance(place, Path) else "'alice'::bytea"
        run_sql(place, f'INSERT INTO lrs_switches (name, auth_id, set_ms) VALUES (\'["auth_id", "alice"]\', {name}, 0)')
        with pytest.raises(Suspended):
            await ledger.pay(session.next())
        run_sql(place, "DELETE FROM lrs_switches")
        await ledger.housekeeping.refresh()
        assert await ledger.pay(session.request(1)) is None


async def test_an_older_release_that_counted_a_budget_is_counted_on(place: Place) -> None:
    budget = Budget("auth_id", "*", "total", "ev", 3 * 10**12)
    async with opened(place, budgets=[budget]) as (ledger,):
        run_sql(
            place,
            """INSERT INTO lrs_usage (key, amounts, expires_ms) VALUES ('["auth_id","total","ev","alice"]', '[[0,2000000000000]]', NULL)""",
        )
        assert await ledger.pay(Session(auth_id="alice").next()) is None
        with pytest.raises(BudgetExceeded):
            await ledger.pay(Session(auth_id="alice").next())


async def test_steps_are_taken_while_an_older_release_pays_and_neither_ends_the_others_transaction(
    postgres_url: Callable[[], str],
) -> None:
    url = postgres_url()
    make_first_tables(url)
    run_sql(url, "INSERT INTO lrs_usage SELECT 'key ' || n, '[]', NULL FROM generate_series(1, 4) AS n")
    paid, is_over, has_begun = [0] * 4, threading.Event(), threading.Barrier(5)

    def keep_paying(number: int) -> None:
        with psycopg.connect(url) as connection:
            while not is_over.is_set():
                connection.execute("SELECT * FROM lrs_usage WHERE key = %s FOR UPDATE", (f"key {number + 1}",))
                if not paid[number]:
                    has_begun.wait(20)
                time.sleep(0.05)  # what signing takes, on a slow day
                state_id = os.urandom(16)
                connection.execute("UPDATE lrs_usage SET amounts = '[]' WHERE key = %s", (f"key {number + 1}",))
                connection.execute("INSERT INTO lrs_sessions VALUES (%s, 0, 0)", (state_id,))
                connection.execute("INSERT INTO lrs_nonces VALUES (%s, 0, 0)", (state_id,))
                connection.execute(
                    """INSERT INTO lrs_payments (state_id, seq, digest, auth_id, is_healed, made_ms, state, kept)
                    VALUES (%s, 0, '', '', 0, 0, '', '')""",
                    (state_id,),
                )
                connection.commit()
                paid[number] += 1

    threads = [asyncio.create_task(asyncio.to_thread(keep_paying, number)) for number in range(4)]
    await asyncio.to_thread(has_begun.wait, 20)
    store = PostgresStore(url, writer="w")
    await store.open()
    before = list(paid)
    try:
        async with asyncio.timeout(60):
            while any(after == count for after, count in zip(paid, before, strict=True)):  # noqa: ASYNC110 - payments go on after the steps
                await asyncio.sleep(0.02)
    finally:
        is_over.set()
    await asyncio.gather(*threads)
    await store.close()
    assert run_sql(url, "SELECT count(*) FROM lrs_payments") == [(sum(paid),)]


def test_steps_are_numbered_in_order_and_read_by_both_databases() -> None:
    assert [step.number for step in STEPS] == list(range(1, NEWEST_STEP + 1))
    assert all(step.sqlite and step.postgres for step in STEPS)
    assert sqlite_connections.NEWEST_STEP == NEWEST_STEP
