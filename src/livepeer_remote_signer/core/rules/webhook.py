"""The authorization webhook's words: what it is asked, byte for byte, and what its answer means.

Source: section 9 of the protocol. Existing webhooks read `headers` and `state` as go-livepeer writes them; our own keys
stand beside them, and consumers ignore keys they do not know.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from livepeer_remote_signer.core.errors import AuthFailed, BadField, BadJson, BadMaxPrice, BodyTooLarge
from livepeer_remote_signer.core.protocol.amounts import float_string, rat_string
from livepeer_remote_signer.core.protocol.byoc import ByocJob
from livepeer_remote_signer.core.protocol.prices import MaxPrice
from livepeer_remote_signer.core.protocol.state import UNUSED_STATE, encode_state, encode_text
from livepeer_remote_signer.core.protocol.strict_json import JsonNumber, fold_object, int64_field, parse_json, text_field
from livepeer_remote_signer.core.rules.payment import PaymentPlan
from livepeer_remote_signer.core.rules.policy import ANONYMOUS, MAX_AUTH_ID_CHARACTERS, Caller, Identity, Verdict, header_text

MAX_REPLY_BYTES = 64 * 1024
MAX_QUESTION_BYTES = 60 * 1024
"""Common web frameworks take bodies of 64 KiB, and close the connection on longer ones: that is no answer at all."""

"""An auth id travels in the state with every call."""

MAX_REASON_CHARACTERS = 2048
BYOC_TYPE = "byoc"
QUERY_TYPE = "orchestrator_info"
USAGE_TYPE = "usage"
NOT_FORWARDED = frozenset(
    (
        b"host",
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
"""Host, and what speaks of one connection only. A caller's `Connection` header cannot take others away."""

_REPLY_KEYS = ("status", "reason", "expiry", "auth_id", "maxprice", "code")
_MAX_PRICE_KEYS = ("price", "currency", "unit")


def encode_question(caller: Caller, plan: PaymentPlan, request_id: str, identity: Identity = ANONYMOUS) -> bytes:
    """The body that the webhook is asked with: the caller's headers, the proposed state, and our own keys.

    Raises BodyTooLarge above MAX_QUESTION_BYTES: all of it that can be long comes from the caller.
    """
    session = plan.session
    params = session.info.ticket_params
    return _bounded(
        f'{{"headers":{_encode_headers(caller, identity)},"state":{encode_state(plan.state).decode()},'
        f'"request_id":{encode_text(request_id)},"type":{encode_text(session.request.type)},"manifest_id":{encode_text(session.manifest_id)},'
        f'"computed_fee":"{float_string(plan.fee, 0)}","num_tickets":{plan.num_tickets},"ticket_ev":"{rat_string(session.info.ev)}",'
        f'"face_value":"{params.face_value}","recipient":"0x{params.recipient.hex()}",'
        f'"orchestrator_url":{encode_text(session.info.transcoder)},"price":"{rat_string(session.info.price)}"}}'
    )


def encode_byoc_question(caller: Caller, job: ByocJob, request_id: str, identity: Identity) -> bytes:
    """The same question about the credentials of a BYOC job, with its capability. Raises BodyTooLarge."""
    return _encode_unpaid(caller, identity, request_id, BYOC_TYPE, "", f',"capability":{encode_text(job.capability)}')


def encode_query_question(caller: Caller, orchestrator_url: str, request_id: str, identity: Identity) -> bytes:
    """The same question about asking an orchestrator for its info. Raises BodyTooLarge."""
    return _encode_unpaid(caller, identity, request_id, QUERY_TYPE, orchestrator_url)


def encode_usage_question(caller: Caller, request_id: str, identity: Identity) -> bytes:
    """The same question about who asks for its own usage. Raises BodyTooLarge."""
    return _encode_unpaid(caller, identity, request_id, USAGE_TYPE, "")


def _encode_unpaid(caller: Caller, identity: Identity, request_id: str, what: str, orchestrator_url: str, more: str = "") -> bytes:
    """A question about what pays nothing: zeros where a payment has its figures, and in the state nothing but the auth id of a
    caller who is known here."""
    state = encode_state(replace(UNUSED_STATE, auth_id=identity.auth_id))
    return _bounded(
        f'{{"headers":{_encode_headers(caller, identity)},"state":{state.decode()},"request_id":{encode_text(request_id)},'
        f'"type":"{what}","manifest_id":"","computed_fee":"0","num_tickets":0,"ticket_ev":"0","face_value":"0","recipient":"",'
        f'"orchestrator_url":{encode_text(orchestrator_url)},"price":"0"{more}}}'
    )


def _bounded(question: str) -> bytes:
    raw = question.encode()
    if len(raw) > MAX_QUESTION_BYTES:
        raise BodyTooLarge(
            f"the question to the authorization webhook would have {len(raw)} bytes, more than {MAX_QUESTION_BYTES}",
            hint="send shorter headers and names: headers, app, ManifestID and the state are what the webhook is asked with",
            bytes=len(raw),
            limit=MAX_QUESTION_BYTES,
        )
    return raw


def _encode_headers(caller: Caller, identity: Identity) -> str:
    """Header names as Go spells them, in their order, each with the list of its values; none that holds a credential of ours."""
    found: dict[str, list[str]] = {}
    for name, value in caller.headers:
        if name not in NOT_FORWARDED and name not in identity.withheld:
            found.setdefault(canonical_name(name), []).append(encode_text(header_text(value)))
    return "{" + ",".join(f"{encode_text(name)}:[{','.join(found[name])}]" for name in sorted(found)) + "}"


def canonical_name(name: bytes) -> str:
    """`x-api-key` as `X-Api-Key`: the form in which Go keeps header names."""
    return "-".join(part.capitalize() for part in name.decode("latin-1").split("-"))


def parse_verdict(body: bytes) -> Verdict:
    """The webhook's answer. Raises AuthFailed for anything but the object of section 9; a malformed maxPrice is told later."""
    try:
        fields = fold_object(parse_json(body), "the authorization webhook's answer", _REPLY_KEYS)
        status = int64_field(fields, "status", "status")
        verdict = Verdict(
            status=status,
            reason=text_field(fields, "reason", "reason")[:MAX_REASON_CHARACTERS],
            expiry=int64_field(fields, "expiry", "expiry"),
            auth_id=text_field(fields, "auth_id", "auth_id"),
            max_price=_max_price(fields["maxprice"]) if "maxprice" in fields else None,
            code=text_field(fields, "code", "code")[:MAX_REASON_CHARACTERS],
        )
    except (BadJson, BadField) as error:
        raise AuthFailed(f"the authorization webhook answered nonsense: {error.message}") from None
    if status <= 0:
        raise AuthFailed("the authorization webhook's answer has no positive status")
    if len(verdict.auth_id) > MAX_AUTH_ID_CHARACTERS:
        raise AuthFailed(f"the authorization webhook's auth_id has {len(verdict.auth_id)} characters, more than {MAX_AUTH_ID_CHARACTERS}")
    return verdict


def _max_price(value: Any) -> MaxPrice | BadMaxPrice:
    """maxPrice as it was spelled, or what its form has wrong (502, like every bad maxPrice)."""
    try:
        fields = fold_object(value, "maxPrice", _MAX_PRICE_KEYS)
        price = fields.get("price")
        spelled = str(price) if isinstance(price, JsonNumber) else text_field(fields, "price", "maxPrice.price")
        return MaxPrice(spelled, text_field(fields, "currency", "maxPrice.currency"), text_field(fields, "unit", "maxPrice.unit"))
    except (BadJson, BadField) as error:
        return BadMaxPrice(error.message)
