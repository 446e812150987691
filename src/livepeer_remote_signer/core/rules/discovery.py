"""The list of orchestrators: what is listed of their answers, and what happens to answers that grow old.

Source: section 11 of the protocol. Prices are held against the operator's ceilings and recipients against his lists;
everybody speaks for himself alone: runners are listed under the address of the orchestrator that advertised them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any, Literal, NamedTuple, TypeAlias

from livepeer_remote_signer.core.errors import BadField, RecipientRefused
from livepeer_remote_signer.core.protocol.amounts import WEI_PER_ETH, float_string
from livepeer_remote_signer.core.protocol.prices import UNIT_OF_TYPE
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_SECOND, encode_rfc3339_ns
from livepeer_remote_signer.core.rules.advertised import Node, Offer, Runner, Terms, TicketTerms, normal_form, without_end
from livepeer_remote_signer.core.rules.advice import Means, advise, describe
from livepeer_remote_signer.core.rules.advice import Offer as AdvisedOffer
from livepeer_remote_signer.core.rules.pricing import AbsoluteCeiling, Ceiling, Ceilings
from livepeer_remote_signer.core.rules.recipients import RecipientRules, check_lists

SCORE = 1
USD_PLACES = 18
_TYPE_OF_UNIT = {unit: job_type for job_type, unit in UNIT_OF_TYPE.items()}


class Sighting(NamedTuple):
    """The last good answers of one orchestrator, and when they came (unix nanoseconds; None: never)."""

    url: str
    terms: Terms = Terms()
    terms_seen_ns: int | None = None
    nodes: tuple[Node, ...] = ()
    nodes_seen_ns: int | None = None

    @property
    def seen_ns(self) -> int:
        """When it last answered anything; 0: never."""
        return max(self.terms_seen_ns or 0, self.nodes_seen_ns or 0)


class ListRules(NamedTuple):
    """What a list is made by: the price ceilings, whom the operator lets be paid, and what an ETH costs in USD (None: unknown)."""

    ceilings: Ceilings = Ceilings()
    recipients: RecipientRules = RecipientRules()
    usd_per_eth: Fraction | None = None
    means: Means | None = None
    """By which advice is given on what is listed; None: none is."""


class Filters(NamedTuple):
    """What a caller asks for: any of the values within one, all of those that are given. Runners are narrowed by `apps` and `gpus`."""

    caps: frozenset[str] = frozenset()
    apps: frozenset[str] = frozenset()
    gpus: frozenset[str] = frozenset()


class Entry(NamedTuple):
    """One line of the list: its JSON around the runners, and theirs, with what callers filter by."""

    address: str
    capabilities: frozenset[str]
    head: str
    runners: tuple[Runner, ...]
    tail: str
    advice: str = ""
    """On sessions with it, as JSON; "" where its terms are not known."""

    def encode(self, *, with_advice: bool = False) -> bytes:
        """The line."""
        advice = f'"advice":{self.advice},' if with_advice and self.advice else ""
        return f'{self.head},"runners":[{",".join(runner.encoded for runner in self.runners)}],{advice}{self.tail}'.encode()


Cause: TypeAlias = Literal["unreachable", "unpayable", "denied", "price", "capability"]
"""Why an orchestrator that is known is not listed."""


class Absence(NamedTuple):
    """Why an orchestrator is not listed: `cause` is one word for counting, `reason` a sentence for a person."""

    url: str
    cause: Cause
    reason: str


class _Merged:
    """One address while the list is being made."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.capabilities: set[str] = set()
        self.runners: dict[str, Runner] = {}
        self.seen_ns = 0
        self.ticket: TicketTerms | None = None

    def finish(self, rules: ListRules, is_stale: bool) -> Entry:
        body: dict[str, Any] = {"address": self.address, "score": SCORE, "capabilities": sorted(self.capabilities)}
        last_seen = encode_rfc3339_ns(self.seen_ns - self.seen_ns % NS_PER_SECOND)
        return Entry(
            self.address,
            frozenset(self.capabilities),
            json.dumps(body, separators=(",", ":"))[:-1],
            tuple(_with_usd(runner, rules.usd_per_eth) for runner in self.runners.values()),
            f'"last_seen":"{last_seen}"' + (',"stale":true}' if is_stale else "}"),
            _advice_text(self.ticket, rules.means) if self.ticket is not None and rules.means is not None else "",
        )


def _advice_text(ticket: TicketTerms, means: Means) -> str:
    """By job type: the price is one of a second or of a pixel, and only the caller knows which."""
    told = {name: describe(advise(AdvisedOffer(name, *ticket), means)) for name in ("live", "lv2v")}
    return json.dumps(told, separators=(",", ":"))


def _with_usd(runner: Runner, usd_per_eth: Fraction | None) -> Runner:
    """The runner with its price in USD a unit beside that in wei: a JSON number of at most 18 places."""
    if usd_per_eth is None:
        return runner
    return runner._replace(encoded=f'{runner.encoded[:-2]},"price_usd":{_usd_text(runner.price, usd_per_eth)}}}}}')


@lru_cache(4096)
def _usd_text(price: Fraction, usd_per_eth: Fraction) -> str:
    return float_string(price * usd_per_eth / WEI_PER_ETH, USD_PLACES).rstrip("0").rstrip(".")


def verdicts(entry: Entry) -> dict[str, str] | None:
    """The advice on an entry in short: its `url`, the verdict by job type, and as `message` what does not fit first. None without
    advice."""
    if not entry.advice:
        return None
    told = json.loads(entry.advice)
    messages = [finding["message"] for advice in told.values() for finding in advice["findings"]]
    return {"url": entry.address, **{name: advice["verdict"] for name, advice in told.items()}, "message": next(iter(messages), "")}


def build_steps(
    sightings: Iterable[Sighting],
    rules: ListRules,
    add: Callable[[Entry], None],
    miss: Callable[[Absence], None],
    *,
    is_stale: bool = False,
) -> Iterator[None]:
    """Makes the list in small steps, so that payments may be served between them.

    Each entry goes to `add`, and to `miss` the reason of each who has none.
    `is_stale` marks every entry with `"stale": true`. Who cannot be paid, or may not, is left out with his runners; of
    runners with one URL the first is kept.
    """
    known = []
    for sighting in sightings:
        absence = _absence(sighting, rules.recipients)
        if absence is None:
            known.append(sighting)
        else:
            miss(absence)
    addresses = _listed_addresses(known)
    merged: dict[str, _Merged] = {}
    for sighting, address in zip(known, addresses, strict=True):
        _merge_offers(merged, sighting, address, rules.ceilings)
        yield
    for sighting, address in zip(known, addresses, strict=True):
        _merge_nodes(merged, sighting, address, rules.ceilings)
        if normal_form(address) not in merged:
            miss(_nothing_to_offer(sighting, rules.ceilings))
        yield
    for entry in merged.values():
        add(entry.finish(rules, is_stale))
        yield


def _absence(sighting: Sighting, recipients: RecipientRules) -> Absence | None:
    """Why this one is not listed whatever it offers; None where nothing stands against it."""
    if sighting.terms_seen_ns is None:
        return Absence(sighting.url, "unreachable", "it has not answered GetOrchestrator")
    if not sighting.terms.recipient:
        return Absence(sighting.url, "unpayable", "it cannot be paid: it names no address of 20 bytes, or no price")
    try:
        check_lists(sighting.terms.recipient, recipients)
    except RecipientRefused as error:
        return Absence(sighting.url, "denied", f"{error.message}: 0x{sighting.terms.recipient.hex()}")
    return None


def _nothing_to_offer(sighting: Sighting, ceilings: Ceilings) -> Absence:
    """Why one that could be paid is not listed: the offer that is nearest to its ceiling, with both numbers."""
    dear = [
        (offer.price / ceiling, f"{offer.name} costs {_wei_text(offer.price)} wei a unit, the ceiling is {_wei_text(ceiling)}")
        for offer in sighting.terms.offers
        if (ceiling := _offer_ceiling(offer, ceilings)) is not None
    ]
    dear += [
        (runner.price / ceiling, f"{runner.app} costs {_wei_text(runner.price)} wei a unit, the ceiling is {_wei_text(ceiling)}")
        for node in sighting.nodes
        for runner in node.runners
        if (ceiling := _runner_ceiling(runner, ceilings)) is not None
    ]
    if dear:
        return Absence(sighting.url, "price", min(dear)[1])
    return Absence(sighting.url, "capability", "it names no capability with a model and a price, and no runner under its own address")


def _wei_text(price: Fraction) -> str:
    return float_string(price, 3).rstrip("0").rstrip(".")


def _listed_addresses(known: Sequence[Sighting]) -> list[str]:
    """The URL that each is listed by: the one that it names itself, unless somebody else answers there or claims it too."""
    asked = [normal_form(sighting.url) for sighting in known]
    claimed = [_claimed(sighting.terms.transcoder) for sighting in known]
    claims = Counter(claimed)
    answering = frozenset(asked)

    def listed(sighting: Sighting, own: str, named: str) -> str:
        if not named or named == own or named in answering or claims[named] > 1:
            return sighting.url
        return without_end(sighting.terms.transcoder)

    return [listed(*each) for each in zip(known, asked, claimed, strict=True)]


def _claimed(transcoder: str) -> str:
    """The normal form of the URL that an orchestrator names; "" for what is none."""
    try:
        return normal_form(transcoder) if transcoder else ""
    except BadField:
        return ""


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
    if sighting.terms_seen_ns is not None and sighting.terms_seen_ns < oldest_ns:
        sighting = sighting._replace(terms=Terms(), terms_seen_ns=None)
    if sighting.nodes_seen_ns is not None and sighting.nodes_seen_ns < oldest_ns:
        sighting = sighting._replace(nodes=(), nodes_seen_ns=None)
    return sighting


def _offer_ceiling(offer: Offer, ceilings: Ceilings) -> Fraction | None:
    """In wei per unit. An offer names no unit; it is a pixel, as go-livepeer has it. Who charges by the second is listed through
    its runners."""
    return _lowest_known(ceilings.for_pairs(((offer.capability, offer.model),)), ceilings.absolute.get("lv2v"))


def _runner_ceiling(runner: Runner, ceilings: Ceilings) -> Fraction | None:
    """In wei per the runner's own unit."""
    return _lowest_known(ceilings.global_ceiling, ceilings.absolute.get(_TYPE_OF_UNIT[runner.unit]))


def _lowest_known(relative: Ceiling | None, absolute: AbsoluteCeiling | None) -> Fraction | None:
    """A ceiling that cannot be known now hides nothing: the payment checks it again."""
    both = (relative, None if absolute is None else absolute.per_unit)
    return min((ceiling for ceiling in both if isinstance(ceiling, Fraction)), default=None)


def _merge_offers(merged: dict[str, _Merged], sighting: Sighting, address: str, ceilings: Ceilings) -> None:
    """The capabilities that are not too dear."""
    eligible = set()
    for offer in sighting.terms.offers:
        ceiling = _offer_ceiling(offer, ceilings)
        if ceiling is None or offer.price <= ceiling:
            eligible.add(offer.name)
    if eligible:
        entry = merged.setdefault(normal_form(address), _Merged(address))
        entry.capabilities |= eligible
        entry.seen_ns = max(entry.seen_ns, sighting.terms_seen_ns or 0)
        entry.ticket = sighting.terms.ticket


def _merge_nodes(merged: dict[str, _Merged], sighting: Sighting, address: str, ceilings: Ceilings) -> None:
    """The runners under an orchestrator's own address, the one that was asked or the one that is listed; of others nothing is believed."""
    own = {normal_form(sighting.url), listed_as := normal_form(address)}
    for node in sighting.nodes:
        if normal_form(node.address) not in own:
            continue
        for runner in node.runners:
            ceiling = _runner_ceiling(runner, ceilings)
            if ceiling is not None and runner.price > ceiling:
                continue
            entry = merged.setdefault(listed_as, _Merged(address))
            entry.capabilities.add(runner.app)
            entry.runners.setdefault(runner.url, runner)
            entry.seen_ns = max(entry.seen_ns, sighting.nodes_seen_ns or 0)
            entry.ticket = sighting.terms.ticket


def filter_entries(entries: Iterable[Entry], filters: Filters) -> Iterator[Entry]:
    """Entries that have any of the capabilities asked for (all, when none is) and, where runners are asked for, only those."""
    for entry in entries:
        if filters.caps and not filters.caps & entry.capabilities:
            continue
        if not filters.apps and not filters.gpus:
            yield entry
        elif matching := tuple(runner for runner in entry.runners if _matches(runner, filters)):
            yield entry._replace(runners=matching)


def _matches(runner: Runner, filters: Filters) -> bool:
    """By the runner's app and its GPU's name, without blanks at their ends."""
    is_app = not filters.apps or runner.app.strip() in filters.apps
    return is_app and (not filters.gpus or runner.gpu.strip() in filters.gpus)


def merge_sightings(old: Sighting | None, new: Sighting) -> Sighting:
    """The last good answers: a half that failed this time (its time None) keeps the earlier one. The spelling is the newer one's."""
    if old is None:
        return new
    terms = (new.terms, new.terms_seen_ns) if new.terms_seen_ns is not None else (old.terms, old.terms_seen_ns)
    nodes = (new.nodes, new.nodes_seen_ns) if new.nodes_seen_ns is not None else (old.nodes, old.nodes_seen_ns)
    return Sighting(new.url, *terms, *nodes)
