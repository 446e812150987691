"""The live chain view: polls in the background, answers from memory.

Each poll is one JSON-RPC batch to the endpoint in use; the others are asked less often, and at once where one of them
contradicts it. A complete answer that is believed (`trust`) replaces the snapshot; everything else leaves it to grow old,
and past its limit the view says stale. A reading's age counts from the moment its request was sent, on the monotonic
clock. Source: section 10 of the protocol.
"""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

from livepeer_remote_signer.adapters.chain import confirmed, logs
from livepeer_remote_signer.adapters.chain.abi import AnswerFault, Call
from livepeer_remote_signer.adapters.chain.clock import HostClock
from livepeer_remote_signer.adapters.chain.confirmed import ConfirmedReads
from livepeer_remote_signer.adapters.chain.endpoints import Endpoint, Pace, find_standing_head, pick_due, pick_preferred
from livepeer_remote_signer.adapters.chain.funds_log import FundsLog
from livepeer_remote_signer.adapters.chain.json_rpc import JsonRpc, RpcFault, TooManyRequests, open_client
from livepeer_remote_signer.adapters.chain.logs import LogReads
from livepeer_remote_signer.adapters.chain.reading import (
    ChainQuestion,
    ChainUnavailable,
    Contracts,
    Reading,
    Word,
    parse_reads,
    read_requests,
    without_figures,
)
from livepeer_remote_signer.adapters.chain.spare import SpareEndpoints
from livepeer_remote_signer.adapters.chain.trust import (
    L1_BLOCK_SECONDS,
    MAX_CLOCK_OFFSET_SECONDS,
    BlockTime,
    ExpectedBlock,
    Judgement,
    do_agree,
    find_outvoted,
    judge,
    most_that_agree,
)
from livepeer_remote_signer.adapters.outbound import Outbound
from livepeer_remote_signer.core.protocol import arbitrum_one
from livepeer_remote_signer.core.rules.chain import ChainView, StaleReading

MAX_BATCHES_A_READING = 5
FRESH_SECONDS = 1.0
"""What was said no longer before another's word is not asked for again to compare the two."""

_NOTHING = ChainView(0, 0, bytes(32), 0, 0)

log = logging.getLogger(__name__)


class Rider(Protocol):
    """Something else that is read in the same batch, such as a price feed."""

    @property
    def calls(self) -> tuple[Call, ...]: ...

    def accept(self, words: Sequence[Word]) -> None:
        """Takes a new reading: what every believed endpoint last said, in order of preference."""


class EndpointStatus(NamedTuple):
    """One endpoint as it may be shown: no part of its URL but the host."""

    name: str
    is_healthy: bool
    failures: int
    fault: str
    l1_block: int


class ChainStatus(NamedTuple):
    """Plain values for metrics and readiness. Ages in seconds, None before the first good reading; `in_use` is an index."""

    age_seconds: float | None
    max_age_seconds: float
    head_age_seconds: float | None
    max_head_age_seconds: float | None
    polls: int
    in_use: int | None
    endpoints: tuple[EndpointStatus, ...]
    view: ChainView


@dataclass(frozen=True, slots=True)
class _Snapshot:
    view: ChainView
    asked_at: float
    source: Endpoint
    others: tuple[ChainView, ...]


class ChainSource(Protocol):
    """A reading of the chain, from memory."""

    def view(self) -> ChainView: ...


class OtherSender:
    """A ChainSource of a sender beside the first."""

    def __init__(self, view: Callable[[], ChainView]) -> None:
        self.view = view


class RpcChain:
    """A ChainSource over JSON-RPC endpoints in order of preference."""

    def __init__(
        self,
        urls: Sequence[str],
        question: ChainQuestion,
        pace: Pace,
        *,
        rider: Rider | None = None,
        outbound: Outbound | None = None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._question = replace(question, extra=rider.calls) if rider else question
        self._pace = pace
        self._rider = rider
        self._clock = clock
        self._client = open_client(outbound or Outbound())
        self._endpoints = [Endpoint(JsonRpc(self._client, url, index), index) for index, url in enumerate(urls)]
        self._expected = ExpectedBlock() if question.chain_id == arbitrum_one.CHAIN_ID else None
        self._host_clock = HostClock(clock, wall_clock, may_stop_payments=question.chain_id == arbitrum_one.CHAIN_ID)
        self._snapshot: _Snapshot | None = None
        self.for_callers = ConfirmedReads(self._spare(confirmed.PAUSE_SECONDS), lambda: self.contracts)
        self.logs = LogReads(self._spare(logs.PAUSE_SECONDS), lambda: self.contracts, clock)
        self._funds_log = FundsLog()
        self._polls = 0
        self._tasks: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"RpcChain({', '.join(e.rpc.name for e in self._endpoints)})"

    def _in_use(self) -> Endpoint | None:
        return None if self._snapshot is None else self._snapshot.source

    def _spare(self, pause_seconds: float) -> SpareEndpoints:
        return SpareEndpoints(self._endpoints, self._in_use, self._clock, pause_seconds)

    # --- memory only ---

    def view(self) -> ChainView:
        """The last reading; with `stale` set when it may not be used. Never waits."""
        return self._judged(self._snapshot, self._snapshot.view if self._snapshot is not None else _NOTHING)

    def of_sender(self, sender: bytes) -> ChainSource:
        """The chain with the funds of this sender. ValueError for one that is not read."""
        if sender == self._question.sender:
            return self
        place = self._question.other_senders.index(sender)
        return OtherSender(lambda: self._judged(self._snapshot, self._snapshot.others[place] if self._snapshot is not None else _NOTHING))

    def _judged(self, snapshot: _Snapshot | None, view: ChainView) -> ChainView:
        if snapshot is None:
            return replace(_NOTHING, stale=StaleReading(f"no reading yet{self._faults()}", None, self._pace.max_age))
        now = self._clock()
        age = now - snapshot.asked_at
        if age > self._pace.max_age:
            reason = f"the last good reading is {age:.1f} s old, the limit is {self._pace.max_age:g} s{self._faults()}"
            return replace(view, stale=StaleReading(reason, age, self._pace.max_age))
        limit = self._pace.max_head_age
        if limit is not None and (head_age := now - snapshot.source.head_since) > limit:
            reason = f"the chain's head stands still for {head_age:.0f} s, the limit is {limit:g} s{self._faults()}"
            return replace(view, stale=StaleReading(reason, head_age, limit))
        agrees, fault = self._host_clock.judgement(now)
        if agrees is view.clock_agrees and fault is None:
            return view
        return replace(view, clock_agrees=agrees, clock_fault=fault)

    @property
    def contracts(self) -> Contracts | None:
        """Where the contracts stand, once the Controller has said so."""
        return next((e.known.contracts for e in self._endpoints if e.is_healthy and e.known is not None), None)

    def status(self) -> ChainStatus:
        """What metrics and readiness show."""
        now, snapshot = self._clock(), self._snapshot
        return ChainStatus(
            age_seconds=None if snapshot is None else now - snapshot.asked_at,
            max_age_seconds=self._pace.max_age,
            head_age_seconds=None if snapshot is None else now - snapshot.source.head_since,
            max_head_age_seconds=self._pace.max_head_age,
            polls=self._polls,
            in_use=None if snapshot is None else self._endpoints.index(snapshot.source),
            endpoints=tuple(EndpointStatus(e.rpc.name, e.is_healthy, e.total_failures, e.fault, e.l1_block) for e in self._endpoints),
            view=self.view(),
        )

    def faults(self) -> tuple[dict[str, str], int]:
        """Why each endpoint is not used that is not, by name; and how many there are."""
        return {e.rpc.name: e.fault for e in self._endpoints if e.fault}, len(self._endpoints)

    # --- background ---

    async def start(self) -> None:
        """Begins to poll and returns at once: until the first reading the view is stale."""
        self._tasks = [asyncio.create_task(self._repeat(self.poll)), asyncio.create_task(self._repeat(self.look_around))]

    async def stop(self) -> None:
        """Ends polling and closes the connections."""
        tasks = [*self._tasks, *(e.asking for e in self._endpoints if e.asking is not None)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks = []
        await self._client.aclose()

    async def _repeat(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            started = self._clock()
            try:
                await work()
            except Exception as error:  # noqa: BLE001 - a view that is never read again would be stale for ever
                log.error("%s", _broken("polling goes on after a fault of ours", error))  # noqa: TRY400 - a traceback may hold the URL
            await asyncio.sleep(max(0.0, started + self._pace.poll - self._clock()))

    async def poll(self) -> None:
        """One poll: the most preferred healthy endpoint; the next ones only when it fails, those that failed before only
        when none is healthy."""
        self._polls += 1
        for endpoint in self._endpoints:
            if endpoint.is_healthy and await self._ask(endpoint):
                return
        await self._ask_all(pick_due(self._endpoints, None, self._clock()))

    async def look_around(self) -> None:
        """Asks endpoints not in use that are due: so that a lag shows, and a more preferred one is taken back."""
        await self._ask_all(pick_due(self._endpoints, pick_preferred(self._endpoints), self._clock()))

    async def read_contracts(self, calls: Sequence[Call]) -> list[bytes | None]:
        """Reads made for others in the background, in one batch at the latest block: what each returned, None where it reverted.

        Raises ChainUnavailable when no trusted endpoint answers.
        """
        for endpoint in self._endpoints:
            known = endpoint.known
            if not endpoint.is_healthy or known is None:
                continue
            try:
                answers = await endpoint.rpc.batch(read_requests(calls, known.has_multicall), self._pace.request_timeout)
                return parse_reads(answers, len(calls), known.has_multicall)
            except (RpcFault, AnswerFault) as fault:
                log.warning("%s: a contract read failed: %s", endpoint.rpc.name, fault)
        raise ChainUnavailable(f"no endpoint answered{self._faults()}")

    async def _ask_all(self, endpoints: Sequence[Endpoint]) -> None:
        await asyncio.gather(*(self._ask(endpoint) for endpoint in endpoints))

    async def _ask(self, endpoint: Endpoint) -> bool:
        """Whether the endpoint gave a reading that is believed. Others are asked as well where its word alone does not do."""
        if not await asyncio.shield(self._asking(endpoint)):
            return False
        if unheard := self._to_be_heard(endpoint):
            await self._hear(unheard, endpoint.asked_at - FRESH_SECONDS)
        return self._settle(endpoint)

    def _asking(self, endpoint: Endpoint) -> asyncio.Task[bool]:
        """The question to an endpoint that is in work, or a new one: it is never asked twice at a time."""
        if endpoint.asking is None or endpoint.asking.done():
            endpoint.asking = asyncio.create_task(self._fetch(endpoint))
        return endpoint.asking

    async def _fetch(self, endpoint: Endpoint) -> bool:
        """Whether a complete answer came; it is noted, and not believed yet."""
        try:
            reading, asked_at = await self._read(endpoint)
        except (RpcFault, AnswerFault) as fault:
            later = fault.retry_after_seconds if isinstance(fault, TooManyRequests) else None
            self._failed(endpoint, str(fault), retry_after_seconds=later)
            return False
        except Exception as error:  # noqa: BLE001 - polling goes on whatever an endpoint sends; the text is not shown: it may hold the URL
            self._failed(endpoint, _broken("an answer that broke the reader", error))
            return False
        answered_at = self._clock()
        if self._expected is not None and (jumped := self._host_clock.take_jump()) > 0:
            self._expected.lift(jumped)
        ahead = self._host_clock.seconds_ahead(reading.head.timestamp, asked_at, answered_at)
        endpoint.note_reading(reading, asked_at, answered_at, ahead, is_paced=self._expected is not None)
        return True

    def _to_be_heard(self, endpoint: Endpoint) -> list[Endpoint]:
        """Who must be asked before the endpoint's word counts: whoever contradicts it, at the beginning all."""
        others = [e for e in self._endpoints if e is not endpoint and e.is_healthy]
        if self._snapshot is None:
            return [e for e in others if e.reading is None]
        is_paced, claim = self._expected is not None, endpoint.claim()
        claims = [e.claim() for e in others if e.reading is not None]
        is_disputed = any(not do_agree(claim, other, is_paced=is_paced) for other in claims)
        is_disputed = is_disputed or (len(claims) > 1 and most_that_agree([claim, *claims]) <= len(claims))
        if not is_disputed or (is_paced and endpoint.is_distrusted):
            return []
        return [e for e in others if endpoint.asked_at - e.asked_at > FRESH_SECONDS]

    async def _hear(self, endpoints: Sequence[Endpoint], since: float) -> None:
        """Asks them, and waits until most of all agree by what they said after `since`, or nobody is left to answer."""
        pending = {self._asking(endpoint) for endpoint in endpoints}
        while pending and 2 * most_that_agree(self._judge(since).believed) <= sum(e.is_healthy for e in self._endpoints):
            _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)

    def _judge(self, since: float) -> Judgement:
        """Over what was said after `since`, also by endpoints that failed later."""
        return judge([e.claim() for e in self._endpoints if e.reading is not None and e.asked_at >= since], self._expected)

    def _settle(self, endpoint: Endpoint) -> bool:
        """Decides who is believed now, and takes the endpoint's reading over if it is."""
        reading, now = endpoint.reading, self._clock()
        reach = self._pace.max_age if self._expected is not None else min(self._pace.max_age, L1_BLOCK_SECONDS)
        judgement = self._judge(now - reach)
        for other in self._endpoints:
            if other is not endpoint and not other.is_healthy:
                continue
            reason = judgement.distrusted.get(other.place) or find_standing_head(other, now, self._pace) or self._find_false_time(other)
            if reason is None and other is endpoint:
                reason = self._find_outvoted(endpoint, now - reach)
            if reason is not None:
                self._failed(other, reason, is_distrusted=True)
                reading = None if other is endpoint else reading
        if reading is None:
            return False
        if not endpoint.is_healthy:
            log.info("%s answers again", endpoint.rpc.name)
        endpoint.note_success(self._clock(), self._pace)
        self._note_block(endpoint, judgement)
        self._host_clock.note([BlockTime(self._clock_ahead(e), e.is_head_new) for e in self._endpoints if e.is_healthy and e.reading])
        self._adopt(endpoint, reading, endpoint.asked_at)
        return True

    def _clock_ahead(self, endpoint: Endpoint) -> float:
        """How far this host's clock, as it runs now, is ahead of the endpoint's newest block."""
        assert endpoint.reading is not None  # noqa: S101 - every caller has asked
        return self._host_clock.seconds_ahead(endpoint.reading.head.timestamp, endpoint.asked_at, endpoint.answered_at)

    def _find_false_time(self, endpoint: Endpoint) -> str | None:
        """Why an endpoint whose newest block is of the future is not believed: another one's block agrees with our clock."""
        if self._expected is None or endpoint.reading is None or (ahead := self._clock_ahead(endpoint)) >= -MAX_CLOCK_OFFSET_SECONDS:
            return None
        for other in self._endpoints:
            if other.is_healthy and other.reading is not None and abs(self._clock_ahead(other)) <= MAX_CLOCK_OFFSET_SECONDS:
                return (
                    f"its newest block is dated {-ahead:.0f} s ahead of this host's clock, which agrees with {other.rpc.name}; "
                    f"the limit is {MAX_CLOCK_OFFSET_SECONDS:g} s"
                )
        return None

    def _find_outvoted(self, endpoint: Endpoint, since: float) -> str | None:
        """Why its word on the contracts is not believed. Held against it is what others said beside it; one that was found to lie must
        first say what they lately said."""
        since = since if endpoint.is_distrusted else endpoint.asked_at - FRESH_SECONDS
        others = [
            e.claim() for e in self._endpoints if e is not endpoint and e.is_healthy and e.reading is not None and e.asked_at >= since
        ]
        return find_outvoted(endpoint.claim(), others)

    def _note_block(self, endpoint: Endpoint, judgement: Judgement) -> None:
        """Where the L1 block stands, for the next reading."""
        if self._expected is None:
            return
        if judgement.is_against_the_clock:
            log.warning("the L1 block is %d, which is not what the clock expects; it is believed from now on", endpoint.l1_block)
            self._expected.forget()
        lag = min(max(0.0, endpoint.clock_ahead), self._pace.max_head_age or 0.0)
        self._expected.note(endpoint.l1_block, endpoint.asked_at, may_lift=len(judgement.believed) > 1, lag_seconds=lag)

    async def _read(self, endpoint: Endpoint) -> tuple[Reading, float]:
        """A complete reading and the moment its request was sent. Raises RpcFault or AnswerFault."""
        timeout = self._pace.request_timeout
        known = endpoint.known
        if known is None:
            answers = await endpoint.rpc.batch(self._question.introduction(), timeout)
            last_round = self._snapshot.view.last_initialized_round if self._snapshot else 0
            known = self._question.parse_introduction(answers)._replace(round=last_round)
        for _ in range(MAX_BATCHES_A_READING):
            asked_at = self._clock()
            outcome = self._question.parse(known, await endpoint.rpc.batch(self._question.requests(known), timeout))
            if isinstance(outcome, Reading):
                endpoint.known = known._replace(round=outcome.view.last_initialized_round)
                return outcome, asked_at
            known = outcome
        raise RpcFault("round and contracts are others in every answer")

    def _adopt(self, endpoint: Endpoint, reading: Reading, asked_at: float) -> None:
        """Swaps the snapshot in, unless it is older, or a more preferred endpoint keeps the present one fresh."""
        if self._snapshot is not None and (asked_at, endpoint) == (self._snapshot.asked_at, self._snapshot.source):
            return  # two were waiting for the same answer
        if self._snapshot is not None and asked_at < self._snapshot.asked_at:
            return
        is_kept = self._snapshot is not None and self._snapshot.source is not endpoint and self._snapshot.source.is_healthy
        if is_kept and pick_preferred(self._endpoints) is not endpoint:
            return
        if self._snapshot is not None and self._snapshot.source is not endpoint:
            log.warning("chain reads now come from %s", endpoint.rpc.name)
        clock_agrees, _ = self._host_clock.judgement(self._clock())
        others = tuple(replace(view, clock_agrees=clock_agrees) for view in reading.others)
        self._snapshot = _Snapshot(replace(reading.view, clock_agrees=clock_agrees), asked_at, endpoint, others)
        if self._question.controller is not None:
            self._funds_log.note(reading.view)
        if self._rider is not None:
            self._rider.accept(self._words(asked_at))

    def _words(self, now: float) -> list[Word]:
        """What every believed endpoint lately said to the rider."""
        return [
            Word(e.rpc.name, e.reading.extra, e.reading.head.timestamp)
            for e in self._endpoints
            if e.is_healthy and e.reading is not None and now - e.asked_at <= self._pace.max_age
        ]

    def _failed(self, endpoint: Endpoint, fault: str, *, is_distrusted: bool = False, retry_after_seconds: float | None = None) -> None:
        if endpoint.is_healthy or without_figures(endpoint.fault) != without_figures(fault):
            log.warning("%s %s: %s", endpoint.rpc.name, "is not believed" if is_distrusted else "failed", fault)
        endpoint.note_failure(fault, self._clock(), self._pace, is_distrusted=is_distrusted, retry_after_seconds=retry_after_seconds)

    def _faults(self) -> str:
        """What is wrong with each endpoint, to be put behind a reason; empty when nothing is."""
        faults = [f"{e.rpc.name}: {e.fault}" for e in self._endpoints if e.fault]
        return f"; {'; '.join(faults)}" if faults else ""


def _broken(what: str, error: Exception) -> str:
    """Where something failed that should not; without the error's own text, which may hold a URL."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{what} ({type(error).__name__} in {place.name}, line {place.lineno})"
