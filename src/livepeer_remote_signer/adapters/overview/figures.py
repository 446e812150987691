"""The console's figures, from what the other adapters know."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from livepeer_remote_signer import __version__
from livepeer_remote_signer.adapters.ledger.controls import Controls, LargestSpend
from livepeer_remote_signer.adapters.ledger.store import Minutes, bytes_text
from livepeer_remote_signer.adapters.overview.resting import Resting
from livepeer_remote_signer.adapters.overview.spending import (
    Span,
    Spending,
    rest_of,
    span_until,
    spending,
)
from livepeer_remote_signer.adapters.runtime_prices import RuntimePrices
from livepeer_remote_signer.core.errors import LedgerUnavailable
from livepeer_remote_signer.core.protocol.amounts import float_string
from livepeer_remote_signer.core.protocol.eip191 import checksum_address
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_MS
from livepeer_remote_signer.core.rules.budgets import BudgetUse
from livepeer_remote_signer.core.rules.chain import ChainView
from livepeer_remote_signer.core.rules.readiness import ReadyCheck
from livepeer_remote_signer.core.rules.runway import Runway, describe_runway

if TYPE_CHECKING:
    from livepeer_remote_signer.adapters.chain.rpc import RpcChain
    from livepeer_remote_signer.adapters.discovery.snapshot import Discovery
    from livepeer_remote_signer.adapters.price_feed import PriceFeed

MOST_NAMES = 6
MOST_BUDGETS = 50
MOST_SWITCHES = 100
BUCKETS = 60
MS_PER_MINUTE = 60_000
SESSION_STATUSES = {"refresh": "480", "price": "481", "skip": "482"}


class Overview:
    """Gathers what the console shows. A ledger that fails leaves its parts empty and says so under `faults`."""

    def __init__(
        self,
        *,
        keys: Mapping[bytes, str],
        views: Mapping[bytes, Callable[[], ChainView]],
        rpc: RpcChain | None,
        feed: PriceFeed | None,
        controls: Controls | None,
        prices: RuntimePrices,
        discovery: Discovery | None,
        deposit_multiplier: int,
        ready_checks: Callable[[], Sequence[ReadyCheck]],
        outcomes: Callable[[], Mapping[str, int]],
        runway: Callable[[bytes], Runway | None],
        clock_ns: Callable[[], int],
        refusals: Callable[[], Sequence[Mapping[str, Any]]] = tuple,
        parked: Callable[[], int] | None = None,
        drawn: Callable[[bytes], Mapping[str, Any]] | None = None,
    ) -> None:
        """`keys` are the names of the senders' keys, by address, the one of everybody else first, and `views` the chain as each sees it.
        `refusals` are the last ones, `parked` how many events wait for an operator; `drawn` is None where redeemed tickets are not
        followed.

        `rpc` is None where the chain is not read by polling; `outcomes` are answers on the paying routes by status."""
        self._keys = keys
        self._views = views
        self._first = next(iter(keys))
        self._rpc = rpc
        self._feed = feed
        self._controls = controls
        self._prices = prices
        self._discovery = discovery
        self._deposit_multiplier = deposit_multiplier
        self._ready_checks = ready_checks
        self._outcomes = outcomes
        self._runway = runway
        self._clock_ns = clock_ns
        self._refusals = refusals
        self._parked = parked
        self._drawn = drawn
        self._searching = asyncio.Lock()
        self._ledger_figures = Resting(partial(self._read_ledger, controls)) if controls is not None else None

    async def read(self, hours: int) -> dict[str, Any]:
        """Everything, with spending over the last `hours`. Amounts are decimal strings in wei, ages are seconds.

        Figures of a large ledger are those that were last added up, with their time as `ledger_read`.
        """
        now_ms = self._clock_ns() // NS_PER_MS
        checks = self._ready_checks()
        kept, faults = await self._kept(hours)
        return {
            "now": now_ms / 1000,
            "version": __version__,
            "address": checksum_address(self._first),
            "ready": {"ready": all(check.ok for check in checks), "checks": [check._asdict() for check in checks]},
            "chain": self._describe_chain(),
            "feed": self._describe_feed(),
            **self._describe_sender(self._first),
            **({"senders": self._describe_senders()} if len(self._keys) > 1 else {}),
            "ledger_read": None,
            "spend": None,
            "sessions": None,
            "budgets": None,
            "budget_count": None,
            "refusals": list(self._refusals()),
            "parked": None if self._parked is None else self._parked(),
            "switches": None,
            **kept,
            "outcomes": describe_outcomes(self._outcomes()),
            "discovery": self._describe_discovery(),
            "prices": {
                "ceilings": self._prices.describe(),
                "absolute": self._prices.describe_absolute(),
                "kept_in": self._prices.kept_in,
            },
            "faults": faults,
        }

    async def budgets(self, search: str, first: int) -> dict[str, Any]:
        """A page of the budgets whose id holds `search`, the fullest first. One search at a time reads the ledger."""
        if self._controls is None:
            return _describe_budgets([], 0)
        async with self._searching:
            return _describe_budgets(*await self._controls.fullest(MOST_BUDGETS, first, search))

    def _describe_chain(self) -> dict[str, Any]:
        view, rpc = self._views[self._first](), self._rpc
        common: dict[str, Any] = {"l1_block": view.l1_block, "round": view.last_initialized_round, "paused": view.paused}
        if rpc is None:
            return {**common, "source": "static", "max_head_age_seconds": None, "endpoints": []}
        status = rpc.status()
        if status.age_seconds is None:  # unknown is not 0
            common = {"l1_block": None, "round": None, "paused": False}
        endpoints = [
            {"name": e.name, "is_healthy": e.is_healthy, "fault": e.fault, "l1_block": e.l1_block, "in_use": index == status.in_use}
            for index, e in enumerate(status.endpoints)
        ]
        return {
            **common,
            "source": "rpc",
            "age_seconds": status.age_seconds,
            "max_age_seconds": status.max_age_seconds,
            "head_age_seconds": status.head_age_seconds,
            "max_head_age_seconds": status.max_head_age_seconds,
            "endpoints": endpoints,
        }

    def _describe_feed(self) -> dict[str, Any] | None:
        if self._feed is None:
            return None
        status = self._feed.status()
        return {
            "currency": status.rate.currency if status.rate else "",
            "per_eth": float_string(status.rate.per_eth, 2) if status.rate else "",
            "age_seconds": status.age_seconds,
            "max_age_seconds": status.max_age_seconds,
            "fault": status.fault,
        }

    def _describe_discovery(self) -> dict[str, Any] | None:
        if self._discovery is None:
            return None
        status = self._discovery.status()
        return status._asdict() | {"reasons": [absence._asdict() for absence in status.reasons]}

    def _describe_senders(self) -> list[dict[str, Any]]:
        return [{"key": name, "address": checksum_address(sender), **self._describe_sender(sender)} for sender, name in self._keys.items()]

    def _describe_sender(self, sender: bytes) -> dict[str, Any]:
        return {"funding": self._describe_funding(sender), "drawn": None if self._drawn is None else self._drawn(sender)}

    def _describe_funding(self, sender: bytes) -> dict[str, Any]:
        view, runway = self._views[sender](), self._runway(sender)
        is_known = self._rpc is None or self._rpc.status().age_seconds is not None
        return {
            "deposit_wei": str(view.deposit_wei) if is_known else None,
            "reserve_wei": str(view.reserve_wei) if is_known else None,
            "withdraw_round": view.withdraw_round,
            "max_face_value_wei": str(view.deposit_wei // self._deposit_multiplier) if is_known else None,
            "burn_wei_per_hour": None if runway is None else str(runway.burn_wei_per_hour),
            "runway_hours": None if not is_known or runway is None or math.isinf(runway.median_hours) else runway.median_hours,
            "runway": None if not is_known or runway is None or not runway.burn_wei_per_hour else describe_runway(runway),
        }

    async def _kept(self, hours: int) -> tuple[dict[str, Any], list[str]]:
        if self._controls is None or self._ledger_figures is None:
            return {}, []
        try:
            switches = {"switches": await self._switches(self._controls)}
            figures = await self._ledger_figures.get(hours)
        except LedgerUnavailable as error:
            return {}, [f"ledger: {error}"]
        if figures is None:
            return switches, ["ledger: its figures are being added up, which takes more than a moment"]
        return figures | switches, []

    async def _read_ledger(self, controls: Controls, hours: int) -> dict[str, Any]:
        now_ms = self._clock_ns() // NS_PER_MS
        now_minute = now_ms // MS_PER_MINUTE
        span = span_until(now_minute, hours * 60 // BUCKETS, BUCKETS)
        minutes = Minutes(span.first_minute, now_minute)
        by_auth_id = await controls.largest_spend(minutes, "auth_id", MOST_NAMES, span.bucket_minutes)
        by_orchestrator = await controls.largest_spend(minutes, "orchestrator", MOST_NAMES, span.bucket_minutes)
        # the total last: what is paid meanwhile must not be missing in it
        total = spending(await controls.spend_over_time(minutes, span.bucket_minutes), span)
        started = [await controls.sessions(now_ms - ago * MS_PER_MINUTE) for ago in (60, 1)]
        return {
            "ledger_read": now_ms / 1000,
            "spend": describe_spend(total, by_auth_id, by_orchestrator, span),
            "sessions": {"started_last_hour": started[0], "started_last_minute": started[1]},
            **_describe_budgets(*await controls.fullest(MOST_BUDGETS)),
        }

    async def _switches(self, controls: Controls) -> dict[str, Any]:
        """Always as they are now: an operator looks whether a change of theirs holds."""
        newest, in_force = await controls.switches(MOST_SWITCHES), await controls.in_force()
        return {
            "all": in_force.all,
            "count": len(in_force.auth_ids),
            "auth_ids": sorted(switch.auth_id for switch in newest if switch.auth_id is not None),
        }


def _describe_budgets(uses: Sequence[BudgetUse], count: int) -> dict[str, Any]:
    return {"budgets": [use.describe() for use in uses], "budget_count": count}


def describe_outcomes(by_status: Mapping[str, int]) -> dict[str, int]:
    """Answers on the paying routes since the numbers began, by what they mean to a session."""
    named = {"paid": by_status.get("200", 0), **{name: by_status.get(status, 0) for name, status in SESSION_STATUSES.items()}}
    return {**named, "other": sum(by_status.values()) - sum(named.values())}


def describe_spend(total: Spending, by_auth_id: LargestSpend, by_orchestrator: LargestSpend, span: Span) -> dict[str, Any]:
    """Spending over time, by auth id and by orchestrator."""
    return {
        "first_minute": span.first_minute,
        "bucket_minutes": span.bucket_minutes,
        "buckets": span.buckets,
        "orchestrators": by_orchestrator.distinct,
        "total": _describe("", total),
        "by_auth_id": _describe_all(by_auth_id, total, span, bytes_text),
        "by_orchestrator": _describe_all(by_orchestrator, total, span, checksum_address),
    }


def _describe_all(largest: LargestSpend, total: Spending, span: Span, spell: Callable[[bytes], str]) -> list[dict[str, Any]]:
    shown = [spending(buckets, span) for _, buckets in largest.names]
    described = [_describe(spell(name), part) for (name, _), part in zip(largest.names, shown, strict=True)]
    return described if largest.distinct <= len(shown) else [*described, _describe("", rest_of(total, shown), is_rest=True)]


def _describe(name: str, part: Spending, is_rest: bool = False) -> dict[str, Any]:
    return {
        "name": name,
        "is_rest": is_rest,
        "payments": part.paid.payments,
        "tickets": part.paid.tickets,
        "ev_wei": str(part.paid.ev_wei),
        "fee_wei": str(part.paid.fee_wei),
        "ev_wei_by_bucket": [str(value) for value in part.ev_wei_by_bucket],
    }
