"""What a session owes: units by job type, fee, and how many tickets cover it.

Source: section 6 of the protocol, steps 11 to 15. Amounts are exact; the one float is a duration in seconds,
from which go-livepeer computes units and which therefore must be the same IEEE double.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil, gcd
from typing import Any, TypeAlias

from msgspec import Struct

from livepeer_remote_signer.core.errors import BadJobType, NoBillableUnits, NoTickets
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_MS, NS_PER_SECOND

PIXELS_PER_SECOND = 1280 * 720 * 30
FIRST_LV2V_SECONDS = 60
FIRST_LIVE_SECONDS = 10
MAX_DURATION_NS = 2**63 - 1
"""Go's time differences stop here, at 292 years."""

MAX_TICKETS = 100
"""What the recipient and the consumers of events accept in one payment."""

DATED_AHEAD_NS = 30 * NS_PER_SECOND
"""Clocks of replicas differ by less; a date that lies further ahead was written while some clock was wrong."""


Ratio: TypeAlias = tuple[int, int]
"""An exact amount, wei: numerator and positive denominator, not always in lowest terms. A Fraction takes five times as long to make."""


class Billed(Struct, frozen=True, gc=False):
    """Units that are due, and the time they stand for (0 where time does not count)."""

    units: int
    elapsed_ns: int


def bill_units(job_type: str, in_pixels: int, last_update_ns: int | None, now_ns: int, *, is_clock_right: bool = False) -> Billed:
    """Units due since `last_update_ns`; the first payment of lv2v and live is a fixed number of seconds.

    A session dated further ahead than clocks differ owes one second where this clock `is_clock_right`: else it would stand
    still for as long as some clock was wrong. Raises BadJobType, NoBillableUnits, and NoTickets when no time has passed
    since the last payment.
    """
    if job_type == "live" or job_type == "lv2v":
        if last_update_ns is None:
            elapsed_ns = (FIRST_LIVE_SECONDS if job_type == "live" else FIRST_LV2V_SECONDS) * NS_PER_SECOND
        else:
            elapsed_ns = min(now_ns - last_update_ns, MAX_DURATION_NS)
            if is_clock_right and elapsed_ns < -DATED_AHEAD_NS:
                elapsed_ns = NS_PER_SECOND
            if elapsed_ns <= 0:
                raise no_tickets("no time has passed since the last payment: ask again when some has", 1.0)
        units = ceil(go_seconds(elapsed_ns)) if job_type == "live" else lv2v_pixels(elapsed_ns)
    elif job_type == "fixed":
        units, elapsed_ns = 1, 0
    elif job_type == "":
        units, elapsed_ns = in_pixels, 0
    else:
        raise BadJobType("invalid job type", hint="type is one of live, lv2v, fixed, or empty with inPixels", type=job_type[:32])
    if units <= 0:
        raise NoBillableUnits(
            "missing billable unit or job type",
            hint="send type live, lv2v or fixed, or a positive inPixels",
            units=units,
        )
    return Billed(units, elapsed_ns)


MAX_NOT_DUE_SECONDS = 86_400
"""Nobody is told to come back later than in a day: prices and orchestrators change."""


def no_tickets(hint: str, not_due_seconds: float | None, **values: Any) -> NoTickets:
    """The refusal where nothing is due, with the time after which something is; None: where time does not count."""
    if not_due_seconds is None:
        return NoTickets("no tickets", hint=hint, **values)
    return NoTickets(
        "no tickets", hint=hint, retry_after_seconds=max(1, ceil(not_due_seconds)), nextPaymentInSeconds=not_due_seconds, **values
    )


def not_due_seconds(job_type: str, credit: Fraction, price: Fraction, elapsed_ns: int) -> float | None:
    """How long `credit` (wei), less what is to be kept ahead, still covers the time since the last payment; to the millisecond, and
    never so short that nothing is due yet when it is over. None where time does not count."""
    per_second = price * units_per_second(job_type)
    if not per_second:
        return None
    longest = elapsed_ns + MAX_NOT_DUE_SECONDS * NS_PER_SECOND
    covered_ns = bill_credit(job_type, max(Fraction(0), min(credit, per_second * Fraction(longest, NS_PER_SECOND))), price).elapsed_ns
    return max(1, (covered_ns - elapsed_ns) // NS_PER_MS + 1) / 1000


def bill_credit(job_type: str, credit: Fraction, price: Fraction) -> Billed:
    """The longest time that `credit` (wei) pays for at `price` (wei per unit): whole seconds of live, nanoseconds of lv2v."""
    units = int(credit / price)
    if job_type == "live":
        return Billed(units, units * NS_PER_SECOND)
    elapsed_ns = -(-(units + 1) * NS_PER_SECOND // PIXELS_PER_SECOND) - 1
    while lv2v_pixels(elapsed_ns) > units:  # the double product may round up to the pixel that comes next
        elapsed_ns -= 1
    return Billed(lv2v_pixels(elapsed_ns), elapsed_ns)


def lv2v_pixels(elapsed_ns: int) -> int:
    """go-livepeer's pixel count: the double product of 27,648,000 and the duration's double in seconds, truncated."""
    return int(float(PIXELS_PER_SECOND) * go_seconds(elapsed_ns))


def go_seconds(elapsed_ns: int) -> float:
    """The double that Go makes of a duration: whole seconds, plus the rest as a fraction."""
    seconds, ns = divmod(elapsed_ns, NS_PER_SECOND)
    return float(seconds) + ns / 1e9


def units_per_second(job_type: str) -> int:
    """How many units a second of credit is; 0 where time does not count."""
    return {"live": 1, "lv2v": PIXELS_PER_SECOND}.get(job_type, 0)


def seconds_between_tickets(ev: Fraction, price: Fraction, job_type: str) -> Fraction | None:
    """How long one ticket's expected value pays for at this price; None where time does not count.

    Section 13 of the protocol: an EV that is large against price and interval gives a ticket every few minutes, while
    the orchestrator tolerates about 10 s without one.
    """
    per_second = price * units_per_second(job_type)
    return ev / per_second if per_second else None


class Due(Struct, frozen=True, gc=False):
    """`tickets` cover what is due now; `tickets_ahead` (never fewer) also buy the headroom. `denominator` is common."""

    tickets: int
    tickets_ahead: int
    balance_n: int
    ev_n: int
    fee_n: int
    denominator: int

    @property
    def required_wei(self) -> int:
        """The credit that a payment must find or buy, cut to whole wei."""
        return max(self.fee_n, self.ev_n) // self.denominator

    def balance_after(self, tickets: int) -> Fraction:
        """balance + tickets * ev - fee, exactly."""
        return Fraction(self.balance_n + tickets * self.ev_n - self.fee_n, self.denominator)

    def bought_beyond(self, tickets: int) -> Fraction:
        """What so many tickets buy beyond what is owed and not covered by the credit, wei; below 0: they do not cover it."""
        return Fraction(tickets * self.ev_n - self._uncovered_n, self.denominator)

    def tickets_within(self, credit: Fraction) -> int:
        """The most tickets that buy no more than `credit` (wei) beyond what is owed. A ticket must be worth something."""
        return int((credit * self.denominator + self._uncovered_n) / self.ev_n)

    @property
    def _uncovered_n(self) -> int:
        return max(0, self.fee_n - self.balance_n)


def tickets_due(balance: Fraction, fee: Ratio, ev: Ratio, ahead: Fraction | None = None, least: int = 0) -> Due:
    """The smallest number of tickets with balance + n * ev >= max(fee, ev), and the number that also covers `ahead`.

    `tickets` is `least` when the credit suffices, and 0 when a ticket is worth nothing. Whole-number arithmetic on one common
    denominator: Fraction would normalise with a gcd at every step.
    """
    balance_n, balance_d = balance.as_integer_ratio()
    ev_n, ev_d = ev
    fee_n, fee_d = fee
    denominator = balance_d
    if denominator % ev_d:
        denominator = denominator // gcd(denominator, ev_d) * ev_d
    if denominator % fee_d:
        denominator = denominator // gcd(denominator, fee_d) * fee_d
    if denominator != balance_d:
        balance_n *= denominator // balance_d
    if denominator != ev_d:
        ev_n *= denominator // ev_d
    if denominator != fee_d:
        fee_n *= denominator // fee_d
    if ev_n == 0:
        return Due(0, 0, balance_n, ev_n, fee_n, denominator)
    missing = (fee_n if fee_n > ev_n else ev_n) - balance_n
    tickets = -(-missing // ev_n) if missing > 0 else 0
    if tickets < least:
        tickets = least
    tickets_ahead = tickets
    if ahead:
        wanted = fee_n + ahead.numerator * denominator // ahead.denominator - balance_n
        tickets_ahead = max(tickets, -(-wanted // ev_n))
    return Due(tickets, tickets_ahead, balance_n, ev_n, fee_n, denominator)
