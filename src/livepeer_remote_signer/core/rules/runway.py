"""How long the sender's funds last: one definition, for metrics, console and command. Pure.

The burn is the expected value that was signed in the last hour, as the ledger's shared sums have it, taken by winners whose
face values are those that were signed. Winners come at random: so the runway is a distribution. In 1 case of 100 the deposit
is used up before the 1 % case. What the chain has paid in the last hour tells little: winners are rare, and redeemed late.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from livepeer_remote_signer.core.protocol.timestamps import NS_PER_SECOND
from livepeer_remote_signer.core.rules.draws import Kind, Losses, mean_loss
from livepeer_remote_signer.core.rules.signed import WINNER_BITS, DrawSum

CASES = (0.5, 0.05, 0.01)
"""The median, and the cases that are undercut once in 20 and once in 100 times."""

FAN_CASES = (0.01, 0.05, 0.5, 0.95, 0.99)
FAN_HOURS = (1, 6, 24, 48, 72, 96, 120, 144, 168)
WEEK_HOURS = 168
SAFE = 0.01
_CELLS = 1023
_PRECISION = 1.0002
_MAX_HOURS = 24.0 * 36525


class Burn(NamedTuple):
    """What is signed in an hour: its expected value in wei, the winners that take it, by face value (Poisson, an hour), and the face
    value of all its tickets, 0 where that is not known."""

    wei_per_hour: int
    kinds: tuple[Kind, ...]
    face_value_wei_per_hour: int = 0


class Runway(NamedTuple):
    """How long funds last. Seconds by case, infinite where nothing is signed; amounts in wei.

    `deposit_seconds` until the deposit is used up: then payments stop; `funds_seconds` until the reserve is, too. `hour_wei` and
    `day_wei` are what tickets that are still to be signed take in an hour and a day but for one time in 100; `luck.losses_ahead` has
    it together with what is outstanding. A deposit of `safe_week_wei` lasts a week but for one
    time in 100. `fan`: hours from now, and what is left of the deposit then in each of `FAN_CASES`.
    """

    burn_wei_per_hour: int
    deposit_seconds: tuple[float, ...]
    funds_seconds: tuple[float, ...]
    hour_wei: int
    day_wei: int
    safe_week_wei: int
    fan: tuple[tuple[int, tuple[int, ...]], ...]

    @property
    def median_hours(self) -> float:
        """The median of the deposit's runway."""
        return self.deposit_seconds[0] / 3600


def burn_of(wei_per_hour: int, draws: Iterable[DrawSum], mean_face_value_wei: int = 0) -> Burn:
    """The burn from what was signed in the last hour: its expected value, and its tickets by their terms. Where the terms are
    not known all tickets have the mean face value."""
    kinds = [Kind(line.face_value_wei // line.tickets, line.winners / 2**WINNER_BITS) for line in draws if line.tickets]
    signed = mean_loss(kinds)
    if wei_per_hour <= 0:
        return Burn(0, ())
    if signed <= 0:
        face_value = mean_face_value_wei or wei_per_hour
        return Burn(wei_per_hour, (Kind(face_value, wei_per_hour / face_value),))
    return Burn(wei_per_hour, tuple(kind._replace(chance=kind.chance * wei_per_hour / signed) for kind in kinds))


def burns_of(burn: Burn, draws: Iterable[DrawSum], by_sender: Mapping[bytes, Sequence[DrawSum]]) -> dict[bytes, Burn]:
    """Each sender's part of what all signed in the last hour, of whose tickets `draws` tell: as much of it as its tickets are worth of
    them all."""
    worth, face_value = _worth(draws)
    found = {}
    for sender, lines in by_sender.items():
        own_worth, own_face_value = _worth(lines)
        part = burn_of(burn.wei_per_hour * own_worth // worth if worth else 0, lines)
        found[sender] = part._replace(
            face_value_wei_per_hour=burn.face_value_wei_per_hour * own_face_value // face_value if face_value else 0
        )
    return found


def _worth(draws: Iterable[DrawSum]) -> tuple[int, int]:
    """What tickets take on average (in 2^-64 wei), and their face value."""
    worth = face_value = 0
    for line in draws:
        worth += line.winners * line.face_value_wei // line.tickets if line.tickets else 0
        face_value += line.face_value_wei
    return worth, face_value


def draw_minute(now_ns: int) -> int:
    """The unix minute from which on lines of tickets tell of the last hour."""
    return now_ns // (60 * NS_PER_SECOND) - 60


def plan_runway(deposit_wei: int, reserve_wei: int, burn: Burn) -> Runway:
    """All of it. Some tenths of a second of work at most."""
    return Runway(
        burn.wei_per_hour,
        lasts_seconds(deposit_wei, burn),
        lasts_seconds(deposit_wei + reserve_wei, burn),
        lost_wei(burn, 1),
        lost_wei(burn, 24),
        lost_wei(burn, WEEK_HOURS) + 1 if burn.kinds else 0,
        tuple((hours, _left(deposit_wei, burn, hours)) for hours in FAN_HOURS),
    )


def describe_runway(runway: Runway) -> dict[str, Any]:
    """How long the funds last, hours by case (None: no end in sight); the fan has what is left of the deposit, in wei."""

    def hours(seconds: Sequence[float]) -> dict[str, float | None]:
        return {f"{case:g}": None if math.isinf(value) else value / 3600 for case, value in zip(CASES, seconds, strict=True)}

    return {
        "deposit_hours": hours(runway.deposit_seconds),
        "funds_hours": hours(runway.funds_seconds),
        "lost_in_an_hour_wei": str(runway.hour_wei),
        "lost_in_a_day_wei": str(runway.day_wei),
        "safe_week_deposit_wei": str(runway.safe_week_wei),
        "fan_cases": list(FAN_CASES),
        "fan": [{"hours": at, "left_wei": [str(wei) for wei in left]} for at, left in runway.fan],
    }


def lasts_seconds(funds_wei: int, burn: Burn, cases: Sequence[float] = CASES) -> tuple[float, ...]:
    """How long winners leave something of the funds, by case; infinite where nothing is signed."""
    if not burn.kinds:
        return tuple(math.inf for _ in cases)
    return tuple(3600 * _lasts_hours(funds_wei, burn, case) for case in cases)


def lost_wei(burn: Burn, hours: int, case: float = SAFE) -> int:
    """What is lost in so many hours but for this case."""
    return Losses(burn.kinds, hours, max_cells=_CELLS).quantile_wei(case)


def _lasts_hours(funds_wei: int, burn: Burn, case: float) -> float:
    """The longest time in which losing it all is not likelier than the case."""
    if funds_wei <= 0:
        return 0.0

    def is_lost(hours: float) -> bool:
        return Losses(burn.kinds, hours, max_cells=_CELLS).chance_of(funds_wei) > case

    high = funds_wei / mean_loss(burn.kinds)
    if high > _MAX_HOURS:
        return math.inf
    while not is_lost(high):
        high *= 2
    low = high / 2
    while is_lost(low):
        low, high = low / 4, low
    while high > low * _PRECISION:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if is_lost(middle) else (middle, high)
    return low


def _left(deposit_wei: int, burn: Burn, hours: int) -> tuple[int, ...]:
    losses = Losses(burn.kinds, hours, max_cells=_CELLS)
    return tuple(max(0, deposit_wei - losses.quantile_wei(case)) for case in FAN_CASES)
