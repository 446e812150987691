"""Ten thousand requests of twenty sessions in random order over real HTTP: retries, replays, forks and lost replies.

Two signers share one ledger. Whatever is sent, every interval of a session is paid once, no nonce is given out twice, the
identical request gets the identical bytes, and every session can go on.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from base64 import b64decode, b64encode
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from livepeer_remote_signer.core.protocol.state import SignerState, parse_state
from livepeer_remote_signer.core.protocol.ticket import ticket_ev
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_SECOND
from livepeer_remote_signer.proto import net_pb2
from tests.plans import NOW_NS, PRICE_PER_UNIT, orchestrator_info
from tests.policy.connections import Connections
from tests.postgres import postgres_databases
from tests.signer import PAY, running_signer

pytestmark = [pytest.mark.policy, pytest.mark.timeout(600)]

SESSIONS = 20
REQUESTS = 10_000
IN_FLIGHT = 6
RETRY_SECONDS = 300
"""How far back requests are sent again: the params of older ones would have expired."""


class World:
    """One clock for signers and clients, and everything that was ever answered."""

    def __init__(self, signers: list[Connections], seed: int) -> None:
        self.signers = signers
        self.random = random.Random(seed)
        self.statuses: Counter[int] = Counter()
        self.kinds: Counter[str] = Counter()
        self.replies: dict[bytes, bytes] = {}
        self.payments: dict[tuple[str, int], tuple[SignerState, net_pb2.Payment]] = {}
        self.retries = 0

    async def send(self, body: bytes, key: str) -> dict[str, Any] | None:
        """One request, at either signer. The reply of a payment, None when nothing was paid."""
        headers = {"Idempotency-Key": key} if key else {}
        response = await self.random.choice(self.signers).post(PAY, body, headers)
        self.statuses[response.status] += 1
        if response.status != 200:
            assert response.status in (409, 429, 480, 482), response.body
            return None
        known = self.replies.setdefault(body + key.encode(), response.body)
        self.retries += known is not response.body
        assert response.body == known, "the identical request got other bytes"
        reply: dict[str, Any] = json.loads(response.body)
        state = parse_state(b64decode(reply["state"]["State"]))
        payment = net_pb2.Payment.FromString(b64decode(reply["payment"]))
        first = self.payments.setdefault((state.state_id, state.sequence_number), (state, payment))
        assert first == (state, payment), "one place was given to two payments"
        return reply


class Client:
    """A session. What it believes its state to be depends on the replies that reached it."""

    def __init__(self, world: World, shared: list[str], clock: list[int]) -> None:
        self.world = world
        self.clock = clock
        self.shared = shared
        self.key = os.urandom(8).hex()
        self.state: Any = None
        self.sent: list[tuple[int, bytes, str]] = []
        self.refresh()
        self.first = self.body(None)

    def refresh(self) -> None:
        """Fresh params: shared with other sessions now and then."""
        choice = self.world.random
        if choice.random() < 0.3:
            self.info = choice.choice(self.shared)
        else:
            self.info = encoded_info(self.clock[0])

    def body(self, state: Any) -> bytes:
        return json.dumps({"orchestrator": self.info, "state": state, "ManifestID": "m", "type": "live"}).encode()

    async def step(self, kind: str) -> None:
        """One request of a kind."""
        choice = self.world.random
        if choice.random() < 0.05:
            self.refresh()
        if self.state is None:
            await self.ask(self.first, self.key, keep=kind != "lost")
        elif kind in ("honest", "lost"):
            await self.ask(self.body(self.state), "", keep=kind != "lost")
        elif kind == "fork":
            older = self.old(choice)
            self.info = encoded_info(self.clock[0])
            state = json.loads(older[1])["state"] if older else None
            await self.ask(self.body(state or self.state), "", keep=choice.random() < 0.2)
        elif (again := self.old(choice)) is not None:
            await self.ask(again[1], again[2], keep=False)

    def old(self, choice: random.Random) -> tuple[int, bytes, str] | None:
        """A request of the last minutes."""
        recent = [sent for sent in self.sent[-40:] if sent[0] > self.clock[0] - RETRY_SECONDS * NS_PER_SECOND]
        return choice.choice(recent) if recent else None

    async def ask(self, body: bytes, key: str, keep: bool) -> None:
        self.sent.append((self.clock[0], body, key))
        refused_before = self.world.statuses[480]
        reply = await self.world.send(body, key)
        if reply is not None and keep:
            self.state = reply["state"]
        elif reply is None and self.world.statuses[480] > refused_before:
            self.refresh()
            self.first = self.body(None)


def encoded_info(now_ns: int) -> str:
    return b64encode(orchestrator_info(rand_hash=os.urandom(32), now_ns=now_ns)).decode()


def check_every_interval_is_paid_once(payments: dict[tuple[str, int], tuple[SignerState, net_pb2.Payment]]) -> int:
    """A session's payments form one chain: each starts where the one before ended, and its balance follows to the wei."""
    sessions: dict[str, list[tuple[SignerState, net_pb2.Payment]]] = defaultdict(list)
    for (state_id, _), paid in sorted(payments.items()):
        sessions[state_id].append(paid)
    for chain in sessions.values():
        assert [state.sequence_number for state, _ in chain] == list(range(len(chain)))
        balance, last_update_ns = Fraction(0), None
        for state, payment in chain:
            assert state.last_update_ns is not None
            params = payment.ticket_params
            ev = ticket_ev(int.from_bytes(params.face_value, "big"), int.from_bytes(params.win_prob, "big"))
            seconds = 10 if last_update_ns is None else -(-(state.last_update_ns - last_update_ns) // NS_PER_SECOND)
            assert seconds > 0
            balance += ev * len(payment.ticket_sender_params) - seconds * PRICE_PER_UNIT
            assert state.balance == balance
            last_update_ns = state.last_update_ns
    return len(sessions)


def check_no_nonce_is_given_out_twice(payments: dict[tuple[str, int], tuple[SignerState, net_pb2.Payment]]) -> None:
    given_out = [(p.ticket_params.recipient_rand_hash, t.sender_nonce) for _, p in payments.values() for t in p.ticket_sender_params]
    assert len(given_out) == len(set(given_out))


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[Callable[[], str]]:
    with postgres_databases() as create:
        yield create


@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
async def test_ten_thousand_interleavings_pay_once_and_kill_no_session(
    backend: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    place = {"path": str(tmp_path / "ledger.sqlite")} if backend == "sqlite" else {"url": request.getfixturevalue("postgres_url")()}
    clock = [NOW_NS]
    sections = {"ledger": {"backend": backend, **place}, "limits": {"max_total_ev_wei": "1eth"}}

    def now_ns() -> int:
        return clock[0]

    async with running_signer(clock_ns=now_ns, **sections) as one, running_signer(clock_ns=now_ns, **sections) as other:
        connections = [Connections(signer.client.base_url.port or 0) for signer in (one, other)]
        world = World(connections, seed=4242)
        shared = [encoded_info(clock[0]) for _ in range(3)]
        clients = [Client(world, shared, clock) for _ in range(SESSIONS)]
        places = asyncio.Semaphore(IN_FLIGHT)

        async def act(client: Client) -> None:
            async with places:
                kind = world.random.choices(("honest", "lost", "replay", "fork"), (5, 2, 3, 2))[0]
                world.kinds[kind] += 1
                clock[0] += world.random.choice((0, 1, 1, 2)) * NS_PER_SECOND
                if clock[0] // (300 * NS_PER_SECOND) != (clock[0] - 2 * NS_PER_SECOND) // (300 * NS_PER_SECOND):
                    shared[:] = [encoded_info(clock[0]) for _ in range(3)]
                await client.step(kind)

        for _ in range(REQUESTS // 100):
            await asyncio.gather(*(act(world.random.choice(clients)) for _ in range(100)))
        for client in clients:
            clock[0] += 15 * NS_PER_SECOND
            client.info = encoded_info(clock[0])
            known = client.state
            for _ in range(2):
                await client.step("honest")
                clock[0] += 10 * NS_PER_SECOND
            assert client.state is not None
            assert client.state != known, "an honest session is dead"
        assert check_every_interval_is_paid_once(world.payments) == SESSIONS
        check_no_nonce_is_given_out_twice(world.payments)
        assert sum(world.kinds.values()) == REQUESTS
        assert min(world.kinds.values()) > 1000
        assert world.retries > 500
        assert len(world.payments) > 1000
        for each in connections:
            await each.close()
