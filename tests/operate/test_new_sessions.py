"""A thousand new sessions a second, each with ticket params of its own: what is kept of them stops growing at the retention."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
import yaml
from psycopg import sql

from benchmarks.bodies import STATIC_CHAIN, payment_body
from livepeer_remote_signer.adapters.ledger import housekeeping
from livepeer_remote_signer.api.reply import Reply
from livepeer_remote_signer.app import create_app
from livepeer_remote_signer.config import load_config
from tests.asgi import running

IS_LONG = os.environ.get("LRS_FIVE_MINUTES") == "1"
"""Five minutes in place of one: what is kept is held against what it was after two of them, not after half of one."""

pytestmark = [pytest.mark.operate, pytest.mark.timeout(900 if IS_LONG else 300)]

SESSIONS_A_SECOND = 1000
SECONDS, EARLY_SECONDS, RETENTION_SECONDS = (300, 120, 60) if IS_LONG else (60, 30, 10)
"""How long it runs, when rows are counted first, and for how long they are kept: the configuration allows no less than an hour."""

MAX_IN_WORK = 100
"""Where the machine cannot do so many a second it does fewer: what is kept must not grow all the same."""

ORCHESTRATORS = 50
FEW_ROWS = 1000
"""What has a row for each minute or day, each switch or each setting does not grow with sessions."""

Rows = Callable[[], dict[str, int]]


class Kept(NamedTuple):
    """How many rows each table has early on, and at the end; and how many sessions began within twice the retention before it."""

    early: dict[str, int]
    end: dict[str, int]
    lately: int

    def grown(self) -> dict[str, tuple[int, int]]:
        """Tables that end with more than twice the rows that they had early on, and with more than began lately: on a machine that is
        busy with something else the rate is not the same all the time."""
        most = {name: max(2 * self.early.get(name, 0), self.lately, FEW_ROWS) for name in self.end}
        return {name: (most[name], count) for name, count in self.end.items() if count > most[name]}


async def pay_new_sessions(folder: Path, ledger: dict[str, Any], rows: Rows) -> Kept:
    """Pays for a thousand new sessions a second, or as many as this machine can."""
    file = folder / "config.yaml"
    file.write_text(
        yaml.safe_dump(
            {
                "key": {"private_key": "0x" + "07" * 32},
                "chain": {"source": "static", "static": STATIC_CHAIN},
                "events": {"sinks": [{"type": "file", "path": str(folder / "events.jsonl")}]},
                "ledger": ledger,
                "limits": {"answer_seconds": 60},
            }
        )
    )
    config = load_config(file)
    short = config.ledger.model_copy(update={"retention_seconds": RETENTION_SECONDS})
    front = create_app(config.model_copy(update={"ledger": short}))
    async with running(front):
        early, paid, began = {}, 0, time.monotonic()
        begun_by: list[tuple[float, int]] = []
        waiting: set[asyncio.Future[Reply]] = set()
        answered: Counter[int] = Counter()
        while (passed := time.monotonic() - began) < SECONDS:
            due = min(int(passed * SESSIONS_A_SECOND) + 1, paid + MAX_IN_WORK - len(waiting))
            for number in range(paid, due):
                body = json.dumps(payment_body(number % ORCHESTRATORS, number, 1)).encode()
                answer = front.paying.respond("/generate-live-payment", [], body, "127.0.0.1")
                assert not isinstance(answer, Reply)
                waiting.add(asyncio.ensure_future(answer))
            paid = max(paid, due)
            begun_by.append((time.monotonic(), paid))
            await asyncio.sleep(0.002)
            done = {task for task in waiting if task.done()}
            answered.update(task.result().status for task in done)
            waiting -= done
            if not early and passed >= EARLY_SECONDS:
                early = await asyncio.to_thread(rows)
        answered.update(reply.status for reply in await asyncio.gather(*waiting))
        assert answered.keys() <= {200, 503}, answered
        assert answered[503] <= answered[200] / 10, "a database that stands still for a moment is no failure of this test"
        since = time.monotonic() - 2 * RETENTION_SECONDS
        lately = paid - max((count for at, count in begun_by if at <= since), default=0)
        return Kept(early, await asyncio.to_thread(rows), lately)


async def test_what_a_sqlite_ledger_keeps_stops_growing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(housekeeping, "KEPT_LONGER_SECONDS", 0)
    path = tmp_path / "ledger.sqlite"

    def rows() -> dict[str, int]:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'lrs_%'")]
            return {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in names}

    kept = await pay_new_sessions(tmp_path, {"backend": "sqlite", "path": str(path)}, rows)
    assert kept.early["lrs_payments"] > FEW_ROWS
    assert not kept.grown()


async def test_what_a_postgres_ledger_keeps_stops_growing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres_url: Callable[[], str]
) -> None:
    monkeypatch.setattr(housekeeping, "KEPT_LONGER_SECONDS", 0)
    url = postgres_url()

    def rows() -> dict[str, int]:
        with psycopg.connect(url) as connection:
            named = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema() AND tablename LIKE 'lrs_%'"
            names = [name for (name,) in connection.execute(named)]
            counts = {}
            for name in names:
                found = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(name))).fetchone()
                assert found is not None
                counts[name] = found[0]
            return counts

    kept = await pay_new_sessions(tmp_path, {"backend": "postgres", "url": url}, rows)
    assert kept.early["lrs_payments"] > FEW_ROWS
    assert not kept.grown()
