"""What orchestrators say about themselves, read with suspicion, and the list that is made of it.

Source: section 11 of the protocol. Parsing takes whatever a stranger sent: a part that is not as it should be is left
out, never the rest with it, and everything is bounded. Building decides what is listed: prices against the operator's
ceilings, merging by address, and what happens to answers that grow old.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from livepeer_remote_signer.core.errors import BadField
from livepeer_remote_signer.core.protocol.amounts import parse_decimal
from livepeer_remote_signer.core.protocol.prices import PIPELINE_NAMES
from livepeer_remote_signer.core.protocol.strict_json import is_too_deep
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_SECOND
from livepeer_remote_signer.core.protocol.wire import MAX_CAPABILITY_MODELS, parse_message
from livepeer_remote_signer.core.rules.addresses import AddressPolicy, parse_ip, parse_orchestrator_url
from livepeer_remote_signer.core.rules.pricing import Ceilings, StaleRate
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
RUNNER_UNITS = frozenset({"seconds", "720p-pixel-seconds", "fixed"})
SCORE = 1

_TEXTS = ("version", "metadata", "mode")
_COUNTS = ("capacity", "capacity_used", "capacity_available")
_GPU_KEYS = frozenset({"id", "name", "vram_mb"})


class Offer(NamedTuple):
    """A (capability, model) pair and its price in wei per unit."""

    capability: int
    model: str
    price: Fraction

    @property
    def name(self) -> str:
        """`pipeline/model`, as callers filter by it."""
        return f"{PIPELINE_NAMES[self.capability]}/{self.model}"


class Runner(NamedTuple):
    """One runner that may be listed: its price in wei per unit, and its JSON as it goes out."""

    url: str
    app: str
    price: Fraction
    encoded: str


class Node(NamedTuple):
    """An address and the runners behind it."""

    address: str
    runners: tuple[Runner, ...]


class Sighting(NamedTuple):
    """The last good answers of one orchestrator, and when they came (unix nanoseconds; None: never)."""

    url: str
    offers: tuple[Offer, ...] = ()
    offers_seen_ns: int | None = None
    nodes: tuple[Node, ...] = ()
    nodes_seen_ns: int | None = None

    @property
    def seen_ns(self) -> int:
        """When it last answered anything; 0: never."""
        return max(self.offers_seen_ns or 0, self.nodes_seen_ns or 0)


class UrlChoice(NamedTuple):
    """Orchestrators' URLs as a source gave them, and what of its addresses is left out and why."""

    urls: tuple[str, ...]
    left_out: tuple[str, ...] = ()


class Entry(NamedTuple):
    """One line of the list, with what callers filter by."""

    capabilities: frozenset[str]
    apps: frozenset[str]
    encoded: bytes


# --- what strangers send ---


def parse_pool(body: bytes) -> UrlChoice:
    """The URLs of a webhook's `[{"address": url, ...}]`. Raises ValueError when the body is no such list."""
    return choose_urls(item.get("address") if isinstance(item, dict) else None for item in _load_list(body))


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
            found.setdefault(normal, _without_end(url))
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


def _without_end(url: str) -> str:
    """The URL as it was given but for a trailing slash, and for an empty port, query or fragment."""
    return url.rstrip("/?#:")


def _shown(url: str) -> str:
    """A URL that is none, for a log: without what may be a password or a key."""
    return repr(url.rpartition("@")[2].partition("?")[0][:100])


def parse_offers(raw: bytes) -> tuple[Offer, ...]:
    """Every priced (capability, model) pair of a serialized OrchestratorInfo. Raises ValueError when it is none.

    The price is the entry of capabilities_prices for the capability with the model as constraint, else price_info. A
    pair without a price of at least 0 is left out, as is a capability without a name.
    """
    info = parse_message(net_pb2.OrchestratorInfo, raw)
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
        if not isinstance(item, dict) or not isinstance(item.get("runners"), list):
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
    return None if url is None or _is_forbidden_literal(url.host, addresses) else _without_end(value)


def _is_forbidden_literal(host: str, addresses: AddressPolicy) -> bool:
    address = parse_ip(host)
    return address is not None and bool(addresses.reason_against(address))


def _parse_runner(value: Any, addresses: AddressPolicy) -> Runner | None:
    """A runner that may be listed; None for any other. Only what section 11 demands is demanded: of the rest a field that is
    not as it should be is left out."""
    if not isinstance(value, dict) or not _is_name(value.get("app")) or not _is_runner_url(value.get("url"), addresses):
        return None
    priced = _parse_price(value.get("price_info"))
    if priced is None:
        return None
    price, price_json = priced
    if value.get("metadata") is not None and not _is_clean_text(value["metadata"]):
        return None
    out: dict[str, Any] = {"url": value["url"], "app": value["app"]}
    out |= {key: value[key] for key in _TEXTS if key in value and _is_clean_text(value[key])}
    out |= {key: count for key in _COUNTS if (count := _small_integer(value.get(key, _Number("0")))) is not None}
    if isinstance(gpu := value.get("gpu"), dict):
        out["gpu"] = {k: plain for k, v in gpu.items() if k in _GPU_KEYS and (plain := _plain(v)) is not None}
    encoded = f'{json.dumps(out, separators=(",", ":"))[:-1]},"price_info":{price_json}}}'
    return Runner(value["url"], value["app"], price, encoded) if len(encoded) <= MAX_RUNNER_BYTES else None


def _is_runner_url(value: Any, addresses: AddressPolicy) -> bool:
    if type(value) is not str or not 0 < len(value) <= MAX_URL_CHARACTERS or not value.isprintable() or value != value.strip():
        return False
    try:
        host = urlsplit(value).hostname or ""
    except ValueError:
        return False
    return not _is_forbidden_literal(host, addresses)


def _parse_price(value: Any) -> tuple[Fraction, str] | None:
    """The price in wei per unit and its JSON with the number's own digits; None unless positive, in wei, per a known unit."""
    if not isinstance(value, dict):
        return None
    text, currency, unit = value.get("price"), value.get("currency"), value.get("unit")
    if not isinstance(text, str) or type(currency) is not str or type(unit) is not str:
        return None
    if currency.strip().lower() != "wei" or unit.strip().lower() not in RUNNER_UNITS:
        return None
    try:
        price = parse_decimal(text.strip())
    except ValueError:
        return None
    if price <= 0:
        return None
    return price, f'{{"price":{text.strip()},"currency":"wei","unit":"{unit.strip().lower()}"}}'


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


def _plain(value: Any) -> str | int | None:
    if isinstance(value, _Number):
        return _small_integer(value)
    return value if _is_clean_text(value) else None


# --- what is listed ---


class _Merged:
    """One address while the list is being made."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.capabilities: set[str] = set()
        self.runners: dict[str, Runner] = {}
        self.seen_ns = 0

    def encode(self, is_stale: bool) -> Entry:
        body: dict[str, Any] = {"address": self.address, "score": SCORE, "capabilities": sorted(self.capabilities)}
        head = json.dumps(body, separators=(",", ":"))[:-1]
        runners = ",".join(runner.encoded for runner in self.runners.values())
        tail = f'"last_seen":{self.seen_ns // NS_PER_SECOND}' + (',"stale":true' if is_stale else "")
        apps = frozenset(runner.app for runner in self.runners.values())
        return Entry(frozenset(self.capabilities), apps, f'{head},"runners":[{runners}],{tail}}}'.encode())


def build_entries(sightings: Iterable[Sighting], ceilings: Ceilings, *, is_stale: bool = False) -> list[Entry]:
    """The list: `build_steps` in one go."""
    entries: list[Entry] = []
    for _ in build_steps(sightings, ceilings, entries.append, is_stale=is_stale):
        pass
    return entries


def build_steps(
    sightings: Iterable[Sighting], ceilings: Ceilings, add: Callable[[Entry], None], *, is_stale: bool = False
) -> Iterator[None]:
    """Makes the list in small steps, so that payments may be served between them; each entry goes to `add`.

    `is_stale` marks every entry with `"stale": true`. What an orchestrator says of itself comes before what others say of
    it; of runners with one URL the first is kept.
    """
    known = list(sightings)
    merged: dict[str, _Merged] = {}
    for sighting in known:
        if sighting.offers_seen_ns is not None:
            _merge_offers(merged, sighting, ceilings)
            yield
    for is_own in (True, False):
        for sighting in known:
            if sighting.nodes_seen_ns is not None:
                _merge_nodes(merged, sighting, ceilings, is_own)
                yield
    for entry in merged.values():
        add(entry.encode(is_stale))
        yield


def forget_old(known: Mapping[str, Sighting], oldest_ns: int) -> dict[str, Sighting]:
    """Without the answers that are older, as long as any orchestrator answered since.

    When none did, the fault is ours or the network's: everything is kept.
    """
    if not has_answer_since(known.values(), oldest_ns):
        return dict(known)
    kept = ((url, _without_old(sighting, oldest_ns)) for url, sighting in known.items())
    return {url: sighting for url, sighting in kept if sighting.seen_ns}


def has_answer_since(sightings: Iterable[Sighting], oldest_ns: int) -> bool:
    """Whether any orchestrator answered since then."""
    return any(sighting.seen_ns >= oldest_ns for sighting in sightings)


def _without_old(sighting: Sighting, oldest_ns: int) -> Sighting:
    if sighting.offers_seen_ns is not None and sighting.offers_seen_ns < oldest_ns:
        sighting = sighting._replace(offers=(), offers_seen_ns=None)
    if sighting.nodes_seen_ns is not None and sighting.nodes_seen_ns < oldest_ns:
        sighting = sighting._replace(nodes=(), nodes_seen_ns=None)
    return sighting


def _merge_offers(merged: dict[str, _Merged], sighting: Sighting, ceilings: Ceilings) -> None:
    """The capabilities that are not too dear. A ceiling that cannot be known now hides nothing: the payment checks it again."""
    eligible = set()
    for offer in sighting.offers:
        ceiling = ceilings.for_pairs(((offer.capability, offer.model),))
        if ceiling is None or isinstance(ceiling, StaleRate) or offer.price <= ceiling:
            eligible.add(offer.name)
    if eligible:
        entry = merged.setdefault(normal_form(sighting.url), _Merged(sighting.url))
        entry.capabilities |= eligible
        entry.seen_ns = max(entry.seen_ns, sighting.offers_seen_ns or 0)


def _merge_nodes(merged: dict[str, _Merged], sighting: Sighting, ceilings: Ceilings, is_own: bool) -> None:
    ceiling = ceilings.global_ceiling
    own = normal_form(sighting.url)
    for node in sighting.nodes:
        address = normal_form(node.address)
        if (address == own) is not is_own:
            continue
        for runner in node.runners:
            if isinstance(ceiling, Fraction) and runner.price > ceiling:
                continue
            entry = merged.setdefault(address, _Merged(node.address))
            entry.capabilities.add(runner.app)
            entry.runners.setdefault(runner.url, runner)
            entry.seen_ns = max(entry.seen_ns, sighting.nodes_seen_ns or 0)


def filter_entries(entries: Sequence[Entry], caps: Sequence[str], apps: Sequence[str]) -> Iterator[bytes]:
    """Encoded entries that have any of `caps` (all, when none is asked for) and, when given, a runner of any of `apps`."""
    wanted_caps, wanted_apps = frozenset(caps), frozenset(apps)
    for entry in entries:
        if (not wanted_caps or wanted_caps & entry.capabilities) and (not wanted_apps or wanted_apps & entry.apps):
            yield entry.encoded


def merge_sightings(old: Sighting | None, new: Sighting) -> Sighting:
    """The last good answers: a half that failed this time (its time None) keeps the earlier one. The spelling is the newer one's."""
    if old is None:
        return new
    offers = (new.offers, new.offers_seen_ns) if new.offers_seen_ns is not None else (old.offers, old.offers_seen_ns)
    nodes = (new.nodes, new.nodes_seen_ns) if new.nodes_seen_ns is not None else (old.nodes, old.nodes_seen_ns)
    return Sighting(new.url, *offers, *nodes)
