"""One line for each payment, with the ids that its billing event has, at a level that says whether anybody must look.

A payment that was made is info, and a reply that was given again. So is 480, by which a session renews itself, and 482, by
which it skips a cycle, is debug: both are how sessions run. Refusals are warnings, failures are errors.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from json.encoder import encode_basestring_ascii as as_json

from livepeer_remote_signer.adapters.logs.lines import Fields, time_text
from livepeer_remote_signer.adapters.logs.writer import LEVELS, LogWriter
from livepeer_remote_signer.core.errors import (
    Denied,
    Failed,
    InvalidSig,
    InvalidState,
    Overloaded,
    SenderChanged,
    SignerError,
    let_go_of_frames,
)
from livepeer_remote_signer.core.protocol.eip191 import checksum_address
from livepeer_remote_signer.core.protocol.state import SignerState, parse_state
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_SECOND
from livepeer_remote_signer.core.protocol.wire import parse_orchestrator_info
from livepeer_remote_signer.core.rules.figures import rounded
from livepeer_remote_signer.core.rules.payment import OpenedSession, PaymentPlan
from livepeer_remote_signer.core.rules.trail import Trail

MAX_TEXT_CHARACTERS = 256


class PaymentLog:
    """Told of every outcome; keeps references only, lines are built later."""

    def __init__(self, writer: LogWriter, status_of: Callable[[SignerError], int]) -> None:
        self._writer = writer
        self._status_of = status_of
        self._logs_payments = writer.is_enabled("info")

    def paid(self, plan: PaymentPlan, trail: Trail) -> None:
        """A payment was made."""
        if self._logs_payments:
            now, ended = time.time(), time.perf_counter()
            if self._writer.is_json:
                self._writer.defer(partial(paid_line, now, plan, trail, ended))
            else:
                self._writer.defer(partial(self._render_paid, now, plan, trail, ended))

    def _render_paid(self, now: float, plan: PaymentPlan, trail: Trail, ended: float) -> str:
        return self._writer.render(now, "info", "payment", json.loads(f"{{{_paid_text(plan, trail, ended)}}}"))

    def repeated(self, trail: Trail) -> None:
        """A request that was paid before got its reply again."""
        if self._logs_payments:
            now, ended = time.time(), time.perf_counter()
            self._writer.defer(lambda: self._writer.render(now, "info", "payment repeated", repeated_fields(trail, ended)))

    def refused(self, error: SignerError, trail: Trail) -> None:
        """A payment was refused, or could not be decided."""
        status = self._status_of(error)
        level = level_of(self._status_of(error.hidden_failure or error))
        is_told = status >= 500 and not isinstance(error, Overloaded)  # whoever sends too much must not fill the log with it
        if LEVELS[level] >= self._writer.threshold and (is_told or self._writer.quota.admits(trail.caller, trail.request_id)):
            now, ended = time.time(), time.perf_counter()
            message = "no payment due" if status == 482 else "session to be refreshed" if status == 480 else "payment refused"
            self._writer.defer(lambda: self._writer.render(now, level, message, refused_fields(error, status, trail, ended)))


def level_of(status: int) -> str:
    """The level of an outcome by its HTTP status."""
    if status == 482:
        return "debug"
    if status in (200, 480):
        return "info"
    return "warning" if status < 500 else "error"


def paid_line(seconds: float, plan: PaymentPlan, trail: Trail, ended: float) -> str:
    """The line of a payment that was made, as JSON: `lines.render_json` would take five times as long."""
    return f'{{"time":"{time_text(seconds)}","level":"info","message":"payment",{_paid_text(plan, trail, ended)}}}'


def _paid_text(plan: PaymentPlan, trail: Trail, ended: float) -> str:
    ev_n, ev_d = plan.session.info.ev_ratio
    return (
        f'"status":200,{_ids_text(plan.session, plan.state, trail, ended)},"num_tickets":{plan.num_tickets},'
        f'"first_nonce":{plan.first_nonce},"total_ev":"{rounded(ev_n * plan.num_tickets, ev_d)}",'
        f'"fee":"{rounded(*plan.fee_ratio)}","units":{plan.billed.units},'
        f'{_owed_text(plan) if plan.owed_ns else ""}"balance":"{rounded(*plan.state.balance.as_integer_ratio())}"'
    )


def _owed_text(plan: PaymentPlan) -> str:
    """Where a session catches up: what is still unpaid, seconds."""
    return f'"owed_seconds":{plan.owed_ns / NS_PER_SECOND:.3f},'


def repeated_fields(trail: Trail, ended: float) -> Fields:
    """The ids of the payment that was made, and the request's own name."""
    return {"status": 200, "code": "repeated", **_known_fields(trail, ended)}


def refused_fields(error: SignerError, status: int, trail: Trail, ended: float) -> Fields:
    """Why, and the ids as far as the request was understood."""
    fields: Fields = {"status": status, "code": error.code, "error": error.message[:MAX_TEXT_CHARACTERS]}
    if isinstance(error, Denied) and error.webhook_code:
        fields["webhook_code"] = error.webhook_code[:MAX_TEXT_CHARACTERS]
    if isinstance(error, Failed) and error.may_be_recorded:
        fields["may_be_recorded"] = True
    if failure := error.hidden_failure:
        fields["failure"] = f"{failure.code}: {failure.message}"[:MAX_TEXT_CHARACTERS]
    fields.update(_known_fields(trail, ended))
    if trail.session is None:
        fields.update(_asked_fields(error, trail))
    return fields


def _asked_fields(error: SignerError, trail: Trail) -> Fields:
    """Of a request whose session was not opened: what can be read of it. A state that is not ours names no session."""
    found: Fields = {"auth_id": _short(trail.auth_id)} if trail.auth_id else {}
    if (request := trail.request) is None:
        return found
    found |= {
        name: _short(text) for name, text in (("app", request.app), ("type", request.type), ("manifest_id", request.manifest_id)) if text
    }
    with _passed_over():
        info = parse_orchestrator_info(request.orchestrator)
        found |= {"orch_address": checksum_address(info.address), "orch_url": _short(info.transcoder), "pm_session_id": info.pm_session_id}
    if request.state and not isinstance(error, InvalidSig | SenderChanged | InvalidState):
        with _passed_over():
            state = parse_state(request.state)
            found |= {"session_id": state.state_id, "sequence_number": state.sequence_number}
            if state.auth_id:
                found["auth_id"] = _short(state.auth_id)
    return found


@contextmanager
def _passed_over() -> Iterator[None]:
    """What cannot be read is not shown, and nothing of it is kept."""
    try:
        yield
    except SignerError as error:
        let_go_of_frames(error)


def _known_fields(trail: Trail, ended: float) -> Fields:
    """The ids of the request, and of its session once it was opened."""
    session = trail.session
    known = _request_text(trail, ended) if session is None else _ids_text(session, session.state, trail, ended)
    fields: Fields = json.loads(f"{{{known}}}")
    return fields


def _request_text(trail: Trail, ended: float) -> str:
    client = f'"client_request_id":{as_json(_short(trail.client_id))},' if trail.client_id else ""
    return f'"route":"{trail.route}","request_id":"{trail.request_id}",{client}"ms":{(ended - trail.started) * 1000:.3f}'


def _ids_text(session: OpenedSession, state: SignerState, trail: Trail, ended: float) -> str:
    info = session.info
    texts: tuple[str, ...] = (state.auth_id or trail.auth_id, state.app, session.request.type, session.manifest_id, info.transcoder)
    if sum(map(len, texts)) > MAX_TEXT_CHARACTERS:
        texts = tuple(map(_short, texts))
    names = _names_text(state.state_id, info.address, info.pm_session_id, *texts)
    return f'{_request_text(trail, ended)},"sequence_number":{state.sequence_number},{names}'


@lru_cache(4096)
def _names_text(
    state_id: str, address: bytes, pm_session_id: str, auth_id: str, app: str, job_type: str, manifest_id: str, transcoder: str
) -> str:
    """The same in every line of a session, as long as the ticket params live."""
    return (
        f'"session_id":{as_json(state_id)},"auth_id":{as_json(auth_id)},"app":{as_json(app)},"type":{as_json(job_type)},'
        f'"manifest_id":{as_json(manifest_id)},"orch_address":"{checksum_address(address)}","orch_url":{as_json(transcoder)},'
        f'"pm_session_id":"{pm_session_id}"'
    )


def _short(text: str) -> str:
    return text if len(text) <= MAX_TEXT_CHARACTERS else text[:MAX_TEXT_CHARACTERS]
