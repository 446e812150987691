"""Whose ledger it is: what it remembers of those who open it, on both databases."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from livepeer_remote_signer.adapters.ledger.owner import Owner, WrongLedger, claim
from livepeer_remote_signer.adapters.ledger.store import StoreFailed
from livepeer_remote_signer.core.errors import LedgerUnavailable
from tests.ledgers import NOW_NS, Session, opened, run_sql

A, B, C = (bytes([letter]) * 20 for letter in (0xAA, 0xBB, 0xCC))
NOW_MS = NOW_NS // 1_000_000
ARBITRUM = 42161


def owner(*senders: bytes, chain_id: int | None = ARBITRUM, sinks: tuple[str, ...] = ()) -> Owner:
    return Owner(chain_id, frozenset(senders), sinks)


async def test_the_first_owner_claims_it_and_comes_back(place: Path | str) -> None:
    async with opened(place) as (ledger,):
        since = await claim(ledger.store, owner(A), NOW_MS)
    async with opened(place) as (ledger,):
        assert await claim(ledger.store, owner(A), NOW_MS + 86_400_000) == since


async def test_another_sender_is_refused_with_both_addresses_and_what_to_do(place: Path | str) -> None:
    async with opened(place) as (ledger,):
        await claim(ledger.store, owner(A), NOW_MS)
        with pytest.raises(WrongLedger) as refused:
            await claim(ledger.store, owner(B), NOW_MS)
        text = str(refused.value)
        assert re.search(f"payments of 0x{A.hex()}, and .* pays from 0x{B.hex()}: .*ledger.senders", text)
        await claim(ledger.store, owner(A), NOW_MS)


async def test_who_names_both_may_and_then_each_of_them_may(place: Path | str) -> None:
    async with opened(place) as (ledger,):
        await claim(ledger.store, owner(A), NOW_MS)
        await claim(ledger.store, owner(A, B), NOW_MS)
        await claim(ledger.store, owner(B), NOW_MS)
        await claim(ledger.store, owner(A), NOW_MS)
        with pytest.raises(WrongLedger):
            await claim(ledger.store, owner(A, C), NOW_MS)


async def test_another_chain_is_refused_and_none_is_any(place: Path | str) -> None:
    async with opened(place) as (ledger,):
        await claim(ledger.store, owner(A, chain_id=None), NOW_MS)
        await claim(ledger.store, owner(A), NOW_MS)
        with pytest.raises(WrongLedger, match=r"payments are on chain 42161, and chain\.rpc\.chain_id is 421614"):
            await claim(ledger.store, owner(A, chain_id=421614), NOW_MS)


async def test_of_two_who_claim_at_once_one_is_refused(place: Path | str) -> None:
    async with opened(place, 2) as (one, two):
        ends = await asyncio.gather(claim(one.store, owner(A), NOW_MS), claim(two.store, owner(B), NOW_MS), return_exceptions=True)
        assert sorted(type(end).__name__ for end in ends) == ["WrongLedger", "str"]


async def test_other_sinks_are_told_of_once_a_change(place: Path | str, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(place) as (ledger,):
        await claim(ledger.store, owner(A, sinks=("kafka:x",)), NOW_MS)
        await claim(ledger.store, owner(A, sinks=("kafka:x",)), NOW_MS)
        assert not caplog.records
        await claim(ledger.store, owner(A), NOW_MS)
        await claim(ledger.store, owner(A), NOW_MS)
        (record,) = caplog.records
        assert "(kafka:x) than this configuration's (none)" in record.getMessage()
        assert "payments made here are in nobody's events" in record.getMessage()


async def test_a_ledger_that_was_claimed_is_opened_without_a_write(tmp_path: Path) -> None:
    async with opened(tmp_path / "ledger.sqlite") as (ledger,):
        await claim(ledger.store, owner(A), NOW_MS)
        version = ledger.sql("PRAGMA data_version"), (tmp_path / "ledger.sqlite-wal").stat().st_size
        await claim(ledger.store, owner(A), NOW_MS)
        assert (ledger.sql("PRAGMA data_version"), (tmp_path / "ledger.sqlite-wal").stat().st_size) == version


async def test_nothing_is_recorded_in_a_ledger_that_is_not_known_to_be_ours(place: Path | str) -> None:
    """As with a database that comes up after the signer, and turns out to be somebody else's."""
    async with opened(place) as (ledger,):
        await claim(ledger.store, owner(A), NOW_MS)
        housekeeping = ledger.housekeeping
        housekeeping._is_open, housekeeping._owner = False, owner(B)
        with pytest.raises(StoreFailed, match="payments of"):
            await housekeeping._open()
        ledger.engine.barred = "not looked at yet"
        with pytest.raises(LedgerUnavailable, match="not looked at yet"):
            await ledger.pay(Session().next())
        assert await ledger.count("lrs_payments") == 0
        housekeeping._owner = owner(A)
        await housekeeping._open()
        await housekeeping.refresh()
        assert await ledger.pay(Session().next()) is None


async def test_at_start_it_is_told_which_ledger_it_is(place: Path | str, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(place) as (ledger,):
        housekeeping = ledger.housekeeping
        housekeeping._is_open, housekeeping._owner = False, owner(A)
        await ledger.pay(Session().next(event=b"an event"))
        with caplog.at_level(logging.INFO):
            await housekeeping._open()
            await housekeeping.refresh()
            for _ in range(2):
                housekeeping._tell_once()
        (told,) = [text for text in caplog.messages if text.startswith("ledger: ")]
        assert re.fullmatch(r"ledger: (SQLite at /.*|PostgreSQL at .*), in use since 20.*Z, 1 events wait to be sent", told)
        assert "password" not in told


async def test_a_database_without_an_encoding_tells_texts_all_the_same(postgres_url: Callable[[], str]) -> None:
    """As initdb makes it where the locale is C."""
    server = postgres_url()
    name = f"ascii_{os.urandom(4).hex()}"
    run_sql(server, f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    place = make_conninfo(server, dbname=name, options="")
    for _ in range(2):
        async with opened(place) as (ledger,):
            await claim(ledger.store, owner(A, B), NOW_MS)
            assert await ledger.pay(Session(auth_id="Zoë").next(event=b"an event")) is None
            await ledger.store.put_setting("name", "Zoë", NOW_MS)
            assert (await ledger.store.settings())["name"] == "Zoë"
