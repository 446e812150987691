"""Keeps the list fresh in the background and answers from memory.

Source: section 11 of the protocol. A source that fails keeps the orchestrators it named before; an orchestrator that
fails keeps its last good answer; a refresh that fails altogether changes nothing but ages. Only a refresh that has asked
everybody ends with somebody dropped: who did not answer it, nor the one before, and whose last answer is too old.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from hashlib import sha256
from typing import NamedTuple, Protocol

from livepeer_remote_signer.adapters.discovery.crew import WorkerFailed
from livepeer_remote_signer.adapters.discovery.left_out import LeftOut
from livepeer_remote_signer.adapters.discovery.messages import Answer, Job, Pool, SourceFault
from livepeer_remote_signer.core.errors import NotReady
from livepeer_remote_signer.core.protocol.timestamps import NS_PER_SECOND
from livepeer_remote_signer.core.rules.advertised import Terms, choose_urls, normal_form
from livepeer_remote_signer.core.rules.discovery import (
    Absence,
    Entry,
    Filters,
    ListRules,
    Sighting,
    build_steps,
    filter_entries,
    forget_old,
    has_answer_since,
    merge_sightings,
    verdicts,
)
from livepeer_remote_signer.core.rules.readiness import DiscoveryStatus

FIRST_RETRY_SECONDS = 2.0
MAX_RETRY_SECONDS = 60.0
REBUILD_SECONDS = 1.0
REBUILD_SHARE = 10
"""A list that is long to make is made less often: at most a tenth of the time is spent on it while answers come in."""

JITTER = 0.1
FIRST_ROUND_SECONDS = 15.0
MAX_REASONS = 20
MAX_TOLD_REASONS = 3
MAX_REASON_CHARACTERS = 300
KEPT_REFRESHES = 2.5
"""Two refreshes, with their jitter and the time that asking takes: nobody is dropped for one that he missed."""

FetchUrls = Callable[[], Awaitable[Sequence[str]]]
"""A source of orchestrators' URLs that the signer reads itself."""

_log = logging.getLogger(__name__)


class FoundList(NamedTuple):
    """What a caller is answered: the entries in their order, and a digest of the whole list that they were taken from."""

    digest: bytes
    entries: Iterable[Entry]


class Crew(Protocol):
    """Asks orchestrators on our behalf."""

    def ask(self, job: Job) -> AsyncGenerator[Answer | Pool, None]: ...


class DiscoveryPace(NamedTuple):
    """How often all are asked, and for how long an answer is to count beside fresher ones of others, in seconds."""

    refresh_seconds: float
    keep_seconds: float

    @property
    def kept_seconds(self) -> float:
        """For how long an answer counts: at least KEPT_REFRESHES."""
        return max(self.keep_seconds, KEPT_REFRESHES * self.refresh_seconds)


class Discovery:
    """The list. `job` says how orchestrators are asked; `fetch_urls` names them where the job's webhook does not."""

    def __init__(
        self,
        crew: Crew,
        job: Job,
        pace: DiscoveryPace,
        *,
        rules: Callable[[], ListRules],
        clock_ns: Callable[[], int],
        fetch_urls: FetchUrls | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """By `monotonic`, in seconds, the end of the first round is waited for."""
        self._crew = crew
        self._job = job
        self._pace = pace
        self._rules = rules
        self._clock_ns = clock_ns
        self._fetch_urls = fetch_urls
        self._urls = list(choose_urls(job.urls).urls)
        self._left_out = LeftOut()
        self._sightings: dict[str, Sighting] = {}
        """By the normal form of the URL: one that is spelled otherwise from now on is the same orchestrator."""
        self._entries: list[Entry] = []
        self._digest = b""
        self._advised: list[dict[str, str]] = []
        self._absences: list[Absence] = []
        self._silent: dict[str, Absence] = {}
        """Who did not answer the last time, by the normal form of the URL, with the reason."""
        self._answered: set[str] = set()
        self._built_with: ListRules | None = None
        self._has_news = False
        self._began_ns = 0
        """When the last refresh began that asked everybody; 0 before the first."""
        self._refreshes = self._attempts = 0
        self._monotonic = monotonic
        self._started: float | None = None
        self._fault = ""
        self._tasks: list[asyncio.Task[None]] = []

    # --- answers, from memory ---

    def find(self, filters: Filters) -> FoundList:
        """The list, filtered. Raises NotReady until there is something to list, and while the first round is not whole: callers keep
        what they are told for a minute."""
        if not self._entries or self._is_first_round():
            raise NotReady(
                self._why_nobody()
                if not self._entries
                else f"{len(self._sightings)} orchestrators have answered, and the others are still being asked for the first time",
                hint="discovery asks in the background; try again in a few seconds",
                retry_after_seconds=max(1, round(FIRST_RETRY_SECONDS)),
            )
        return FoundList(self._digest, filter_entries(self._entries, filters))

    def _is_first_round(self) -> bool:
        """Whether everybody is being asked for the first time, for no longer than FIRST_ROUND_SECONDS."""
        return self._attempts == 0 and self._started is not None and self._monotonic() - self._started < FIRST_ROUND_SECONDS

    def status(self) -> DiscoveryStatus:
        """How discovery fares."""
        seen_ns = max((sighting.seen_ns for sighting in self._sightings.values()), default=None)
        age = None if seen_ns is None else max(0.0, (self._clock_ns() - seen_ns) / NS_PER_SECOND)
        counts = self._attempts, self._refreshes, len(self._entries), len(self._urls)
        causes: Counter[str] = Counter(absence.cause for absence in self._absences)
        return DiscoveryStatus(*counts, self._fault, age, self._pace.kept_seconds, causes, self._absences[:MAX_REASONS], self._advised)

    def _why(self) -> str:
        return f": {self._fault}" if self._fault else ""

    def _why_nobody(self) -> str:
        """Why nothing is listed, which is not always that nobody has answered."""
        if any(sighting.terms_seen_ns is not None for sighting in self._sightings.values()):
            if not self._absences:
                return "orchestrators have answered, and the list of them is being made"
            told = "; ".join(f"{absence.url}: {absence.reason}" for absence in self._absences[:MAX_TOLD_REASONS])
            more = len(self._absences) - MAX_TOLD_REASONS
            return f"orchestrators have answered, and none of them can be listed: {told}" + (f"; and {more} more" if more > 0 else "")
        return f"no orchestrator {'has answered' if self._refreshes else 'is known'} yet{self._why()}"

    # --- background ---

    async def start(self) -> None:
        """Begins to ask and returns at once."""
        self._started = self._monotonic()
        self._tasks = [asyncio.create_task(self._keep_fresh()), asyncio.create_task(self._keep_built())]

    async def stop(self) -> None:
        """Ends asking."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def _keep_fresh(self) -> None:
        """Refreshes at the configured pace; after one that met a fault or left nobody to list sooner, and less often each time."""
        retry = FIRST_RETRY_SECONDS
        while True:
            try:
                await self.refresh()
            except Exception as error:  # noqa: BLE001 - the next refresh may fare better; the fault is logged and told
                self._refreshes += 1
                self._fault = type(error).__name__
                _log.exception("discovery: a refresh failed; the list stays as it is")
            pause = self._pace.refresh_seconds
            if self._fault or not self._entries:
                pause, retry = min(retry, pause), min(retry * 2, MAX_RETRY_SECONDS)
            else:
                retry = FIRST_RETRY_SECONDS
            await asyncio.sleep(pause * random.uniform(1 - JITTER, 1 + JITTER))  # noqa: S311 - spreads load, hides nothing

    async def _keep_built(self) -> None:
        """Answers come one by one, ages and ceilings change by themselves: the list is made anew when that could matter."""
        aged_ns = self._clock_ns()
        took = 0.0
        while True:
            await asyncio.sleep(max(REBUILD_SECONDS, REBUILD_SHARE * took))
            has_aged = abs(self._clock_ns() - aged_ns) >= self._pace.kept_seconds * NS_PER_SECOND / 20
            if self._sightings and (self._has_news or has_aged or self._rules() != self._built_with):
                aged_ns, started = self._clock_ns(), time.monotonic()
                await self._build()
                took = time.monotonic() - started

    async def refresh(self) -> None:
        """Asks everybody once. What fails is logged and kept in `status`; the list only ever gains by it."""
        began_ns = self._clock_ns()
        faults: list[str] = []
        is_source_read = await self._find_urls(faults)
        answered: set[str] = set()
        if self._urls or self._job.webhook_url is not None:
            answered = await self._ask_everybody(began_ns, faults)
        elif is_source_read:
            faults.append("no source names any orchestrator: set discovery.webhook_url, discovery.static or discovery.on_chain")
        self._answered = answered
        await self._build()
        self._attempts += 1
        self._refreshes += is_source_read
        self._fault = "; ".join(faults)
        level = logging.WARNING if faults else logging.INFO
        counts = len(answered), len(self._urls), len(self._entries)
        _log.log(level, "discovery: %d of %d orchestrators answered, %d listed%s", *counts, self._why())

    async def _ask_everybody(self, began_ns: int, faults: list[str]) -> set[str]:
        """Adopts what comes back; who answered. Those that failed last time are asked first: they take longest."""
        answered: set[str] = set()
        slowest_first = tuple(sorted(self._urls, key=self._answered.__contains__))
        try:
            async with aclosing(self._crew.ask(self._job._replace(urls=slowest_first))) as answers:
                async for said in answers:
                    if isinstance(said, Pool):
                        self._adopt_pool(said, faults)
                    elif self._adopt_answer(said):
                        answered.add(said.url)
        except (WorkerFailed, OSError) as error:
            faults.append(str(error))
        else:
            self._forget_old(began_ns)
        if self._urls and not answered:
            faults.append(f"none of {len(self._urls)} orchestrators answered")
        return answered

    async def _find_urls(self, faults: list[str]) -> bool:
        """Whether the signer's own source was read; True where it has none."""
        if self._fetch_urls is None:
            return True
        try:
            urls = list(await self._fetch_urls())
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the chain, the known pool stays
            why = str(error) if isinstance(error, SourceFault) else type(error).__name__
            _log.warning("discovery: the on-chain pool cannot be read (%s); the known one stays", why)
            faults.append(f"the on-chain pool cannot be read: {why}")
            return False
        if urls:
            self._urls = urls
        else:
            faults.append("the on-chain pool names nobody")
        return True

    def _adopt_pool(self, pool: Pool, faults: list[str]) -> None:
        self._left_out.tell(pool.left_out)
        if pool.urls:
            self._urls = list(pool.urls)
        else:
            faults.append(pool.fault or "the discovery webhook lists nobody")

    def _adopt_answer(self, answer: Answer) -> bool:
        """Keeps what is good of it; whether anything is."""
        now_ns = self._clock_ns()
        for fault in answer.faults:
            _log.debug("discovery: %s: %s", answer.url, fault)
        name = normal_form(answer.url)
        self._silent.pop(name, None)
        if answer.terms is None:
            self._silent[name] = Absence(answer.url, "unreachable", "; ".join(answer.faults)[:MAX_REASON_CHARACTERS])
        if answer.terms is None and answer.nodes is None:
            return False
        new = Sighting(
            answer.url,
            answer.terms or Terms(),
            None if answer.terms is None else now_ns,
            answer.nodes or (),
            None if answer.nodes is None else now_ns,
        )
        self._has_news = True
        self._sightings[name] = merge_sightings(self._sightings.get(name), new)
        return True

    def _forget_old(self, began_ns: int) -> None:
        """Drops what is too old now that all were asked, by a refresh that began then; nobody who answered the one before."""
        previous_began_ns, self._began_ns = self._began_ns, began_ns
        self._sightings = forget_old(self._sightings, min(self._oldest_ns(), previous_began_ns))

    def _oldest_ns(self) -> int:
        return self._clock_ns() - round(self._pace.kept_seconds * NS_PER_SECOND)

    async def _build(self) -> None:
        """Makes the list anew, in steps between which payments are served, and puts it in place at once."""
        rules = self._rules()
        self._has_news = False
        entries: list[Entry] = []
        asked = dict.fromkeys(map(normal_form, self._urls))
        named = [self._sightings[name] for name in asked if name in self._sightings]
        others = [sighting for name, sighting in self._sightings.items() if name not in asked]
        is_stale = not has_answer_since(self._sightings.values(), self._oldest_ns())
        digest = sha256()

        def add(entry: Entry) -> None:
            digest.update(entry.encode(with_advice=True))
            entries.append(entry)

        silent = [absence for name, absence in self._silent.items() if name in asked and name not in self._sightings]
        absences: list[Absence] = []

        def miss(absence: Absence) -> None:
            absences.append(self._silent.get(normal_form(absence.url), absence) if absence.cause == "unreachable" else absence)

        for _ in build_steps([*named, *others], rules, add, miss, is_stale=is_stale):
            await asyncio.sleep(0)
        for absence in absences:
            _log.debug("discovery: %s is not listed: %s", absence.url, absence.reason)
        self._absences = absences + silent
        self._built_with = rules
        self._entries = entries
        self._digest = digest.digest()
        self._advised = [told for entry in entries[:MAX_REASONS] if (told := verdicts(entry)) is not None]
