"""What many draws may cost: the distribution of what winning tickets take, and how unlikely a loss is. Pure.

A ticket takes its face value with its win probability, independent of all others. The sum of many is not normal where the
face values are large, so it is worked out, not approximated: the sum's characteristic function is known in closed form (a
power for so many tickets of one kind, an exponential for tickets that go on being signed at a rate), and a finite Fourier
sum over a lattice gives the probability of each amount. The lattice is the face values' own where that is fine enough to be
summed; else it is coarser, each amount is split between its two neighbours so that its mean stays, and the step is a small
part of the standard deviation. The window is so wide that what lies outside of it is below e^-40 (Bernstein's inequality).
For a loss far out the distribution is tilted towards it first (Esscher), so that small probabilities have all their digits.

Work is bounded: at most `MAX_GROUPS` kinds of tickets (nearer ones are put together, keeping mean and variance) and
`MAX_CELLS` amounts. Amounts are whole wei throughout; chances, averages and places on the lattice are floats, and a chance has
an error of about one in 10^9 of itself. Nothing is paid, billed or limited by what stands here: it is told to people.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

MAX_GROUPS = 24
MAX_CELLS = 4095
_OUTSIDE = 40.0
"""What is left out has a probability of e to this power at most."""

_MAX_TILT = 500.0
_NEXT_TO_NOTHING = 1e-300
_FAR_OUT = 3.0
"""Standard deviations."""

_HALVINGS = 80


class Kind(NamedTuple):
    """Tickets of one face value: `tickets` of a win probability, or with None so many as win `chance` times on average (Poisson)."""

    face_value_wei: int
    chance: float
    tickets: int | None = None

    @property
    def winners(self) -> float:
        """How many win on average."""
        return self.chance if self.tickets is None else self.tickets * self.chance


def mean_loss(kinds: Sequence[Kind]) -> float:
    """What they take on average, wei."""
    return math.fsum(kind.winners * kind.face_value_wei for kind in kinds)


def merge_kinds(kinds: Sequence[Kind]) -> list[Kind]:
    """At most `MAX_GROUPS` kinds with the same mean and (for tickets that seldom win) the same variance together."""
    merged = [kind for kind in kinds if kind.face_value_wei > 0 and kind.winners > 0]
    steps_an_octave = 64.0
    while len(merged) > MAX_GROUPS:
        alike: dict[tuple[int, bool], list[Kind]] = {}
        for kind in merged:
            place = math.floor(math.log2(kind.face_value_wei) * steps_an_octave)
            alike.setdefault((place, kind.tickets is None), []).append(kind)
        merged = [_merge(some) if len(some) > 1 else some[0] for some in alike.values()]
        steps_an_octave /= 2
    return merged


def _merge(kinds: Sequence[Kind]) -> Kind:
    taken = mean_loss(kinds)
    face_value = round(math.fsum(kind.winners * kind.face_value_wei**2 for kind in kinds) / taken)
    winners = taken / face_value
    if kinds[0].tickets is None:
        return Kind(face_value, winners)
    tickets = sum(kind.tickets or 0 for kind in kinds)
    return Kind(face_value, winners / tickets, tickets)


class _Cells(NamedTuple):
    """A kind on the lattice: it takes `cells` steps, or with probability `more` one more."""

    cells: int
    more: float
    chance: float
    tickets: int | None


class Losses:
    """The distribution of what tickets take together, over `hours` where they go on being signed at an hourly rate."""

    def __init__(self, kinds: Sequence[Kind], hours: float = 1.0, *, max_cells: int = MAX_CELLS) -> None:
        self._max_cells = max_cells
        scaled = [kind._replace(chance=kind.chance * hours) if kind.tickets is None else kind for kind in kinds]
        self._kinds = merge_kinds(scaled)
        self.mean_wei = mean_loss(self._kinds)
        self.most_wei = (
            None if any(k.tickets is None for k in self._kinds) else sum(k.face_value_wei * (k.tickets or 0) for k in self._kinds)
        )
        """What they take when all of them win; None: without end."""

    def chance_of(self, loss_wei: int) -> float:
        """How likely they take so much or more."""
        if loss_wei <= 0:
            return 1.0
        if not self._kinds or (self.most_wei is not None and loss_wei > self.most_wei):
            return 0.0
        step = self._step(loss_wei)
        cells = _on_lattice(self._kinds, step)
        place = loss_wei / step
        wanted = -(-loss_wei // step)
        found = _Sum(cells, _tilt_for(cells, wanted))
        if _is_exact(cells):
            return min(1.0, max(0.0, found.at_least(wanted)))
        nearest = math.floor(place + 0.5)  # what stands at a step means all that is nearer to it than to others
        beyond = found.at_least(nearest + 1)
        return min(1.0, max(0.0, beyond + (nearest + 0.5 - place) * (found.at_least(nearest) - beyond)))

    def quantile_wei(self, chance: float) -> int:
        """The amount that they pass with this probability at most: what must be there to be safe but for it."""
        if not self._kinds:
            return 0
        step = self._step(None)
        found = _Sum(_on_lattice(self._kinds, step), 0.0)
        low, high = found.first - 1, found.last  # more than `low` may be taken, more than `high` is not
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if found.at_least(middle + 1) <= chance else (middle, high)
        return high * step if self.most_wei is None else min(high * step, self.most_wei)

    def _step(self, loss_wei: int | None) -> int:
        """The face values' own lattice, or one that is fine enough and can be summed."""
        step = math.gcd(*(kind.face_value_wei for kind in self._kinds))
        while True:
            cells = _on_lattice(self._kinds, step)
            tilt = 0.0 if loss_wei is None else _tilt_for(cells, -(-loss_wei // step))
            width = _half_width(cells, tilt)
            if 2 * width + 1 <= self._max_cells:
                return step
            step = max(step + -(-step // 20), -(-step * (2 * width + 1) // self._max_cells))


def _on_lattice(kinds: Sequence[Kind], step: int) -> list[_Cells]:
    found = []
    for kind in kinds:
        cells, rest = divmod(kind.face_value_wei, step)
        found.append(_Cells(cells, rest / step, kind.chance, kind.tickets))
    return found


def _is_exact(cells: Sequence[_Cells]) -> bool:
    """Whether each face value is a whole number of steps."""
    return not any(kind.more for kind in cells)


def _weights(kind: _Cells, tilt: float) -> tuple[float, float, float]:
    """How much more often it takes its steps, and one more, under the tilt; and the sum that makes it a probability."""
    low = kind.chance * (1 - kind.more) * math.exp(tilt * kind.cells)
    high = kind.chance * kind.more * math.exp(tilt * (kind.cells + 1)) if kind.more else 0.0
    whole = 1.0 if kind.tickets is None else 1 - kind.chance + low + high
    return low, high, whole


def _moments(cells: Sequence[_Cells], tilt: float) -> tuple[float, float]:
    """Mean and variance of the tilted sum, in steps."""
    mean = variance = 0.0
    for kind in cells:
        low, high, whole = _weights(kind, tilt)
        count = 1 if kind.tickets is None else kind.tickets
        first = (low * kind.cells + high * (kind.cells + 1)) / whole
        second = (low * kind.cells**2 + high * (kind.cells + 1) ** 2) / whole
        mean += count * first
        variance += count * (second if kind.tickets is None else second - first**2)
    return mean, max(variance, 0.0)


def _half_width(cells: Sequence[_Cells], tilt: float) -> int:
    """So far from its mean the tilted sum is with a probability of e^-40 only (Bernstein)."""
    largest = max(kind.cells for kind in cells) + 1
    linear = _OUTSIDE * largest / 3
    return math.ceil(linear + math.sqrt(linear**2 + 2 * _OUTSIDE * _moments(cells, tilt)[1])) + 1


def _tilt_for(cells: Sequence[_Cells], wanted: int) -> float:
    """None where so many steps are not far out: plain sums have digits enough there."""
    mean, variance = _moments(cells, 0.0)
    return _tilt_towards(cells, wanted) if wanted > mean + _FAR_OUT * math.sqrt(variance) else 0.0


def _tilt_towards(cells: Sequence[_Cells], wanted: int) -> float:
    """The tilt under which so many steps are the mean."""
    low, high = 0.0, _MAX_TILT / (max(kind.cells for kind in cells) + 1)
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _moments(cells, middle)[0] < wanted else (low, middle)
    return low


class _Sum:
    """The tilted sum's characteristic function on its window, from `first` to `last` steps."""

    def __init__(self, cells: Sequence[_Cells], tilt: float) -> None:
        width = _half_width(cells, tilt)
        centre = round(_moments(cells, tilt)[0])
        self.first, self.last = centre - width, centre + width
        self._tilt = tilt
        self._count = 2 * width + 1
        self._log_scale = math.fsum(_log_scale(kind, tilt) for kind in cells)
        self._values = [self._value(cells, 2 * math.pi * k / self._count) for k in range(width + 1)]

    def _value(self, cells: Sequence[_Cells], angle: float) -> complex:
        total = 0j
        for kind in cells:
            low, high, whole = _weights(kind, self._tilt)
            turn = _turned(1.0, angle * kind.cells)
            further = turn * _turned(1.0, angle)
            if kind.tickets is None:  # each difference by itself: what takes no step on the average may be vast, and takes nothing
                total += low * (turn - 1) + high * (further - 1)
            else:
                base = (1 - kind.chance + low * turn + high * further) / whole
                total += kind.tickets * complex(math.log(abs(base) or _NEXT_TO_NOTHING), math.atan2(base.imag, base.real))
        return _turned(math.exp(min(total.real, 0.0)), total.imag)  # no larger but for rounding, of which much is lost in vast numbers

    def at_least(self, wanted: int) -> float:
        """The probability of so many steps or more, of the sum as it is without the tilt."""
        start = max(wanted, self.first)
        terms = max(0, self.last - start + 1)
        parts = []
        for k, value in enumerate(self._values):
            turn = _turned(math.exp(-self._tilt), -2 * math.pi * k / self._count)
            tail = terms if turn == 1 else (1 - turn**terms) / (1 - turn)
            part = (value * _turned(1.0, -2 * math.pi * (k * start % self._count) / self._count) * tail).real
            parts.append(part if k == 0 else 2 * part)
        exponent = self._log_scale - self._tilt * start
        return math.fsum(parts) / self._count * math.exp(min(exponent, 0.0 if self._tilt else exponent))


def _turned(length: float, angle: float) -> complex:
    return complex(length * math.cos(angle), length * math.sin(angle))


def _log_scale(kind: _Cells, tilt: float) -> float:
    """The logarithm of what the tilt has multiplied all probabilities by."""
    if tilt == 0:
        return 0.0
    if kind.tickets is None:
        return kind.chance * ((1 - kind.more) * math.expm1(tilt * kind.cells) + kind.more * math.expm1(tilt * (kind.cells + 1)))
    return kind.tickets * math.log(_weights(kind, tilt)[2])
