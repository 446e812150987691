"""What orchestrators and lists of them advertise, read with suspicion.

Source: section 11 of the protocol. Parsing takes whatever a stranger sent: a part that is not as it should be is left
out, never the rest with it, and everything is bounded.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from livepeer_remote_signer.core.errors import BadField
from livepeer_remote_signer.core.protocol.amounts import parse_decimal
from livepeer_remote_signer.core.protocol.prices import PIPELINE_NAMES, UNIT_OF_TYPE
from livepeer_remote_signer.core.protocol.strict_json import fold_key, is_too_deep
from livepeer_remote_signer.core.protocol.ticket import ticket_ev
from livepeer_remote_signer.core.protocol.wire import ADDRESS_BYTES, MAX_CAPABILITY_MODELS, MAX_INTEGER_BYTES, parse_message
from livepeer_remote_signer.core.rules.addresses import AddressPolicy, parse_ip, parse_orchestrator_url
from livepeer_remote_signer.proto import net_pb2

MAX_ORCHESTRATORS = 1000
MAX_TOLD = 10
"""Addresses that are left out and named one by one."""

MAX_NODES = 64
MAX_RUNNERS = 256
MAX_RUNNER_BYTES = 4096
MAX_ANSWER_BYTES = 64 * 1024
MAX_METADATA_BYTES = 1024
MAX_NAME_CHARACTERS = 256
MAX_URL_CHARACTERS = 2048
RUNNER_UNITS = frozenset(UNIT_OF_TYPE.values())

_TEXTS = ("version", "metadata", "mode")
_COUNTS = ("capacity", "capacity_used", "capacity_available")
_GPU_TEXTS = ("id", "name")


class Offer(NamedTuple):
    """A (capability, model) pair and its price in wei per unit."""

    capability: int
    model: str
    price: Fraction

    @property
    def name(self) -> str:
        """`pipeline/model`, as callers filter by it."""
        return f"{PIPELINE_NAMES[self.capability]}/{self.model}"


class TicketTerms(NamedTuple):
    """What it asks of tickets: price_info in wei a unit, a ticket's expected value and its face value in wei. All are above 0."""

    price: Fraction
    ev: Fraction
    face_value: int


class Terms(NamedTuple):
    """What a GetOrchestrator answer says. `recipient` is whom tickets would pay, 20 bytes; empty: it cannot be paid."""

    offers: tuple[Offer, ...] = ()
    recipient: bytes = b""
    transcoder: str = ""
    """The service URL that the orchestrator names itself, as it was sent."""

    nodes: tuple[str, ...] = ()
    """URLs of further nodes that it advertises."""

    ticket: TicketTerms | None = None


class Runner(NamedTuple):
    """One runner that may be listed: its price in wei per `unit`, its GPU's name ("": unknown), and its JSON as it goes out.

    The JSON ends with `price_info`, so that `price_usd` can be added to it.
    """

    url: str
    app: str
    gpu: str
    price: Fraction
    encoded: str
    unit: str = "seconds"


class Node(NamedTuple):
    """An address and the runners behind it."""

    address: str
    runners: tuple[Runner, ...]


class UrlChoice(NamedTuple):
    """Orchestrators' URLs as a source gave them, and what of its addresses is left out and why."""

    urls: tuple[str, ...]
    left_out: tuple[str, ...] = ()


def parse_pool(body: bytes) -> UrlChoice:
    """The URLs of a webhook's `[{"address": url, ...}]`. Raises ValueError when the body is no such list."""
    return choose_urls(_folded(item).get("address") for item in _load_list(body))


def choose_urls(given: Iterable[Any]) -> UrlChoice:
    """What of a source's addresses can be asked: each orchestrator once, as it was given first, at most MAX_ORCHESTRATORS."""
    found: dict[str, str] = {}
    left_out: dict[str, None] = {}
    for url in given:
        try:
            normal = normal_form(url) if isinstance(url, str) else ""
        except BadField as error:
            left_out[f"{_shown(url)}: {error.message}"] = None
            continue
        if not normal:
            left_out["an entry without an address"] = None
        elif normal in found or len(found) < MAX_ORCHESTRATORS:
            found.setdefault(normal, without_end(url))
        else:
            left_out[f"what comes after the first {MAX_ORCHESTRATORS} orchestrators"] = None
    told = list(left_out)
    if len(told) > MAX_TOLD:
        told[MAX_TOLD:] = [f"and {len(told) - MAX_TOLD} more"]
    return UrlChoice(tuple(found.values()), tuple(told))


@lru_cache(1024)
def normal_form(url: str) -> str:
    """By which two spellings are one orchestrator: host in lower case, the port always there. Raises BadField."""
    return str(parse_orchestrator_url(url))


def without_end(url: str) -> str:
    """The URL as it was given but for a trailing slash, and for an empty port, query or fragment."""
    return url.rstrip("/?#:")


def _shown(url: str) -> str:
    """A URL that is none, for a log: without what may be a password or a key."""
    return repr(url.rpartition("@")[2].partition("?")[0][:100])


def parse_terms(raw: bytes) -> Terms:
    """What a serialized OrchestratorInfo says. Raises ValueError when it is none.

    One without an address of 20 bytes, or whose price_info is missing, negative or without pixels, cannot be paid: it has no
    recipient then. The recipient is that of the ticket params where they have one, for a node whose account is another.
    """
    info = parse_message(net_pb2.OrchestratorInfo, raw)
    is_payable = len(info.address) == ADDRESS_BYTES and info.price_info.pixelsPerUnit > 0 and info.price_info.pricePerUnit >= 0
    recipient = info.ticket_params.recipient if len(info.ticket_params.recipient) == ADDRESS_BYTES else info.address
    transcoder = info.transcoder if len(info.transcoder) <= MAX_URL_CHARACTERS else ""
    nodes = choose_urls(node[: MAX_URL_CHARACTERS + 1] for node in info.nodes[:MAX_NODES]).urls
    return Terms(_parse_offers(info), recipient if is_payable else b"", transcoder, nodes, _ticket_terms(info) if is_payable else None)


def _ticket_terms(info: net_pb2.OrchestratorInfo) -> TicketTerms | None:
    """None where no ticket is asked for, or one that is worth nothing or cannot be."""
    params, price = info.ticket_params, info.price_info
    if max(len(params.face_value), len(params.win_prob)) > MAX_INTEGER_BYTES:
        return None
    face_value = int.from_bytes(params.face_value, "big")
    ev = ticket_ev(face_value, int.from_bytes(params.win_prob, "big"))
    return TicketTerms(Fraction(price.pricePerUnit, price.pixelsPerUnit), ev, face_value) if ev and price.pricePerUnit else None


def _parse_offers(info: net_pb2.OrchestratorInfo) -> tuple[Offer, ...]:
    """Every priced (capability, model) pair.

    The price is the entry of capabilities_prices for the capability with the model as constraint, else price_info. A
    pair without a price of at least 0 is left out, as is a capability without a name.
    """
    prices = {(p.capability, p.constraint): p for p in reversed(info.capabilities_prices) if p.pixelsPerUnit > 0}
    offers: list[Offer] = []
    for capability, constraints in sorted(info.capabilities.constraints.PerCapability.items()):
        if capability not in PIPELINE_NAMES:
            continue
        for model in sorted(constraints.models):
            if len(offers) == MAX_CAPABILITY_MODELS:
                return tuple(offers)
            price = prices.get((capability, model), info.price_info)
            if _is_name(model) and price.pixelsPerUnit > 0 and price.pricePerUnit >= 0:
                offers.append(Offer(capability, model, Fraction(price.pricePerUnit, price.pixelsPerUnit)))
    return tuple(offers)


def parse_nodes(body: bytes, addresses: AddressPolicy) -> tuple[Node, ...]:
    """The nodes of a `/discovery` answer with the runners that may be listed. Raises ValueError when it is no list.

    Addresses and runner URLs that name a host by a number must be allowed by `addresses`.
    """
    nodes = []
    left, size = MAX_RUNNERS, MAX_ANSWER_BYTES
    for item in _load_list(body)[:MAX_NODES]:
        item = _folded(item)
        if not isinstance(item.get("runners"), list):
            continue
        address = _node_address(item.get("address"), addresses)
        if address is None:
            continue
        runners = []
        for given in item["runners"][:left]:
            runner = _parse_runner(given, addresses)
            if runner is not None and len(runner.encoded) <= size:
                size -= len(runner.encoded)
                runners.append(runner)
        left -= len(item["runners"][:left])
        nodes.append(Node(address, tuple(runners)))
    return tuple(nodes)


def _load_list(body: bytes) -> list[Any]:
    """A JSON list with every number as its text; bytes that are not UTF-8 read as U+FFFD. ValueError for anything else."""
    if is_too_deep(body):
        raise ValueError("nested too deeply")
    text = body.decode("utf-8", "replace")
    value = json.loads(text, parse_int=_Number, parse_float=_Number, parse_constant=_refuse_constant)
    if type(value) is not list:
        raise ValueError("not a JSON list")
    return value


class _Number(str):
    """The text of a JSON number."""

    __slots__ = ()


def _folded(value: Any) -> dict[str, Any]:
    """The members of an object by their keys in lower case, as go-livepeer matches them; of two the last. {} for what is none."""
    return {fold_key(key): member for key, member in value.items()} if isinstance(value, dict) else {}


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _is_name(value: Any) -> bool:
    """A non-blank printable string of a sensible length."""
    if type(value) is not str or not 0 < len(value) <= MAX_NAME_CHARACTERS:
        return False
    return value.isprintable() and not value.isspace() and "\ufffd" not in value


def _node_address(value: Any, addresses: AddressPolicy) -> str | None:
    try:
        url = parse_orchestrator_url(value) if isinstance(value, str) else None
    except BadField:
        return None
    return None if url is None or _is_forbidden_literal(url.host, addresses) else without_end(value)


def _is_forbidden_literal(host: str, addresses: AddressPolicy) -> bool:
    address = parse_ip(host)
    return address is not None and bool(addresses.reason_against(address))


def _parse_runner(value: Any, addresses: AddressPolicy) -> Runner | None:
    """A runner that may be listed; None for any other. Only what section 11 demands is demanded: of the rest a field that is
    not as it should be is left out."""
    value = _folded(value)
    if not _is_name(value.get("app")) or not _is_runner_url(value.get("url"), addresses):
        return None
    priced = _parse_price(value.get("price_info"))
    if priced is None:
        return None
    price, unit, price_json = priced
    if value.get("metadata") is not None and not _is_clean_text(value["metadata"]):
        return None
    out: dict[str, Any] = {"url": value["url"], "app": value["app"]}
    out |= {key: value[key] for key in _TEXTS if key in value and _is_clean_text(value[key])}
    out |= {key: count for key in _COUNTS if (count := _small_integer(value.get(key, _Number("0")))) is not None}
    if gpu := _parse_gpu(value.get("gpu")):
        out["gpu"] = gpu
    encoded = f'{json.dumps(out, separators=(",", ":"))[:-1]},"price_info":{price_json}}}'
    if len(encoded) > MAX_RUNNER_BYTES:
        return None
    return Runner(value["url"], value["app"], str(gpu.get("name", "")), price, encoded, unit)


def _parse_gpu(value: Any) -> dict[str, str | int]:
    """`id` and `name` are text and `vram_mb` is an integer; one of another type would make the whole list unreadable for typed readers."""
    given = _folded(value)
    found: dict[str, str | int] = {key: given[key] for key in _GPU_TEXTS if key in given and _is_clean_text(given[key])}
    if (vram := _small_integer(given.get("vram_mb"))) is not None:
        found["vram_mb"] = vram
    return found


def _is_runner_url(value: Any, addresses: AddressPolicy) -> bool:
    if type(value) is not str or not 0 < len(value) <= MAX_URL_CHARACTERS or not value.isprintable() or value != value.strip():
        return False
    try:
        host = urlsplit(value).hostname or ""
    except ValueError:
        return False
    return not _is_forbidden_literal(host, addresses)


def _parse_price(value: Any) -> tuple[Fraction, str, str] | None:
    """The price in wei per unit, the unit, and its JSON with the number's own digits; None unless positive, in wei, per a known unit."""
    value = _folded(value)
    text, currency, spelled = value.get("price"), value.get("currency"), value.get("unit")
    if not isinstance(text, str) or type(currency) is not str or type(spelled) is not str:
        return None
    unit = spelled.strip().lower()
    if currency.strip().lower() != "wei" or unit not in RUNNER_UNITS:
        return None
    try:
        price = parse_decimal(text.strip())
    except ValueError:
        return None
    if price <= 0:
        return None
    return price, unit, f'{{"price":{text.strip()},"currency":"wei","unit":"{unit}"}}'


def _is_clean_text(value: Any) -> bool:
    """Text without U+FFFD (what broken UTF-8 reads as) or lone surrogates, of at most 1024 bytes."""
    if type(value) is not str or "\ufffd" in value or len(value) > MAX_METADATA_BYTES:
        return False
    try:
        return len(value.encode()) <= MAX_METADATA_BYTES
    except UnicodeEncodeError:
        return False


def _small_integer(value: Any) -> int | None:
    if not isinstance(value, _Number) or len(value) > 18 or not value.isdecimal():
        return None
    return int(value)
