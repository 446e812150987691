"""The billing event of one payment, as consumers of `create_signed_ticket` know it, and what a store of events exchanges.

Source: section 12 of the protocol: names, types and order of go-livepeer's keys; keys of ours follow them. Consumers bill
from these bytes, so they are made once, when the payment is signed, and never altered on their way.

Texts that a client chose are cut: an event that no sink accepts would hold up all that follow it.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from livepeer_remote_signer.core.protocol.amounts import float_string
from livepeer_remote_signer.core.protocol.eip191 import checksum_address
from livepeer_remote_signer.core.protocol.prices import PIPELINE_NAMES, UNIT_OF_TYPE, CapabilityModel
from livepeer_remote_signer.core.protocol.state import encode_text
from livepeer_remote_signer.core.protocol.ticket import TicketParams
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_MS, encode_rfc3339_ns
from livepeer_remote_signer.core.recent import MAX_KEY_BYTES
from livepeer_remote_signer.core.rules.figures import decimal_text, figures_of, rounded, seconds_text
from livepeer_remote_signer.core.rules.payment import OpenedSession, PaymentPlan

EVENT_TYPE = "create_signed_ticket"
MAX_EVENT_BYTES = 16 * 1024
MAX_TEXT_BYTES = 2048
"""Of one text as it stands in the event, without its quotation marks; half of it where auth id and texts are all that long."""

MAX_TOLD_AUTH_ID_CHARACTERS = 2048
MAX_AUTH_ID_BYTES = 6 * 1024 + 64
"""More than any auth id takes that a credential or the webhook can name: two of them never become one."""

_MAX_BYTES_A_CHARACTER = 6
MAX_CLIENT_REQUEST_ID_CHARACTERS = 256
PRICE_DECIMALS = 8

_PIPELINE_OF_TYPE = {"lv2v": "live-video-to-video"}
_ID_FROM, _ID_TO = len('{"id":"'), len('{"id":"') + 36
_SESSION = b'"data":{"session_id":"'
_DATA = b',"data":'
_TIMESTAMP = b'"timestamp":"'


class EventSource(NamedTuple):
    """Who makes the events: the 20-byte address that pays, and a name for this process among its replicas."""

    payer: bytes
    instance: str


class OutboxEvent(NamedTuple):
    """One stored event. Ids grow in the order in which a session's events were stored; `made_ms` is unix milliseconds."""

    id: int
    made_ms: int
    payload: bytes


class ParkedEvent(NamedTuple):
    """An event that a sink refused, kept for an operator: `id` is the event's own, times are unix milliseconds."""

    id: str
    sink: str
    reason: str
    parked_ms: int
    made_ms: int
    payload: bytes


class Backlog(NamedTuple):
    """What waits to be sent to some sink. `oldest_ms` (unix milliseconds) is None when nothing does.

    `lost` are the events that this process dropped unsent since it started; `parked` those that a sink refused and that wait
    for an operator, once for each such sink.
    """

    pending: int
    oldest_ms: int | None
    lost: int
    parked: int

    def oldest_age_seconds(self, now_ms: int) -> float:
        """How long the oldest event has waited."""
        return 0.0 if self.oldest_ms is None else max(0.0, (now_ms - self.oldest_ms) / 1000)


def encode_event(
    plan: PaymentPlan,
    source: EventSource,
    request_id: str,
    client_request_id: str = "",
    eth_usd: Fraction | None = None,
) -> bytes:
    """The record of one payment, JSON in UTF-8 without line breaks, at most MAX_EVENT_BYTES.

    `request_id` are our 128 random bits as 32 hex digits; the event's id is made of the same bits, since a request has one
    event. Its `timestamp` is the moment of the payment; `current_time` is the session's LastUpdate, which is earlier where time
    stays owed, so that consumers bill what was paid. `eth_usd` is the price of one ETH in USD: without it the figures in USD are null.
    """
    event = _encode(plan, source, request_id, client_request_id, eth_usd, MAX_TEXT_BYTES)
    return event if len(event) <= MAX_EVENT_BYTES else _encode(plan, source, request_id, client_request_id, eth_usd, MAX_TEXT_BYTES // 2)


def _encode(plan: PaymentPlan, source: EventSource, request_id: str, client_request_id: str, eth_usd: Fraction | None, most: int) -> bytes:
    """The record, with at most so many bytes for each text."""
    session, state, info = plan.session, plan.state, plan.session.info
    job_type, current_ns = session.request.type, plan.updated_ns
    previous_ns = current_ns if plan.previous_update_ns is None else plan.previous_update_ns
    figures = figures_of(plan, eth_usd)
    current = encode_rfc3339_ns(current_ns)
    previous = current if previous_ns == current_ns else encode_rfc3339_ns(previous_ns)
    capability, model = _capability_names(session)
    pipeline = session.request.pipeline_label or _PIPELINE_OF_TYPE.get(job_type, job_type)
    pixels = plan.billed.units if job_type == "lv2v" else 0
    status = "continuing" if state.sequence_number else "new"
    usd = _usd_figures(figures.fee_usd, eth_usd)
    auth_id = _text(state.auth_id[:MAX_TOLD_AUTH_ID_CHARACTERS], MAX_AUTH_ID_BYTES)
    return (
        f'{{"id":"{event_id_of(request_id)}","type":"{EVENT_TYPE}","timestamp":"{plan.now_ns // NS_PER_MS}","gateway":"","data":'
        f'{{"session_id":{encode_text(state.state_id)},"session_status":"{status}","app":{_text(state.app, most)},'
        f'"pipeline":{encode_text(pipeline)},"request_id":"{request_id}",'
        f'"orch_address":"{_address_text(info.address)}","orch_url":{_text(info.transcoder, most)},'
        f'"manifest_id":{_text(session.manifest_id, most)},'
        f'"pm_session_id":"{info.pm_session_id}","current_time":"{current}","previous_time":"{previous}",'
        f'"current_time_unix":{current_ns // NS_PER_MS},"previous_time_unix":{previous_ns // NS_PER_MS},'
        f'"billable_secs":{seconds_text(figures.billed_ns)},"pixels":{pixels},'
        f'"session_balance":"{_whole(state.balance)}","computed_fee":"{figures.fee_wei}","cost":"{_price_text(info.price)}",'
        f'"sequence_number":{state.sequence_number},"num_tickets":{plan.num_tickets},"auth_id":{auth_id},'
        f'"client_request_id":{encode_text(client_request_id[:MAX_CLIENT_REQUEST_ID_CHARACTERS])},'
        f'"model_id":{_text(session.request.model_label or model, most)},"capability":{_text(capability, most)},'
        f'"billable_units":{plan.billed.units},"unit":"{UNIT_OF_TYPE.get(job_type, "pixels")}",'
        f'"ticket_ev":"{_whole(info.ev)}","total_ev":"{figures.ev_wei}",{_params_text(info.ticket_params)},'
        f'"payer_address":"{_address_text(source.payer)}",{usd},"instance":{encode_text(source.instance)}}}}}'
    ).encode()


def event_id_of(request_id: str) -> str:
    """The UUID (version 4 in form) of a request's event: its own 128 bits but for the six that mark the version."""
    variant = "89ab"[int(request_id[16], 16) & 3]
    return f"{request_id[:8]}-{request_id[8:12]}-4{request_id[13:16]}-{variant}{request_id[17:20]}-{request_id[20:]}"


def event_id(event: bytes) -> str:
    """The id of an encoded event."""
    return event[_ID_FROM:_ID_TO].decode("ascii")


def event_type(event: bytes) -> bytes:
    """The type of an encoded event."""
    start = _ID_TO + len('","type":"')
    return event[start : event.index(b'"', start)]


def event_session(event: bytes) -> bytes:
    """The session of an encoded event, as its bytes stand there: events of one session must stay in order."""
    start = event.index(_SESSION) + len(_SESSION)
    return event[start : event.index(b'"', start)]


def event_data(event: bytes) -> bytes:
    """The `data` object of an encoded event, JSON."""
    return event[event.index(_DATA) + len(_DATA) : -1]


def event_time_ms(event: bytes) -> int:
    """The `timestamp` of an encoded event, unix milliseconds."""
    start = event.index(_TIMESTAMP) + len(_TIMESTAMP)
    return int(event[start : event.index(b'"', start)])


def _text(value: str, most: int) -> str:
    """A JSON string of at most so many bytes between its quotation marks."""
    if len(value) * _MAX_BYTES_A_CHARACTER <= most:
        return encode_text(value)
    value = value[:most]
    written = encode_text(value)
    if len(written.encode()) - 2 <= most:
        return written
    length = end = 0
    while (length := length + len(encode_text(value[end]).encode()) - 2) <= most:
        end += 1
    return encode_text(value[:end])


def _whole(value: Fraction) -> int:
    return rounded(value.numerator, value.denominator)


def _usd_figures(fee_usd: int | None, eth_usd: Fraction | None) -> str:
    if fee_usd is None or eth_usd is None:
        return '"computed_fee_usd":null,"eth_usd_price":null'
    return f'"computed_fee_usd":"{decimal_text(fee_usd)}","eth_usd_price":"{_usd_price_text(eth_usd)}"'


@lru_cache(16)
def _usd_price_text(eth_usd: Fraction) -> str:
    return float_string(eth_usd, PRICE_DECIMALS)


@lru_cache(4096)
def _price_text(price: Fraction) -> str:
    return float_string(price, 10)


@lru_cache(4096)
def _address_text(address: bytes) -> str:
    return checksum_address(address)


@lru_cache(4096)
def _params_text(params: TicketParams) -> str:
    return f'"face_value":"{params.face_value}","win_prob":"{params.win_prob}","recipient":"{checksum_address(params.recipient)}"'


def _capability_names(session: OpenedSession) -> tuple[str, str]:
    if session.capabilities is None:
        return "", ""
    names_of = _names_of if len(session.request.capabilities) <= MAX_KEY_BYTES else _names_of.__wrapped__
    return names_of(session.capabilities.pairs)


@lru_cache(1024)
def _names_of(pairs: tuple[CapabilityModel, ...]) -> tuple[str, str]:
    """The capabilities and models of a request; where there are several each name stands once, joined by commas."""
    capabilities = dict.fromkeys(PIPELINE_NAMES.get(number, str(number)) for number, _ in pairs)
    models = dict.fromkeys(model for _, model in pairs)
    return ",".join(capabilities), ",".join(models)
