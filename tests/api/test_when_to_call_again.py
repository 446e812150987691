"""A 482 says when something is due: who comes then is paid for, who comes before is not."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest

from livepeer_remote_signer.app import create_app
from livepeer_remote_signer.config.loading import parse_config
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_MS
from tests.asgi import Answer, call, running
from tests.plans import NOW_NS, orchestrator_info
from tests.signer import configuration

PRICE = 150_000_000_000


class Clock:
    now_ns = NOW_NS

    def __call__(self) -> int:
        return self.now_ns


@pytest.mark.parametrize("headroom", [0, 3])
@pytest.mark.parametrize(("job_type", "price"), [("live", PRICE), ("lv2v", PRICE // 27_648_000)])
async def test_something_is_due_at_the_moment_that_is_named_and_not_before(job_type: str, price: int, headroom: int) -> None:
    clock = Clock()
    info = orchestrator_info(price_per_unit=price)
    config = parse_config(json.dumps(configuration(headroom_seconds={"sign_ticket": headroom})), {})
    async with running(create_app(config, clock_ns=clock)) as app:
        state: str | None = None

        async def ask() -> Answer:
            body: dict[str, Any] = {"orchestratorInfo": b64encode(info).decode(), "type": job_type, "signerState": state}
            return await call(app, "POST", "/signTicket", {}, json.dumps(body).encode())

        while (early := await ask()).status == 200:
            state = json.loads(early.body)["signerState"]
            paid_ns = clock.now_ns
            clock.now_ns += 234 * NS_PER_MS
        error = json.loads(early.body)["error"]
        assert (early.status, error["code"]) == (482, "no_tickets")
        assert int(early.headers["retry-after"]) - 1 < error["nextPaymentInSeconds"] <= int(early.headers["retry-after"])
        due_ns = clock.now_ns + round(error["nextPaymentInSeconds"] * 1000) * NS_PER_MS
        clock.now_ns = due_ns - 2 * NS_PER_MS
        assert (await ask()).status == 482
        clock.now_ns = due_ns
        assert (await ask()).status == 200
        clock.now_ns = paid_ns
        assert json.loads((await ask()).body)["error"]["nextPaymentInSeconds"] == 1.0
