"""What became known of one request on a paying route: its names, its session, and where its time went.

Made at the edge when a request has arrived whole, and passed along as an argument; metrics, traces, logs and the billing
event read it. It reads no clock of its own: the edge gives it one.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TypeAlias

from livepeer_remote_signer.core.rules.fairness import Place
from livepeer_remote_signer.core.rules.payment import OpenedSession, PaymentRequest

Mark: TypeAlias = tuple[str, float, float]
"""A phase that is over, when it began and when it ended, in seconds of the trail's clock. A plain tuple: a payment makes five."""


def _stays() -> bool:
    return False


class Trail:
    """One request. Phases are named as in the metrics.

    parse (body to request), identify, open (the request held against its session), lookup, policy (chain, units, price,
    tickets), webhook, recipients (the chain's word), turn (until this caller is next), sign, event, ledger (which includes the
    last two: the ledger signs in its transaction).
    """

    __slots__ = (
        "answer_by",
        "auth_id",
        "caller",
        "client_id",
        "clock",
        "has_left",
        "marks",
        "place",
        "request",
        "request_id",
        "route",
        "session",
        "started",
    )

    def __init__(
        self, route: str, request_id: str, client_id: str, clock: Callable[[], float], answer_seconds: float = inf, caller: str = ""
    ) -> None:
        """`request_id`: ours, 128 random bits as 32 hex digits, because consumers of events deduplicate on it; `client_id`: the
        caller's own name for the request, or ""; `clock`: monotonic seconds; `answer_seconds`: in which it is to be answered;
        `caller`: its address, and its auth id once that is known."""
        self.route = route
        self.request_id = request_id
        self.client_id = client_id
        self.clock = clock
        self.caller = caller
        self.has_left: Callable[[], bool] = _stays
        """Whether nobody is left who could read a reply, as far as that can be told."""
        self.auth_id = ""
        """Who calls, as soon as a credential, a proxy or the webhook has said so."""
        self.request: PaymentRequest | None = None
        """What was asked for, once the body was understood."""
        self.session: OpenedSession | None = None
        """The session, once it was opened."""
        self.place: Place | None = None
        """The place in work that it holds; None where it is answered at once."""
        self.marks: list[Mark] = []
        self.started = clock()
        self.answer_by = self.started + answer_seconds

    @property
    def is_late(self) -> bool:
        """Whether the time in which the request is to be answered is over."""
        return self.clock() >= self.answer_by

    def phase(self, name: str) -> Phase:
        """Marks the time that its `with` block takes, however that ends."""
        return Phase(self, name)

    def mark(self, name: str, began: float) -> None:
        """Marks a phase that ends now. In a `finally` it takes a tenth of what a `with` block takes."""
        self.marks.append((name, began, self.clock()))

    def cut(self, before: int) -> list[Mark]:
        """Takes away the marks but for the first `before`, and returns them."""
        marks = self.marks[before:]
        del self.marks[before:]
        return marks


class Phase:
    """A part of a request's way that is timed."""

    __slots__ = ("_name", "_started", "_trail")

    def __init__(self, trail: Trail, name: str) -> None:
        self._trail = trail
        self._name = name

    def __enter__(self) -> None:
        self._started = self._trail.clock()

    def __exit__(self, *_: object) -> None:
        trail = self._trail
        trail.marks.append((self._name, self._started, trail.clock()))
