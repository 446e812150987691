"""`POST /generate-live-payment`: go-livepeer's JSON in, go-livepeer's JSON out, byte for byte.

Source: section 5.1 of the protocol. Keys match in any case, unknown ones are ignored, the content type is ignored.
"""

from __future__ import annotations

from binascii import b2a_base64
from struct import Struct
from typing import Any

from pydantic_core import from_json

from livepeer_remote_signer.core.errors import BadField
from livepeer_remote_signer.core.payment import PaymentRequest
from livepeer_remote_signer.core.pricing import MaxPrice
from livepeer_remote_signer.core.strict_json import (
    JsonNumber,
    base64_field,
    fold_object,
    int64_field,
    is_number_text,
    json_type,
    parse_json,
    text_field,
)
from livepeer_remote_signer.service import SignedPayment

_KEYS = frozenset({"orchestrator", "state", "manifestid", "app", "type", "inpixels", "maxprice", "capabilities"})
_STATE_KEYS = frozenset({"state", "sig"})
_USUAL_KEYS = {
    "orchestrator": "orchestrator",
    "ManifestID": "manifestid",
    "manifestId": "manifestid",
    "app": "app",
    "type": "type",
    "capabilities": "capabilities",
}
_USUAL_STATE_KEYS = {"State": "state.state", "Sig": "state.sig"}
_LENGTHS = Struct(">II")
_MAX_PRICE_KEYS = frozenset({"price", "currency", "unit"})


def parse_live_payment(body: bytes) -> PaymentRequest:
    """Step 1 of a payment. Raises BadJson or BadField."""
    fields = _plain_fields(body)
    if fields is None:
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
    )


def _plain_fields(body: bytes) -> dict[str, Any] | None:
    """The fields of an ordinary body, read by a faster parser; None: read it the strict way.

    Ordinary: the usual spelling of the keys, texts alone, no escapes. The faster parser would let a doubled key pass, but
    then the body has more quotation marks than the keys and texts that were found.
    """
    if b"\\" in body:
        return None
    try:
        value = from_json(body)
    except ValueError:
        return None
    if type(value) is not dict:
        return None
    fields: dict[str, Any] = {}
    quotes = 0
    state = value.pop("state", None)
    if state is not None:
        if type(state) is not dict:
            return None
        quotes = 2 + _take(state, _USUAL_STATE_KEYS, fields)
    quotes += _take(value, _USUAL_KEYS, fields)
    return fields if body.count(b'"') == quotes else None


def _take(value: dict[str, Any], usual: dict[str, str], fields: dict[str, Any]) -> int:
    """Puts an object's texts under their names into `fields`; how many quotation marks they were written with, 0 if not ordinary."""
    for key, item in value.items():
        name = usual.get(key)
        if name is None or name in fields or type(item) is not str:
            return 0
        fields[name] = item
    return 4 * len(value)


def parse_max_price_field(value: Any) -> MaxPrice | None:
    """The client's own ceiling; its price must spell a JSON number, everything else about it is checked when applied."""
    if value is None:
        return None
    fields = fold_object(value, "maxPrice", _MAX_PRICE_KEYS)
    price = fields.get("price", "0")
    if not isinstance(price, JsonNumber | str):
        raise BadField(f"maxPrice.price must be a number, or a string that spells one, not {json_type(price)}")
    if not is_number_text(price):
        raise BadField(f"maxPrice.price {price[:40]!r} does not spell a number")
    return MaxPrice(str(price), text_field(fields, "currency", "maxPrice.currency"), text_field(fields, "unit", "maxPrice.unit"))


def encode_live_payment(signed: SignedPayment) -> bytes:
    """The reply's body."""
    return _encode(signed.payment, signed.seg_creds, signed.state, signed.state_sig)


def _encode(payment: bytes, seg_creds: bytes, state: bytes, sig: bytes) -> bytes:
    return (
        b'{"payment":"'
        + b2a_base64(payment, newline=False)
        + b'","segCreds":"'
        + b2a_base64(seg_creds, newline=False)
        + b'","state":{"State":"'
        + b2a_base64(state, newline=False)
        + b'","Sig":"'
        + b2a_base64(sig, newline=False)
        + b'"}}'
    )


def keep_live_payment(signed: SignedPayment, _: bytes) -> bytes:
    """What the reply is made from, but for the state: a third of the reply's own bytes."""
    return _LENGTHS.pack(len(signed.payment), len(signed.seg_creds)) + signed.payment + signed.seg_creds + signed.state_sig


def restore_live_payment(kept: bytes, state: bytes) -> bytes:
    """The reply's body again."""
    payment_length, seg_creds_length = _LENGTHS.unpack_from(kept)
    seg_creds_at = _LENGTHS.size + payment_length
    sig_at = seg_creds_at + seg_creds_length
    return _encode(kept[_LENGTHS.size : seg_creds_at], kept[seg_creds_at:sig_at], state, kept[sig_at:])


def encode_sealed_state(state: bytes, sig: bytes) -> dict[str, str]:
    """A state and its seal, as `state` of a request carries them."""
    return {"State": b2a_base64(state, newline=False).decode(), "Sig": b2a_base64(sig, newline=False).decode()}
