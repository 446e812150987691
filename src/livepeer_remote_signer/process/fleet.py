"""Which worker processes there should be: the supervisor's decisions, without processes, signals or a clock.

Rules: a generation of workers replaces the one before only when all of it is ready, so that there is never a moment
without `count` workers that accept; a new generation begins with one worker, so that a start that cannot succeed is tried
once and said once; where a start takes much memory workers start in turn; a worker that dies is replaced at once, but
one that died young later each time it happens again, and that holds up nobody else's replacement.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal, NamedTuple, TypeAlias

READY_SECONDS = 60.0
"""How long a worker may take from its start until it is ready."""

FIRST_DELAY_SECONDS = 0.1
MAX_DELAY_SECONDS = 10.0
CALM_SECONDS = 60.0
"""After this long without a worker that died young the next one counts as the first."""

YOUNG_SECONDS = 2.0
"""A worker that dies before, its start included, would die again."""

MARGIN_SECONDS = 5.0
"""What a worker may take beyond the time to drain before it is killed."""


class Phase(Enum):
    """Where a worker stands in its life."""

    STARTING = "starting"
    READY = "ready"
    LEAVING = "leaving"


class Ending(Enum):
    """What the end of a worker means."""

    ASKED = "was asked to end"
    CRASHED = "died and is replaced"
    NO_START = "could not start: there is no service"
    NO_RESTART = "could not start: the restart is abandoned, the workers before it go on"


class Spawn(NamedTuple):
    """Start a worker."""

    slot: int
    generation: int


class Tell(NamedTuple):
    """Tell a worker to leave: `retire` takes its time, `stop` does not, `kill` gives none."""

    slot: int
    what: Literal["retire", "stop", "kill"]


Action: TypeAlias = Spawn | Tell


@dataclass
class _Member:
    generation: int
    phase: Phase
    began: float
    deadline: float
    """When it is killed, unless it is ready before or gone."""


class Fleet:
    """The workers as they are known. Every method takes what happened, `actions` says what to do. Times in seconds."""

    def __init__(self, count: int, drain_seconds: float, *, in_turn: bool = False) -> None:
        """`in_turn`: never two workers at once between their start and being ready."""
        self.count = count
        self.drain_seconds = drain_seconds
        self.in_turn = in_turn
        self.is_stopping = False
        self.has_failed = False
        """Whether the service never came up."""
        self._members: dict[int, _Member] = {}
        self._generations = 1
        self._newest = 1
        self._serving = 0
        """The generation that is complete; 0 before the first is."""
        self._wants_restart = False
        self._crashes = 0
        self._crashed_at = float("-inf")
        self._delays: list[float] = []
        """Until when the replacement of each worker that died young waits."""

    @property
    def is_over(self) -> bool:
        """Whether all workers are gone and none is to come."""
        return self.is_stopping and not self._members

    @property
    def is_timed(self) -> bool:
        """Whether `actions` must be asked again although nothing happens."""
        return any(m.phase is not Phase.READY for m in self._members.values()) or len(self._of(self._newest)) < self.count

    def ready(self, slot: int) -> None:
        """The worker of `slot` accepts connections."""
        member = self._members[slot]
        if member.phase is Phase.STARTING:
            member.phase, member.deadline = Phase.READY, float("inf")

    def restart(self) -> bool:
        """Asks for a new generation; False where one is on its way already, which is then followed by another."""
        if self._newest > self._serving:
            self._wants_restart = True
            return False
        self._begin()
        return True

    def stop(self) -> None:
        """Asks for the end."""
        self.is_stopping = True

    def exited(self, slot: int, now: float) -> Ending:
        """The worker of `slot` is gone; what that means."""
        member = self._members.pop(slot)
        if self.is_stopping or member.phase is Phase.LEAVING:
            return Ending.ASKED
        if member.generation > self._serving and member.phase is Phase.STARTING:
            if not self._serving:
                self.has_failed = self.is_stopping = True
                return Ending.NO_START
            self._newest = self._serving
            self._wants_restart = False
            return Ending.NO_RESTART
        if now - member.began < YOUNG_SECONDS:
            self._crashes = self._crashes + 1 if now - self._crashed_at < CALM_SECONDS else 1
            self._crashed_at = now
            self._delays.append(now + min(FIRST_DELAY_SECONDS * 2 ** min(self._crashes - 1, 16), MAX_DELAY_SECONDS))
        return Ending.CRASHED

    def actions(self, now: float) -> list[Action]:
        """What to do now; it counts as done."""
        actions: list[Action] = []
        for slot, member in self._members.items():
            if now >= member.deadline:
                member.deadline = now + MARGIN_SECONDS
                actions.append(Tell(slot, "kill"))
        if self.is_stopping:
            return actions + [self._leave(slot, "stop", now) for slot, m in self._members.items() if m.phase is not Phase.LEAVING]
        self._complete()
        for slot, member in self._members.items():
            if member.phase is not Phase.LEAVING and member.generation != self._newest and member.generation != self._serving:
                actions.append(self._leave(slot, "retire", now))
        self._delays = [until for until in self._delays if now < until]
        while (spawn := self._missing()) is not None:
            self._members[spawn.slot] = _Member(spawn.generation, Phase.STARTING, now, now + READY_SECONDS)
            actions.append(spawn)
        return actions

    def _complete(self) -> None:
        """The newest generation serves once all of it is ready."""
        newest = self._of(self._newest)
        if self._newest > self._serving and len([m for m in newest if m.phase is Phase.READY]) >= self.count:
            self._serving = self._newest
            if self._wants_restart:
                self._wants_restart = False
                self._begin()

    def _begin(self) -> None:
        """A new generation, whose number no worker of a former one has."""
        self._generations += 1
        self._newest = self._generations

    def _missing(self) -> Spawn | None:
        """The next worker to start. What serves comes first; the first worker of a generation goes ahead alone."""
        if self.in_turn and any(m.phase is Phase.STARTING for m in self._members.values()):
            return None
        for generation in dict.fromkeys((self._serving, self._newest)):
            if generation == 0:
                continue
            members = self._of(generation)
            awaited = len(self._delays) if generation == self._serving else 0
            is_proven = generation == self._serving or any(m.phase is Phase.READY for m in members)
            if len(members) + awaited < (self.count if is_proven else 1):
                slot = next(n for n in range(len(self._members) + 1) if n not in self._members)
                return Spawn(slot, generation)
        return None

    def _of(self, generation: int) -> list[_Member]:
        return [m for m in self._members.values() if m.generation == generation and m.phase is not Phase.LEAVING]

    def _leave(self, slot: int, what: Literal["retire", "stop"], now: float) -> Tell:
        member = self._members[slot]
        member.phase = Phase.LEAVING
        member.deadline = now + self.drain_seconds + MARGIN_SECONDS
        return Tell(slot, what)
