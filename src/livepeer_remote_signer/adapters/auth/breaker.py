"""A circuit breaker: stops asking a service that does not answer, and lets one call through to see whether it does again.

Only silence counts: time-outs, connections that fail, and questions that were still open when our own time was over. A service
that answers, whatever it says, is there. What one caller's data causes counts for that caller: only where more than half of
those who asked lately met silence last is nobody asked for.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

FAILURES_TO_OPEN = 5
OPEN_SECONDS = 2.0
LATELY_SECONDS = 60.0
MAX_CALLERS = 1024
EVERYBODY = ""


@dataclass(slots=True)
class _Circuit:
    """Of one caller, or of everybody."""

    failures: int = 0
    opened_at: float | None = None
    """When calls were held back, or when the newest probe set out: a probe that was long in vain has waited already."""

    is_probing: bool = False
    settled_at: float = 0.0

    def may_enter(self, now: float, open_seconds: float) -> bool:
        return self.opened_at is None or not (self.is_probing or now - self.opened_at < open_seconds)


class CircuitBreaker:
    """Closed: every call goes. Open: none does, for `open_seconds`. Half-open: one does, and its outcome decides; the next one goes
    `open_seconds` after it went, or when its silence ends."""

    def __init__(self, clock: Callable[[], float], failures_to_open: int = FAILURES_TO_OPEN, open_seconds: float = OPEN_SECONDS) -> None:
        self._clock = clock
        self._failures_to_open = failures_to_open
        self._open_seconds = open_seconds
        self._all = _Circuit()
        self._callers: OrderedDict[str, _Circuit] = OrderedDict()

    @property
    def is_open(self) -> bool:
        """Whether calls are held back for everybody, but for a probe."""
        return self._all.opened_at is not None

    def enter(self, caller: str = EVERYBODY) -> bool:
        """Whether this caller's call may go. Every call that may must end in `answered`, `silent` or `abandoned`."""
        now, own = self._clock(), self._callers.get(caller)
        circuits = [circuit for circuit in (self._all, own) if circuit is not None]
        if not all(circuit.may_enter(now, self._open_seconds) for circuit in circuits):
            return False
        for circuit in circuits:
            if circuit.opened_at is not None:
                circuit.is_probing, circuit.opened_at = True, now
        return True

    def answered(self, caller: str = EVERYBODY) -> None:
        """The service spoke."""
        self._all = _Circuit()
        self._settle(caller, _Circuit())

    def silent(self, caller: str = EVERYBODY) -> None:
        """The service did not answer in time, or could not be reached."""
        own = self._settle(caller, self._callers.get(caller) or _Circuit())
        self._fail(own)
        now = own.settled_at
        lately = [circuit for circuit in self._callers.values() if now - circuit.settled_at < LATELY_SECONDS]
        self._all.failures += 1
        is_everybodys = 2 * sum(1 for circuit in lately if circuit.failures) > len(lately)
        if not self._all.is_probing and is_everybodys and self._all.failures >= self._failures_to_open:
            self._all.opened_at = now
        self._all.is_probing = False

    def abandoned(self, caller: str = EVERYBODY) -> None:
        """The call was given up for reasons of the caller's: it says nothing of the service."""
        for circuit in (self._all, self._callers.get(caller)):
            if circuit is not None and circuit.is_probing:
                circuit.is_probing, circuit.opened_at = False, float("-inf")  # the next call probes in its place

    def _fail(self, circuit: _Circuit) -> None:
        circuit.failures += 1
        if not circuit.is_probing and circuit.failures >= self._failures_to_open:
            circuit.opened_at = self._clock()
        circuit.is_probing = False

    def _settle(self, caller: str, circuit: _Circuit) -> _Circuit:
        """Keeps what became of a caller's call, the newest last."""
        circuit.settled_at = self._clock()
        self._callers[caller] = circuit
        self._callers.move_to_end(caller)
        if len(self._callers) > MAX_CALLERS:
            self._callers.popitem(last=False)
        return circuit
