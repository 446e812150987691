"""SIGKILL between reserving and recording, thirty times, with a token that draws anew at each signature."""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import signal
import sqlite3
import time
from base64 import b64decode
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx
import pytest

from livepeer_remote_signer.core.rules.reservation import parse_spent
from livepeer_remote_signer.proto import net_pb2
from tests.custody.services import SoftHsm
from tests.ledgers import fold_tallies, run_sql
from tests.plans import orchestrator_info
from tests.served import Served, live_body, served
from tests.signer import PAY

pytestmark = pytest.mark.timeout(400)

KILLS = 30
CLIENTS = 8
MOST_SECONDS = 20.0
TICKET_WEI = 10**12
LIMIT_WEI = 10**9 * TICKET_WEI
SEED = 20_261_128


class Client:
    """A gateway with one session after another. What was not answered is asked again, identically or with other terms."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._asked: tuple[bytes, dict[str, str]] | None = None
        self._state: dict[str, str] | None = None
        self.payments = 0
        self.in_this_round = 0
        self.signatures: dict[tuple[bytes, int], set[bytes]] = defaultdict(set)

    async def run(self, signer: Served, until: asyncio.Event) -> None:
        """Pays until the signer is gone, or until it is told to stop."""
        self.in_this_round = 0
        async with httpx.AsyncClient(base_url=signer.url, timeout=30, trust_env=False) as client:
            while not until.is_set():
                body, headers = self._next()
                try:
                    answer = await client.post(PAY, content=body, headers=headers)
                except httpx.HTTPError:
                    return
                if answer.status_code in (429, 503):
                    await asyncio.sleep(0.2)
                    continue
                self._asked = None
                if answer.status_code == 480:
                    self._state = None
                    continue
                assert answer.status_code == 200, answer.text
                self._take(answer)

    def _next(self) -> tuple[bytes, dict[str, str]]:
        """The call that was not answered, for the most part as it was; else the session's next one."""
        if self._asked is not None and self._draw.random() < 0.7:
            return self._asked
        fields: dict[str, Any] = {"type": "fixed"} | ({"state": self._state} if self._state else {})
        info = orchestrator_info(now_ns=time.time_ns(), price_per_unit=3 * TICKET_WEI - 3, rand_hash=secrets.token_bytes(32))
        self._asked = live_body(info=info, **fields), {"Idempotency-Key": secrets.token_hex(16)}
        return self._asked

    def _take(self, answer: httpx.Response) -> None:
        self.payments += 1
        self.in_this_round += 1
        payment = net_pb2.Payment.FromString(b64decode(answer.json()["payment"]))
        for ticket in payment.ticket_sender_params:
            self.signatures[payment.ticket_params.recipient_rand_hash, ticket.sender_nonce].add(ticket.sig)
        self._state = answer.json()["state"] if self._draw.random() < 0.9 else None


async def kill_while_something_is_reserved(signer: Served, ledger: Path, clients: list[Client], draw: random.Random) -> int:
    """How many reservations the signer left behind."""
    stop = asyncio.Event()
    load = [asyncio.create_task(client.run(signer, stop)) for client in clients]
    await asyncio.sleep(draw.uniform(0.05, 0.3))
    give_up = time.monotonic() + MOST_SECONDS
    connection = sqlite3.connect(ledger, isolation_level=None, timeout=5)
    try:
        while not connection.execute("SELECT 1 FROM lrs_reservations LIMIT 1").fetchall() and time.monotonic() < give_up:  # noqa: ASYNC110
            await asyncio.sleep(0.0005)
        signer.process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(signer.process.wait)
        await asyncio.gather(*load)
        left: int = connection.execute("SELECT count(*) FROM lrs_reservations").fetchone()[0]
        return left
    finally:
        connection.close()


def check_budget(ledger: Path) -> None:
    """What was counted is what was paid and what is reserved, to the wei."""
    ((amounts,),) = run_sql(ledger, "SELECT amounts FROM lrs_usage")
    fold_tallies(ledger)
    paid = sum(int(ev) for (ev,) in run_sql(ledger, "SELECT ev_wei FROM lrs_spend"))
    pending = sum(entry.amount for (raw,) in run_sql(ledger, "SELECT spent FROM lrs_reservations") for entry in parse_spent(raw))
    ((_, counted),) = json.loads(amounts)
    assert counted == paid + pending


def test_thirty_kills_give_no_ticket_a_second_signature_and_lose_no_budget(hsm: SoftHsm, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.sqlite"
    sections = {
        "key": {"pkcs11": {**hsm.config(), "timeout_seconds": 10}},
        "state": {"mac_key": "0x" + "ab" * 32},
        "ledger": {"backend": "sqlite", "path": str(ledger)},
        "budgets": [{"scope": "global", "match": "*", "window": "total", "measure": "ev", "limit_wei": str(LIMIT_WEI)}],
        "log": {"format": "json", "level": "error"},
    }
    draw = random.Random(SEED)
    clients = [Client(random.Random(SEED + number)) for number in range(CLIENTS)]
    left_behind = []
    for _ in range(KILLS):
        with served(tmp_path, **sections) as signer:
            left_behind.append(asyncio.run(kill_while_something_is_reserved(signer, ledger, clients, draw)))
        check_budget(ledger)
    assert sum(map(bool, left_behind)) > KILLS // 6, f"the kills came between the two: {left_behind}"

    async def go_on(signer: Served) -> None:
        stop = asyncio.Event()
        load = [asyncio.create_task(client.run(signer, stop)) for client in clients]
        async with asyncio.timeout(60):
            while not all(client.in_this_round for client in clients) or run_sql(  # noqa: ASYNC110 - another process's
                ledger, "SELECT 1 FROM lrs_reservations WHERE reserved_ms < ?", [begun_ms]
            ):
                await asyncio.sleep(0.2)
        stop.set()
        await asyncio.gather(*load)

    with served(tmp_path, **sections) as signer:
        begun_ms = time.time_ns() // 10**6
        asyncio.run(go_on(signer))
        signer.end()
    assert run_sql(ledger, "SELECT count(*) FROM lrs_reservations") == [(0,)], "what nobody finished was given back"
    check_budget(ledger)
    assert sum(client.payments for client in clients) > KILLS
    outside: dict[tuple[bytes, int], set[bytes]] = defaultdict(set)
    for client in clients:
        for ticket, signatures in client.signatures.items():
            outside[ticket] |= signatures
    assert [ticket for ticket, signatures in outside.items() if len(signatures) > 1] == []
