"""The guard over orchestrators: pauses paying one that takes first payments and lets sessions lapse, or earns too fast.

Counts and pauses are kept by auth id and orchestrator. Nobody signs an OrchestratorInfo, so one caller can open any number
of sessions in an orchestrator's name and let them lapse: that may end his own payments to it, and nobody else's.

Values and `now` in, a refusal or nothing out; what it remembers is this process's own. Only payments that were made start
a pause: one that is merely asked for, perhaps by somebody who may not pay at all, is refused by itself. Only `live` and
`lv2v` sessions can be abandoned: a job of another type may well be one payment long.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import takewhile

from livepeer_remote_signer.core.errors import OrchestratorPaused
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_SECOND
from livepeer_remote_signer.core.rules.payment import PaymentPlan

ABANDONED_AFTER_NS = 90 * NS_PER_SECOND
"""Half again what the longest first payment covers: a session that goes on has paid again by then."""

BUCKETS = 60
MAX_PAIRS = 10_000
"""Auth ids and orchestrators that are remembered; beyond it those of the auth id that paid longest ago are forgotten."""

MAX_PAIRS_A_CALLER = 1_000
"""Of one auth id: orchestrators that it makes up take the place of its own earlier ones, not of other callers'."""

MAX_STARTED = 1_000
"""Sessions of a pair that wait to go on, beyond the limit of abandoned ones. Those that came first are kept: they are the
first that can be judged."""

_CONTINUING_TYPES = ("live", "lv2v")


@dataclass(slots=True)
class _Seen:
    """What is remembered of one caller and orchestrator: sessions that paid once, by their start; spend in wei by bucket of time."""

    started: OrderedDict[str, int] = field(default_factory=OrderedDict)
    spent: dict[int, Fraction] = field(default_factory=dict)
    paused_until_ns: int = 0
    reason: str = ""

    @property
    def spent_wei(self) -> Fraction:
        """All that is remembered of it."""
        return sum(self.spent.values(), Fraction(0))


class OrchestratorGuard:
    """Counts within a rolling window, in sixtieths of it. `None` as a limit: that rule is off."""

    def __init__(
        self, *, window_seconds: float, pause_seconds: float, max_abandoned_sessions: int | None = None, max_spend_wei: int | None = None
    ) -> None:
        self._window_ns = int(window_seconds * NS_PER_SECOND)
        self._bucket_ns = max(1, self._window_ns // BUCKETS)
        self._pause_ns = int(pause_seconds * NS_PER_SECOND)
        self._max_abandoned = max_abandoned_sessions
        self._max_spend_wei = max_spend_wei
        self._max_started = MAX_STARTED + (max_abandoned_sessions or 0)
        self._seen: OrderedDict[str, OrderedDict[bytes, _Seen]] = OrderedDict()
        self.pairs = 0
        """How many pairs are remembered."""

    def check(self, plan: PaymentPlan, *, is_paid: bool = True) -> None:
        """Raises OrchestratorPaused when this orchestrator is paused for the plan's auth id, is from now on, or would be by
        this payment. One that is not paid, but asked about, begins no pause."""
        address = plan.session.info.address
        callers = self._seen.get(plan.state.auth_id)
        seen = callers.get(address) if callers is not None else None
        if callers is None or seen is None:
            self._check_room(_Seen(), plan)
            return
        if plan.now_ns >= seen.paused_until_ns:
            reason = self._fault(seen, plan)
            if reason is None:
                self._check_room(seen, plan)
                return
            seen = _Seen(paused_until_ns=plan.now_ns + self._pause_ns, reason=reason)
            if is_paid:
                callers[address] = seen
        wait = -(-(seen.paused_until_ns - plan.now_ns) // NS_PER_SECOND)
        raise OrchestratorPaused(
            f"paying this orchestrator is paused for this caller for {wait} s: {seen.reason}",
            hint="choose another orchestrator; the operator sets recipients.guard",
            retry_after_seconds=wait,
            orchestrator="0x" + address.hex(),
        )

    def paid(self, plan: PaymentPlan) -> None:
        """Told of every payment that was made."""
        seen, state = self._remember(plan.state.auth_id, plan.session.info.address), plan.state
        if self._max_abandoned is not None:
            if not plan.session.is_new:
                seen.started.pop(state.state_id, None)
            elif state.type in _CONTINUING_TYPES and len(seen.started) < self._max_started:
                seen.started[state.state_id] = plan.now_ns
        if self._max_spend_wei is not None:
            bucket = plan.now_ns // self._bucket_ns
            seen.spent[bucket] = seen.spent.get(bucket, Fraction(0)) + plan.total_ev

    def _remember(self, auth_id: str, address: bytes) -> _Seen:
        """The pair's record, the newest now; what was not paid for longest makes room."""
        callers = self._seen.setdefault(auth_id, OrderedDict())
        self._seen.move_to_end(auth_id)
        if address not in callers:
            callers[address] = _Seen()
            self.pairs += 1
            if len(callers) > MAX_PAIRS_A_CALLER:
                callers.popitem(last=False)
                self.pairs -= 1
            elif self.pairs > MAX_PAIRS:
                oldest_id, oldest = next(iter(self._seen.items()))
                oldest.popitem(last=False)
                self.pairs -= 1
                if not oldest:
                    del self._seen[oldest_id]
        callers.move_to_end(address)
        return callers[address]

    def _fault(self, seen: _Seen, plan: PaymentPlan) -> str | None:
        """Which rule this orchestrator has broken with this caller; None for none."""
        now_ns = plan.now_ns
        if self._max_abandoned is not None and plan.session.is_new:
            while seen.started and next(iter(seen.started.values())) < now_ns - self._window_ns:
                seen.started.popitem(last=False)
            # in order of their start: at most one more than is allowed is looked at, but for the payment that ends in a pause
            abandoned = sum(1 for _ in takewhile(lambda start: start <= now_ns - ABANDONED_AFTER_NS, seen.started.values()))
            if abandoned > self._max_abandoned:
                return f"{abandoned} sessions took a first payment and never went on, more than {self._max_abandoned}"
        if self._max_spend_wei is not None:
            oldest = (now_ns - self._window_ns) // self._bucket_ns
            seen.spent = {bucket: ev for bucket, ev in seen.spent.items() if bucket >= oldest}
            spent = seen.spent_wei
            if spent >= self._max_spend_wei:
                return f"{int(spent)} wei were paid within {self._window_ns // NS_PER_SECOND} s, the limit is {self._max_spend_wei}"
        return None

    def _check_room(self, seen: _Seen, plan: PaymentPlan) -> None:
        """Raises OrchestratorPaused for a payment that would pass the limit of spend, which is not passed yet."""
        if self._max_spend_wei is None:
            return
        spent = seen.spent_wei
        if spent + plan.total_ev <= self._max_spend_wei:
            return
        raise OrchestratorPaused(
            f"{int(spent)} wei were paid to this orchestrator by this caller within {self._window_ns // NS_PER_SECOND} s, "
            f"and the {int(plan.total_ev)} wei of this payment would pass the limit of {self._max_spend_wei}",
            hint="choose another orchestrator; the operator sets recipients.guard.max_spend_wei",
            retry_after_seconds=self._frees_up_seconds(seen, plan, spent + plan.total_ev - self._max_spend_wei),
            orchestrator="0x" + plan.session.info.address.hex(),
        )

    def _frees_up_seconds(self, seen: _Seen, plan: PaymentPlan, wanted_wei: Fraction) -> int | None:
        """Whole seconds until so much has left the window, rounded up; None when the payment alone passes the limit."""
        for bucket in sorted(seen.spent):
            wanted_wei -= seen.spent[bucket]
            if wanted_wei <= 0:
                return -(-((bucket + 1) * self._bucket_ns + self._window_ns - plan.now_ns) // NS_PER_SECOND)
        return None
