"""A simulated gateway: holds no key, asks the signer over HTTP for everything, and pays an orchestrator over HTTPS.

It does what go-livepeer's gateway does with the signer's statuses: 480 fetches fresh terms and asks once more, 482 skips
the cycle, 481 leaves the orchestrator.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import httpx

from livepeer_remote_signer.proto import net_pb2

Route = Literal["/generate-live-payment", "/signTicket"]


class Paid(NamedTuple):
    """What one cycle came to. `status` is the signer's last answer; `tickets` and `nonces` are what was paid with."""

    status: int
    refreshed: bool
    message: str
    nonces: tuple[int, ...] = ()
    delivered: int | None = None
    refusal: str = ""


class SignerAnswer(NamedTuple):
    """Status and body of the signer's reply."""

    status: int
    body: dict[str, Any]

    @property
    def message(self) -> str:
        """The error's message, "" for a payment."""
        return str(self.body.get("error", {}).get("message", ""))


@dataclass
class Gateway:
    """One gateway. `signer` is a client whose base URL is the signer's; `world` reaches orchestrators."""

    signer: httpx.AsyncClient
    world: httpx.AsyncClient

    async def ask(self, path: str, body: dict[str, Any]) -> SignerAnswer:
        """One request to the signer."""
        reply = await self.signer.post(path, json=body)
        return SignerAnswer(reply.status_code, reply.json())

    async def fetch_info(self, url: str) -> SignerAnswer:
        """The orchestrator's terms, which the signer fetches over gRPC."""
        return await self.ask("/getOrchestratorInfo", {"orchestrator": url})

    async def deliver(self, url: str, payment: str, segment: str) -> httpx.Response:
        """`POST /payment` at the orchestrator."""
        return await self.world.post(f"{url}/payment", headers={"Livepeer-Payment": payment, "Livepeer-Segment": segment})


@dataclass
class Session:
    """One paid session with one orchestrator.

    `takes_new_terms`: whether the terms that come back with each accepted payment are used for the next one, as
    go-livepeer does, or the old ones until the signer answers 480.
    """

    gateway: Gateway
    url: str
    job_type: str
    route: Route = "/generate-live-payment"
    takes_new_terms: bool = False
    info: str | dict[str, Any] = ""
    state: Any = None
    manifest_id: str = ""
    last_request: dict[str, Any] = field(default_factory=dict)
    last_reply: dict[str, Any] = field(default_factory=dict)

    async def refresh(self) -> SignerAnswer:
        """Fresh terms from the orchestrator."""
        answer = await self.gateway.fetch_info(self.url)
        if answer.status == 200:
            self.info = answer.body["orchestratorInfo" if self.route == "/signTicket" else "orchestrator"]
        return answer

    def _request(self) -> dict[str, Any]:
        if self.route == "/signTicket":
            return {"orchestratorInfo": self.info, "signerState": self.state, "type": self.job_type, "manifestId": self.manifest_id}
        return {"orchestrator": self.info, "state": self.state, "type": self.job_type, "ManifestID": self.manifest_id}

    async def pay(self) -> Paid:
        """One payment cycle, to the end."""
        self.last_request = self._request()
        answer = await self.gateway.ask(self.route, self.last_request)
        refreshed = answer.status == 480
        if refreshed:
            fetched = await self.refresh()
            if fetched.status != 200:
                return Paid(fetched.status, True, fetched.message)
            self.last_request = self._request()
            answer = await self.gateway.ask(self.route, self.last_request)
        if answer.status != 200:
            return Paid(answer.status, refreshed, answer.message)
        return await self._deliver(answer.body, refreshed)

    async def _deliver(self, reply: dict[str, Any], refreshed: bool) -> Paid:
        payment = net_pb2.Payment.FromString(base64.b64decode(reply["payment"]))
        credentials = net_pb2.SegData.FromString(base64.b64decode(reply["segCreds"]))
        nonces = tuple(ticket.sender_nonce for ticket in payment.ticket_sender_params)
        response = await self.gateway.deliver(self.url, reply["payment"], reply["segCreds"])
        if response.status_code != 200:
            return Paid(200, refreshed, "", nonces, response.status_code, response.text)
        self.state = reply["signerState" if self.route == "/signTicket" else "state"]
        self.manifest_id = credentials.manifestId.decode()
        self.last_reply = reply
        if self.takes_new_terms:
            result = net_pb2.PaymentResult.FromString(response.content)
            self.info = base64.b64encode(result.info.SerializeToString()).decode()
        return Paid(200, refreshed, "", nonces, 200)
