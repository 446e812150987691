"""The file: killed processes, full disks, locks and permissions. What was acknowledged is there, and nothing else was signed."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from livepeer_remote_signer.adapters.ledger import compacting
from livepeer_remote_signer.adapters.ledger.sqlite import SqliteStore
from livepeer_remote_signer.adapters.ledger.steps import SCHEMA_VERSION
from livepeer_remote_signer.adapters.ledger.store import StoreFailed
from livepeer_remote_signer.core.errors import LedgerUnavailable
from tests.ledgers import Session, opened, outcome_of, run_sql

WRITER = """
import asyncio, sys
from pathlib import Path
from tests.ledgers import Session, opened

async def client(ledger):
    session = None
    while True:
        if session is None or session.sequence_number == 400:  # its params' nonces end at 500
            session = Session()
        payment = session.next(event=b"event")
        assert await ledger.pay(payment) is None
        print(payment.key.digest.hex(), flush=True)

async def main():
    async with opened(Path(sys.argv[1])) as (ledger,):
        await asyncio.gather(*(client(ledger) for _ in range(8)))

asyncio.run(main())
"""


def move(file: Path, to: Path) -> None:
    file.rename(to)


def make(file: Path) -> None:
    file.touch()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


def test_what_two_killed_processes_acknowledged_is_there_and_the_file_is_whole(path: Path) -> None:
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    processes = [
        subprocess.Popen([sys.executable, "-W", "ignore", "-c", WRITER, str(path)], stdout=subprocess.PIPE, env=environment, cwd=root)
        for _ in range(2)
    ]
    acknowledged = set()
    for process in processes:
        assert process.stdout is not None
        acknowledged |= {process.stdout.readline().strip().decode() for _ in range(10)}
    for process in processes:
        process.send_signal(signal.SIGKILL)
        out, _ = process.communicate()
        acknowledged |= {line for line in out.decode().split("\n")[:-1] if len(line) == 64}
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        recorded = {digest.hex() for (digest,) in connection.execute("SELECT digest FROM lrs_payments")}
        events = connection.execute("SELECT count(*) FROM lrs_outbox").fetchone()[0]
    connection.close()
    assert len(acknowledged) > 10
    assert acknowledged <= recorded
    assert events == len(recorded)


async def test_workers_that_open_a_new_file_together_all_open_it(tmp_path: Path) -> None:
    for number in range(20):
        stores = [SqliteStore(tmp_path / str(number), writer=str(worker)) for worker in range(6)]
        await asyncio.gather(*(store.open() for store in stores))
        assert [await store.backlog() for store in stores] == [(0, None, 0)] * 6
        for store in stores:
            await store.close()


async def test_a_question_over_many_rows_holds_up_nothing_else(path: Path) -> None:
    async with opened(path) as (ledger,):
        store: SqliteStore = ledger.store  # type: ignore[assignment]
        asked, may_answer = threading.Event(), threading.Event()

        def slow(_: sqlite3.Connection) -> None:
            asked.set()
            assert may_answer.wait(20)

        question = asyncio.create_task(store._file.beside(slow, is_long=True))
        await asyncio.to_thread(asked.wait)
        figures = asyncio.create_task(ledger.controls.usage())
        await ledger.housekeeping.refresh()
        await ledger.controls.put_setting("ceilings", "x", "test")
        assert await ledger.pay(Session().next()) is None
        assert ledger.housekeeping.failure == ""
        assert not figures.done(), "figures wait for figures"
        may_answer.set()
        await question
        assert await figures == []


async def test_a_new_file_says_which_schema_it_has(path: Path) -> None:
    async with opened(path):
        assert run_sql(path, "PRAGMA user_version") == [(SCHEMA_VERSION,)]


async def test_only_the_owner_may_read_the_file(path: Path) -> None:
    async with opened(path) as (ledger,):
        await ledger.pay(Session().next())
        for file in path.parent.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


async def test_a_lock_held_by_another_process_refuses_without_a_signature_and_ends_with_it(path: Path) -> None:
    async with opened(path, store={"lock_wait_seconds": 0.1}) as (ledger,):
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        payments = [Session().next() for _ in range(5)]
        results = await asyncio.gather(*(ledger.pay(payment) for payment in payments), return_exceptions=True)
        assert all(isinstance(result, LedgerUnavailable) and "locked" in result.message for result in results)
        assert all(payment.made == [] for payment in payments)
        assert ledger.engine.failure is not None
        other.execute("ROLLBACK")
        other.close()
        assert await ledger.pay(payments[0]) is None
        assert ledger.engine.failure is None


async def test_a_short_lock_is_waited_for(path: Path) -> None:
    async with opened(path) as (ledger,):
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(ledger.pay(Session().next()))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        other.execute("COMMIT")
        other.close()
        assert await waiting is None


async def test_a_full_file_refuses_and_gives_nothing_out_and_recovers(path: Path) -> None:
    async with opened(path) as (ledger,):
        session = Session()
        assert await ledger.pay(session.next()) is None
        store: SqliteStore = ledger.store  # type: ignore[assignment]
        pages = store._file.write.execute("PRAGMA page_count").fetchone()[0]
        for connection in (store._file.write, store._file._side):
            connection.execute(f"PRAGMA max_page_count = {pages}")
        results = [await outcome_of(ledger, session.next()) for _ in range(20)]
        refused = [result for result in results if result is not None]
        assert len(refused) > 15
        assert all(isinstance(result, LedgerUnavailable) and "the disk is full" in result.message for result in refused)
        recorded = await ledger.count("lrs_payments")
        for connection in (store._file.write, store._file._side):
            connection.execute("PRAGMA max_page_count = 4294967294")
        assert await ledger.pay(session.request(session.sequence_number)) is None
        assert await ledger.count("lrs_payments") == recorded + 1


async def test_a_statement_that_failed_between_two_batches_leaves_no_transaction_behind(path: Path) -> None:
    async with opened(path) as (ledger,):
        assert await ledger.pay(Session().next()) is None
        ledger.sql("CREATE TRIGGER spoil BEFORE INSERT ON lrs_settings BEGIN SELECT RAISE(ABORT, 'no'); END")
        with pytest.raises(StoreFailed, match="the database refused"):  # an error after which SQLite leaves the transaction open
            await ledger.controls.put_setting("ceilings", "x", "test")
        assert await ledger.pay(Session().next()) is None
        await ledger.controls.suspend("bob", "test")
        assert [switch.auth_id for switch in await ledger.controls.switches()] == ["bob"]


async def test_a_limit_on_the_size_of_files_is_a_full_disk(path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    async with opened(path) as (ledger,):
        session = Session()
        paid = []
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, before[1]))
            while not isinstance(await outcome_of(ledger, session.next(event=b"e")), LedgerUnavailable):
                paid.append(session.sequence_number)
            late = session.request(session.sequence_number)
            with pytest.raises(LedgerUnavailable):
                await ledger.pay(late)
            assert late.made == []  # after a failure nothing is signed before a commit has succeeded
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, old)
        assert await ledger.pay(late) is None
        assert await ledger.count("lrs_payments") == await ledger.count("lrs_outbox") + 1 == len(paid) + 1


async def test_a_disk_without_room_for_the_batch_is_noticed_before_signing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(path) as (ledger,):
        real = os.statvfs(path)
        monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((*real[:4], 1, *real[5:])))
        payment = Session().next()
        with pytest.raises(LedgerUnavailable, match="the disk is full"):
            await ledger.pay(payment)
        assert payment.made == []


async def test_a_file_that_cannot_be_used_says_so_without_its_path(tmp_path: Path) -> None:
    not_there = SqliteStore(tmp_path / "missing" / "ledger.sqlite", writer="w")
    with pytest.raises(StoreFailed, match=r"ledger\.path cannot be opened for writing: No such file") as caught:
        await not_there.open()
    assert str(tmp_path) not in str(caught.value)
    (tmp_path / "text").write_text("this is no database, and long enough to be read as one" * 40)
    with pytest.raises(StoreFailed, match="not a database"):
        await SqliteStore(tmp_path / "text", writer="w").open()
    newer = tmp_path / "newer"
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StoreFailed, match="schema version 99"):
        await SqliteStore(newer, writer="w").open()


async def test_a_file_that_was_moved_away_signs_nothing_until_it_is_back(path: Path) -> None:
    async with opened(path) as (ledger,):
        await ledger.pay(Session().next())
        await ledger.housekeeping.start()
        move(path, path.with_name("moved"))
        payment = Session().next()
        for _ in range(2):
            with pytest.raises(LedgerUnavailable, match="cannot be found any more"):
                await ledger.pay(payment)
        await asyncio.sleep(0.6)  # looked at again, and still not well
        assert ledger.engine.failure is not None
        assert ledger.housekeeping.failure
        assert payment.made == []
        move(path.with_name("moved"), path)
        assert await ledger.pay(payment) is None
        await ledger.housekeeping.close()


async def test_a_file_that_was_replaced_is_not_taken_for_the_ledger(path: Path) -> None:
    async with opened(path) as (ledger,):
        move(path, path.with_name("moved"))
        make(path)
        with pytest.raises(StoreFailed, match="another file"):
            await ledger.housekeeping.refresh()
        with pytest.raises(StoreFailed, match="another file"):
            await ledger.controls.suspend(None, "test")
        payment = Session().next()
        with pytest.raises(LedgerUnavailable, match="another file"):
            await ledger.pay(payment)
        assert payment.made == []


async def test_a_read_only_file_signs_nothing(path: Path) -> None:
    async with opened(path) as (ledger,):
        await ledger.pay(Session().next())
        ledger.store._file.write.execute("PRAGMA query_only = ON")  # type: ignore[attr-defined]
        payment = Session().next()
        with pytest.raises(LedgerUnavailable, match="read-only"):
            await ledger.pay(payment)
        ledger.store._file.write.execute("PRAGMA query_only = OFF")  # type: ignore[attr-defined]
        assert await ledger.pay(payment) is None


def test_a_compacted_copy_that_is_damaged_does_not_take_the_ledgers_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.sqlite"

    async def fill() -> None:
        async with opened(path) as (ledger,):
            for _ in range(30):
                await ledger.pay(Session().next())

    asyncio.run(fill())
    check = compacting._check_whole

    def damage(new: Path) -> None:
        with new.open("r+b") as file:
            file.seek(4096)
            file.write(b"\0" * 4096)
        check(new)

    monkeypatch.setattr(compacting, "_check_whole", damage)
    with pytest.raises(StoreFailed, match="its copy is not whole"):
        compacting.compact(path)
    assert [file.name for file in tmp_path.glob("*compact*")] == []
    assert run_sql(path, "SELECT count(*) FROM lrs_payments") == [(30,)]
