"""`/quoteTicket` says what the payment would say: every cause that a payment can be refused for, several at once, and the same numbers."""

from __future__ import annotations

import asyncio
import json
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple
from unittest.mock import patch

import pytest
import yaml
from msgspec import structs

from livepeer_remote_signer.adapters.auth.webhook import WebhookAuthorizer
from livepeer_remote_signer.adapters.ceilings import LiveCeilings
from livepeer_remote_signer.adapters.chain.static import StaticChain
from livepeer_remote_signer.adapters.ledger.engine import GroupCommitLedger
from livepeer_remote_signer.adapters.outbound import Outbound
from livepeer_remote_signer.adapters.recipients import RecipientRegistry
from livepeer_remote_signer.api import errors as statuses
from livepeer_remote_signer.app import create_app
from livepeer_remote_signer.config.loading import parse_config
from livepeer_remote_signer.core import errors
from livepeer_remote_signer.core.errors import AuthFailed, LedgerUnavailable, OutboxFull, RecipientUndetermined, SignerError
from livepeer_remote_signer.core.protocol.prices import MaxPrice
from livepeer_remote_signer.core.protocol.state import encode_state
from livepeer_remote_signer.core.protocol.ticket import MAX_WIN_PROB
from livepeer_remote_signer.core.rules.chain import ClockFault, StaleReading
from livepeer_remote_signer.core.rules.ledger import RequestKey, Switches
from livepeer_remote_signer.core.rules.policy import Verdict
from livepeer_remote_signer.core.rules.pricing import Ceilings, StaleRate
from livepeer_remote_signer.core.rules.reservation import Reservation, Reserved
from livepeer_remote_signer.proto import net_pb2
from livepeer_remote_signer.service import quotes
from livepeer_remote_signer.wiring.keys import open_seal, open_sender
from tests.api_keys import create_key
from tests.asgi import Answer, call, running
from tests.plans import CHAIN, NOW_NS, ORCHESTRATOR, SECRET, orchestrator_info, plan_payment
from tests.signer import configuration, counted_signatures

QUOTE, PAY = "/quoteTicket", "/signTicket"
SECOND = 10**9


class Clock:
    """Time that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now_ns = NOW_NS

    def __call__(self) -> int:
        return self.now_ns


class Asked:
    """An application with a clock, and what is sent to it."""

    def __init__(self, app: Any, clock: Clock) -> None:
        self.app = app
        self.clock = clock
        self.headers: dict[str, str] = {}

    async def send(self, path: str, body: Any) -> Answer:
        """A request; `body` is JSON or bytes."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await call(self.app, "POST", path, self.headers, raw)

    async def quote(self, body: Any) -> dict[str, Any]:
        """A quote, which is answered 200."""
        answer = await self.send(QUOTE, body)
        assert answer.status == 200, answer
        reply: dict[str, Any] = json.loads(answer.body)
        return reply

    async def pay(self, body: Any) -> dict[str, Any]:
        """A payment that is made."""
        answer = await self.send(PAY, body)
        assert answer.status == 200, answer
        reply: dict[str, Any] = json.loads(answer.body)
        return reply


@asynccontextmanager
async def asked(**sections: Any) -> AsyncIterator[Asked]:
    """A signer in this process."""
    clock = Clock()
    config = parse_config(yaml.safe_dump(configuration(**sections)), {})
    async with running(create_app(config, clock_ns=clock)) as app:
        yield Asked(app, clock)


def message(**changes: Any) -> net_pb2.OrchestratorInfo:
    """A good offer as a message to spoil."""
    found = net_pb2.OrchestratorInfo()
    found.ParseFromString(orchestrator_info(**changes))
    return found


def body_of(info: net_pb2.OrchestratorInfo | bytes | None = None, **fields: Any) -> dict[str, Any]:
    """A new live session's first request."""
    raw = orchestrator_info() if info is None else info if isinstance(info, bytes) else info.SerializeToString()
    return {"orchestratorInfo": b64encode(raw).decode(), "type": "live", **fields}


def sealed(raw: bytes, secret: bytes = SECRET) -> str:
    """A state that the signer takes for its own."""
    config = parse_config(yaml.safe_dump(configuration(key={"private_key": "0x" + secret.hex()})), {})
    sig = open_seal(config.state, open_sender(config.key, config.state, Outbound()), lambda: NOW_NS).seal(raw)
    return f"{b64encode(raw).decode()}.{b64encode(sig).decode()}"


def state(**changes: Any) -> str:
    """The state of a session that was paid ten seconds ago and has used up its credit."""
    paid = plan_payment(now_ns=NOW_NS).state
    fields = {"last_update_ns": NOW_NS - 10 * SECOND, "balance": Fraction(0), "manifest_id": "36b05700", **changes}
    return sealed(encode_state(structs.replace(paid, **fields)))


def spoilt(change: Callable[[net_pb2.OrchestratorInfo], object], **fields: Any) -> dict[str, Any]:
    """A request with a message that was changed."""
    info = message()
    change(info)
    return body_of(info, **fields)


def param(name: str, value: int) -> Callable[[net_pb2.OrchestratorInfo], object]:
    """One integer of the ticket params."""
    return lambda info: setattr(info.ticket_params, name, value.to_bytes(32, "big"))


class Case(NamedTuple):
    """One cause: what is sent, in which surroundings."""

    code: str
    body: Any
    sections: Mapping[str, Any] = MappingProxyType({})
    view: Mapping[str, Any] = MappingProxyType({})
    patches: tuple[Any, ...] = ()


def static(**values: Any) -> dict[str, Any]:
    """A chain with other values."""
    chain = configuration()["chain"]
    return {"chain": {**chain, "static": {**chain["static"], **values}}}


def webhook(verdict: Verdict | SignerError) -> tuple[Any, ...]:
    """A webhook that answers so."""

    async def authorize(*_: object) -> Verdict:
        if isinstance(verdict, SignerError):
            raise verdict
        return verdict

    return (patch.object(WebhookAuthorizer, "authorize", authorize),)


HOOK = {"auth": {"webhook": {"url": "https://hook.example/authorize", "secret": "x" * 32}}}
FREE = {"auth": {"allow_unauthenticated": True}}


def failing(target: type, name: str, error: SignerError) -> tuple[Any, ...]:
    """A method that raises."""

    async def fail(*_: object, **__: object) -> object:
        raise error

    return (patch.object(target, name, fail),)


def always(target: type, name: str, value: object) -> Any:
    """An attribute that has this value, whatever an instance says."""
    return patch.object(target, name, property(lambda _: value, lambda *_: None), create=True)


def budget(window: str) -> dict[str, Any]:
    """A budget that covers no payment."""
    return {"budgets": [{"scope": "global", "window": window, "measure": "ev", "limit_wei": "5"}]}


GUARD = {"recipients": {"guard": {"max_spend_wei": "5"}}}

CASES = [
    Case("missing_orchestrator", {"type": "live"}),
    Case("bad_orchestrator", body_of(b"\xff")),
    Case("bad_price", spoilt(lambda info: info.ClearField("price_info"))),
    Case("missing_ticket_params", spoilt(lambda info: info.ClearField("ticket_params"))),
    Case("bad_ticket_params", spoilt(lambda info: setattr(info.ticket_params, "recipient", b"short"))),
    Case("invalid_sig", body_of(signerState="AAAA.AAAA")),
    Case("invalid_state", body_of(signerState=sealed(b"nonsense"))),
    Case("state_mismatch", body_of(signerState=state(app="another"))),
    Case("missing_manifest_id", body_of(signerState=state(manifest_id=""))),
    Case("bad_field", body_of(app="a" * 5000)),
    Case("bad_capabilities", body_of(capabilities=b64encode(b"\xff").decode())),
    Case("refresh_session", spoilt(lambda info: setattr(info.auth_token, "expiration", NOW_NS // SECOND))),
    Case("missing_auth_token", spoilt(lambda info: info.ClearField("auth_token"))),
    Case("clock_wrong", body_of(), view={"clock_fault": ClockFault("behind", -90.0, 30.0)}),
    Case("chain_stale", body_of(), view={"stale": StaleReading("no endpoint answers", 90.0, 60.0)}),
    Case("protocol_paused", body_of(), view={"paused": True}),
    Case("face_value_too_low", spoilt(param("win_prob", MAX_WIN_PROB))),
    Case("ticket_ev_too_low", body_of(), {"limits": {"min_ticket_ev_wei": str(2 * 10**12)}}),
    Case("ticket_ev_exceeded", body_of(), {"limits": {"max_ticket_ev_wei": "5"}}),
    Case("no_deposit", body_of(), static(deposit_wei="0")),
    Case("no_reserve", body_of(), static(reserve_wei="0")),
    Case("deposit_unlocking", body_of(), static(withdraw_round=CHAIN.last_initialized_round)),
    Case("total_ev_exceeded", body_of(), {"limits": {"max_total_ev_wei": "5"}}),
    Case("deposit_too_small", body_of(), {"limits": {"deposit_multiplier": 10**6}}),
    Case("bad_job_type", body_of(type="audio")),
    Case("no_billable_units", body_of(type="", inPixels=0)),
    Case("bad_max_price", body_of(maxPrice={"price": 1, "currency": "usd", "unit": "seconds"})),
    Case("price_exceeded", body_of(maxPrice={"price": 1, "currency": "wei", "unit": "seconds"})),
    Case("price_feed_stale", body_of(), patches=(patch.object(LiveCeilings, "current", lambda _: Ceilings(StaleRate("usd"))),)),
    Case("no_tickets", body_of(signerState=state(balance=Fraction(10**15)))),
    Case("too_many_tickets", body_of(message(price_per_unit=10**15))),
    Case("credit_exceeded", body_of(message(price_per_unit=1)), {"limits": {"max_credit_seconds": 3600}}),
    Case(
        "round_unknown",
        spoilt(lambda info: info.ticket_params.ClearField("expiration_params")),
        static(last_initialized_round=0, last_initialized_round_block_hash="0x" + "00" * 32),
    ),
    Case("recipient_refused", spoilt(lambda info: setattr(info.ticket_params, "recipient", b"\xdd" * 20))),
    Case("recipient_refused", body_of(), {"recipients": {"deny": ["0xcaf7d2090f491f13b703f75d7f9a527563103224"]}}),
    Case(
        "chain_stale",
        body_of(),
        {"recipients": {"allow": ["0xcaf7d2090f491f13b703f75d7f9a527563103224"]}},
        patches=failing(RecipientRegistry, "look_up", RecipientUndetermined("nobody knows")),
    ),
    Case("denied", body_of(authorize=True), HOOK, patches=webhook(Verdict(402, reason="no money"))),
    Case("denied", body_of(authorize=True), {"auth": {**HOOK["auth"], "require_auth_id": True}}, patches=webhook(Verdict(200))),
    Case("auth_failed", body_of(authorize=True), HOOK, patches=webhook(AuthFailed("the webhook is down"))),
    Case("auth_bad_max_price", body_of(authorize=True), HOOK, patches=webhook(Verdict(200, max_price=MaxPrice("1", "usd", "seconds")))),
    Case("price_exceeded", body_of(authorize=True), HOOK, patches=webhook(Verdict(200, max_price=MaxPrice("1", "wei", "seconds")))),
    Case("auth_id_changed", body_of(authorize=True, signerState=state(auth_id="a")), HOOK, patches=webhook(Verdict(200, auth_id="b"))),
    Case("orchestrator_paused", body_of(), GUARD),
    Case("rate_exceeded", body_of(), budget("hour")),
    Case("budget_exceeded", body_of(), budget("total")),
    Case("stale_state", body_of(signerState=state(last_update_ns=NOW_NS - 10**7 * SECOND)), budget("hour")),
    Case("outbox_full", body_of(), budget("hour"), patches=(always(GroupCommitLedger, "outbox_full", OutboxFull("no room")),)),
    Case("ledger_unavailable", body_of(), budget("hour"), patches=failing(GroupCommitLedger, "judge", LedgerUnavailable("gone"))),
]

NEVER_QUOTED = {
    *("bad_json", "bad_request", "head_too_large", "body_too_large", "body_timeout", "not_found", "method_not_allowed", "origin_refused"),
    *(
        "caller_left",
        "unauthenticated",
        "share_exceeded",
        "overloaded",
        "not_ready",
        "timed_out",
    ),  # answered with their own status
    *("address_refused", "orchestrator_unreachable"),  # of routes that ask orchestrators
    *("key_unavailable", "key_throttled"),  # of the signatures themselves
    *("session_busy",),  # of calls that come at the same time: a quote takes no turn
    *("suspended", "sender_changed", "no_sender"),  # with tests of their own
}
"""Causes of no step from 2 to 16, and those that need more than one request."""


@contextmanager
def surroundings(case: Case) -> Iterator[None]:
    """What stands beside the configuration."""
    with ExitStack() as stack:
        if case.view:
            stack.enter_context(patch.object(StaticChain, "view", lambda _: replace(CHAIN, **case.view)))
        for patched in case.patches:
            stack.enter_context(patched)
        yield


def ledger(tmp_path: Path) -> dict[str, Any]:
    """A ledger in a file."""
    return {"ledger": {"backend": "sqlite", "path": str(tmp_path / "ledger.sqlite")}}


@pytest.mark.parametrize("case", CASES, ids=[f"{case.code} {number}" for number, case in enumerate(CASES)])
async def test_every_cause_is_shown_and_nothing_is_signed(case: Case, tmp_path: Path) -> None:
    sections = {**FREE, **case.sections, **(ledger(tmp_path) if "budgets" in case.sections else {})}
    with counted_signatures() as signatures:
        async with asked(**sections) as signer:
            before = signatures.made
            with surroundings(case):
                quote = await signer.quote(case.body)
                told = {refusal["code"]: refusal for refusal in quote["refusals"]}
                assert case.code in told, quote["refusals"]
                assert quote["wouldBePaid"] is False
                assert told[case.code]["message"]
                assert signatures.made == before
                if isinstance(case.body, dict):
                    paid = await signer.send(PAY, {key: value for key, value in case.body.items() if key != "authorize"})
                    if case.code not in ("outbox_full", "ledger_unavailable"):
                        assert paid.status == quote["refusals"][0]["status"], paid
                        error = json.loads(paid.body)["error"]
                        first = quote["refusals"][0]
                        assert {key: error[key] for key in error if key != "request_id"} == {
                            key: value for key, value in first.items() if key not in ("status", "retryAfterSeconds")
                        }


def test_every_code_of_the_steps_has_a_request_that_shows_it() -> None:
    all_codes = {kind.code for kind in statuses.STATUSES} | {errors.Denied.code}
    assert {case.code for case in CASES} == all_codes - NEVER_QUOTED


async def test_a_request_with_four_faults_names_four() -> None:
    ceiling = {"price": 1, "currency": "usd", "unit": "seconds"}
    body = body_of(message(price_per_unit=10**15), capabilities=b64encode(b"\xff").decode(), maxPrice=ceiling)
    async with asked(**FREE, limits={"deposit_multiplier": 10**6}) as signer:
        quote = await signer.quote(body)
    codes = [refusal["code"] for refusal in quote["refusals"]]
    assert codes == ["bad_capabilities", "deposit_too_small", "bad_max_price", "too_many_tickets", "total_ev_exceeded"]
    assert all(refusal.get("hint") or refusal["message"] for refusal in quote["refusals"])


async def test_the_chain_is_asked_of_a_recipient_that_is_known_and_not_refused_already() -> None:
    asked_of: list[bytes] = []

    async def look_up(_: RecipientRegistry, plan: Any) -> None:
        asked_of.append(plan.session.info.ticket_params.recipient)

    unknown, other = spoilt(lambda info: info.ClearField("ticket_params")), message(address=bytes([5]) * 20)
    recipients = {"recipients": {"must_be_orchestrator": False, "deny": ["0x" + "05" * 20]}}
    with patch.object(RecipientRegistry, "look_up", look_up):
        async with asked(**FREE, **recipients) as signer:
            for body in (unknown, body_of(other), body_of()):
                await signer.quote(body)
    assert asked_of == [ORCHESTRATOR]


async def test_what_is_missing_is_one_fault_and_not_also_wrong() -> None:
    async with asked(**FREE) as signer:
        quote = await signer.quote(spoilt(lambda info: info.ClearField("ticket_params")))
    assert [refusal["code"] for refusal in quote["refusals"]] == ["missing_ticket_params"]


async def test_a_kill_switch_is_told_also_where_the_request_is_not_readable(tmp_path: Path) -> None:
    async with asked(**FREE, **ledger(tmp_path)) as signer:
        with always(GroupCommitLedger, "switches", Switches(all=True)):
            for body in (body_of(), {"type": "live"}, body_of(signerState="AAAA.AAAA")):
                assert "suspended" in [refusal["code"] for refusal in (await signer.quote(body))["refusals"]]


@pytest.mark.parametrize(("is_same", "code"), [(True, None), (False, "session_busy")])
async def test_a_payment_that_is_being_signed_is_this_ones_or_keeps_its_session(is_same: bool, code: str | None, tmp_path: Path) -> None:
    async def find(_: object, key: RequestKey, __: int) -> Reserved:
        digest = key.digest if is_same else bytes(32)
        return Reserved(Reservation(bytes(16), key.state_id, 0, digest, "", b"", False, 0, bytes(20), b"", b""))

    with patch.object(GroupCommitLedger, "find", find):
        async with asked(**FREE, **ledger(tmp_path)) as signer:
            quote = await signer.quote(body_of())
    assert [refusal["code"] for refusal in quote["refusals"]] == ([code] if code else [])
    assert quote["isRepeated"] is is_same


async def test_a_session_of_a_former_sender_is_told_to_be_one(tmp_path: Path) -> None:
    former = tmp_path / "former"
    former.write_text("0x" + "0c" * 32)
    former.chmod(0o600)
    previous = {"private_key_file": str(former), "accept_until": "2100-01-01T00:00:00Z"}
    async with asked(**FREE, state={"previous": [previous]}) as signer:
        quote = await signer.quote(body_of(signerState=sealed(encode_state(plan_payment().state), bytes.fromhex("0c" * 32))))
    assert "sender_changed" in [refusal["code"] for refusal in quote["refusals"]]


FIGURES = ("fee", "ticketEv", "totalEv", "balance", "units", "billedSeconds", "creditSeconds", "owedSeconds", "nextPaymentInSeconds")


@pytest.mark.parametrize("with_ledger", [False, True])
@pytest.mark.parametrize("job_type", ["live", "lv2v", "fixed"])
async def test_with_the_clock_held_a_payment_has_the_numbers_of_its_quote(job_type: str, with_ledger: bool, tmp_path: Path) -> None:
    sections: dict[str, Any] = {**FREE, "headroom_seconds": {"sign_ticket": 8}}
    if with_ledger:
        limit = {"scope": "global", "window": "total", "measure": "ev", "limit_wei": str(9 * 10**12)}
        sections |= {**ledger(tmp_path), "budgets": [limit]}
    price = {"live": 10**11, "lv2v": 10**4, "fixed": 10**12}[job_type]
    async with asked(**sections) as signer:
        body = body_of(message(price_per_unit=price), type=job_type)
        for _ in range(4):
            quote = await signer.quote(body)
            paid = await signer.send(PAY, body)
            reply = json.loads(paid.body)
            assert quote["wouldBePaid"] is (paid.status == 200)
            if paid.status != 200:
                assert reply["error"]["code"] == quote["refusals"][0]["code"]
                break
            assert {name: quote[name] for name in FIGURES} == {name: reply[name] for name in FIGURES}
            assert quote["tickets"] == len(reply["tickets"])
            assert quote["firstNonce"] == reply["tickets"][0]["senderNonce"]
            assert int(quote["faceValueAtRisk"]) == sum(int(ticket["faceValue"]) for ticket in reply["tickets"])
            body = {**body, "signerState": reply["signerState"]}
            signer.clock.now_ns += 7 * SECOND


async def test_a_late_request_is_quoted_from_the_newest_state_and_an_answered_one_as_a_repetition(tmp_path: Path) -> None:
    async with asked(**FREE, **ledger(tmp_path)) as signer:
        first = await signer.pay(body_of())
        signer.clock.now_ns += 20 * SECOND
        second_body = body_of(signerState=first["signerState"])
        await signer.pay(second_body)
        repeated = await signer.quote(second_body)
        assert (repeated["wouldBePaid"], repeated["isRepeated"], repeated["tickets"]) == (True, True, None)
        signer.clock.now_ns += 20 * SECOND
        late = body_of(message(rand_hash=bytes([8]) * 32), signerState=first["signerState"])
        quote = await signer.quote(late)
        reply = await signer.pay(late)
        assert {name: quote[name] for name in FIGURES} == {name: reply[name] for name in FIGURES}
        assert quote["billedSeconds"] == 20.0


async def test_headroom_is_never_the_cause_of_a_refusal_of_a_quote() -> None:
    sections: dict[str, Any] = {
        **FREE,
        "headroom_seconds": {"sign_ticket": 60},
        "recipients": {"guard": {"max_spend_wei": str(3 * 10**12)}},
    }
    async with asked(**sections) as signer:
        quote = await signer.quote(body_of())
        assert (quote["wouldBePaid"], quote["tickets"]) == (True, 2)
        assert len((await signer.pay(body_of()))["tickets"]) == 2
        credit = body_of(signerState=state(balance=Fraction(10**15)), maxPrice={"price": 1, "currency": "wei", "unit": "seconds"})
        refused = json.loads((await signer.send(PAY, credit)).body)
        assert refused["error"]["code"] == (await signer.quote(credit))["refusals"][0]["code"]


async def test_where_nothing_is_due_that_is_told_first_and_what_else_is_wrong_after_it() -> None:
    sections: dict[str, Any] = {"headroom_seconds": {"sign_ticket": 60}, "recipients": {"deny": ["0x" + ORCHESTRATOR.hex()]}}
    async with asked(**FREE, **sections) as signer:
        quote = await signer.quote(body_of(signerState=state(balance=Fraction(3 * 10**12))))
    assert [refusal["code"] for refusal in quote["refusals"]] == ["no_tickets", "recipient_refused"]


async def test_nothing_of_a_quote_is_counted_or_recorded(tmp_path: Path) -> None:
    limit = {"scope": "global", "window": "total", "measure": "ev", "limit_wei": str(3 * 10**12)}
    sections = {**FREE, **ledger(tmp_path), "budgets": [limit], "limits": {"payments_per_minute": 1}, **GUARD}
    sections["recipients"] = {"guard": {"max_spend_wei": str(3 * 10**12)}}
    with counted_signatures() as signatures:
        async with asked(**sections) as signer:
            before = signatures.made
            quotes = [await signer.quote(body_of()) for _ in range(5)]
            assert all(quote == quotes[0] for quote in quotes)
            assert quotes[0]["wouldBePaid"] is True
            assert signatures.made == before
            await signer.pay(body_of())
            codes = {refusal["code"] for refusal in (await signer.quote(body_of()))["refusals"]}
            assert codes == {"rate_exceeded", "orchestrator_paused", "budget_exceeded"}


async def test_a_guard_that_is_only_asked_about_begins_no_pause() -> None:
    async with asked(
        **FREE, recipients={"guard": {"max_spend_wei": str(2 * 10**12), "window_seconds": 60, "pause_seconds": 3600}}
    ) as signer:
        await signer.pay(body_of())
        assert [refusal["code"] for refusal in (await signer.quote(body_of()))["refusals"]] == ["orchestrator_paused"]
        signer.clock.now_ns += 62 * SECOND
        later = body_of(orchestrator_info(now_ns=signer.clock.now_ns))
        assert (await signer.quote(later))["wouldBePaid"] is True


async def test_the_webhook_is_asked_only_where_the_request_says_so_and_the_payment_would_reach_it() -> None:
    questions = []

    async def authorize(*_: object) -> Verdict:
        questions.append(1)
        return Verdict(200, auth_id="a")

    with patch.object(WebhookAuthorizer, "authorize", authorize):
        async with asked(**HOOK) as signer:
            assert (await signer.quote(body_of()))["webhook"] == "not asked"
            assert (await signer.quote(body_of(authorize=False)))["webhook"] == "not asked"
            assert (await signer.quote(body_of(message(price_per_unit=10**15), authorize=True)))["webhook"] == "not asked"
            assert questions == []
            assert (await signer.quote(body_of(authorize=True)))["webhook"] == "granted"
            assert questions == [1]
            kept = body_of(signerState=state(auth_id="a", auth_expiry=NOW_NS // SECOND + 60))
            assert (await signer.quote(kept))["webhook"] == "kept"
            assert questions == [1]


async def test_budgets_and_funds_are_told_to_who_was_identified(tmp_path: Path) -> None:
    key, _ = create_key(tmp_path / "keys.json", name="a", auth_id="team-a", now=5, routes=("signTicket",))
    budgets = [
        {"scope": "auth_id", "match": "*", "window": "total", "measure": "ev", "limit_wei": str(5 * 10**12)},
        {"scope": "auth_id", "match": "team-b", "window": "day", "measure": "ev", "limit_wei": "1"},
    ]
    async with asked(auth={"api_keys_file": str(tmp_path / "keys.json")}, budgets=budgets, **ledger(tmp_path)) as signer:
        assert (await signer.send(QUOTE, body_of())).status == 401
        assert (await signer.send(QUOTE, b"{")).status == 401, "a stranger's body is not looked at"
        signer.headers = {"X-Api-Key": key}
        await signer.pay(body_of())
        quote = await signer.quote(body_of())
        (left,) = quote["budgets"]
        assert (left["id"], left["limitWei"], left["window"]) == ("team-a", str(5 * 10**12), "total")
        assert int(left["leftWei"]) == int(left["limitWei"]) - int(left["spentWei"])
        assert int(left["spentWei"]) == 2 * 10**12  # rounded up
        assert quote["funds"] == {"depositWei": str(CHAIN.deposit_wei), "reserveWei": str(CHAIN.reserve_wei)}
    async with asked(**FREE, budgets=budgets, ledger={"backend": "sqlite", "path": str(tmp_path / "other.sqlite")}) as signer:
        quote = await signer.quote(body_of())
        assert (quote["budgets"], quote["funds"]) == (None, None)


async def test_a_body_that_cannot_be_read_is_an_error_as_ever() -> None:
    async with asked(**FREE) as signer:
        for body, code in ((b"{", "bad_json"), ({"unknown": 1}, "bad_field"), (body_of(authorize="yes"), "bad_field")):
            answer = await signer.send(QUOTE, body)
            assert (answer.status, json.loads(answer.body)["error"]["code"]) == (400, code)


async def test_quotes_have_a_rate_of_their_own() -> None:
    async with asked(**FREE, limits={"quotes_per_minute": 2, "payments_per_minute": 5}) as signer:
        assert [(await signer.send(QUOTE, body_of())).status for _ in range(3)] == [200, 200, 429]
        assert (await signer.send(PAY, body_of())).status == 200


async def test_addresses_of_which_nobody_knows_more_have_a_rate_each() -> None:
    auth = {"auth": {"allow_unauthenticated": True, "trusted_proxies": ["127.0.0.1/32"]}}
    async with asked(**auth, limits={"quotes_per_minute": 1}) as signer:
        statuses = []
        for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2"):
            signer.headers = {"X-Forwarded-For": address}
            statuses.append((await signer.send(QUOTE, body_of())).status)
    assert statuses == [200, 429, 200]


async def test_what_an_hour_costs_is_told_in_eth_and_in_usd_where_a_feed_tells() -> None:
    async with asked(**FREE) as signer:
        live = await signer.quote(body_of())
        assert (live["price"], live["unit"], live["ethPerHour"], live["usdPerHour"]) == (str(10**11), "second", "0.00036", None)
        assert live["ticketSeconds"] == pytest.approx(10, abs=0.002)
        job = await signer.quote(body_of(type="fixed"))
        assert (job["unit"], job["ethPerHour"], job["ticketSeconds"], job["creditSeconds"]) == ("job", None, None, None)
        pixels = await signer.quote(body_of(type="lv2v"))
        assert (pixels["unit"], pixels["ethPerHour"]) == ("pixel", str(10**11 * 27_648_000 * 3600 // 10**18) + ".28")


@pytest.mark.parametrize("question", ["judge", "find"])
async def test_a_ledger_that_does_not_answer_is_told_and_keeps_nobody(tmp_path: Path, question: str) -> None:
    async def stand_still(*_: object) -> None:
        await asyncio.Event().wait()

    with patch.object(GroupCommitLedger, question, stand_still), patch("livepeer_remote_signer.service.quotes.LEDGER_SECONDS", 0.05):
        async with asked(**FREE, **ledger(tmp_path)) as signer:
            began = time.monotonic()
            quote = await signer.quote(body_of())
            assert [refusal["code"] for refusal in quote["refusals"]] == ["ledger_unavailable"]
            assert quote["tickets"] == 2
            assert time.monotonic() - began < 20


async def test_a_quote_comes_with_advice_and_the_deposits_part_of_it_for_who_was_identified(tmp_path: Path) -> None:
    async with asked(**FREE) as signer:
        advice = (await signer.quote(body_of()))["advice"]
        assert (advice["verdict"], advice["rightHeadroomSeconds"], advice["winnersCovered"]) == ("lapses", 8, None)
        assert (await signer.quote(body_of(type="", inPixels=5)))["advice"] is None
        assert (await signer.quote(spoilt(lambda info: info.ClearField("price_info"))))["advice"] is None
    key, _ = create_key(tmp_path / "keys.json", name="a", auth_id="team-a", now=5)
    async with asked(auth={"api_keys_file": str(tmp_path / "keys.json")}, headroom_seconds={"sign_ticket": 8}) as signer:
        signer.headers = {"X-Api-Key": key}
        advice = (await signer.quote(body_of()))["advice"]
        assert (advice["verdict"], advice["winnersCovered"]) == ("good", CHAIN.deposit_wei // 1_200_000_000_000_000)


def test_a_fault_of_ours_is_no_refusal_of_a_quote() -> None:
    def faulty() -> None:
        raise AttributeError("no such thing")

    with pytest.raises(AttributeError):
        quotes._judged([], faulty)
