"""Retries, late requests and idempotency keys through the whole service with a ledger, on both paying routes."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from livepeer_remote_signer.adapters.chain.static import StaticChain
from livepeer_remote_signer.adapters.logs import LogWriter
from livepeer_remote_signer.app import create_app
from livepeer_remote_signer.config.loading import parse_config
from livepeer_remote_signer.core.protocol.state import SignerState, encode_state, parse_state
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_SECOND
from livepeer_remote_signer.core.protocol.wire import parse_orchestrator_info
from tests.asgi import Answer, call, running
from tests.hooks import running_hook, says
from tests.plans import CHAIN, NOW_NS, SEAL, orchestrator_info
from tests.prometheus_text import parse_metrics
from tests.signer import configuration

GO, OURS = "/generate-live-payment", "/signTicket"


class Signer:
    """A signer with a ledger and a clock of its own."""

    def __init__(self, app: Any, clock: list[int]) -> None:
        self.app = app
        self.clock = clock
        self.info = fresh_info()

    def body(self, route: str, state: Any = None, **fields: Any) -> bytes:
        if route == GO:
            asked = {"orchestrator": self.info, "state": state, "ManifestID": "m", "type": "live", **fields}
        else:
            asked = {"orchestratorInfo": self.info, "signerState": state, "manifestId": "m", "type": "live", **fields}
        return json.dumps(asked).encode()

    async def send(self, route: str, body: bytes, **headers: str) -> Answer:
        self.clock[0] += 20 * NS_PER_SECOND
        return await call(self.app, "POST", route, {"Content-Type": "application/json", **headers}, body)


def fresh_info() -> str:
    return b64encode(orchestrator_info(rand_hash=os.urandom(32))).decode()


@asynccontextmanager
async def signing(folder: Path, on_stale: str = "heal", logs: LogWriter | None = None, **sections: Any) -> AsyncIterator[Signer]:
    clock = [NOW_NS]
    ledger = {"backend": "sqlite", "path": str(folder / "ledger.sqlite"), "on_stale": on_stale}
    config = parse_config(json.dumps(configuration(ledger=ledger, **sections)), {})
    async with running(create_app(config, clock_ns=lambda: clock[0], logs=logs)) as app:
        yield Signer(app, clock)


def state_of(answer: Answer, route: str) -> Any:
    """The state as the route's callers send it back."""
    assert answer.status == 200, answer.body
    reply = json.loads(answer.body)
    return reply["state"] if route == GO else reply["signerState"]


def parsed(state: Any) -> SignerState:
    return parse_state(b64decode(state["State"] if isinstance(state, dict) else state.split(".")[0]))


@pytest.mark.parametrize("route", [GO, OURS])
async def test_a_lost_reply_is_given_again_and_the_session_goes_on(route: str, tmp_path: Path) -> None:
    async with signing(tmp_path) as signer:
        first = state_of(await signer.send(route, signer.body(route)), route)
        body = signer.body(route, first)
        answers = [await signer.send(route, body) for _ in range(3)]
        assert len({answer.body for answer in answers}) == 1
        assert len({answer.headers["x-request-id"] for answer in answers}) == 3
        assert parsed(state_of(await signer.send(route, signer.body(route, state_of(answers[0], route))), route)).sequence_number == 2


@pytest.mark.parametrize("route", [GO, OURS])
async def test_a_client_that_lost_a_reply_and_went_on_pays_no_time_twice(route: str, tmp_path: Path) -> None:
    async with signing(tmp_path) as signer:
        first = state_of(await signer.send(route, signer.body(route)), route)
        lost = parsed(state_of(await signer.send(route, signer.body(route, first)), route))
        signer.info = fresh_info()
        late = signer.body(route, first)
        healed_answer = await signer.send(route, late)
        healed = parsed(state_of(healed_answer, route))
        assert (lost.sequence_number, healed.sequence_number) == (1, 2)
        assert (await signer.send(route, late)).body == healed_answer.body
        assert healed.last_update_ns is not None
        assert lost.last_update_ns is not None
        assert healed.last_update_ns - lost.last_update_ns == 20 * NS_PER_SECOND
        ev = parse_orchestrator_info(b64decode(signer.info)).ev
        assert healed.balance == lost.balance + 2 * ev - 20 * 10**11


@pytest.mark.parametrize(("route", "other"), [(GO, OURS), (OURS, GO)])
async def test_where_late_requests_are_refused_the_newest_state_comes_with_the_refusal(route: str, other: str, tmp_path: Path) -> None:
    async with signing(tmp_path, on_stale="refuse") as signer:
        first = state_of(await signer.send(route, signer.body(route)), route)
        newest = state_of(await signer.send(route, signer.body(route, first)), route)
        signer.info = fresh_info()
        refused = await signer.send(route, signer.body(route, first))
        error = json.loads(refused.body)["error"]
        assert (refused.status, error["code"]) == (409, "stale_state")
        assert error["state"] == newest
        assert (error["sequence_number"], error["newest_sequence_number"]) == (1, 1)
        assert parsed(state_of(await signer.send(route, signer.body(route, error["state"])), route)).sequence_number == 2
        moved = newest if isinstance(newest, str) else f"{newest['State']}.{newest['Sig']}"
        if other == GO:
            state, sig = moved.split(".")
            refused = await signer.send(GO, signer.body(GO, {"State": state, "Sig": sig}))
        else:
            refused = await signer.send(OURS, signer.body(OURS, moved))
        assert isinstance(json.loads(refused.body)["error"]["state"], dict if other == GO else str)


async def test_a_session_may_move_between_the_routes(tmp_path: Path) -> None:
    async with signing(tmp_path) as signer:
        first = state_of(await signer.send(GO, signer.body(GO)), GO)
        second = state_of(await signer.send(OURS, signer.body(OURS, f"{first['State']}.{first['Sig']}")), OURS)
        state, sig = second.split(".")
        third = state_of(await signer.send(GO, signer.body(GO, {"State": state, "Sig": sig})), GO)
        assert parsed(third).sequence_number == 2


@pytest.mark.parametrize("route", [GO, OURS])
async def test_an_idempotency_key_belongs_to_its_caller_and_its_request(route: str, tmp_path: Path) -> None:
    async with signing(tmp_path, auth={"trusted_proxies": ["127.0.0.0/8"]}) as signer:
        body = signer.body(route)
        key = {"Idempotency-Key": "k" * 300}
        answers = [await signer.send(route, body, **key, **{"Signer-Auth-Id": "alice"}) for _ in range(2)]
        assert answers[0].body == answers[1].body
        bobs = await signer.send(route, body, **key, **{"Signer-Auth-Id": "bob"})
        assert parsed(state_of(bobs, route)).state_id != parsed(state_of(answers[0], route)).state_id
        assert parsed(state_of(bobs, route)).auth_id == "bob"
        signer.info = fresh_info()
        refused = await signer.send(route, signer.body(route), **key, **{"Signer-Auth-Id": "alice"})
        assert (refused.status, json.loads(refused.body)["error"]["code"]) == (400, "bad_field")


@pytest.mark.parametrize("header", ["Authorization", "X-Api-Key", "Cookie"])
async def test_idempotency_keys_of_callers_whom_only_the_webhook_knows_never_meet(header: str, tmp_path: Path) -> None:
    async with running_hook() as hook, signing(tmp_path, auth={"webhook": {"url": hook.url}}) as signer:
        key = {"Idempotency-Key": "1"}
        body = signer.body(GO)
        alices = [await signer.send(GO, body, **key, **{header: "alice"}) for _ in range(2)]
        assert alices[0].body == alices[1].body
        assert len(hook.questions) == 1
        hook.answer = says({"status": 401, "reason": "not you"})
        assert (await signer.send(GO, body, **key, **{header: "mallory"})).status == 401
        hook.answer = says({"status": 200})
        signer.info = fresh_info()
        assert (await signer.send(GO, signer.body(GO), **key, **{header: "carol"})).status == 200


async def test_a_session_of_nobodys_may_be_retried_and_healed_by_whoever_holds_its_state(tmp_path: Path) -> None:
    async with signing(tmp_path) as signer:
        info, first = signer.info, state_of(await signer.send(GO, signer.body(GO)), GO)
        body = signer.body(GO, first)
        second = await signer.send(GO, body)
    async with signing(tmp_path, auth={"trusted_proxies": ["127.0.0.0/8"]}) as signer:
        signer.clock[0] += 40 * NS_PER_SECOND
        signer.info = info
        alice, bob = {"Signer-Auth-Id": "alice"}, {"Signer-Auth-Id": "bob"}
        assert (await signer.send(GO, body, **alice)).body == second.body
        signer.info = fresh_info()
        late = signer.body(GO, first)
        healed = await signer.send(GO, late, **alice)
        assert parsed(state_of(healed, GO)).auth_id == "alice"
        assert (await signer.send(GO, late, **alice)).body == healed.body
        for stolen in (late, signer.body(GO, first, maxPrice={"price": 10**12, "currency": "wei", "unit": "seconds"})):
            assert (await signer.send(GO, stolen, **bob)).status == 403


async def test_a_late_state_of_somebodys_is_not_healed_for_another_from_a_newest_one_of_nobodys(tmp_path: Path) -> None:
    async with signing(tmp_path, auth={"trusted_proxies": ["127.0.0.0/8"]}) as signer:
        first = state_of(await signer.send(GO, signer.body(GO)), GO)
        assert (await signer.send(GO, signer.body(GO, first))).status == 200
        raw = encode_state(replace(parsed(first), auth_id="alice"))  # as another signer of this key would have made it
        alices = {"State": b64encode(raw).decode(), "Sig": b64encode(SEAL.seal(raw)).decode()}
        signer.info = fresh_info()
        assert (await signer.send(GO, signer.body(GO, alices), **{"Signer-Auth-Id": "bob"})).status == 403
        assert (await signer.send(GO, signer.body(GO, alices), **{"Signer-Auth-Id": "alice"})).status == 200


@pytest.mark.parametrize("route", [GO, OURS])
async def test_a_reply_that_is_given_again_is_told_as_such_and_is_no_payment(route: str, tmp_path: Path) -> None:
    with (tmp_path / "log").open("wb") as log:
        logs = LogWriter(descriptor=log.fileno())
        async with signing(tmp_path, logs=logs) as signer:
            body = signer.body(route, **{"ManifestID" if route == GO else "manifestId": ""})
            key = {"Idempotency-Key": "k", "X-Request-Id": "theirs"}
            first, again = [await signer.send(route, body, **key) for _ in range(2)]
            read = parse_metrics((await call(signer.app, "GET", "/metrics", {}, b"")).body)
        logs.close()
    lines = {line.get("request_id"): line for line in map(json.loads, (tmp_path / "log").read_text().splitlines())}
    paid, repeated = lines[first.headers["x-request-id"]], lines[again.headers["x-request-id"]]
    assert (repeated["level"], repeated["message"], repeated["status"], repeated["code"]) == ("info", "payment repeated", 200, "repeated")
    for name in ("session_id", "sequence_number", "manifest_id", "pm_session_id", "orch_address", "type", "route", "client_request_id"):
        assert repeated[name] == paid[name], name
    requests = read["livepeer_signer_requests_total"]
    assert [requests.value(route=route, status="200", code=code, type="live") for code in ("ok", "repeated")] == [1, 1]
    assert read["livepeer_signer_payments_total"].value(type="live") == 1
    assert read["livepeer_tickets_sent"].value() == paid["num_tickets"] == read["livepeer_signer_signatures_total"].value()
    assert read["livepeer_signer_ev_gwei_total"].value(type="live") == int(paid["total_ev"]) / 10**9
    assert read["livepeer_signer_request_seconds"].value("_count", route=route) == 2
    assert read["livepeer_payment_create_errors"].value() == 0


async def test_a_sequence_number_that_no_database_counts_to_is_refused_alone(tmp_path: Path) -> None:
    async with signing(tmp_path) as signer:
        first = state_of(await signer.send(GO, signer.body(GO)), GO)
        raw = encode_state(replace(parsed(first), sequence_number=2**63 - 1))  # go-livepeer counts on to twice that
        sealed = {"State": b64encode(raw).decode(), "Sig": b64encode(SEAL.seal(raw)).decode()}
        refused, paid = await asyncio.gather(signer.send(GO, signer.body(GO, sealed)), signer.send(GO, signer.body(GO, first)))
        assert (refused.status, json.loads(refused.body)["error"]["message"]) == (400, "invalid state")
        assert paid.status == 200


@pytest.mark.parametrize("on_stale", ["heal", "refuse"])
async def test_a_session_answers_to_nobody_but_its_own_auth_id(on_stale: str, tmp_path: Path) -> None:
    async with signing(tmp_path, on_stale, auth={"trusted_proxies": ["127.0.0.0/8"]}) as signer:
        alice, bob = {"Signer-Auth-Id": "alice"}, {"Signer-Auth-Id": "bob"}
        first = state_of(await signer.send(GO, signer.body(GO), **alice), GO)
        body = signer.body(GO, first)
        assert (await signer.send(GO, body, **alice)).status == 200
        signer.info = fresh_info()
        for stolen in (body, signer.body(GO, first)):
            refused = await signer.send(GO, stolen, **bob)
            error = json.loads(refused.body)["error"]
            assert (refused.status, error["code"]) == (403, "auth_id_changed")
            assert "state" not in error


@pytest.mark.parametrize("route", [GO, OURS])
@pytest.mark.parametrize("on_stale", ["heal", "refuse"])
async def test_a_late_request_gets_around_no_verdict_that_ended_in_the_state_it_sends(on_stale: str, route: str, tmp_path: Path) -> None:
    async with running_hook() as hook, signing(tmp_path, on_stale, auth={"webhook": {"url": hook.url}}) as signer:
        now = NOW_NS // NS_PER_SECOND
        hook.answer = says({"status": 200, "expiry": now + 30})
        first = state_of(await signer.send(route, signer.body(route)), route)
        signer.clock[0] += 20 * NS_PER_SECOND
        hook.answer = says({"status": 200, "expiry": now + 600})
        newest = state_of(await signer.send(route, signer.body(route, first)), route)
        asked = len(hook.questions)
        assert asked == 2
        hook.answer = says({"status": 403, "reason": "not you"})
        signer.info = fresh_info()
        late = await signer.send(route, signer.body(route, first))
        assert (late.status, json.loads(late.body)["error"]["message"]) == (403, "not you")
        assert len(hook.questions) == asked + 1
        if on_stale == "refuse":
            hook.answer = says({"status": 200})
            given = json.loads((await signer.send(route, signer.body(route, first))).body)["error"]["state"]
            assert parsed(given) == replace(parsed(newest), auth_expiry=now + 30)
            hook.answer = says({"status": 403, "reason": "not you"})
            assert (await signer.send(route, signer.body(route, given))).status == 403
            asked += 2
        assert (await signer.send(route, signer.body(route, newest))).status == 200
        assert len(hook.questions) == asked + 1


@pytest.mark.parametrize("route", [GO, OURS])
async def test_the_newest_state_is_given_to_nobody_whom_the_webhook_refuses(route: str, tmp_path: Path) -> None:
    async with running_hook() as hook, signing(tmp_path, "refuse", auth={"webhook": {"url": hook.url}}) as signer:
        hook.answer = says({"status": 200, "auth_id": "u1"})
        first = state_of(await signer.send(route, signer.body(route)), route)
        state_of(await signer.send(route, signer.body(route, first)), route)
        signer.info = fresh_info()
        asked = len(hook.questions)
        hook.answer = says({"status": 403, "reason": "not you"})
        refused = await signer.send(route, signer.body(route, first))
        error = json.loads(refused.body)["error"]
        assert (refused.status, error["message"], "state" in error) == (403, "not you", False)
        hook.answer = says({"status": 200, "auth_id": "u2"})
        refused = await signer.send(route, signer.body(route, first))
        assert (refused.status, json.loads(refused.body)["error"]["code"]) == (403, "auth_id_changed")
        hook.answer = says({"status": 200, "auth_id": "u1"})
        told = json.loads((await signer.send(route, signer.body(route, first))).body)["error"]
        assert (told["code"], parsed(told["state"]).sequence_number) == ("stale_state", 1)
        assert len(hook.questions) == asked + 3


@pytest.mark.parametrize("route", [GO, OURS])
@pytest.mark.parametrize("binds", [True, False])
async def test_an_identical_retry_with_another_credential_is_asked_about_where_verdicts_are_bound(
    binds: bool, route: str, tmp_path: Path
) -> None:
    webhook = {"bind_verdicts": binds}
    async with running_hook() as hook, signing(tmp_path, auth={"webhook": {"url": hook.url, **webhook}}) as signer:
        hook.answer = says({"status": 200, "auth_id": "u1"})
        alice, mallory = {"authorization": "Bearer alice"}, {"authorization": "Bearer mallory"}
        first = state_of(await signer.send(route, signer.body(route), **alice), route)
        body = signer.body(route, first)
        paid = await signer.send(route, body, **alice)
        asked = len(hook.questions)
        assert (await signer.send(route, body, **alice)).body == paid.body
        assert len(hook.questions) == asked, "it is the caller to whom it was given"
        hook.answer = says({"status": 403, "reason": "not you"})
        stolen = await signer.send(route, body, **mallory)
        assert (stolen.status, len(hook.questions) - asked) == ((403, 1) if binds else (200, 0))
        hook.answer = says({"status": 200, "auth_id": "u2"})
        assert (await signer.send(route, body, **mallory)).status == (403 if binds else 200)
        hook.answer = says({"status": 200, "auth_id": "u1"})
        rotated = await signer.send(route, body, authorization="Bearer alice's next")
        assert rotated.body == paid.body


@pytest.mark.parametrize("route", [GO, OURS])
async def test_what_was_paid_for_somebody_in_a_session_of_nobodys_is_told_to_nobody_else(route: str, tmp_path: Path) -> None:
    async with signing(tmp_path) as signer:
        info, of_nobody = signer.info, state_of(await signer.send(route, signer.body(route)), route)
    async with running_hook() as hook, signing(tmp_path, auth={"webhook": {"url": hook.url, "bind_verdicts": True}}) as signer:
        signer.info, signer.clock[0] = info, NOW_NS + 20 * NS_PER_SECOND
        body, answers = signer.body(route, of_nobody), []
        for name in ("alice", "bob", "alice"):
            hook.answer = says({"status": 200, "auth_id": name, "expiry": NOW_NS // NS_PER_SECOND + 600})
            answers.append(await signer.send(route, body, Authorization=f"Bearer {len(answers)}"))
    assert [answer.status for answer in answers] == [200, 403, 200]
    assert json.loads(answers[1].body)["error"]["code"] == "auth_id_changed"
    assert answers[2].body == answers[0].body


async def test_a_retry_after_its_params_died_is_sent_for_fresh_ones(tmp_path: Path) -> None:
    async with signing(tmp_path) as signer:
        first = state_of(await signer.send(GO, signer.body(GO)), GO)
        body = signer.body(GO, first)
        assert (await signer.send(GO, body)).status == 200
        signer.clock[0] += 3600 * NS_PER_SECOND
        assert (await signer.send(GO, body)).status == 480


async def test_a_retry_is_answered_for_as_long_as_its_ticket_params_live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with signing(tmp_path) as signer:
        body = signer.body(GO, state_of(await signer.send(GO, signer.body(GO)), GO))
        paid = await signer.send(GO, body)
        view = StaticChain.view
        for later, status in ((38, 200), (39, 480)):  # they expire forty blocks from now
            monkeypatch.setattr(
                StaticChain, "view", lambda chain, later=later: dataclasses.replace(view(chain), l1_block=CHAIN.l1_block + later)
            )
            again = await signer.send(GO, body)
            assert again.status == status
            assert status != 200 or again.body == paid.body


async def test_refusals_are_never_remembered(tmp_path: Path) -> None:
    async with signing(tmp_path) as signer:
        first = state_of(await signer.send(GO, signer.body(GO)), GO)
        signer.clock[0] -= 18 * NS_PER_SECOND
        signer.info = fresh_info()
        body = signer.body(GO, first)
        signer.clock[0] -= 20 * NS_PER_SECOND
        assert (await signer.send(GO, body)).status == 482
        assert (await signer.send(GO, body)).status == 200


async def test_readiness_tells_of_the_ledger(tmp_path: Path) -> None:
    async with signing(tmp_path) as signer:
        ready = await call(signer.app, "GET", "/readyz", {}, b"")
        assert ready.status == 200
        assert "records payments" in ready.body.decode()
