"""The signer state that a gateway carries from call to call, in go-livepeer's byte format.

Source: section 7 of the protocol: keys, their order and spelling as Go marshals them; keys of ours come last and only
when they hold a value, so that a session which uses nothing of ours has exactly go-livepeer's bytes.
"""

from __future__ import annotations

import json
import re
from fractions import Fraction
from typing import Any, Protocol

from msgspec import Struct

from livepeer_remote_signer.core.errors import BadJson, InvalidState
from livepeer_remote_signer.core.protocol.amounts import rat_string
from livepeer_remote_signer.core.protocol.strict_json import (
    INT64_MAX,
    INT64_MIN,
    JsonNumber,
    JsonObject,
    fold_key,
    json_type,
    parse_json,
    replace_surrogates,
)
from livepeer_remote_signer.core.protocol.timestamps import NEVER, encode_rfc3339_ns, parse_rfc3339_ns
from livepeer_remote_signer.core.recent import Recent

MAX_STATE_BYTES = 256 * 1024
"""Larger than any state of ours can be; checked before a state is verified or parsed."""

MAX_NAMES_CHARACTERS = 4096
"""What the caller's own names in a state may have together: a character takes up to six bytes, and the rest is bounded.
So a body of 256 KiB holds the longest state, the same names once more and an OrchestratorInfo of 96 KiB."""

MAX_SEQUENCE_NUMBER = 2**64 - 2

MAX_STATE_ID_CHARACTERS = 64
MAX_BALANCE_DIGITS = 400

_BALANCE = re.compile(r"([0-9]+)(?:/([0-9]+))?", re.ASCII)
_HEX_ADDRESS = re.compile(r"0[xX][0-9a-fA-F]{40}")
_NEEDS_GO_ESCAPE = re.compile(r'[\x00-\x1f"\\<>&\u2028\u2029\ud800-\udfff]')
_GO_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_GO_ONLY = re.compile("[<>&\u2028\u2029]")


class Seal(Protocol):
    """Makes and checks the seal over state bytes; deterministic, no I/O."""

    def seal(self, state: bytes) -> bytes:
        """The seal: 32 bytes (keyed MAC) or 65 (EIP-191 signature)."""

    def verify(self, state: bytes, sig: bytes) -> bool:
        """Whether one of the accepted keys sealed exactly these bytes; the length of `sig` tells which kind it is."""


class SignerState(Struct, frozen=True, gc=False):
    """One session's state. Times in unix nanoseconds (None: never), the balance in wei, the address 20 bytes."""

    state_id: str
    pm_session_id: str
    last_update_ns: int | None
    orchestrator_address: bytes
    app: str
    auth_expiry: int
    sender_nonce: int
    balance: Fraction
    initial_price_per_unit: int
    initial_pixels_per_unit: int
    type: str
    sequence_number: int
    auth_id: str
    manifest_id: str = ""
    auth_max_price: str = ""
    auth_binding: str = ""


UNUSED_STATE = SignerState(
    state_id="",
    pm_session_id="",
    last_update_ns=None,
    orchestrator_address=bytes(20),
    app="",
    auth_expiry=0,
    sender_nonce=0,
    balance=Fraction(0),
    initial_price_per_unit=0,
    initial_pixels_per_unit=0,
    type="",
    sequence_number=0,
    auth_id="",
)
"""Of no session: every key with its zero value, for who expects a state where nothing is paid."""


class RecentStates:
    """The states that were just made, by their bytes: the next call of a session sends one back, and need not parse it.

    It changes speed only: what it returns is what `parse_state` would.
    """

    def __init__(self, size: int) -> None:
        self._recent: Recent[SignerState] = Recent(size)
        self.remember = self._recent.put
        """Keeps the state that its first argument was encoded from."""

    def parse(self, raw: bytes) -> SignerState:
        """The state of `raw`, whose seal was verified. Raises InvalidState."""
        known = self._recent.get(raw)
        if known is None:
            known = parse_state(raw)
            self.remember(raw, known)
        return known


def encode_text(text: str) -> str:
    """A JSON string as Go's encoder writes it."""
    if (text.isalnum() and text.isascii()) or _NEEDS_GO_ESCAPE.search(text) is None:
        return f'"{text}"'
    return _GO_ONLY.sub(lambda match: _GO_ESCAPES[match[0]], json.dumps(text, ensure_ascii=False))


def encode_state(state: SignerState) -> bytes:
    """The bytes that are sealed."""
    last_update = NEVER if state.last_update_ns is None else encode_rfc3339_ns(state.last_update_ns)
    extra = ""
    if state.manifest_id:
        extra = f',"ManifestID":{encode_text(state.manifest_id)}'
    if state.auth_max_price:
        extra += f',"AuthMaxPrice":{encode_text(state.auth_max_price)}'
    if state.auth_binding:
        extra += f',"AuthBinding":{encode_text(state.auth_binding)}'
    state_id, pm_session_id, app, type_, auth_id = state.state_id, state.pm_session_id, state.app, state.type, state.auth_id
    if _NEEDS_GO_ESCAPE.search(f"{state_id}{pm_session_id}{app}{type_}{auth_id}") is not None:
        state_id, pm_session_id, app, type_, auth_id = (encode_text(t)[1:-1] for t in (state_id, pm_session_id, app, type_, auth_id))
    return (
        f'{{"StateID":"{state_id}","PMSessionID":"{pm_session_id}","LastUpdate":"{last_update}",'
        f'"OrchestratorAddress":"0x{state.orchestrator_address.hex()}","App":"{app}","AuthExpiry":{state.auth_expiry},'
        f'"SenderNonce":{state.sender_nonce},"Balance":"{rat_string(state.balance)}",'
        f'"InitialPricePerUnit":{state.initial_price_per_unit},"InitialPixelsPerUnit":{state.initial_pixels_per_unit},'
        f'"Type":"{type_}","SequenceNumber":{state.sequence_number},"AuthID":"{auth_id}"{extra}}}'
    ).encode()


def parse_state(raw: bytes) -> SignerState:
    """The state of `raw`, whose seal was verified. Raises InvalidState, naming the key, for anything out of its type or range.

    But for the session's first price, which is looked at later: go-livepeer tells of it after what the session and the request do not
    agree on.
    """
    return _parse_canonical(raw) or _parse_any(raw)


def no_first_price(state: SignerState) -> InvalidState:
    """The refusal of a state without the price that its session began with."""
    price, pixels = state.initial_price_per_unit, state.initial_pixels_per_unit
    return InvalidState(f"InitialPricePerUnit is {price} and InitialPixelsPerUnit {pixels}: one is not positive")


_CANONICAL = re.compile(
    rb'\{"StateID":"([ !#-\[\]-~]{0,64})","PMSessionID":"([ !#-\[\]-~]*)","LastUpdate":"([0-9:TZ.+-]+)",'
    rb'"OrchestratorAddress":"0x([0-9a-f]{40})","App":"([ !#-\[\]-~]*)","AuthExpiry":(0|[1-9][0-9]{0,17}),'
    rb'"SenderNonce":(0|[1-9][0-9]{0,8}),"Balance":"([0-9]{1,200})(?:/([1-9][0-9]{0,198}))?","InitialPricePerUnit":([1-9][0-9]{0,17}),'
    rb'"InitialPixelsPerUnit":([1-9][0-9]{0,17}),"Type":"([ !#-\[\]-~]*)","SequenceNumber":(0|[1-9][0-9]{0,17}),"AuthID":"([ !#-\[\]-~]*)"'
    rb'(?:,"ManifestID":"([ !#-\[\]-~]*)")?\}'
)
"""What `encode_state` writes for ordinary values: plain ASCII texts, nothing escaped, numbers far from their limits."""


def _parse_canonical(raw: bytes) -> SignerState | None:
    """The state where it is spelled as we spell it, in a third of the time; None: ask `_parse_any`."""
    match = _CANONICAL.fullmatch(raw)
    if match is None:
        return None
    texts = [group.decode("ascii") if group is not None else "" for group in match.groups()]
    try:
        last_update_ns = parse_rfc3339_ns(texts[2])
    except ValueError:
        return None
    return SignerState(
        texts[0],
        texts[1],
        last_update_ns,
        bytes.fromhex(texts[3]),
        texts[4],
        int(texts[5]),
        int(texts[6]),
        Fraction(int(texts[7]), int(texts[8] or 1)),
        int(texts[9]),
        int(texts[10]),
        texts[11],
        int(texts[12]),
        texts[13],
        texts[14],
    )


def _parse_any(raw: bytes) -> SignerState:
    """The state in whatever spelling JSON allows."""
    try:
        value = parse_json(raw)
    except BadJson as error:
        raise InvalidState(error.message) from None
    if not isinstance(value, JsonObject):
        raise InvalidState(f"{json_type(value)} where an object is expected")
    if any(item is None and fold_key(key) == "orchestratoraddress" for key, item in value):
        raise InvalidState("OrchestratorAddress is null, which go-livepeer does not take for an address")
    fields = _Fields({fold_key(key): item for key, item in value if item is not None})
    state_id = fields.text("StateID")
    if len(state_id) > MAX_STATE_ID_CHARACTERS:
        raise InvalidState(f"StateID has {len(state_id)} characters, more than {MAX_STATE_ID_CHARACTERS}")
    return SignerState(
        state_id=state_id,
        pm_session_id=fields.text("PMSessionID"),
        last_update_ns=fields.time("LastUpdate"),
        orchestrator_address=fields.address("OrchestratorAddress"),
        app=fields.text("App"),
        auth_expiry=fields.integer("AuthExpiry", INT64_MIN, INT64_MAX),
        sender_nonce=fields.integer("SenderNonce", 0, 2**32 - 1),
        balance=fields.balance("Balance"),
        initial_price_per_unit=fields.integer("InitialPricePerUnit", INT64_MIN, INT64_MAX),
        initial_pixels_per_unit=fields.integer("InitialPixelsPerUnit", INT64_MIN, INT64_MAX),
        type=fields.text("Type"),
        sequence_number=fields.integer("SequenceNumber", 0, MAX_SEQUENCE_NUMBER),
        auth_id=fields.text("AuthID"),
        manifest_id=fields.text("ManifestID"),
        auth_max_price=fields.text("AuthMaxPrice"),
        auth_binding=fields.text("AuthBinding"),
    )


class _Fields:
    """Typed access to a state's values; every fault is an InvalidState that names the key."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values

    def text(self, key: str) -> str:
        value = self._values.get(key.lower(), "")
        if type(value) is not str:
            raise InvalidState(f"{key} is {json_type(value)}, not a string")
        return replace_surrogates(value)

    def integer(self, key: str, low: int, high: int) -> int:
        value = self._values.get(key.lower(), JsonNumber("0"))
        if not isinstance(value, JsonNumber) or len(value) > 20 or not value.removeprefix("-").isdecimal():
            raise InvalidState(f"{key} is not an integer")
        number = int(value)
        if not low <= number <= high or (low == 0 and value.startswith("-")):
            raise InvalidState(f"{key} is {number}, outside {low} to {high}")
        return number

    def time(self, key: str) -> int | None:
        try:
            return parse_rfc3339_ns(self.text(key)) if key.lower() in self._values else None
        except ValueError as error:
            raise InvalidState(f"{key} is {error}") from None

    def address(self, key: str) -> bytes:
        """The zero address, which no orchestrator has, where none is given."""
        if key.lower() not in self._values:
            return bytes(20)
        text = self.text(key)
        if _HEX_ADDRESS.fullmatch(text) is None:
            raise InvalidState(f"{key} is not 0x and 40 hex digits")
        return bytes.fromhex(text[2:])

    def balance(self, key: str) -> Fraction:
        text = self.text(key)
        if not text:
            return Fraction(0)
        match = _BALANCE.fullmatch(text)
        if match is None or len(text.replace("/", "")) > MAX_BALANCE_DIGITS:
            raise InvalidState(f"{key} is not n or n/d of at most {MAX_BALANCE_DIGITS} digits")
        denominator = int(match[2]) if match[2] else 1
        if denominator == 0:
            raise InvalidState(f"{key} has the denominator 0")
        return Fraction(int(match[1]), denominator)
