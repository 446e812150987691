"""A live runner behind a simulated orchestrator, over plain HTTP as the published Python SDK calls it.

Unpaid work is answered 402 with a challenge; `POST /payment` takes the payments of a running session and `POST
/refresh-payment` hands out fresh terms. Every payment is judged by the orchestrator.
"""

from __future__ import annotations

import asyncio
import base64
import os
from types import TracebackType

from aiohttp import web

from tests.simulators import Orchestrator, PaymentRefused

PAYER_HEADER = "Livepeer-Payer-Address"


class LiveRunner:
    """`seconds` is how long a piece of work takes. An async context manager; `url` is where the work is asked for."""

    def __init__(self, orchestrator: Orchestrator, seconds: float) -> None:
        self._orchestrator = orchestrator
        self._seconds = seconds
        self._app = web.Application()
        self._app.router.add_post("/run", self._run)
        self._app.router.add_post("/payment", self._pay)
        self._app.router.add_post("/refresh-payment", self._refresh)
        self._runner = web.AppRunner(self._app, max_field_size=1 << 17)  # a hundred tickets are 10 KB of a header
        self._base = ""
        self.refreshed = 0

    @property
    def url(self) -> str:
        return f"{self._base}/run"

    async def __aenter__(self) -> LiveRunner:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._base = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self._runner.cleanup()

    def _terms(self, sender: bytes, session_id: str) -> str:
        return base64.b64encode(self._orchestrator._info(sender, session_id).SerializeToString()).decode()

    def _take(self, request: web.Request) -> None:
        headers = request.headers
        try:
            self._orchestrator.take_payment(headers.get("Livepeer-Payment", ""), headers.get("Livepeer-Segment", ""))
        except PaymentRefused as error:
            raise web.HTTPForbidden(text=str(error)) from None

    async def _run(self, request: web.Request) -> web.Response:
        if "Livepeer-Payment" not in request.headers:
            sender, session_id = bytes.fromhex(request.headers[PAYER_HEADER].removeprefix("0x")), os.urandom(4).hex()
            self._orchestrator.sessions[session_id] = sender
            challenge = {
                "payment_params": self._terms(sender, session_id),
                "manifest_id": session_id,
                "payment_url": f"{self._base}/payment",
            }
            return web.json_response(challenge, status=402)
        self._take(request)
        await asyncio.sleep(self._seconds)
        return web.json_response({"done": True})

    async def _pay(self, request: web.Request) -> web.Response:
        self._take(request)
        return web.Response()

    async def _refresh(self, request: web.Request) -> web.Response:
        asked = await request.json()
        self.refreshed += 1
        return web.json_response({"payment_params": self._terms(bytes.fromhex(asked["sender"].removeprefix("0x")), asked["manifest_id"])})
