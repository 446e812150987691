"""Whether payments can be made now, one line for each part that they depend on: what `/readyz` and the console show.

Pure: readings in, a `ReadyCheck` out. Each reason names what an operator has to change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from livepeer_remote_signer.core.protocol.amounts import float_string
from livepeer_remote_signer.core.rules.ceilings import CeilingAmounts, Rate
from livepeer_remote_signer.core.rules.chain import ChainView
from livepeer_remote_signer.core.rules.discovery import Absence
from livepeer_remote_signer.core.rules.limits import find_chain_fault, find_clock_fault, find_funds_fault

ATTEMPTS_BEFORE_READY = 3
"""So often discovery's source is tried before readiness waits no longer: some six seconds: the chain is read for the first time."""


class ReadyCheck(NamedTuple):
    """One line of `/readyz`. What is `degraded` needs an operator, and stops no payment."""

    name: str
    ok: bool
    reason: str
    degraded: bool = False


class DiscoveryStatus(NamedTuple):
    """How discovery fares. `fault` is what went wrong with the last refresh, "" when nothing did."""

    attempts: int
    """Refreshes that were tried; those of them whose source could be read are `refreshes`."""

    refreshes: int
    entries: int
    known: int
    fault: str
    age_seconds: float | None
    """Since an orchestrator last answered; None before the first did."""

    kept_seconds: float
    """The list is stale when nobody has answered for longer."""

    left_out: Mapping[str, int]
    """How many orchestrators are not listed, by cause."""

    reasons: Sequence[Absence]
    """The first of them, each with its reason."""

    advised: Sequence[Mapping[str, str]] = ()
    """The first that are listed: `url`, the verdict on sessions of each job type, and `message`, what does not fit."""

    @property
    def is_stale(self) -> bool:
        """Whether the list is marked as stale."""
        return self.age_seconds is not None and self.age_seconds > self.kept_seconds


def chain_ready(view: ChainView, *, has_senders: bool = False) -> ReadyCheck:
    """Whether the chain's reading and the funds allow payments. `has_senders`: there are several, whose funds have lines of their own."""
    fault = find_chain_fault(view) or (None if has_senders else find_funds_fault(view))
    reason = f"L1 block {view.l1_block}, round {view.last_initialized_round}" if fault is None else fault.message
    return ReadyCheck("chain", fault is None, reason)


def senders_ready(views: Mapping[str, ChainView]) -> list[ReadyCheck]:
    """One line for each of several senders, by the name of its key: one that can pay is enough, what others lack stops their own
    callers alone."""
    faults = {name: find_funds_fault(view) for name, view in views.items()}
    is_any = any(fault is None for fault in faults.values())
    return [
        ReadyCheck(f"senders.{name}", True, "can pay")
        if fault is None
        else ReadyCheck(f"senders.{name}", is_any, fault.message, degraded=is_any)
        for name, fault in faults.items()
    ]


def clock_ready(view: ChainView) -> ReadyCheck:
    """Whether this host's clock allows payments."""
    fault = find_clock_fault(view)
    if fault is not None:
        return ReadyCheck("clock", False, fault.message)
    said = "agrees with the chain's block times" if view.clock_agrees else "not compared with the chain's block times yet"
    return ReadyCheck("clock", True, said)


def endpoints_ready(faults: Mapping[str, str], count: int) -> ReadyCheck:
    """Whether all `count` RPC endpoints are used; `faults` names those that are not, with the reason. One is enough to pay with:
    when none is left, the chain's own check says so."""
    if not faults:
        return ReadyCheck("rpc", True, f"{count} of {count} RPC endpoints answer and are believed")
    said = "; ".join(f"{name}: {fault}" for name, fault in faults.items())
    return ReadyCheck("rpc", True, f"{count - len(faults)} of {count} RPC endpoints answer and are believed; {said}", degraded=True)


def feed_ready(amounts: CeilingAmounts, rate: Rate | None, fault: str) -> ReadyCheck:
    """A stale feed stops everything only when the global ceiling or an hour's needs it; else what it limits is refused, and the rest
    goes on."""
    needs = CeilingAmounts(amounts.global_amount, per_hour=amounts.per_hour).feed_currencies
    if rate is None:
        return ReadyCheck("price_feed", not needs, f"ceilings in the feed's currency refuse: {fault}", degraded=not needs)
    said = f"1 ETH is {float_string(rate.per_eth, 2)} {rate.currency.upper()}"
    others = amounts.feed_currencies - {rate.currency}
    if others:
        named = ", ".join(sorted(currency.upper() for currency in others))
        quoted = rate.currency.upper()
        said += f"; ceilings in {named} refuse: prices.currency_feed must name a feed of that currency, this one quotes {quoted}"
    is_enough = needs <= {rate.currency}
    return ReadyCheck("price_feed", is_enough, said, degraded=bool(others) and is_enough)


def discovery_ready(status: DiscoveryStatus) -> ReadyCheck:
    """Whether discovery has asked everybody once, or has tried to for long enough: payments can be signed without it."""
    if not status.refreshes:
        reason = f"nobody could be asked yet: {status.fault}" if status.fault else "orchestrators are being asked for the first time"
        return ReadyCheck("discovery", status.attempts >= ATTEMPTS_BEFORE_READY, reason)
    said = f"{status.entries} orchestrators are listed, {status.known} known" + (f"; {status.fault}" if status.fault else "")
    if status.is_stale:
        said += f"; the list is stale: nobody has answered for {status.age_seconds:.0f} s, the most is {status.kept_seconds:.0f} s"
    return ReadyCheck("discovery", True, said)


def ledger_ready(failure: str) -> ReadyCheck:
    """Whether payments can be recorded; `failure` is "" when they can."""
    return ReadyCheck("ledger", not failure, failure or "records payments")


def key_ready(name: str, fault: str, *, is_only: bool) -> ReadyCheck:
    """Whether a key outside this host signs; `fault` is "" when it does. Where it is not the only key, others go on without it."""
    return ReadyCheck(name, not (fault and is_only), fault or "signs", degraded=bool(fault) and not is_only)


def authority_ready(name: str, fault: str) -> ReadyCheck:
    """Whether one of those who say who may spend can be asked; `fault` is "" when it can."""
    return ReadyCheck(name, not fault, fault or "can be asked")


def sink_ready(position: int, fault: str) -> ReadyCheck:
    """Whether a sink, by its place in `events.sinks`, takes events: payments are made without it while the outbox has room."""
    return ReadyCheck(f"events.sinks.{position}", True, fault or "takes events", degraded=bool(fault))


def connections_ready(fault: str) -> ReadyCheck:
    """Whether new connections are taken: where they are not, taking this signer out of service would complete what a stranger began."""
    return ReadyCheck("connections", True, fault or "new ones are taken", degraded=bool(fault))
