"""What is counted of payments and of everything around them, under names that dashboards know.

Source of the `livepeer_*` names without `signer`: section 12 of the protocol; amounts under them are in gwei. They follow
from counters of ours when somebody asks, so that a payment pays for each number once.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Protocol, TypeAlias

from livepeer_remote_signer.adapters.metrics.by_sender import LABELS, sender_labels
from livepeer_remote_signer.adapters.metrics.registry import Merged, Metrics
from livepeer_remote_signer.core.errors import Failed, SignerError
from livepeer_remote_signer.core.protocol.amounts import WEI_PER_GWEI
from livepeer_remote_signer.core.rules.billing import units_per_second
from livepeer_remote_signer.core.rules.payment import OpenedSession, PaymentPlan
from livepeer_remote_signer.core.rules.trail import Trail

SECONDS = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
CREDIT_SECONDS = (0.0, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
USUAL_STATUSES = frozenset({"200", "480", "482"})
"""Statuses of sessions that go as they should: nobody failed to be paid."""

TYPE_LABELS = {"live": "live", "lv2v": "lv2v", "fixed": "fixed", "": "pixels"}
UNKNOWN_TYPE = "unknown"
REPEATED = "repeated"
"""The code of a reply from the ledger to a request that was paid before."""

PHASES = ("parse", "open", "policy", "sign")
"""The phases that every payment has; the others appear where they are configured."""


FOLD_AT = 64
"""How many outcomes wait to be counted: then what it takes is in the processor's cache for all but the first."""

_Outcome: TypeAlias = tuple[PaymentPlan | None, SignerError | None, Trail, float]
"""What was paid, or why not, or neither where a reply was given again; the request's trail; when it ended."""


class PaymentMetrics:
    """Told of every outcome on a paying route, and of every reply on the others."""

    def __init__(self, metrics: Metrics, status_of: Callable[[SignerError], int], keys: Mapping[bytes, str] = MappingProxyType({})) -> None:
        """`keys` are the names of several senders' keys, by address: what each spends is counted beside what all do."""
        self._status_of = status_of
        self._senders = sender_labels(keys) if len(keys) > 1 else {}
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
        if self._senders:
            self._by_sender = metrics.tally(
                "livepeer_signer_sender_paid",
                LABELS,
                (
                    ("livepeer_signer_sender_tickets_total", "Tickets signed for each sender, in payments that were made."),
                    ("livepeer_signer_sender_ev_gwei_total", "Expected value of these tickets."),
                    ("livepeer_signer_sender_face_value_gwei_total", "Face value of these tickets."),
                ),
            )
        self._in_doubt = metrics.counter(
            "livepeer_signer_payments_in_doubt_total", "Payments that the ledger was told to record without an answer: recorded or not."
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
                behind = error.hidden_failure or error
                self._requests.add(1.0, trail.route, str(self._status_of(error)), behind.code, _kind_of(trail.session))
                if isinstance(behind, Failed) and behind.may_be_recorded:
                    self._in_doubt.add(1.0)
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
        if self._senders:
            self._count_by_sender(plans)
        self._requests.add(float(len(plans)), route, "200", "ok", kind)
        self._paid.add((float(len(plans)), tickets, spent / WEI_PER_GWEI, fees / WEI_PER_GWEI, face_value / WEI_PER_GWEI), kind)
        self._face_value.set(plans[-1].session.info.ticket_params.face_value / WEI_PER_GWEI)
        if credits:
            self._credit.observe_all(credits, kind)

    def _count_by_sender(self, plans: Sequence[PaymentPlan]) -> None:
        for plan in plans:
            (ev_n, ev_d), face_value = plan.session.info.ev_ratio, plan.total_face_value
            spent = ev_n * plan.num_tickets / ev_d
            self._by_sender.add((plan.num_tickets, spent / WEI_PER_GWEI, face_value / WEI_PER_GWEI), *self._senders[plan.sender])

    def outcomes(self) -> dict[str, int]:
        """Answers on the paying routes by status, over all workers."""
        found: dict[str, int] = {}
        for (_, status, _, kind), values in self._metrics.merged(self._requests).items():
            if kind:
                found[status] = found.get(status, 0) + int(values[0])
        return found

    def mean_face_value_gwei(self, sender: bytes | None = None) -> float:
        """Of all tickets of all workers, or a sender's, since the numbers began; 0 before the first one."""
        if sender is None or not self._senders:
            paid = self._metrics.merged(self._paid)
            tickets, face_value = _column(paid, 1), _column(paid, 4)
        else:
            tickets, _, face_value = self._of_sender(sender)
        return face_value / tickets if tickets else 0.0

    def spent_gwei(self, sender: bytes | None = None) -> float:
        """Expected value of all tickets of all workers, or a sender's, since the numbers began."""
        if sender is None or not self._senders:
            return _column(self._metrics.merged(self._paid), 2)
        return self._of_sender(sender)[1]

    def _of_sender(self, sender: bytes) -> Sequence[float]:
        return self._metrics.merged(self._by_sender).get(self._senders[sender], (0.0, 0.0, 0.0))


def _kind_of(session: OpenedSession | None) -> str:
    return UNKNOWN_TYPE if session is None else TYPE_LABELS.get(session.request.type, UNKNOWN_TYPE)


def _column(merged: Merged, index: int) -> float:
    return sum(values[index] for values in merged.values())


def _errors(merged: Merged) -> float:
    """On the paying routes, which alone have a type."""
    return sum(values[0] for (_, status, _, kind), values in merged.items() if kind and status not in USUAL_STATUSES)


class Work(Protocol):
    """What takes paying requests."""

    @property
    def in_work(self) -> int: ...


class Signatures(Protocol):
    """What signs tickets."""

    @property
    def signatures(self) -> int: ...


def add_work_gauges(metrics: Metrics, work: Work, signatures: Signatures) -> None:
    """What the paying routes have in work, and how many tickets were signed."""
    metrics.follow(metrics.level("livepeer_signer_requests_in_work", "Requests in work, in all workers."), lambda: work.in_work)
    made = metrics.counter("livepeer_signer_signatures_total", "Tickets signed, also where recording the payment failed.")
    metrics.follow(made, lambda: signatures.signatures)
