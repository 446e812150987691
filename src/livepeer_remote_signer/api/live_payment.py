"""`POST /generate-live-payment`: go-livepeer's JSON in, go-livepeer's JSON out, byte for byte.

Source: section 5.1 of the protocol. Keys match in any case, unknown ones are ignored, the content type is ignored.
"""

from __future__ import annotations

import struct
from binascii import b2a_base64
from collections.abc import Callable
from typing import Any

from msgspec import Struct
from msgspec.json import Decoder, Encoder

from livepeer_remote_signer.core.errors import BadField
from livepeer_remote_signer.core.protocol.byoc import parse_label
from livepeer_remote_signer.core.protocol.prices import MaxPrice
from livepeer_remote_signer.core.protocol.strict_json import (
    INT64_MAX,
    INT64_MIN,
    JsonNumber,
    base64_field,
    fold_object,
    int64_field,
    is_number_text,
    json_type,
    parse_json,
    text_field,
)
from livepeer_remote_signer.core.rules.payment import PaymentRequest
from livepeer_remote_signer.service.signing import SignedPayment

_KEYS = frozenset({"orchestrator", "state", "manifestid", "app", "type", "inpixels", "maxprice", "capabilities", "capability", "model_id"})
_STATE_KEYS = frozenset({"state", "sig"})
_LENGTHS = struct.Struct(">II")
_MAX_PRICE_KEYS = frozenset({"price", "currency", "unit"})
_EQUALS = ord("=")
_MAX_PADDED = 4
"""How many fields of a body are base64."""


def parse_live_payment(body: bytes) -> PaymentRequest:
    """Step 1 of a payment. Raises BadJson or BadField."""
    return _parse_ordinary(body) or _parse_strictly(body)


def _parse_strictly(body: bytes) -> PaymentRequest:
    value = parse_json(body)
    fields = {} if value is None else fold_object(value, "the body", _KEYS)
    state = fields.pop("state", None)
    if state is not None:
        fields.update({f"state.{key}": item for key, item in fold_object(state, "state", _STATE_KEYS).items()})
    return PaymentRequest(
        orchestrator=base64_field(fields, "orchestrator", "orchestrator"),
        state=base64_field(fields, "state.state", "state.State"),
        state_sig=base64_field(fields, "state.sig", "state.Sig"),
        manifest_id=text_field(fields, "manifestid", "ManifestID"),
        app=text_field(fields, "app", "app"),
        type=text_field(fields, "type", "type"),
        in_pixels=int64_field(fields, "inpixels", "inPixels") if "inpixels" in fields else 0,
        max_price=parse_max_price_field(fields["maxprice"]) if "maxprice" in fields else None,
        capabilities=base64_field(fields, "capabilities", "capabilities") if "capabilities" in fields else b"",
        pipeline_label=parse_label(fields.get("capability")),
        model_label=parse_label(fields.get("model_id")),
    )


def _parse_ordinary(body: bytes) -> PaymentRequest | None:
    """An ordinary body, in a third of the time; None: read it the strict way.

    Ordinary: the usual spelling of the keys, texts without escapes, base64 alone, and of numbers `inPixels`. What the
    faster parser would let pass shows in the bytes: a key that stands twice in more quotation marks than the keys and
    texts that were found have, trailing bits of base64 before its padding.
    """
    if b"\\" in body:
        return None
    try:
        found = _decode_ordinary(body)
    except ValueError:
        return None
    orchestrator, state, manifest_id, app, type_, capabilities = (
        found.orchestrator,
        found.state,
        found.ManifestID,
        found.app,
        found.type,
        found.capabilities,
    )
    if manifest_id is None:
        manifest_id = found.manifestId
    elif found.manifestId is not None:
        return None
    texts = (orchestrator, manifest_id, app, type_, capabilities, found.capability, found.model_id)
    quotes = 4 * (len(texts) - texts.count(None))
    state_bytes = sig = b""
    if state is not None:
        state_bytes, sig = state.State, state.Sig
        quotes += 10
    in_pixels = found.inPixels
    if in_pixels is not None:
        if not _spells(body, in_pixels):
            return None
        quotes += 2
    if body.count(b'"') != quotes or not _has_clean_padding(body):
        return None
    return PaymentRequest(
        orchestrator or b"",
        state_bytes,
        sig,
        manifest_id or "",
        app or "",
        type_ or "",
        in_pixels or 0,
        None,
        capabilities or b"",
        "" if found.capability is None else parse_label(found.capability),
        "" if found.model_id is None else parse_label(found.model_id),
    )


class _OrdinaryState(Struct, forbid_unknown_fields=True, gc=False):
    """`state` of an ordinary body."""

    State: bytes
    Sig: bytes


class _Ordinary(Struct, forbid_unknown_fields=True, gc=False):
    """An ordinary body. A null would be taken for what is absent, but its key's quotation marks are then not accounted for."""

    orchestrator: bytes | None = None
    state: _OrdinaryState | None = None
    ManifestID: str | None = None
    manifestId: str | None = None
    app: str | None = None
    type: str | None = None
    inPixels: int | None = None
    capabilities: bytes | None = None
    capability: str | None = None
    model_id: str | None = None


class _Reply(Struct, gc=False):
    """The reply, in the order of its keys."""

    payment: bytes
    segCreds: bytes
    state: _OrdinaryState


_decode_ordinary = Decoder(_Ordinary).decode
_encode_reply = Encoder().encode


def _spells(body: bytes, in_pixels: int) -> bool:
    """Whether the number stands there as an integer of 64 bits: the faster parser takes `5.0` and `5e0` for one."""
    spelled = b'"inPixels":%d' % in_pixels
    at = body.find(spelled)
    if at < 0:
        spelled = b'"inPixels": %d' % in_pixels
        at = body.find(spelled)
    return at >= 0 and body[at + len(spelled)] in b",}" and INT64_MIN <= in_pixels <= INT64_MAX


def _has_clean_padding(body: bytes) -> bool:
    """Whether what stands before each `=` leaves no bit of its own behind the last whole byte; False also for too many."""
    at = body.find(b"=")
    for _ in range(_MAX_PADDED):
        if at < 0:
            return True
        if body[at + 1] == _EQUALS:
            if body[at - 1] not in b"AQgw":
                return False
            at += 1
        elif body[at - 1] not in b"AEIMQUYcgkosw048":
            return False
        at = body.find(b"=", at + 1)
    return at < 0


def parse_max_price_field(value: Any, keys_of: Callable[[Any, str, frozenset[str]], dict[str, Any]] = fold_object) -> MaxPrice | None:
    """The client's own ceiling; its price must spell a JSON number, everything else about it is checked when applied.

    `keys_of` tells how strictly its keys are taken.
    """
    if value is None:
        return None
    fields = keys_of(value, "maxPrice", _MAX_PRICE_KEYS)
    price = fields.get("price", "0")
    if not isinstance(price, JsonNumber | str):
        raise BadField(f"maxPrice.price must be a number, or a string that spells one, not {json_type(price)}")
    if not is_number_text(price):
        raise BadField(f"maxPrice.price {price[:40]!r} does not spell a number")
    return MaxPrice(str(price), text_field(fields, "currency", "maxPrice.currency"), text_field(fields, "unit", "maxPrice.unit"))


def encode_live_payment(signed: SignedPayment) -> bytes:
    """The reply's body."""
    return _encode_reply(_Reply(signed.payment, signed.seg_creds, _OrdinaryState(signed.state, signed.state_sig)))


def keep_live_payment(signed: SignedPayment, _: bytes) -> bytes:
    """What the reply is made from, but for the state: a third of the reply's own bytes."""
    return _LENGTHS.pack(len(signed.payment), len(signed.seg_creds)) + signed.payment + signed.seg_creds + signed.state_sig


def restore_live_payment(kept: bytes, state: bytes) -> bytes:
    """The reply's body again."""
    payment_length, seg_creds_length = _LENGTHS.unpack_from(kept)
    seg_creds_at = _LENGTHS.size + payment_length
    sig_at = seg_creds_at + seg_creds_length
    return _encode_reply(_Reply(kept[_LENGTHS.size : seg_creds_at], kept[seg_creds_at:sig_at], _OrdinaryState(state, kept[sig_at:])))


def encode_sealed_state(state: bytes, sig: bytes) -> dict[str, str]:
    """A state and its seal, as `state` of a request carries them."""
    return {"State": b2a_base64(state, newline=False).decode(), "Sig": b2a_base64(sig, newline=False).decode()}
