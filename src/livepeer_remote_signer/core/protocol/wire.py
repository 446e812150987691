"""Protobuf in and out: OrchestratorInfo and Capabilities are read, Payment and SegData are written.

Source: section 4 of the protocol. The orchestrator's price and auth token are echoed whole, unknown fields included:
the price is bound into recipient_rand_hash, and a changed one makes the orchestrator answer "invalid recipientRand".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from typing import Any, TypeVar

from google.protobuf.message import DecodeError, Message

from livepeer_remote_signer.core.errors import (
    BadCapabilities,
    BadOrchestrator,
    BadPrice,
    BadTicketParams,
    MissingOrchestrator,
    MissingTicketParams,
    SignerError,
)
from livepeer_remote_signer.core.known import PartlyKnown
from livepeer_remote_signer.core.protocol.amounts import encode_uint
from livepeer_remote_signer.core.protocol.eip191 import KECCAK_OF_NOTHING, SIGNATURE_BYTES
from livepeer_remote_signer.core.protocol.prices import CapabilityModel, exact_price
from livepeer_remote_signer.core.protocol.ticket import Ticket, TicketParams, ticket_ev
from livepeer_remote_signer.proto import net_pb2

ADDRESS_BYTES = 20
HASH_BYTES = 32
MAX_INTEGER_BYTES = 32
MAX_TRANSCODER_CHARACTERS = 2048
MAX_AUTH_TOKEN_BYTES = 4 * 1024
MAX_PRICE_INFO_BYTES = 1024
"""Token and price are echoed whole, and kept with every payment: orchestrators' own take some hundred bytes and twenty."""

MAX_CAPABILITY_WORDS = 32
MAX_CAPABILITY_MODELS = 256
MAX_CAPABILITY_ENTRIES = 4096
SEG_PROFILES = b"invalid"
"""go-livepeer marshals the empty list of profiles to these seven bytes; orchestrators ignore them."""

ZERO_HASH = bytes(HASH_BYTES)
_M = TypeVar("_M", bound=Message)


@dataclass(frozen=True)
class AuthToken:
    """The orchestrator's token for one session; `expiration` in unix seconds."""

    session_id: str
    expiration: int
    message: net_pb2.AuthToken


@dataclass(frozen=True)
class OrchestratorInfo(PartlyKnown):
    """What an orchestrator asks for, checked. Addresses have 20 bytes, the price is in wei per unit."""

    transcoder: str
    address: bytes
    price_per_unit: int
    pixels_per_unit: int
    ticket_params: TicketParams
    auth_token: AuthToken | None
    price_message: net_pb2.PriceInfo

    @cached_property
    def price(self) -> Fraction:
        """Wei per unit."""
        return exact_price(self.price_per_unit, self.pixels_per_unit)

    @cached_property
    def ev(self) -> Fraction:
        """Expected value of one ticket, wei."""
        return ticket_ev(self.ticket_params.face_value, self.ticket_params.win_prob)

    @cached_property
    def ev_ratio(self) -> tuple[int, int]:
        """Numerator and denominator of `ev`, which every rule on it compares in whole numbers."""
        return self.ev.as_integer_ratio()

    @cached_property
    def pm_session_id(self) -> str:
        """The payment session's name: the recipient rand hash as 0x hex."""
        return "0x" + self.ticket_params.recipient_rand_hash.hex()

    @cached_property
    def encoded_params(self) -> bytes:
        """Field 1 of Payment, without expiration params, as go-livepeer writes it."""
        params = self.ticket_params
        return net_pb2.Payment(
            ticket_params=net_pb2.TicketParams(
                recipient=params.recipient,
                face_value=encode_uint(params.face_value),
                win_prob=encode_uint(params.win_prob),
                recipient_rand_hash=params.recipient_rand_hash,
                seed=params.seed,
                expiration_block=encode_uint(params.expiration_block),
            )
        ).SerializeToString()

    @cached_property
    def encoded_price(self) -> bytes:
        """Field 5 of Payment: the orchestrator's price, echoed whole."""
        return net_pb2.Payment(expected_price=self.price_message).SerializeToString()


@dataclass(frozen=True)
class Capabilities:
    """The request's capabilities: the pairs that ceilings look at, and the message as it is echoed."""

    pairs: tuple[CapabilityModel, ...]
    message: net_pb2.Capabilities


def parse_message(kind: Callable[[], _M], raw: bytes) -> _M:
    """`raw` as a message of this kind; ValueError when it is none (truncated, too deep, text that is not UTF-8)."""
    message = kind()
    try:
        message.ParseFromString(raw)
    except (DecodeError, UnicodeDecodeError) as error:
        raise ValueError(str(error)) from None
    return message


def _copy_of(message: _M) -> _M:
    """A message by itself: a part of another one keeps all of that one in memory for as long as it is remembered."""
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def _raise(refusal: SignerError) -> None:
    raise refusal


def parse_orchestrator_info(raw: bytes, refuse: Callable[[SignerError], None] = _raise) -> OrchestratorInfo:
    """Steps 2 to 4 of a payment, in their order: presence and form, price, ticket params, then lengths.

    Raises the first refusal. Where `refuse` keeps it instead, the rest is judged too, and the info holds what is known.
    """
    try:
        message = _parse_info(raw)
    except (MissingOrchestrator, BadOrchestrator) as refusal:  # nothing of it is known
        refuse(refusal)
        parts = {}
    else:
        parts = _read_info(message, refuse)
    info = OrchestratorInfo.__new__(OrchestratorInfo)
    info.__dict__.update(parts)
    return info


def _parse_info(raw: bytes) -> net_pb2.OrchestratorInfo:
    if not raw:
        raise MissingOrchestrator("missing orchestrator", hint="send the orchestrator's serialized OrchestratorInfo")
    try:
        return parse_message(net_pb2.OrchestratorInfo, raw)
    except ValueError:
        raise BadOrchestrator("orchestrator is not a serialized net.OrchestratorInfo") from None


def _read_info(info: net_pb2.OrchestratorInfo, refuse: Callable[[SignerError], None]) -> dict[str, Any]:
    """What is in order, by the names of OrchestratorInfo."""
    parts: dict[str, Any] = {}
    price, token, transcoder = info.price_info, info.auth_token, info.transcoder
    if (fault := _find_price_fault(price)) is not None:
        refuse(fault)
    if not info.HasField("ticket_params"):
        refuse(MissingTicketParams("missing ticketParams in OrchestratorInfo", hint="the orchestrator must be on-chain to be paid"))
    if len(info.address) == ADDRESS_BYTES:
        parts["address"] = info.address
    else:
        refuse(BadOrchestrator(f"OrchestratorInfo.address has {len(info.address)} bytes, not {ADDRESS_BYTES}"))
    if len(transcoder) <= MAX_TRANSCODER_CHARACTERS and transcoder.isascii() and transcoder.isprintable():
        parts["transcoder"] = transcoder
    else:
        parts["transcoder"] = ""  # errors name it, and nothing is decided by it
        refuse(BadOrchestrator(f"OrchestratorInfo.transcoder is not printable ASCII of at most {MAX_TRANSCODER_CHARACTERS} characters"))
    if token.ByteSize() <= MAX_AUTH_TOKEN_BYTES:
        has_token = info.HasField("auth_token")
        parts["auth_token"] = AuthToken(token.session_id, token.expiration, _copy_of(token)) if has_token else None
    else:
        refuse(BadOrchestrator(f"OrchestratorInfo.auth_token has {token.ByteSize()} bytes, more than {MAX_AUTH_TOKEN_BYTES}"))
    if price.ByteSize() > MAX_PRICE_INFO_BYTES:
        refuse(BadPrice(f"OrchestratorInfo.price_info has {price.ByteSize()} bytes, more than {MAX_PRICE_INFO_BYTES}"))
    elif fault is None:
        parts |= {"price_per_unit": price.pricePerUnit, "pixels_per_unit": price.pixelsPerUnit, "price_message": _copy_of(price)}
    if info.HasField("ticket_params"):
        try:
            parts["ticket_params"] = parse_ticket_params(info.ticket_params)
        except BadTicketParams as refusal:
            refuse(refusal)
    return parts


def _find_price_fault(price: net_pb2.PriceInfo) -> BadPrice | None:
    if price.pricePerUnit == 0 or price.pixelsPerUnit == 0:
        return BadPrice("missing or zero priceInfo", hint="the orchestrator must advertise pricePerUnit and pixelsPerUnit")
    if price.pricePerUnit < 0 or price.pixelsPerUnit < 0:
        return BadPrice(
            f"negative priceInfo: {price.pricePerUnit} wei per {price.pixelsPerUnit} pixels",
            price_per_unit=price.pricePerUnit,
            pixels_per_unit=price.pixelsPerUnit,
        )
    return None


def parse_ticket_params(params: net_pb2.TicketParams) -> TicketParams:
    """Ticket params whose lengths and ranges are the contract's; BadTicketParams names the field that is not."""
    for name, value, length in (
        ("recipient", params.recipient, ADDRESS_BYTES),
        ("recipient_rand_hash", params.recipient_rand_hash, HASH_BYTES),
    ):
        if len(value) != length:
            raise BadTicketParams(f"ticket params: {name} has {len(value)} bytes, not {length}")
    for name, value in (
        ("face_value", params.face_value),
        ("win_prob", params.win_prob),
        ("seed", params.seed),
        ("expiration_block", params.expiration_block),
    ):
        if len(value) > MAX_INTEGER_BYTES:
            raise BadTicketParams(f"ticket params: {name} has {len(value)} bytes, more than {MAX_INTEGER_BYTES}")
    block_hash = params.expiration_params.creation_round_block_hash
    if len(block_hash) not in (0, HASH_BYTES):
        raise BadTicketParams(f"ticket params: creation_round_block_hash has {len(block_hash)} bytes, not 0 or {HASH_BYTES}")
    if params.expiration_params.creation_round < 0:
        raise BadTicketParams(f"ticket params: creation_round {params.expiration_params.creation_round} is negative")
    return TicketParams(
        recipient=params.recipient,
        face_value=int.from_bytes(params.face_value, "big"),
        win_prob=int.from_bytes(params.win_prob, "big"),
        recipient_rand_hash=params.recipient_rand_hash,
        seed=params.seed.lstrip(b"\0"),
        expiration_block=int.from_bytes(params.expiration_block, "big"),
        creation_round=params.expiration_params.creation_round,
        creation_round_block_hash=block_hash or ZERO_HASH,
    )


def parse_capabilities(raw: bytes) -> Capabilities | None:
    """The request's capabilities, bounded and normalised as go-livepeer re-encodes them; None when there are none.

    Kept: bitstring, mandatories, version, minVersion, and of each model warm, capacity and runnerVersion. Empty
    capacities are filled with 1 for every set bit; constraints are always present.
    """
    if not raw:
        return None
    try:
        given = parse_message(net_pb2.CapabilitiesEntries, raw)
    except ValueError:
        raise BadCapabilities("capabilities are not a serialized net.Capabilities") from None
    words = max(len(given.bitstring), len(given.mandatories))
    if words > MAX_CAPABILITY_WORDS:
        raise BadCapabilities(f"capabilities: {words} words of bitstring or mandatories, more than {MAX_CAPABILITY_WORDS}")
    per_capability = {of.key: {model.key: model.value for model in of.value.models} for of in given.constraints.PerCapability}
    capacities = {capacity.key: capacity.value for capacity in given.capacities}
    if max(len(per_capability), len(capacities)) > MAX_CAPABILITY_ENTRIES:
        raise BadCapabilities(
            f"capabilities: {len(per_capability)} constraints and {len(capacities)} capacities are more than any real message holds"
        )
    pairs = tuple((number, name) for number, models in per_capability.items() for name in models)
    if len(pairs) > MAX_CAPABILITY_MODELS:
        raise BadCapabilities(f"capabilities: {len(pairs)} (capability, model) pairs, more than {MAX_CAPABILITY_MODELS}")
    kept = net_pb2.Capabilities(bitstring=given.bitstring, mandatories=given.mandatories, version=given.version)
    kept.constraints.minVersion = given.constraints.minVersion
    for number, models in per_capability.items():
        kept_models = kept.constraints.PerCapability[number].models
        for name, model in models.items():
            kept_models[name].warm = model.warm
            kept_models[name].capacity = model.capacity
            kept_models[name].runnerVersion = model.runnerVersion
    if capacities:
        kept.capacities.update(capacities)
    else:
        for index, word in enumerate(given.bitstring):
            for bit in range(64):
                if word >> bit & 1:
                    kept.capacities[64 * index + bit] = 1
    return Capabilities(pairs, kept)


def encode_payment(
    info: OrchestratorInfo,
    sender: bytes,
    creation_round: int,
    creation_round_block_hash: bytes,
    tickets: Sequence[Ticket],
) -> bytes:
    """net.Payment. The concatenation of a message's fields is the message."""
    fields = [info.encoded_params, _encode_sender_and_round(sender, creation_round, creation_round_block_hash)]
    fields += [_encode_ticket_sender_params(ticket.sender_nonce, ticket.sig) for ticket in tickets]
    fields.append(info.encoded_price)
    return b"".join(fields)


@lru_cache(64)
def _encode_sender_and_round(sender: bytes, creation_round: int, creation_round_block_hash: bytes) -> bytes:
    """Fields 2 and 3 of Payment: they change once a round."""
    expiration = net_pb2.TicketExpirationParams(creation_round=creation_round, creation_round_block_hash=creation_round_block_hash)
    return net_pb2.Payment(sender=sender, expiration_params=expiration).SerializeToString()


def _encode_ticket_sender_params(nonce: int, sig: bytes) -> bytes:
    """Field 4 of Payment, once a ticket. Spelled out for the nonces that recipients take, which are below 600: the runtime takes five
    times as long.

    Tag and length of the field, then nonce (field 1, a varint) and signature (field 2, 65 bytes). Tests hold it against
    the runtime, which writes everything else.
    """
    if len(sig) == SIGNATURE_BYTES:
        if 0 < nonce < 0x80:
            return b"\x22\x45\x08%c\x12\x41%b" % (nonce, sig)
        if 0x80 <= nonce < 0x4000:
            return b"\x22\x46\x08%c%c\x12\x41%b" % (nonce & 0x7F | 0x80, nonce >> 7, sig)
    params = net_pb2.TicketSenderParams(sender_nonce=nonce, sig=sig)
    return net_pb2.Payment(ticket_sender_params=[params]).SerializeToString()


def encode_seg_data(manifest_id: str, sig: bytes, capabilities: Capabilities | None, auth_token: AuthToken) -> bytes:
    """net.SegData of segment credentials: no segment, only the right to send one."""
    message = net_pb2.SegData(
        manifestId=manifest_id.encode(),
        hash=KECCAK_OF_NOTHING,
        profiles=SEG_PROFILES,
        sig=sig,
        auth_token=auth_token.message,
    )
    if capabilities is not None:
        message.capabilities.CopyFrom(capabilities.message)
    return message.SerializeToString(deterministic=True)
