"""What is counted of payments and of everything around them, under names that dashboards know.

Source of the `livepeer_*` names without `signer`: section 12 of the protocol; amounts under them are in gwei. They follow
from counters of ours when somebody asks, so that a payment pays for each number once.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from livepeer_remote_signer.adapters.metrics.registry import Merged, Metrics
from livepeer_remote_signer.core.errors import SignerError
from livepeer_remote_signer.core.rules.billing import units_per_second
from livepeer_remote_signer.core.rules.events import EVENT_TYPE
from livepeer_remote_signer.core.rules.limits import find_fault
from livepeer_remote_signer.core.rules.payment import OpenedSession, PaymentPlan
from livepeer_remote_signer.core.rules.trail import Trail

SECONDS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
CREDIT_SECONDS = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
WEI_PER_GWEI = 10**9
USUAL_STATUSES = frozenset({"200", "480", "482"})
"""Statuses of sessions that go as they should: nobody failed to be paid."""

TYPE_LABELS = {"live": "live", "lv2v": "lv2v", "fixed": "fixed", "": "pixels"}
UNKNOWN_TYPE = "unknown"
REPEATED = "repeated"
"""The code of a reply from the ledger to a request that was paid before."""

PHASES = ("parse", "open", "policy", "sign")
"""The phases that every payment has; the others appear where they are configured."""

RATE_WINDOW_SECONDS = 3600.0

FOLD_AT = 64
"""How many outcomes wait to be counted: then what it takes is in the processor's cache for all but the first."""

_Outcome: TypeAlias = tuple[PaymentPlan | None, SignerError | None, Trail, float]
"""What was paid, or why not, or neither where a reply was given again; the request's trail; when it ended."""


class PaymentMetrics:
    """Told of every outcome on a paying route, and of every reply on the others."""

    def __init__(self, metrics: Metrics, status_of: Callable[[SignerError], int]) -> None:
        self._status_of = status_of
        self._requests = metrics.counter("livepeer_signer_requests_total", "Requests answered.", ("route", "status", "code", "type"))
        self._seconds = metrics.histogram(
            "livepeer_signer_request_seconds", "Time from a whole request to its reply, on the paying routes.", SECONDS, ("route",)
        )
        self._phases = metrics.histogram("livepeer_signer_phase_seconds", "Time spent in each phase of a payment.", SECONDS, ("phase",))
        self._credit = metrics.histogram(
            "livepeer_signer_credit_seconds",
            "How long the credit lasts at the session's price, after a payment.",
            CREDIT_SECONDS,
            ("type",),
        )
        self._paid = metrics.tally(
            "livepeer_signer_paid",
            ("type",),
            (
                ("livepeer_signer_payments_total", "Payments made."),
                ("livepeer_signer_tickets_total", "Tickets signed in payments that were made."),
                ("livepeer_signer_ev_gwei_total", "Expected value of these tickets: what was spent."),
                ("livepeer_signer_fee_gwei_total", "What the billed units cost."),
                ("livepeer_signer_face_value_gwei_total", "Face value of these tickets: what would be lost if all of them won."),
            ),
        )
        self._face_value = metrics.latest("livepeer_gateway_ticket_face_value", "Face value of the last ticket, gwei.")
        metrics.derived("livepeer_tickets_sent", "Tickets sent.", self._paid, lambda merged: _column(merged, 1))
        metrics.derived("livepeer_ticket_value_sent", "Expected value of the tickets sent, gwei.", self._paid, lambda m: _column(m, 2))
        metrics.derived("livepeer_payment_create_errors", "Payments that were asked for and not made.", self._requests, _errors)
        self._metrics = metrics
        self._waiting: list[_Outcome] = []
        metrics.before_reading(self.fold)
        for kind in TYPE_LABELS.values():
            self._paid.slot((kind,))
        for phase in PHASES:
            self._phases.slot((phase,))

    def paid(self, plan: PaymentPlan, trail: Trail) -> None:
        """Counts a payment, soon."""
        self._later((plan, None, trail, time.perf_counter()))

    def repeated(self, trail: Trail) -> None:
        """Counts a reply that was given again, soon: a request, but no payment."""
        self._later((None, None, trail, time.perf_counter()))

    def refused(self, error: SignerError, trail: Trail) -> None:
        """Counts a refusal or failure, soon."""
        self._later((None, error, trail, time.perf_counter()))

    def replied(self, route: str, status: int) -> None:
        """Counts a reply on a route that pays nothing; `route` is a route's pattern or `other`."""
        self._requests.add(1.0, route, str(status), "ok" if status < 400 else "error", "")

    def fold(self) -> None:
        """Counts what waits: one after the other in a row this takes a third of the time, while a payment waits for none."""
        waiting, self._waiting = self._waiting, []
        payments: defaultdict[tuple[str, str], list[PaymentPlan]] = defaultdict(list)
        seconds: defaultdict[str, list[float]] = defaultdict(list)
        phases: defaultdict[str, list[float]] = defaultdict(list)
        for plan, error, trail, ended in waiting:
            if plan is not None:
                payments[trail.route, plan.session.request.type].append(plan)
            elif error is not None:
                code = (error.hidden_failure or error).code
                self._requests.add(1.0, trail.route, str(self._status_of(error)), code, _kind_of(trail.session))
            else:
                self._requests.add(1.0, trail.route, "200", REPEATED, _kind_of(trail.session))
            seconds[trail.route].append(ended - trail.started)
            for phase, began, done in trail.marks:
                phases[phase].append(done - began)
        for (route, job_type), plans in payments.items():
            self._count_payments(plans, route, job_type)
        for route, observed in seconds.items():
            self._seconds.observe_all(observed, route)
        for phase, observed in phases.items():
            self._phases.observe_all(observed, phase)

    def _later(self, outcome: _Outcome) -> None:
        self._waiting.append(outcome)
        if len(self._waiting) >= FOLD_AT:
            self.fold()

    def _count_payments(self, plans: Sequence[PaymentPlan], route: str, job_type: str) -> None:
        """Payments of one type on one route."""
        kind = TYPE_LABELS.get(job_type, UNKNOWN_TYPE)
        per_second = units_per_second(job_type)
        tickets, face_value = 0, 0
        spent = fees = 0.0
        credits = []
        for plan in plans:
            info, count = plan.session.info, plan.num_tickets
            ev_n, ev_d = info.ev_ratio
            price_n, price_d = plan.price.as_integer_ratio()
            tickets += count
            face_value += info.ticket_params.face_value * count
            spent += ev_n * count / ev_d
            fees += plan.billed.units * price_n / price_d
            if per_second:
                balance_n, balance_d = plan.state.balance.as_integer_ratio()
                credits.append(balance_n * price_d / (balance_d * price_n * per_second))
        self._requests.add(float(len(plans)), route, "200", "ok", kind)
        self._paid.add((float(len(plans)), tickets, spent / WEI_PER_GWEI, fees / WEI_PER_GWEI, face_value / WEI_PER_GWEI), kind)
        self._face_value.set(plans[-1].session.info.ticket_params.face_value / WEI_PER_GWEI)
        if credits:
            self._credit.observe_all(credits, kind)

    def outcomes(self) -> dict[str, int]:
        """Answers on the paying routes by status, over all workers."""
        found: dict[str, int] = {}
        for (_, status, _, kind), values in self._metrics.merged(self._requests).items():
            if kind:
                found[status] = found.get(status, 0) + int(values[0])
        return found

    def spent_gwei(self) -> float:
        """Expected value of all tickets of all workers, since the numbers began."""
        return _column(self._metrics.merged(self._paid), 2)


def _kind_of(session: OpenedSession | None) -> str:
    return UNKNOWN_TYPE if session is None else TYPE_LABELS.get(session.request.type, UNKNOWN_TYPE)


def _column(merged: Merged, index: int) -> float:
    return sum(values[index] for values in merged.values())


def _errors(merged: Merged) -> float:
    """On the paying routes, which alone have a type."""
    return sum(values[0] for (_, status, _, kind), values in merged.items() if kind and status not in USUAL_STATUSES)


class EventMetrics:
    """What happens to billing events."""

    def __init__(self, metrics: Metrics) -> None:
        self._sent = metrics.counter("livepeer_signer_events_sent_total", "Billing events that a sink has taken.", ("sink",))
        self._failures = metrics.counter(
            "livepeer_signer_event_send_failures_total", "Batches of billing events that a sink did not take.", ("sink",)
        )
        self.lost = metrics.counter(
            "livepeer_signer_events_lost_total", "Billing events that were dropped unsent: only without a ledger, or as configured."
        )
        self._kafka = metrics.counter("livepeer_kafka_event_send_errors", "Batches of events that Kafka did not take.", ("event_type",))
        self._kafka.slot((EVENT_TYPE,))

    def expect(self, kind: str) -> None:
        """Shows zeros for a sink of this kind before anything was sent."""
        self._sent.slot((kind,))
        self._failures.slot((kind,))

    def sent(self, kind: str, events: int) -> None:
        """A sink of this kind took so many."""
        self._sent.add(events, kind)

    def send_failed(self, kind: str) -> None:
        """A sink of this kind did not take a batch."""
        self._failures.add(1.0, kind)
        if kind == "kafka":
            self._kafka.add(1.0, EVENT_TYPE)


class SpendRate:
    """How fast money is spent, from samples of a counter over the last hour."""

    def __init__(self, spent_gwei: Callable[[], float], clock: Callable[[], float] = time.monotonic) -> None:
        self._spent_gwei = spent_gwei
        self._clock = clock
        self._samples: deque[tuple[float, float]] = deque()
        self.sample()

    def sample(self) -> None:
        """To be called about once a minute."""
        now = self._clock()
        self._samples.append((now, self._spent_gwei()))
        while len(self._samples) > 1 and now - self._samples[1][0] >= RATE_WINDOW_SECONDS:
            self._samples.popleft()

    def wei_per_second(self) -> float:
        """The mean since the oldest sample, at most an hour; 0 while nothing was spent."""
        began, before = self._samples[0]
        elapsed = self._clock() - began
        return max(0.0, self._spent_gwei() - before) * WEI_PER_GWEI / elapsed if elapsed > 0 else 0.0

    def runway_seconds(self, deposit_wei: int) -> float:
        """How long a deposit lasts at this rate; infinite while nothing is spent."""
        rate = self.wei_per_second()
        return deposit_wei / rate if rate > 0 else float("inf")


def add_chain_gauges(metrics: Metrics, view: Callable[[], Any], age_seconds: Callable[[], float | None], rate: SpendRate) -> None:
    """Gauges of a chain view (`core.chain.ChainView`), under our names and those of section 12."""

    def gwei(name: str) -> Callable[[], float]:
        return lambda: getattr(view(), name) / WEI_PER_GWEI

    for name in ("livepeer_gateway_deposit", "livepeer_broadcaster_deposit"):
        metrics.gauge(name, "Deposit of the sender in TicketBroker, gwei.", gwei("deposit_wei"))
    for name in ("livepeer_gateway_reserve", "livepeer_broadcaster_reserve"):
        metrics.gauge(name, "Reserve of the sender in TicketBroker, gwei.", gwei("reserve_wei"))

    def max_float() -> float | None:
        now = view()
        return now.reserve_wei / now.transcoder_pool_size / WEI_PER_GWEI if now.transcoder_pool_size else None

    metrics.gauge("livepeer_gateway_max_float", "What one orchestrator may claim of the reserve in a round, gwei.", max_float)
    metrics.gauge(
        "livepeer_signer_runway_seconds",
        "How long the deposit lasts at the rate of the last hour.",
        lambda: rate.runway_seconds(view().deposit_wei),
    )
    metrics.gauge("livepeer_signer_chain_age_seconds", "Age of the last good chain reading.", age_seconds)
    metrics.gauge("livepeer_signer_chain_usable", "1 while the chain reading allows payments.", lambda: float(find_fault(view()) is None))
    metrics.gauge("livepeer_signer_chain_l1_block", "L1 block of the chain reading.", lambda: view().l1_block)
    metrics.gauge("livepeer_signer_chain_round", "Last initialized round.", lambda: view().last_initialized_round)
    metrics.gauge(
        "livepeer_signer_withdraw_round", "Round in which the funds unlock; 0 while they are locked.", lambda: view().withdraw_round
    )
