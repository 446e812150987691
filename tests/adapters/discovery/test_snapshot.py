"""The list is kept: through failing sources, failing orchestrators and failing refreshes."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import pytest

from livepeer_remote_signer.adapters.discovery import Discovery, DiscoveryPace, Job, snapshot
from livepeer_remote_signer.adapters.discovery.crew import WorkerFailed
from livepeer_remote_signer.adapters.discovery.messages import Answer, Pool, SourceFault
from livepeer_remote_signer.core.errors import NotReady
from livepeer_remote_signer.core.rules.advertised import Node, Offer, Runner, Terms, TicketTerms
from livepeer_remote_signer.core.rules.advice import Means
from livepeer_remote_signer.core.rules.discovery import Filters, ListRules
from livepeer_remote_signer.core.rules.limits import TicketLimits
from livepeer_remote_signer.core.rules.pricing import Ceilings
from livepeer_remote_signer.core.rules.recipients import RecipientRules
from tests.simulators import Clock

A, B = "https://a.example:8935", "https://b.example:8935"
OFFER = Offer(35, "m", Fraction(100))
LV2V = "live-video-to-video/m"
PACE = DiscoveryPace(refresh_seconds=600, keep_seconds=1500)
DEFAULTS = DiscoveryPace(refresh_seconds=1500, keep_seconds=1500)


def terms(*offers: Offer) -> Terms:
    return Terms(offers, bytes(20))


@dataclass
class ScriptedCrew:
    """Says what it is told, for the URLs that a job names."""

    answers: dict[str, tuple[Offer, ...]] = field(default_factory=dict)
    pool: Pool | None = None
    failure: Exception | None = None
    asked: list[tuple[str, ...]] = field(default_factory=list)

    async def ask(self, job: Job) -> AsyncGenerator[Answer | Pool, None]:
        self.asked.append(job.urls)
        if self.pool is not None:
            yield self.pool
        for url in (self.pool.urls if self.pool is not None else None) or job.urls:
            offers = self.answers.get(url)
            yield Answer(
                url,
                terms(*offers) if offers is not None else None,
                () if offers is not None else None,
                () if offers is not None else ("down",),
            )
        if self.failure is not None:
            raise self.failure


def discovery(crew: ScriptedCrew, clock: Clock, urls: Sequence[str] = (A, B), pace: DiscoveryPace = PACE, **more: Any) -> Discovery:
    webhook_url = "https://pool.example" if crew.pool is not None else None
    job = Job(bytes(20), bytes(65), tuple(urls), webhook_url, 3.0, 32, True, (), "tofu")
    options: dict[str, Any] = {"rules": ListRules, "clock_ns": clock}
    return Discovery(crew, job, pace, **options | more)


def lines(found: Discovery, caps: Sequence[str] = (), app: str = "") -> list[dict[str, Any]]:
    return [json.loads(entry.encode()) for entry in found.find(Filters(frozenset(caps), frozenset([app] if app else ()))).entries]


def addresses(found: Discovery) -> list[str]:
    return [line["address"] for line in lines(found)]


async def test_there_is_no_list_before_somebody_answered() -> None:
    crew = ScriptedCrew()
    found = discovery(crew, Clock())
    with pytest.raises(NotReady, match="no orchestrator is known yet"):
        found.find(Filters())
    await found.refresh()
    with pytest.raises(NotReady, match="none of 2 orchestrators answered"):
        found.find(Filters())
    crew.answers = {A: (OFFER,)}
    await found.refresh()
    assert addresses(found) == [A]
    assert found.status().entries == 1


async def test_when_nobody_can_be_listed_the_reasons_are_told() -> None:
    dear, poor, denied = "https://dear.example", "https://poor.example", "https://denied.example"

    class Various(ScriptedCrew):
        async def ask(self, job: Job) -> AsyncGenerator[Answer | Pool, None]:
            yield Answer(dear, terms(OFFER, OFFER._replace(model="n", price=Fraction(300))), (), ())
            yield Answer(poor, terms(), (), ())
            yield Answer(denied, terms(OFFER)._replace(recipient=bytes([9]) * 20), (), ())
            yield Answer(A, None, None, ("GetOrchestrator: refused", "/discovery: refused"))
            yield Answer(B, Terms((OFFER,)), (), ("no price",))

    rules = ListRules(Ceilings(Fraction(99)), RecipientRules(deny=frozenset((bytes([9]) * 20,))))
    found = discovery(Various(), Clock(), (dear, poor, denied, A, B), rules=lambda: rules)
    await found.refresh()
    with pytest.raises(NotReady) as caught:
        found.find(Filters())
    assert "orchestrators have answered, and none of them can be listed" in caught.value.message
    assert "; and 2 more" in caught.value.message
    assert "no orchestrator has answered" not in caught.value.message
    status = found.status()
    assert status.left_out == {"price": 1, "capability": 1, "denied": 1, "unreachable": 1, "unpayable": 1}
    reasons = {absence.url: absence.reason for absence in status.reasons}
    assert reasons[dear] == "live-video-to-video/m costs 100 wei a unit, the ceiling is 99", "the offer that is nearest"
    assert "on the signer's deny list: 0x0909" in reasons[denied]
    assert reasons[A] == "GetOrchestrator: refused; /discovery: refused"
    assert "cannot be paid" in reasons[B]
    assert "names no capability" in reasons[poor]


async def test_who_answers_again_is_no_longer_missed() -> None:
    crew = ScriptedCrew({A: (OFFER,)})
    found = discovery(crew, Clock())
    await found.refresh()
    assert [absence.url for absence in found.status().reasons] == [B]
    crew.answers[B] = (OFFER,)
    await found.refresh()
    assert (found.status().reasons, found.status().left_out) == ([], {})
    crew.answers = {}
    await found.refresh()
    assert found.status().reasons == [], "the last answer counts still"


async def test_without_a_source_nobody_is_asked_and_the_reason_is_told() -> None:
    crew = ScriptedCrew()
    found = discovery(crew, Clock(), ())
    await found.refresh()
    assert crew.asked == []
    with pytest.raises(NotReady, match=r"discovery\.webhook_url"):
        found.find(Filters())


async def test_those_that_failed_are_asked_first() -> None:
    crew = ScriptedCrew({A: (OFFER,)})
    found = discovery(crew, Clock())
    await found.refresh()
    await found.refresh()
    assert crew.asked == [(A, B), (B, A)]
    assert addresses(found) == [A]


async def test_filters_answer_an_empty_list_once_there_is_a_snapshot() -> None:
    found = discovery(ScriptedCrew({A: (OFFER,)}), Clock())
    await found.refresh()
    assert [line["address"] for line in lines(found, [LV2V, "other"])] == [A]
    assert lines(found, ["other"]) == []
    assert lines(found, (), "app") == []


async def test_all_down_for_an_hour_keeps_the_list_and_marks_it() -> None:
    clock = Clock()
    crew = ScriptedCrew({A: (OFFER,), B: (OFFER,)})
    found = discovery(crew, clock)
    await found.refresh()
    before = lines(found)
    crew.answers = {}
    for _ in range(6):
        clock.advance(600)
        await found.refresh()
    kept = lines(found)
    assert [line["address"] for line in kept] == [A, B]
    assert all(line["stale"] for line in kept)
    assert [line["last_seen"] for line in kept] == [line["last_seen"] for line in before]
    assert "none of 2" in found.status().fault
    crew.answers = {B: (OFFER,)}
    await found.refresh()
    assert addresses(found) == [B]
    assert "stale" not in lines(found)[0]


async def test_one_that_stays_away_is_dropped_after_its_time_while_others_answer() -> None:
    clock = Clock()
    crew = ScriptedCrew({A: (OFFER,), B: (OFFER,)})
    found = discovery(crew, clock)
    await found.refresh()
    crew.answers = {B: (OFFER,)}
    clock.advance(1400)
    await found.refresh()
    assert addresses(found) == [A, B]
    clock.advance(200)
    await found.refresh()
    assert addresses(found) == [B]


@pytest.mark.parametrize("interval", [1350, 1500, 1650, 1900])
async def test_with_the_defaults_one_missed_refresh_drops_nobody_and_a_second_does(interval: int) -> None:
    clock = Clock()
    crew = ScriptedCrew({A: (OFFER,), B: (OFFER,)})
    found = discovery(crew, clock, pace=DEFAULTS)
    await found.refresh()
    for _ in range(3):
        crew.answers = {B: (OFFER,)}
        clock.advance(interval)
        await found.refresh()
        assert addresses(found) == [A, B], "missed once"
        crew.answers = {A: (OFFER,), B: (OFFER,)}
        clock.advance(interval)
        await found.refresh()
    crew.answers = {B: (OFFER,)}
    for _ in range(3):
        clock.advance(interval)
        await found.refresh()
    assert addresses(found) == [B]


async def test_one_missed_refresh_drops_nobody_however_long_asking_takes() -> None:
    clock = Clock()
    crew = ScriptedCrew({A: (OFFER,), B: (OFFER,)})
    found = discovery(crew, clock, pace=DiscoveryPace(1, 1))
    await found.refresh()
    crew.answers = {B: (OFFER,)}
    clock.advance(100)
    await found.refresh()
    assert addresses(found) == [A, B]
    clock.advance(100)
    await found.refresh()
    assert addresses(found) == [B]


async def test_a_longer_interval_keeps_longer() -> None:
    assert DEFAULTS.kept_seconds == 3750
    assert DiscoveryPace(3600, 1500).kept_seconds == 9000
    assert DiscoveryPace(60, 1500).kept_seconds == 1500
    clock = Clock()
    crew = ScriptedCrew({A: (OFFER,)})
    found = discovery(crew, clock, pace=DiscoveryPace(3600, 1500))
    await found.refresh()
    crew.answers = {}
    clock.advance(8000)
    await found.refresh()
    assert "stale" not in lines(found)[0]
    assert (found.status().kept_seconds, found.status().is_stale) == (9000, False)
    clock.advance(1001)
    await found.refresh()
    assert lines(found)[0]["stale"] is True
    assert found.status().is_stale


async def test_after_an_outage_the_first_answer_drops_nobody_who_is_still_being_asked() -> None:
    clock = Clock()
    crew = ScriptedCrew({A: (OFFER,), B: (OFFER,)})
    found = discovery(crew, clock)
    await found.refresh()
    crew.answers = {}
    for _ in range(4):
        clock.advance(900)
        await found.refresh()
    seen: list[list[str]] = []

    async def one_by_one(job: Job) -> AsyncGenerator[Answer | Pool, None]:
        for url in job.urls:
            yield Answer(url, terms(OFFER), (), ())
            await found._build()
            seen.append(addresses(found))

    crew.ask = one_by_one  # type: ignore[method-assign]
    await found.refresh()
    assert seen == [[A, B], [A, B]]


async def test_a_refresh_that_did_not_ask_everybody_drops_nobody() -> None:
    clock = Clock()
    crew = ScriptedCrew({A: (OFFER,), B: (OFFER,)})
    found = discovery(crew, clock)
    await found.refresh()
    crew.answers, crew.failure = {B: (OFFER,)}, WorkerFailed("the asking process took too long")
    for _ in range(4):
        clock.advance(1000)
        await found.refresh()
        assert addresses(found) == [A, B]


async def test_a_refresh_that_breaks_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    crew = ScriptedCrew({A: (OFFER,)})
    found = discovery(crew, Clock())
    await found.refresh()
    for failure in (WorkerFailed("the asking process exited with 1"), OSError("no more processes")):
        crew.answers, crew.failure = {}, failure
        with caplog.at_level(logging.WARNING):
            await found.refresh()
        assert addresses(found) == [A]
        assert str(failure) in found.status().fault
        assert str(failure) in caplog.text


async def test_a_webhook_names_whom_to_ask_and_its_failure_keeps_the_known() -> None:
    crew = ScriptedCrew({A: (OFFER,), B: (OFFER,)}, Pool((A, B), ""))
    found = discovery(crew, Clock(), ())
    await found.refresh()
    assert addresses(found) == [A, B]
    crew.pool = Pool(None, "the discovery webhook answered with status 500")
    await found.refresh()
    assert crew.asked[-1] == (A, B)
    assert "status 500" in found.status().fault
    crew.pool = Pool((), "")
    await found.refresh()
    assert addresses(found) == [A, B]
    assert "lists nobody" in found.status().fault


async def test_what_of_a_webhooks_list_is_left_out_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    crew = ScriptedCrew({A: (OFFER,)}, Pool((A,), "", ("'http://b.example': it must start with https://",)))
    found = discovery(crew, Clock(), ())
    await found.refresh()
    await found.refresh()
    assert caplog.text.count("these addresses are left out: 'http://b.example': it must start with https://") == 1


async def test_a_chain_that_cannot_be_read_keeps_the_known_pool() -> None:
    pool: list[str] | Exception = [A]

    async def fetch_urls() -> Sequence[str]:
        if isinstance(pool, Exception):
            raise pool
        return pool

    crew = ScriptedCrew({A: (OFFER,)})
    found = discovery(crew, Clock(), (), fetch_urls=fetch_urls)
    await found.refresh()
    for fault, said in ((RuntimeError("https://key@rpc"), "RuntimeError"), (SourceFault("no contract"), "no contract")):
        pool = fault
        await found.refresh()
        assert addresses(found) == [A]
        assert f"pool cannot be read: {said}" in found.status().fault
    assert crew.asked == [(A,), (A,), (A,)]
    pool = []
    await found.refresh()
    assert crew.asked[-1] == (A,)
    assert found.status().fault == "the on-chain pool names nobody"


async def test_a_refresh_whose_source_could_not_be_read_is_none() -> None:
    pool: list[str] | None = None

    async def fetch_urls() -> Sequence[str]:
        if pool is None:
            raise SourceFault("the contracts are not known yet")
        return pool

    crew = ScriptedCrew({A: (OFFER,)})
    found = discovery(crew, Clock(), (), fetch_urls=fetch_urls)
    await found.refresh()
    assert (found.status().refreshes, crew.asked) == (0, [])
    assert found.status().fault == "the on-chain pool cannot be read: the contracts are not known yet"
    with pytest.raises(NotReady, match="no orchestrator is known yet: the on-chain pool cannot be read"):
        found.find(Filters())
    pool = [A]
    await found.refresh()
    assert (found.status().refreshes, found.status().fault, addresses(found)) == (1, "", [A])
    assert found.status().attempts == 2


async def test_an_orchestrator_that_is_spelled_otherwise_from_now_on_offers_what_it_offers_now() -> None:
    pool = ["https://A.example:443"]
    other = Offer(35, "other", Fraction(1))

    async def fetch_urls() -> Sequence[str]:
        return pool

    crew = ScriptedCrew({"https://A.example:443": (OFFER,), "https://a.example": (other,)})
    found = discovery(crew, Clock(), (), fetch_urls=fetch_urls)
    await found.refresh()
    pool = ["https://a.example"]
    await found.refresh()
    listed = lines(found)
    assert [(entry["address"], entry["capabilities"]) for entry in listed] == [("https://a.example", ["live-video-to-video/other"])]


async def test_a_changed_ceiling_changes_the_list_without_asking_again() -> None:
    rules = ListRules()
    crew = ScriptedCrew({A: (OFFER,), B: (Offer(35, "m", Fraction(50)),)})
    found = discovery(crew, Clock(), rules=lambda: rules)
    await found.start()
    try:
        await _until(lambda: found.status().entries == 2)
        rules = ListRules(Ceilings(Fraction(60)))
        await _until(lambda: found.status().entries == 1)
        assert addresses(found) == [B]
        assert len(crew.asked) == 1
    finally:
        await found.stop()


async def test_a_list_is_given_out_when_the_first_round_is_whole_or_has_taken_long_enough() -> None:
    """Who reads early keeps what he was told for a minute: it must not be a part."""
    now = began = 10_000.0
    half, rest = asyncio.Event(), asyncio.Event()

    class Slow(ScriptedCrew):
        async def ask(self, job: Job) -> AsyncGenerator[Answer | Pool, None]:
            yield Answer(A, terms(OFFER), (), ())
            half.set()
            await rest.wait()
            yield Answer(B, terms(OFFER), (), ())

    found = discovery(Slow(), Clock(), monotonic=lambda: now)
    await found.start()
    try:
        await half.wait()
        await _until(lambda: found.status().entries == 1)
        with pytest.raises(NotReady, match="1 orchestrators have answered, and the others are still being asked") as caught:
            found.find(Filters())
        assert caught.value.retry_after_seconds
        now = began + 15.0
        assert addresses(found) == [A]
        now = began + 14.9
        rest.set()
        await _until(lambda: found.status().refreshes == 1)
        assert addresses(found) == [A, B]
    finally:
        await found.stop()


async def test_a_changed_rate_changes_the_prices_in_usd() -> None:
    rules = ListRules(usd_per_eth=Fraction(3000))
    runner = Runner(
        "https://r.example/", "me/app", "", Fraction(10**12), '{"url":"https://r.example/","price_info":{"price":1000000000000}}'
    )

    class WithRunner(ScriptedCrew):
        async def ask(self, job: Job) -> AsyncGenerator[Answer | Pool, None]:
            yield Answer(A, terms(OFFER), (Node(A, (runner,)),), ())

    found = discovery(WithRunner(), Clock(), rules=lambda: rules)
    await found.start()
    try:
        await _until(lambda: found.status().refreshes == 1)
        assert lines(found)[0]["runners"][0]["price_info"]["price_usd"] == 0.003
        rules = ListRules(usd_per_eth=Fraction(2000))
        await _until(lambda: lines(found)[0]["runners"][0]["price_info"]["price_usd"] == 0.002)
    finally:
        await found.stop()


async def test_while_nobody_answers_it_asks_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("livepeer_remote_signer.adapters.discovery.snapshot.FIRST_RETRY_SECONDS", 0.05)
    crew = ScriptedCrew(failure=RuntimeError("unforeseen"))
    found = discovery(crew, Clock())
    await found.start()
    try:
        await _until(lambda: len(crew.asked) >= 3)
        assert found.status().fault == "RuntimeError"
        crew.failure, crew.answers = None, {A: (OFFER,)}
        await _until(lambda: found.status().entries == 1)
    finally:
        await found.stop()


async def test_after_a_fault_it_asks_again_within_a_minute_and_then_at_its_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    crew = ScriptedCrew({A: (OFFER,), B: (OFFER,)})
    found = discovery(crew, Clock())

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        crew.answers = {} if len(pauses) in (*range(1, 9), 10) else {A: (OFFER,)}
        if len(pauses) == 12:
            raise asyncio.CancelledError
        await no_pause(0)

    no_pause = asyncio.sleep
    monkeypatch.setattr("livepeer_remote_signer.adapters.discovery.snapshot.JITTER", 0)
    monkeypatch.setattr("livepeer_remote_signer.adapters.discovery.snapshot.asyncio.sleep", lambda s: sleep(s) if s else no_pause(0))
    with pytest.raises(asyncio.CancelledError):
        await found._keep_fresh()
    pace = PACE.refresh_seconds
    assert pauses == [pace, 2, 4, 8, 16, 32, 60, 60, 60, pace, 2, pace]


async def _until(holds: Any) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.02)


async def test_the_first_that_are_listed_are_shown_with_what_sessions_with_them_come_to() -> None:
    class Advised(ScriptedCrew):
        async def ask(self, job: Job) -> AsyncGenerator[Answer | Pool, None]:
            for url in job.urls:
                yield Answer(url, terms(OFFER)._replace(ticket=TicketTerms(Fraction(10**9), Fraction(3 * 10**11), 10**15)), (), ())

    found = discovery(Advised(), Clock(), rules=lambda: ListRules(means=Means(TicketLimits(), Fraction(5), 0)))
    await found.refresh()
    advised = found.status().advised
    assert [(told["url"], told["live"]) for told in advised] == [(A, "lapses"), (B, "lapses")]
    assert all("sessions will lapse" in told["message"] for told in advised)


async def test_the_list_is_made_anew_as_its_answers_age_and_not_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "REBUILD_SECONDS", 0.001)
    clock, crew = Clock(), ScriptedCrew({A: (OFFER,), B: (OFFER,)})
    found = discovery(crew, clock)
    built: list[int] = []
    build = Discovery._build

    async def counted(self: Discovery) -> None:
        built.append(1)
        await build(self)

    monkeypatch.setattr(Discovery, "_build", counted)
    await found.start()
    try:
        await _until(lambda: found.status().refreshes == 1 and not found._has_news)
        await asyncio.sleep(0.01)
        before = len(built)
        for _ in range(20):
            await asyncio.sleep(0.002)
        assert len(built) == before, "nothing has changed"
        clock.now_ns += int(PACE.kept_seconds * 10**9 / 20)
        await _until(lambda: len(built) > before)
    finally:
        await found.stop()


async def test_nodes_count_also_of_an_orchestrator_that_names_no_terms_and_keep_their_time() -> None:
    class Halves(ScriptedCrew):
        async def ask(self, job: Job) -> AsyncGenerator[Answer | Pool, None]:
            yield Answer(A, None, (), ("GetOrchestrator: refused",))
            yield Answer(B, terms(OFFER), None, ("/discovery: refused",))

    found = discovery(Halves(), clock := Clock())
    await found.refresh()
    seen = {sighting.url: (sighting.terms, sighting.terms_seen_ns, sighting.nodes_seen_ns) for sighting in found._sightings.values()}
    assert seen == {A: (Terms(), None, clock()), B: (terms(OFFER), clock(), None)}
