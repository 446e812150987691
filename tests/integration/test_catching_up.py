"""A session outlives an outage: what it owes is paid in parts, over HTTP, from a real ledger, with an event for each part."""

from __future__ import annotations

import json
import sqlite3
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from livepeer_remote_signer.app import create_app
from livepeer_remote_signer.config.loading import parse_config
from livepeer_remote_signer.core.protocol.state import SignerState, parse_state
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_SECOND, parse_rfc3339_ns
from tests.asgi import Answer, call, running
from tests.hooks import running_hook
from tests.plans import NOW_NS, orchestrator_info
from tests.signer import PAY, configuration

SIGN_TICKET = "/signTicket"
CATCH_UP = {"generate_live_payment": True, "sign_ticket": True}
PRICE_WEI = 10**11
"""A second of live costs a tenth of a ticket: 20 tickets, the most that a payment may hold, pay for 200 s."""


class Client:
    """One session's client, on either route, at times of the test's own (seconds after its first payment)."""

    def __init__(self, app: Any, clock: list[int], route: str, job_type: str) -> None:
        self._app = app
        self._clock = clock
        self._route = route
        self._type = job_type
        self.state: Any = None
        self.replies: list[dict[str, Any]] = []

    async def ask(self, seconds: float, state: Any = None) -> Answer:
        """One call with the newest state, or with another."""
        self._clock[0] = NOW_NS + round(seconds * NS_PER_SECOND)
        pixels = 27_648_000 if self._type == "lv2v" else 1
        info = orchestrator_info(price_per_unit=PRICE_WEI // pixels, now_ns=NOW_NS + 10_000 * NS_PER_SECOND)
        if self._route == PAY:
            body = {"orchestrator": b64encode(info).decode(), "state": state or self.state, "ManifestID": "m", "type": self._type}
        else:
            body = {"orchestratorInfo": b64encode(info).decode(), "signerState": state or self.state, "type": self._type}
        return await call(self._app, "POST", self._route, {}, json.dumps(body).encode())

    async def pay(self, seconds: float) -> SignerState:
        """A call that must be paid; the state that it left."""
        answer = await self.ask(seconds)
        assert answer.status == 200, answer.body
        self.replies.append(json.loads(answer.body))
        self.state = self.replies[-1]["state" if self._route == PAY else "signerState"]
        return parse_state(b64decode(self.state["State"] if self._route == PAY else self.state.partition(".")[0]))


@asynccontextmanager
async def client(route: str = PAY, job_type: str = "live", **sections: Any) -> AsyncIterator[Client]:
    clock = [NOW_NS]
    told = configuration(catch_up=CATCH_UP, headroom_seconds={"generate_live_payment": 20, "sign_ticket": 20})
    config = parse_config(json.dumps({**told, **sections}), {})
    async with running(create_app(config, clock_ns=lambda: clock[0])) as app:
        yield Client(app, clock, route, job_type)


def ledger(folder: Path) -> dict[str, Any]:
    """A ledger with events: it remembers those that were sent as well."""
    return {
        "ledger": {"backend": "sqlite", "path": str(folder / "ledger.sqlite")},
        "events": {"sinks": [{"type": "file", "path": str(folder / "events.jsonl")}]},
    }


def events(folder: Path) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(folder / "ledger.sqlite")) as connection:
        return [json.loads(payload)["data"] for (payload,) in connection.execute("SELECT payload FROM lrs_outbox ORDER BY id")]


@pytest.mark.parametrize("route", [PAY, SIGN_TICKET])
@pytest.mark.parametrize("job_type", ["live", "lv2v"])
async def test_a_session_pays_an_outage_in_parts_and_each_second_once(tmp_path: Path, route: str, job_type: str) -> None:
    async with client(route, job_type, **ledger(tmp_path)) as session:
        await session.pay(0)
        started = NOW_NS
        times = [800, 803, 806, 809, 812]
        states = [await session.pay(seconds) for seconds in times]
    assert [state.sequence_number for state in states] == [1, 2, 3, 4, 5]
    assert states[-1].last_update_ns == started + 812 * NS_PER_SECOND
    assert all(one.last_update_ns < other.last_update_ns for one, other in pairwise(states))  # type: ignore[operator]
    recorded = events(tmp_path)
    assert len(recorded) == 6
    for event, later in pairwise(recorded):
        assert event["current_time"] == later["previous_time"]
    assert parse_rfc3339_ns(recorded[-1]["current_time"]) == states[-1].last_update_ns
    assert sum(event["billable_secs"] for event in recorded[1:]) == pytest.approx(812)
    units = sum(event["billable_units"] for event in recorded[1:])
    assert units == 812 if job_type == "live" else abs(units - 812 * 27_648_000) <= len(times)
    assert all(1 <= event["num_tickets"] <= 20 for event in recorded[:-1])


async def test_sign_ticket_says_what_is_still_owed_and_asks_for_the_next_call_in_a_second() -> None:
    async with client(SIGN_TICKET) as session:
        await session.pay(0)
        await session.pay(250)
        first, part = session.replies
        assert (first["owedSeconds"], first["billedSeconds"]) == (0.0, 10.0)
        owed = 250 - part["billedSeconds"]
        assert (part["owedSeconds"], part["nextPaymentInSeconds"]) == (owed, 1.0)
        assert 0 < owed < 60
        await session.pay(251)
        caught_up = session.replies[-1]
        assert (caught_up["owedSeconds"], caught_up["billedSeconds"]) == (0.0, owed + 1)
        assert caught_up["nextPaymentInSeconds"] > 1


@pytest.mark.parametrize("job_type", ["fixed", ""])
async def test_where_time_does_not_count_nothing_is_owed(job_type: str) -> None:
    async with client(SIGN_TICKET, job_type) as session:
        body = {"orchestratorInfo": b64encode(orchestrator_info()).decode(), "type": job_type, "inPixels": 5}
        answer = await call(session._app, "POST", SIGN_TICKET, {}, json.dumps(body).encode())
        assert answer.status == 200
        figures = json.loads(answer.body)
        assert [figures[name] for name in ("owedSeconds", "billedSeconds", "creditSeconds", "nextPaymentInSeconds")] == [None] * 4


@pytest.mark.parametrize("on", [PAY, SIGN_TICKET, None])
@pytest.mark.parametrize("route", [PAY, SIGN_TICKET])
async def test_each_route_has_its_own_switch_and_is_off_by_default(route: str, on: str | None) -> None:
    names = {PAY: "generate_live_payment", SIGN_TICKET: "sign_ticket"}
    async with client(route, catch_up={names[on]: True} if on else {}) as session:
        await session.pay(0)
        answer = await session.ask(800)
        assert answer.status == (200 if route == on else 400)
        if answer.status == 400:
            assert json.loads(answer.body)["error"]["code"] == "total_ev_exceeded"


async def test_who_owes_more_than_the_limit_is_refused_and_told_what_to_do() -> None:
    async with client(catch_up={**CATCH_UP, "max_seconds": 300}) as session:
        await session.pay(0)
        answer = await session.ask(301)
        assert answer.status == 400
        error = json.loads(answer.body)["error"]
        assert error["code"] == "total_ev_exceeded"
        assert error["hint"] == "301 s are owed, more than catch_up.max_seconds (300) allows: start a new session without state"
        assert (await session.pay(300)).last_update_ns < NOW_NS + 300 * NS_PER_SECOND  # type: ignore[operator]


async def test_a_part_is_answered_again_to_the_byte_and_its_time_is_not_paid_to_a_branch(tmp_path: Path) -> None:
    async with client(**ledger(tmp_path)) as session:
        await session.pay(0)
        before = session.state
        lost = await session.ask(500)
        assert (await session.ask(504)).body == lost.body  # the reply did not arrive, the client asks again
        left = parse_state(b64decode(json.loads(lost.body)["state"]["State"]))
        session.state = json.loads(lost.body)["state"]
        healed = await session.ask(505, {**before})
        assert healed.body == lost.body
        after = await session.pay(506)
        assert after.sequence_number == left.sequence_number + 1
        assert after.last_update_ns > left.last_update_ns  # type: ignore[operator]
        assert len(events(tmp_path)) == 3


async def test_a_budget_cuts_a_part_to_what_is_left_of_it(tmp_path: Path) -> None:
    limit_wei = 30 * 10**12
    budget = {"scope": "global", "window": "total", "limit_wei": str(limit_wei)}
    async with client(**ledger(tmp_path), budgets=[budget]) as session:
        await session.pay(0)
        await session.pay(600)
        await session.pay(603)
        refused = await session.ask(606)
    assert refused.status == 483
    paid = [event["num_tickets"] for event in events(tmp_path)]
    assert sum(paid) == 30
    assert paid[1] == 20
    # a ticket pays for a hair less than 10 s, the first payment was for 10 s
    assert sum(event["billable_secs"] for event in events(tmp_path)) == 299


async def test_the_webhook_is_asked_about_the_part_that_will_be_paid() -> None:
    async with running_hook() as hook, client(auth={"webhook": {"url": hook.url}}) as session:
        await session.pay(0)
        state = await session.pay(400)
        proposed = hook.questions[-1]["state"]
        assert parse_rfc3339_ns(proposed["LastUpdate"]) == state.last_update_ns < NOW_NS + 400 * NS_PER_SECOND  # type: ignore[operator]
        assert hook.questions[-1]["num_tickets"] == 20
        assert int(hook.questions[-1]["computed_fee"]) == (state.last_update_ns - NOW_NS) // NS_PER_SECOND * PRICE_WEI  # type: ignore[operator]


async def test_a_session_that_was_dated_ahead_by_a_wrong_clock_goes_on_with_todays_date(tmp_path: Path) -> None:
    async with client(**ledger(tmp_path)) as session:
        await session.pay(3600)
        state = await session.pay(5)  # the clock is right again
        assert state.last_update_ns == NOW_NS + 5 * NS_PER_SECOND
        assert (await session.ask(4)).status == 482
        assert (await session.pay(60)).last_update_ns == NOW_NS + 60 * NS_PER_SECOND
        assert [event["billable_secs"] for event in events(tmp_path)] == [10, 1, 55]
