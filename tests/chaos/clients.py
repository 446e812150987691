"""Who pays through the signers while faults come and go: the published SDK's loops, and a client of `/signTicket` in JSON.

Every call is told to one list: when it began and ended (unix seconds), how long it took, what was answered.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import httpx

CLIENT_SECONDS = 5.0
"""How long the published clients wait for an answer."""

LOOPS = Path(__file__).with_name("sdk_loops.py")


class Call(NamedTuple):
    """One call of a signer as its client saw it; `status` None: no answer. `state` is the session's after a 200."""

    client: str
    ended_at: float
    took: float
    status: int | None
    error: str
    state: dict[str, Any] | None

    @property
    def began_at(self) -> float:
        return self.ended_at - self.took

    @property
    def is_in_doubt(self) -> bool:
        """Whether the client was told, by that or by silence, that the payment may be recorded."""
        return self.status is None or '"may_be_recorded":true' in self.error


class Client:
    """One session: its newest state, and whether its client still goes on. `manifest_id` is the orchestrator's name for it;
    `has_key`: its first request is named by an Idempotency-Key."""

    def __init__(self, name: str, manifest_id: str, *, has_key: bool = False) -> None:
        self.name = name
        self.manifest_id = manifest_id
        self.has_key = has_key
        self.state: dict[str, Any] | None = None
        self.is_alive = True
        self.calls: list[Call] = []

    def note(self, took: float, status: int | None, error: str, raw_state: str | None) -> None:
        """Keeps a call; `raw_state` is the state's base64."""
        state = json.loads(base64.b64decode(raw_state)) if raw_state else None
        if state is not None:
            self.state = state
        self.calls.append(Call(self.name, time.time(), took, status, error, state))


class Challenge(NamedTuple):
    """What an orchestrator asks of a new session."""

    payment_params: str
    manifest_id: str
    payment_url: str


class SdkLoops:
    """The SDK's payment loops in a process of its own interpreter. An async context manager."""

    def __init__(self, python: Path) -> None:
        self._python = python
        self.clients: dict[str, Client] = {}
        self.stderr = b""

    async def __aenter__(self) -> SdkLoops:
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(
            str(self._python), str(LOOPS), stdin=pipe, stdout=pipe, stderr=pipe, limit=1 << 22
        )
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._drain())]
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), 10)
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
        await asyncio.gather(*self._tasks)

    def start(self, name: str, signer: str, challenge: Challenge) -> Client:
        """Begins a session."""
        assert self._process.stdin is not None
        client = self.clients[name] = Client(name, challenge.manifest_id)
        self._process.stdin.write(json.dumps({"name": name, "signer": signer, **challenge._asdict()}).encode() + b"\n")
        return client

    async def _listen(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            told = json.loads(line)
            client = self.clients[told["name"]]
            if told.get("ended"):
                client.is_alive = False
            else:
                state = told.get("state")
                client.note(told["took"], told["status"], told.get("error", ""), state and state["State"])
        for client in self.clients.values():
            client.is_alive = False

    async def _drain(self) -> None:
        assert self._process.stderr is not None
        self.stderr = await self._process.stderr.read()


class JsonClient(Client):
    """Pays on `/signTicket` as the documentation tells: the same request until it is answered, when it is told to.

    Several signers are tried in turn, as behind a load balancer. `deliver` hands a reply's two headers to the orchestrator,
    `refresh` asks it for fresh params.
    """

    def __init__(
        self,
        name: str,
        signers: Sequence[str],
        challenge: Challenge,
        *,
        deliver: Callable[[str, str], Any],
        refresh: Callable[[], str],
        auth_id: str = "",
        has_key: bool = True,
        ends_on: frozenset[int] = frozenset((400, 401, 403, 409, 481, 483)),
    ) -> None:
        super().__init__(name, challenge.manifest_id, has_key=has_key)
        self._signers = signers
        self._params = challenge.payment_params
        self._deliver = deliver
        self._refresh = refresh
        self._headers = {"Signer-Auth-Id": auth_id} if auth_id else {}
        self._ends_on = ends_on
        self._signer_state: str | None = None

    async def run(self) -> None:
        """Until it is cancelled, or an answer ends the session."""
        turn = 0
        async with httpx.AsyncClient(timeout=CLIENT_SECONDS, trust_env=False) as http:
            key = {"Idempotency-Key": self.name} if self.has_key else {}
            while self.is_alive:
                body = {"orchestratorInfo": self._params, "signerState": self._signer_state, "type": "live"}
                headers = {**self._headers, **(key if self._signer_state is None else {})}
                wait = await self._call(http, self._signers[turn % len(self._signers)], body, headers)
                turn += 1
                await asyncio.sleep(wait)

    async def _call(self, http: httpx.AsyncClient, signer: str, body: dict[str, Any], headers: dict[str, str]) -> float:
        """One call; how many seconds to wait for the next."""
        started = time.monotonic()
        try:
            async with asyncio.timeout(CLIENT_SECONDS):
                response = await http.post(signer + "/signTicket", json=body, headers=headers)
        except (httpx.TransportError, TimeoutError) as error:
            self.note(time.monotonic() - started, None, type(error).__name__, None)
            return 1.0
        took = time.monotonic() - started
        if response.status_code != 200:
            self.note(took, response.status_code, response.text[:500], None)
            if response.status_code == 480:
                self._params = self._refresh()
                return 0.0
            self.is_alive = response.status_code not in self._ends_on
            return 3.0 if response.status_code == 482 else float(response.headers.get("retry-after", 1))
        reply = response.json()
        self._signer_state = reply["signerState"]
        self.note(took, 200, "", reply["signerState"].partition(".")[0])
        self._deliver(reply["payment"], reply["segCreds"])
        return min(3.0, reply["nextPaymentInSeconds"])
