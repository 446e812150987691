"""Users in the ledger, held against SQLite and a real PostgreSQL: keys, budgets of single auth ids, and who changed what."""

from __future__ import annotations

import asyncio
import gc
import json
import math
import time
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from livepeer_remote_signer.adapters.auth.ledger_keys import LedgerKeys
from livepeer_remote_signer.adapters.ledger import users as users_module
from livepeer_remote_signer.adapters.ledger.store import ConnectionLost, StoreFailed
from livepeer_remote_signer.adapters.ledger.users import KEYS_HOLD_SECONDS, NOTE_USED_SECONDS, READ_AGAIN_SECONDS
from livepeer_remote_signer.core.errors import BadField, BudgetExceeded, Denied, LedgerUnavailable, Suspended, Unauthenticated
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_SECOND
from livepeer_remote_signer.core.rules.audit import admin_request_key
from livepeer_remote_signer.core.rules.budgets import Budget, Measure, Window
from livepeer_remote_signer.core.rules.new_keys import NewKey
from livepeer_remote_signer.core.rules.runtime_budgets import BudgetChange, BudgetName, Step
from tests.ledgers import OpenLedger, Session, opened, outcome_of
from tests.plans import NOW_NS

Place = Path | str
EV = 10**12
"""Of one ticket of a made-up payment, wei."""

DEFAULT = Budget("auth_id", "*", "total", "ev", 2 * EV)
PATH = "/generate-live-payment"


async def change(
    ledger: OpenLedger,
    step: Step,
    auth_id: str,
    wei: int = 0,
    *,
    window: Window = "total",
    measure: Measure = "ev",
    may_raise: bool = True,
    key: bytes = b"",
) -> int | None:
    """One change of one budget; the runtime limit that is set then."""
    name = BudgetName(auth_id, window, measure)
    request = ledger.users.request("test", admin_request_key(key), repr((step, name, wei)).encode())
    ((_, limit),) = await ledger.users.change_budgets([BudgetChange(step, name, wei)], request, may_raise=may_raise)
    return limit


async def create(ledger: OpenLedger, *keys: NewKey, idempotency_key: bytes = b"", digest: bytes = b"") -> list[str | None]:
    made = await ledger.users.create_keys(keys, ledger.users.request("test", admin_request_key(idempotency_key), digest))
    return [key.text for key in made]


async def spent_until_refused(ledger: OpenLedger, auth_id: str) -> int:
    """How many tickets an auth id may buy, one at a time."""
    for tickets in range(20):
        outcome = await outcome_of(ledger, Session(auth_id=auth_id).next())
        if outcome is not None:
            assert isinstance(outcome, BudgetExceeded)
            return tickets
    raise AssertionError("nothing limits it")


# --- budgets ---


async def test_a_budget_of_one_id_stands_instead_of_the_default_in_every_process(place: Place) -> None:
    async with opened(place, 2, budgets=[DEFAULT]) as (one, two):
        await change(one, "set", "alice", 5 * EV)
        await change(one, "set", "bob", EV)
        assert await spent_until_refused(one, "alice") == 5
        assert await spent_until_refused(one, "carol") == 2
        await two.housekeeping.refresh()
        assert await spent_until_refused(two, "bob") == 1
        assert await change(two, "top-up", "alice", 3 * EV) == 8 * EV
        await one.housekeeping.refresh()
        assert await spent_until_refused(one, "alice") == 3
        await change(one, "reset", "alice")
        assert await spent_until_refused(one, "alice") == 0
        (use,) = await one.controls.budgets_of("alice")
        assert (one.users.source_of(use.budget, "alice"), use.left_wei) == ("default", 0)


async def test_a_budget_where_none_is_configured_counts_from_then_on(place: Place) -> None:
    async with opened(place) as (ledger,):
        assert await ledger.pay(Session(auth_id="alice").next(tickets=9)) is None
        await change(ledger, "set", "alice", 2 * EV)
        (use,) = await ledger.controls.budgets_of("alice")
        assert (use.spent_wei, use.left_wei, ledger.users.source_of(use.budget, "alice")) == (0, 2 * EV, "runtime")
        assert await spent_until_refused(ledger, "alice") == 2
        assert [use.id for use in await ledger.controls.usage()] == ["alice"]
        assert await ledger.pay(Session(auth_id="bob").next(tickets=9)) is None


async def test_what_was_spent_of_a_runtime_budget_is_never_forgotten_while_it_is_set(place: Place) -> None:
    async with opened(place, retention_seconds=3600) as (ledger,):
        await change(ledger, "set", "alice", 2 * EV)
        assert await spent_until_refused(ledger, "alice") == 2
        for _ in range(3):
            ledger.now_ns += 5000 * NS_PER_SECOND
            await ledger.housekeeping.prune()
        assert await ledger.count("lrs_usage") == 1
        assert await spent_until_refused(ledger, "alice") == 0
        await change(ledger, "reset", "alice")
        ledger.now_ns += 5000 * NS_PER_SECOND
        await ledger.housekeeping.prune()
        assert await ledger.count("lrs_usage") == 0


async def test_before_the_runtimes_budgets_are_known_nothing_spent_is_swept(place: Place) -> None:
    async with opened(place, retention_seconds=3600) as (ledger,):
        await change(ledger, "set", "alice", 2 * EV)
        assert await spent_until_refused(ledger, "alice") == 2
        ledger.now_ns += 9000 * NS_PER_SECOND
        ledger.users._followed_at = -math.inf
        ledger.users.budgets.take([(BudgetName("alice", "total", "ev"), None)])
        await ledger.housekeeping.prune()
        assert await ledger.count("lrs_usage") == 1


async def test_a_token_that_may_not_manage_users_can_lower_and_nothing_else_at_once_or_together(place: Place) -> None:
    async with opened(place, 2, budgets=[DEFAULT]) as (one, two):
        await change(one, "set", "alice", EV, may_raise=False)
        for step, wei in (("set", 2 * EV), ("top-up", 1), ("reset", 0)):
            with pytest.raises(Denied, match="would allow more"):
                await change(two, step, "alice", wei, may_raise=False)
        outcomes = await asyncio.gather(
            change(one, "set", "bob", EV // 4, may_raise=False), change(two, "set", "bob", EV // 2, may_raise=False), return_exceptions=True
        )
        assert min(limit for limit in outcomes if isinstance(limit, int)) == EV // 4
        await one.users.follow()
        (use,) = await one.controls.budgets_of("bob")
        assert use.budget.limit_wei == EV // 4, "the higher one came first, or was refused"


async def test_of_several_changes_all_are_made_or_none(place: Place) -> None:
    named = Budget("auth_id", "bob", "total", "ev", EV)
    async with opened(place, budgets=[DEFAULT, named]) as (ledger,):
        changes = [BudgetChange("set", BudgetName(auth_id, "total", "ev"), 9 * EV) for auth_id in ("alice", "bob")]
        with pytest.raises(Denied, match="the configuration names this auth id"):
            await ledger.users.change_budgets(changes, ledger.users.request("test"), may_raise=True)
        with pytest.raises(BadField, match="stands twice"):
            await ledger.users.change_budgets(changes[:1] * 2, ledger.users.request("test"), may_raise=True)
        assert await ledger.users.list_budgets(None, 10) == []
        assert await ledger.users.audit(None, 10) == []
        assert await spent_until_refused(ledger, "alice") == 2


async def test_a_top_up_that_is_sent_again_adds_nothing(place: Place) -> None:
    async with opened(place, 2, budgets=[DEFAULT]) as (one, two):
        limits = await asyncio.gather(*(change(ledger, "top-up", "alice", EV, key=b"invoice 7") for ledger in (one, two) * 5))
        assert set(limits) == {3 * EV}
        assert await change(one, "top-up", "alice", EV, key=b"invoice 8") == 4 * EV
        with pytest.raises(BadField, match="sent with another request"):
            await change(two, "top-up", "alice", 2 * EV, key=b"invoice 8")
        assert [entry.action for entry in await one.users.audit(None, 10)] == ["budget.top-up"] * 2


async def test_a_change_whose_commit_was_not_answered_is_made_once(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    if isinstance(place, Path):
        pytest.skip("SQLite's commits are always answered")
    async with opened(place, budgets=[DEFAULT]) as (ledger,):
        link = ledger.users._store._link  # type: ignore[attr-defined]
        run, lost = link.run, list[int]()

        async def loses_the_first_answer(work: Any, **options: Any) -> Any:
            answer = await run(work, **options)
            if not lost:
                lost.append(1)
                raise ConnectionLost("the connection broke")
            return answer

        monkeypatch.setattr(link, "run", loses_the_first_answer)
        assert await change(ledger, "top-up", "alice", EV) == 3 * EV
        assert lost == [1]
        lost.clear()
        (text,) = await create(ledger, NewKey("Alice", "alice"))
        assert lost == [1]
        assert LedgerKeys(ledger.users).verify(text or "", PATH).auth_id == "alice"
        assert [await ledger.count(f"lrs_{t}") for t in ("api_keys", "audit")] == [1, 2]


async def test_budgets_are_listed_in_pages_and_their_number_is_bounded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users_module, "MAX_BUDGETS", 5)
    async with opened(place) as (ledger,):
        for n in range(5):
            await change(ledger, "set", f"user-{n}", n)
        await change(ledger, "set", "user-3", 33)
        with pytest.raises(BadField, match="6 budgets of single auth ids, more than 5"):
            await change(ledger, "set", "user-5", 5)
        first = await ledger.users.list_budgets(None, 3)
        assert [(name.auth_id, limit) for name, limit in first] == [("user-0", 0), ("user-1", 1), ("user-2", 2)]
        assert [limit for _, limit in await ledger.users.list_budgets(first[-1][0], 3)] == [33, 4]


async def test_budgets_cost_a_payment_nothing_however_many_there_are(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(place) as (ledger,):
        numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)"
        raw = f"CAST('user-' || i AS {'BLOB' if isinstance(place, Path) else 'bytea'})"
        columns = "(auth_id, spend_window, measure, limit_wei, version)"
        ledger.sql(f"{numbers} INSERT INTO lrs_user_budgets {columns} SELECT {raw}, 'total', 'ev', '{EV}', 7 FROM n")
        ledger.sql("UPDATE lrs_meta SET value = '7' WHERE name = 'users_version'")
        await ledger.users.follow()
        assert len(ledger.users.budgets) == 5000
        reads: list[Any] = []
        for name in ("changed_keys", "changed_budgets"):
            monkeypatch.setattr(ledger.users._store, name, lambda *_: reads.append(1))
        assert len(ledger.engine._rules.runtime.of("user-4999")) == 1  # type: ignore[union-attr]
        assert await spent_until_refused(ledger, "user-4999") == 1
        for _ in range(5):
            await ledger.housekeeping.refresh()
        assert reads == [], "none has changed, so none is read"


# --- keys ---


async def test_keys_open_in_every_process_until_they_are_revoked(place: Place) -> None:
    async with opened(place, 2) as (one, two):
        alice, bob = await create(one, NewKey("Alice", "alice", routes=("generate-live-payment",)), NewKey("Bob"))
        assert alice is not None
        assert bob is not None
        keys = [LedgerKeys(ledger.users) for ledger in (one, two)]
        assert keys[0].verify(alice, PATH).auth_id == "alice"
        with pytest.raises(Unauthenticated, match="not known"):
            keys[1].verify(alice, PATH)
        await two.housekeeping.refresh()
        assert keys[1].verify(alice, PATH) == keys[0].verify(alice, PATH)
        assert keys[1].verify(bob, PATH).auth_id == "key:" + bob.split("_")[1]
        with pytest.raises(Denied):
            keys[1].verify(alice, "/signTicket")
        with pytest.raises(Unauthenticated, match="not known"):
            keys[1].verify(alice[:-1] + ("x" if alice[-1] != "x" else "y"), PATH)
        revoked = await two.users.revoke_keys([alice.split("_")[1], "f" * 16], None, two.users.request("test"))
        assert (revoked.ids, revoked.unknown) == ([alice.split("_")[1]], ["f" * 16])
        await one.housekeeping.refresh()
        for key in keys:
            with pytest.raises(Unauthenticated, match="revoked"):
                key.verify(alice, PATH)
        assert keys[0].verify(bob, PATH).auth_id.startswith("key:")


async def test_all_keys_of_an_auth_id_are_revoked_at_once(place: Place) -> None:
    async with opened(place) as (ledger,):
        texts = await create(ledger, *(NewKey(f"n{n}", "team") for n in range(3)), NewKey("other", "other"))
        revoked = await ledger.users.revoke_keys([], "team", ledger.users.request("test"))
        assert sorted(revoked.ids) == sorted(text.split("_")[1] for text in texts[:3] if text)
        assert (await ledger.users.revoke_keys([], "team", ledger.users.request("test"))).ids == []
        states = {key.record.auth_id: key.record.revoked is None for key in await ledger.users.keys("", 10)}
        assert states == {"team": False, "other": True}
        assert len(await ledger.users.keys("", 10, "team")) == 3


async def test_a_bulk_that_is_sent_again_makes_no_doubles_and_tells_no_key_twice(place: Place) -> None:
    async with opened(place, 2) as (one, two):
        wanted = [NewKey(f"user {n}") for n in range(50)]
        answers = await asyncio.gather(*(create(ledger, *wanted, idempotency_key=b"first bulk") for ledger in (one, two) * 3))
        assert await one.count("lrs_api_keys") == 50
        told = [answer for answer in answers if None not in answer]
        assert len(told) == 1
        assert len(set(told[0])) == 50
        assert all(answer == [None] * 50 for answer in answers if answer is not told[0])
        with pytest.raises(BadField, match="sent with another request"):
            await create(one, *wanted, idempotency_key=b"first bulk", digest=b"another")


async def test_the_number_of_keys_is_bounded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users_module, "MAX_KEYS", 3)
    async with opened(place) as (ledger,):
        await create(ledger, NewKey("a"), NewKey("b"))
        with pytest.raises(BadField, match="would hold 4 API keys, more than 3"):
            await create(ledger, NewKey("c"), NewKey("d"))
        assert await ledger.count("lrs_api_keys") == 2


async def test_nothing_secret_is_kept_or_told(place: Place) -> None:
    async with opened(place) as (ledger,):
        (text,) = await create(ledger, NewKey("Alice", "alice"), idempotency_key=b"once")
        assert text is not None
        secret = text.split("_", 2)[2]
        entries = [entry.describe() for entry in await ledger.users.audit(None, 10)]
        kept = [str(row) for table in ("lrs_api_keys", "lrs_audit", "lrs_admin_requests") for row in ledger.sql(f"SELECT * FROM {table}")]
        for told in (*kept, json.dumps(entries), repr(ledger.users), repr(await ledger.users.keys("", 10))):
            assert secret not in told
        (stored,) = await ledger.users.keys("", 10)
        assert stored.record.hash.hex() not in json.dumps(entries)


async def test_last_use_is_written_to_the_minute_in_batches_and_never_with_a_payment(place: Place) -> None:
    async with opened(place, 2) as (one, two):
        texts = await create(one, *(NewKey(f"user {n}", f"user-{n}") for n in range(3)))
        await two.users.follow()
        now = [1000.0]
        one.users._monotonic = lambda: now[0]
        keys, writes = LedgerKeys(one.users), list[int]()
        note = one.users._store.note_used

        async def counted(minutes: Sequence[tuple[str, int]]) -> None:
            writes.append(len(minutes))
            await note(minutes)

        one.users._store.note_used = counted  # type: ignore[method-assign]
        for _ in range(100):
            keys.verify(texts[0] or "", PATH)
            keys.verify(texts[1] or "", PATH)
            await one.users.note_used()
        assert writes == [2], "however often they were used"
        keys.verify(texts[0] or "", PATH)
        now[0] += NOTE_USED_SECONDS
        await one.users.note_used()
        assert writes == [2], "its minute is written already"
        one.now_ns += 60 * NS_PER_SECOND
        keys.verify(texts[0] or "", PATH)
        await one.users.note_used()
        keys.verify(texts[1] or "", PATH)
        await one.users.note_used()
        assert writes == [2, 1], "more of them a little later"
        now[0] += NOTE_USED_SECONDS
        await one.users.note_used()
        assert writes == [2, 1, 1]
        minute = 1 + NOW_NS // (60 * NS_PER_SECOND)
        used = {key.record.auth_id: key.used_minute for key in await two.users.keys("", 10)}
        assert used == {"user-0": minute, "user-1": minute, "user-2": None}
        LedgerKeys(two.users).verify(texts[0] or "", PATH)
        await two.users.note_used(at_once=True)
        assert {key.used_minute for key in await two.users.keys("", 10)} == {minute, None}, "a clock that is behind takes nothing back"


async def test_a_use_that_could_not_be_written_is_written_later(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(place) as (ledger,):
        (text,) = await create(ledger, NewKey("a", "a"))
        LedgerKeys(ledger.users).verify(text or "", PATH)

        async def fails(minutes: object) -> None:
            raise StoreFailed("the disk is full")

        with monkeypatch.context() as patched:
            patched.setattr(ledger.users._store, "note_used", fails)
            with pytest.raises(StoreFailed):
                await ledger.users.note_used(at_once=True)
        await ledger.users.note_used(at_once=True)
        assert [key.used_minute for key in await ledger.users.keys("", 10)] == [NOW_NS // (60 * NS_PER_SECOND)]


async def test_known_keys_go_on_while_the_database_is_away_and_not_for_ever(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(place) as (ledger,):
        (text,) = await create(ledger, NewKey("a", "a"))
        keys, users = LedgerKeys(ledger.users), ledger.users

        async def away() -> int:
            raise StoreFailed("gone")

        monkeypatch.setattr(users._store, "version", away)
        with pytest.raises(StoreFailed):
            await users.follow()
        followed_at = users._followed_at = 1000.0  # whole: what is added to another time and taken away again is not always the same
        monkeypatch.setattr(users, "_monotonic", lambda: followed_at + KEYS_HOLD_SECONDS)
        assert keys.verify(text or "", PATH).auth_id == "a"
        assert keys.fault == ""
        monkeypatch.setattr(users, "_monotonic", lambda: followed_at + KEYS_HOLD_SECONDS + 1)
        with pytest.raises(LedgerUnavailable, match="last read 301 s ago"):
            keys.verify(text or "", PATH)
        assert "301 s ago" in keys.fault
        users._followed_at = -math.inf
        with pytest.raises(LedgerUnavailable, match="not read yet"):
            keys.verify(text or "", PATH)


async def test_ended_keys_removed_budgets_old_lines_and_old_requests_are_forgotten(place: Place) -> None:
    async with opened(place) as (ledger,):
        await create(ledger, NewKey("old", "old"), NewKey("short", "short", expires=NOW_NS // NS_PER_SECOND + 60), NewKey("kept", "kept"))
        await ledger.users.revoke_keys([], "old", ledger.users.request("test"))
        await change(ledger, "set", "alice", 5)
        await change(ledger, "set", "bob", 5)
        await change(ledger, "reset", "alice")
        lines = await ledger.count("lrs_audit")
        ledger.now_ns += 29 * 86_400 * NS_PER_SECOND
        await ledger.housekeeping.prune()
        assert [await ledger.count(f"lrs_{t}") for t in ("api_keys", "user_budgets", "audit", "admin_requests")] == [3, 2, lines, 5]
        ledger.now_ns += 2 * 86_400 * NS_PER_SECOND
        await ledger.housekeeping.prune()
        assert [await ledger.count(f"lrs_{t}") for t in ("api_keys", "user_budgets", "audit", "admin_requests")] == [1, 1, lines, 0]
        ledger.now_ns += 370 * 86_400 * NS_PER_SECOND
        await ledger.housekeeping.prune()
        assert await ledger.count("lrs_audit") == 0
        assert ledger.users.key((await ledger.users.keys("", 10))[0].record.id) is not None
        assert len(ledger.users._keys) == 3
        ledger.users._read_at -= READ_AGAIN_SECONDS
        await ledger.users.follow()
        assert len(ledger.users._keys) == 1, "what was forgotten leaves the memory too"


async def test_a_database_that_was_put_back_to_an_older_state_is_read_anew(place: Place) -> None:
    async with opened(place) as (ledger,):
        (text,) = await create(ledger, NewKey("a", "a"))
        await change(ledger, "set", "alice", 5)
        ledger.sql("DELETE FROM lrs_api_keys")
        ledger.sql("DELETE FROM lrs_user_budgets")
        ledger.sql("UPDATE lrs_meta SET value = '0' WHERE name = 'users_version'")
        await ledger.users.follow()
        with pytest.raises(Unauthenticated):
            LedgerKeys(ledger.users).verify(text or "", PATH)
        assert len(ledger.users.budgets) == 0


# --- who changed what ---


async def test_the_log_tells_who_changed_what_from_what_to_what(place: Place) -> None:
    async with opened(place, budgets=[DEFAULT]) as (ledger,):
        users, controls = ledger.users, ledger.controls
        await create(ledger, NewKey("Alice", "alice"))
        await change(ledger, "set", "alice", 5)
        await change(ledger, "top-up", "alice", 2)
        await controls.suspend("alice", "somebody")
        await controls.suspend("alice", "somebody else")
        await controls.suspend(None, "somebody")
        await controls.resume(None, "another")
        await controls.put_setting("price:global", "1", "pricer")
        await controls.put_setting("price:global", None, "pricer")
        told = [entry.describe() for entry in await users.audit(None, 100)]
        assert [(t["by"], t["action"], t["auth_id"], t["before"], t["after"]) for t in reversed(told)] == [
            ("test", "key.create", "alice", None, {"name": "Alice"}),
            ("test", "budget.set", "alice", None, "5"),
            ("test", "budget.top-up", "alice", "5", "7"),
            ("somebody", "suspend", "alice", False, True),
            ("somebody", "suspend", None, False, True),
            ("another", "resume", None, True, False),
            ("pricer", "setting.set", None, None, "1"),
            ("pricer", "setting.reset", None, "1", None),
        ]
        assert {t["time"][:4] for t in told} == {told[0]["time"][:4]}
        assert [entry.action for entry in await users.audit(None, 2, "alice")] == ["suspend", "budget.top-up"]
        third = (await users.audit(None, 3))[-1].id
        assert [entry.id for entry in await users.audit(third, 100)] == [t["id"] for t in told[3:]]
        assert isinstance(await outcome_of(ledger, Session(auth_id="alice").next()), Suspended)


async def test_what_fails_leaves_neither_a_change_nor_a_line(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(place) as (ledger,):
        wide = NewKey("n", "alice")._replace(requests_per_minute=2**70)  # what no column holds: it fails within the transaction
        with pytest.raises((StoreFailed, OverflowError)):
            await create(ledger, NewKey("first", "first"), wide)
        assert [await ledger.count(f"lrs_{t}") for t in ("api_keys", "audit", "admin_requests")] == [0, 0, 0]
        await create(ledger, NewKey("second", "second"))
        assert await ledger.pay(Session(auth_id="alice").next()) is None


# --- many ---


@pytest.mark.operate
async def test_a_hundred_thousand_keys_are_known_within_seconds_and_a_bounded_memory(place: Place) -> None:
    async with opened(place, 2) as (ledger, other):
        numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100000)"
        version = "1 + (i - 1) / 1000"
        kind = "BLOB" if isinstance(place, Path) else "bytea"
        key_id = "printf('%016x', i)" if isinstance(place, Path) else "lpad(to_hex(i), 16, '0')"
        thirty_two = "zeroblob(32)" if isinstance(place, Path) else "decode(repeat('00', 32), 'hex')"
        ledger.sql(
            f"""{numbers} INSERT INTO lrs_api_keys (id, name, auth_id, salt, hash, created, routes, version)
            SELECT {key_id}, CAST('user ' || i AS {kind}), CAST('user-' || i AS {kind}), {thirty_two}, {thirty_two}, 1, '', {version}
            FROM n"""
        )
        ledger.sql("UPDATE lrs_meta SET value = '100' WHERE name = 'users_version'")
        gc.collect()
        tracemalloc.start()
        try:
            before, _ = tracemalloc.get_traced_memory()
            started = time.monotonic()
            await ledger.users.follow()
            seconds = time.monotonic() - started
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert len(ledger.users._keys) == 100_000
        assert grown < 120e6, f"{grown / 1e6:.0f} MB"
        assert seconds < 60, f"{seconds:.1f} s, with every allocation traced"
        (text,) = await create(other, NewKey("one more", "one-more"))
        pages: list[int] = []
        real = ledger.users._store.changed_keys

        async def counted(after: tuple[int, str], limit: int) -> Any:
            page = await real(after, limit)
            pages.append(len(page))
            return page

        ledger.users._store.changed_keys = counted  # type: ignore[method-assign]
        await ledger.users.follow()
        assert pages == [1, 0], "of all keys the one that is new is read"
        assert LedgerKeys(ledger.users).verify(text or "", PATH).auth_id == "one-more"
