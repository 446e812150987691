"""The list that is made of what orchestrators say keeps what is good."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from fractions import Fraction
from typing import Any

import pytest

from livepeer_remote_signer.core.protocol.timestamps import NS_PER_SECOND, encode_rfc3339_ns
from livepeer_remote_signer.core.rules.advertised import (
    Node,
    Offer,
    Terms,
    TicketTerms,
    parse_terms,
)
from livepeer_remote_signer.core.rules.advice import Means, advise, describe
from livepeer_remote_signer.core.rules.advice import Offer as AdvisedOffer
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
from livepeer_remote_signer.core.rules.limits import TicketLimits
from livepeer_remote_signer.core.rules.pricing import Ceilings, StaleRate
from livepeer_remote_signer.core.rules.recipients import RecipientRules
from tests.advertised import LLM, LV2V, RECIPIENT, A, B, info, nodes_of, runner

KEEP = 1500 * NS_PER_SECOND
PUBLIC_URL = "https://public.example:8935"
NOW = 10**18


def build_entries(
    sightings: Iterable[Sighting], rules: ListRules, *, is_stale: bool = False, miss: Callable[[Absence], None] = lambda absence: None
) -> list[Entry]:
    """The list in one go."""
    entries: list[Entry] = []
    for _ in build_steps(sightings, rules, entries.append, miss, is_stale=is_stale):
        pass
    return entries


def listed(*sightings: Sighting, ceilings: Ceilings | None = None, now: int = NOW, **rules: Any) -> list[dict[str, Any]]:
    kept = forget_old({sighting.url: sighting for sighting in sightings}, now - KEEP)
    is_stale = not has_answer_since(sightings, now - KEEP)
    return [
        json.loads(entry.encode()) for entry in build_entries(kept.values(), ListRules(ceilings or Ceilings(), **rules), is_stale=is_stale)
    ]


def terms(*offers: Offer, recipient: bytes = RECIPIENT, transcoder: str = "") -> Terms:
    return Terms(offers, recipient, transcoder)


def seen(url: str, *offers: Offer, nodes: tuple[Node, ...] | None = None, at: int = NOW, **said: Any) -> Sighting:
    return Sighting(url, terms(*offers, **said), at, nodes or (), None if nodes is None else at)


CHEAP, DEAR = Offer(LV2V, "m", Fraction(100)), Offer(LLM, "big", Fraction(5000))


def test_a_line_is_what_go_livepeer_lists_and_when_it_was_seen() -> None:
    (node,) = nodes_of(runner())
    (line,) = listed(seen(A, CHEAP, DEAR, nodes=(node,)))
    assert list(line) == ["address", "score", "capabilities", "runners", "last_seen"]
    assert line["address"] == A
    assert line["score"] == 1
    assert line["capabilities"] == ["live-video-to-video/m", "llm/big", "me/app"]
    assert line["runners"][0]["url"] == "https://runner.example/x"
    assert line["last_seen"] == "2001-09-09T01:46:40Z"
    assert listed(seen(A, CHEAP, at=NOW + 123_456_789), now=NOW)[0]["last_seen"] == "2001-09-09T01:46:40Z", "whole seconds"
    for terms_at, nodes_at in ((NOW, NOW - 60 * NS_PER_SECOND), (NOW - 60 * NS_PER_SECOND, NOW)):
        sighting = seen(A, CHEAP, nodes=(node,), at=terms_at)._replace(nodes_seen_ns=nodes_at)
        assert listed(sighting)[0]["last_seen"] == "2001-09-09T01:46:40Z", "the newest of what it answered"


def test_what_is_above_the_ceiling_is_not_listed_and_equality_passes() -> None:
    ceilings = Ceilings(Fraction(4999), {(LV2V, "default"): Fraction(100)})
    assert listed(seen(A, CHEAP, DEAR), ceilings=ceilings)[0]["capabilities"] == ["live-video-to-video/m"]
    assert listed(seen(A, DEAR), ceilings=ceilings) == []
    assert listed(seen(A, DEAR), ceilings=Ceilings(Fraction(5000))) != []


def test_a_ceiling_that_cannot_be_known_hides_nothing() -> None:
    assert listed(seen(A, CHEAP), ceilings=Ceilings(StaleRate("usd"))) != []
    assert listed(seen(A, nodes=nodes_of(runner())), ceilings=Ceilings(StaleRate("usd"))) != []


def test_an_offer_whose_hour_of_pixels_costs_more_than_the_ceiling_is_not_listed() -> None:
    an_hour = 3600 * 27_648_000
    ceilings = Ceilings(Fraction(10**9), per_hour=Fraction(100 * an_hour), per_job=Fraction(1))
    assert listed(seen(A, CHEAP, DEAR), ceilings=ceilings)[0]["capabilities"] == ["live-video-to-video/m"]
    assert listed(seen(A, CHEAP), ceilings=Ceilings(per_hour=Fraction(100 * an_hour - 1))) == []
    assert listed(seen(A, CHEAP), ceilings=Ceilings(Fraction(99), per_hour=Fraction(100 * an_hour))) == []
    assert listed(seen(A, CHEAP), ceilings=Ceilings(per_hour=StaleRate("usd"))) != []


@pytest.mark.parametrize(
    ("unit", "ceilings"),
    [
        ("seconds", {"per_hour": Fraction(12 * 3600), "per_job": Fraction(1)}),
        ("720p-pixel-seconds", {"per_hour": Fraction(12 * 3600 * 27_648_000), "per_job": Fraction(1)}),
        ("fixed", {"per_job": Fraction(12), "per_hour": Fraction(1)}),
    ],
)
def test_runners_obey_the_ceiling_of_their_own_unit(unit: str, ceilings: dict[str, Fraction]) -> None:
    nodes = nodes_of(
        runner(url="https://r1.example", price_info={"price": 12, "currency": "wei", "unit": unit}),
        runner(url="https://r2.example", price_info={"price": 12.01, "currency": "wei", "unit": unit}),
    )
    (line,) = listed(seen(A, nodes=nodes), ceilings=Ceilings(**ceilings))
    assert [found["url"] for found in line["runners"]] == ["https://r1.example"]


def test_a_runner_above_the_global_ceiling_is_not_listed() -> None:
    nodes = nodes_of(
        runner(), runner(url="https://dear.example/", app="dear", price_info={"price": 13, "currency": "wei", "unit": "seconds"})
    )
    (line,) = listed(seen(A, nodes=nodes), ceilings=Ceilings(Fraction(12)))
    assert line["capabilities"] == ["me/app"]


def test_an_orchestrator_with_nothing_to_offer_is_listed_only_when_runners_name_it() -> None:
    assert listed(seen(A)) == []
    assert listed(seen(A, nodes=nodes_of(runner(), address=B))) == []
    assert [line["address"] for line in listed(seen(A, nodes=nodes_of(runner())), seen(B))] == [A]


def test_runners_are_listed_under_their_own_orchestrators_address_alone() -> None:
    (foreign,) = nodes_of(runner(version="forged"), runner(url="https://more.example/"))
    (elsewhere,) = nodes_of(runner(), address="https://nobody.example")
    (own,) = nodes_of(runner(version="own"))
    (line,) = listed(seen(B, nodes=(foreign, elsewhere)), seen(A, CHEAP, nodes=(own,)))
    assert line["address"] == A
    assert [(r["url"], r.get("version")) for r in line["runners"]] == [("https://runner.example/x", "own")]
    assert listed(seen(B, CHEAP, nodes=(foreign, elsewhere)))[0]["runners"] == []


def test_of_runners_with_one_url_the_first_is_kept() -> None:
    nodes = (*nodes_of(runner(version="1")), *nodes_of(runner(version="2"), runner(url="https://more.example/")))
    (line,) = listed(seen(A, CHEAP, nodes=nodes))
    assert [(r["url"], r.get("version")) for r in line["runners"]] == [("https://runner.example/x", "1"), ("https://more.example/", None)]


def test_an_address_is_listed_as_the_source_has_it_whatever_its_spelling() -> None:
    (own,) = nodes_of(runner(version="own"), address="https://a.example:443/")
    (line,) = listed(seen("https://a.example", CHEAP, nodes=(own,), transcoder="https://A.example:443/"))
    assert line["address"] == "https://a.example"
    assert [r["url"] for r in line["runners"]] == ["https://runner.example/x"]


def test_who_is_asked_at_an_internal_url_is_listed_at_the_one_that_it_names() -> None:
    internal = nodes_of(runner(url="https://r1.example/"), address=A)
    public = nodes_of(runner(url="https://r2.example/"), address=PUBLIC_URL)
    (line,) = listed(seen(A, CHEAP, nodes=internal + public, transcoder=PUBLIC_URL + "/"))
    assert line["address"] == PUBLIC_URL
    assert [r["url"] for r in line["runners"]] == ["https://r1.example/", "https://r2.example/"]


@pytest.mark.parametrize("named", ["", "http://public.example", "https://", "x", "https://u:p@public.example"])
def test_what_is_no_service_url_is_not_listed(named: str) -> None:
    assert [line["address"] for line in listed(seen(A, CHEAP, transcoder=named))] == [A]


def test_nobody_is_listed_where_somebody_else_answers_or_claims_to() -> None:
    there = seen(PUBLIC_URL, CHEAP)
    assert [line["address"] for line in listed(seen(A, DEAR, transcoder=PUBLIC_URL), there)] == [A, PUBLIC_URL]
    claims = seen(A, CHEAP, transcoder=PUBLIC_URL), seen(B, DEAR, transcoder=PUBLIC_URL)
    assert [line["address"] for line in listed(*claims)] == [A, B]


def test_a_url_is_free_when_who_answers_there_cannot_be_paid() -> None:
    assert [line["address"] for line in listed(seen(A, CHEAP, transcoder=B), seen(B, CHEAP, recipient=b""))] == [B]


def test_an_old_answer_is_dropped_while_others_are_fresh() -> None:
    old = NOW - KEEP - 1
    assert [line["address"] for line in listed(seen(A, CHEAP, at=old), seen(B, CHEAP))] == [B]
    halves = Sighting(B, terms(CHEAP), NOW, nodes_of(runner(), address=B), old)
    assert listed(halves)[0]["runners"] == []
    assert listed(halves._replace(terms_seen_ns=old, nodes_seen_ns=NOW)) == [], "who does not answer GetOrchestrator cannot be paid"


def test_when_nobody_answers_any_more_everything_is_kept_and_marked() -> None:
    lines = listed(seen(A, CHEAP, at=NOW - 2 * KEEP), seen(B, CHEAP, nodes=nodes_of(runner(), address=B), at=NOW - 3 * KEEP))
    assert [line["address"] for line in lines] == [A, B]
    assert all(line["stale"] is True for line in lines)
    assert lines[0]["last_seen"] == encode_rfc3339_ns(NOW - 2 * KEEP)


def test_who_never_answered_is_not_listed() -> None:
    assert listed(Sighting(A)) == []


def test_a_half_that_failed_keeps_its_earlier_answer() -> None:
    nodes = nodes_of(runner())
    first = merge_sightings(None, Sighting(A, terms(CHEAP), 1, nodes, 1))
    second = merge_sightings(first, Sighting(A, Terms(), None, (), 2))
    assert second == Sighting(A, terms(CHEAP), 1, (), 2)
    third = merge_sightings(second, Sighting(A, terms(DEAR), 3))
    assert third == Sighting(A, terms(DEAR), 3, (), 2)


def test_values_of_one_filter_are_alternatives_and_filters_narrow_each_other() -> None:
    nodes = nodes_of(
        runner(gpu={"name": "RTX 4090"}),
        runner(url="https://r2.example/", app=" other/app ", gpu={"name": " H100 "}),
        runner(url="https://r3.example/"),
    )
    entries = build_entries([seen(A, CHEAP, nodes=nodes), seen(B, DEAR)], ListRules())

    def found(caps: str = "", apps: str = "", gpus: str = "") -> list[tuple[str, list[str]]]:
        filters = Filters(*(frozenset(filter(None, text.split("|"))) for text in (caps, apps, gpus)))
        lines = [json.loads(entry.encode()) for entry in filter_entries(entries, filters)]
        return [(line["address"], [r["url"].removeprefix("https://")[:2] for r in line["runners"]]) for line in lines]

    whole = (A, ["ru", "r2", "r3"])
    assert found() == [whole, (B, [])]
    assert found("llm/big") == [(B, [])]
    assert found("llm/big|live-video-to-video/m") == [whole, (B, [])]
    assert found("me/app") == [whole], "caps keep all runners"
    assert found("llm") == []
    assert found(apps="me/app") == [(A, ["ru", "r3"])]
    assert found(apps="other/app") == [(A, ["r2"])], "blanks at the ends do not count"
    assert found(apps="me/app|other/app") == [whole]
    assert found(apps="me/ap") == []
    assert found(gpus="H100") == [(A, ["r2"])]
    assert found(gpus="RTX 4090|H100") == [(A, ["ru", "r2"])]
    assert found(gpus="rtx 4090") == []
    assert found(apps="me/app", gpus="RTX 4090") == [(A, ["ru"])]
    assert found(apps="me/app", gpus="H100") == []
    assert found("llm/big", apps="me/app") == []


def test_a_runners_price_is_told_in_usd_where_there_is_a_rate() -> None:
    price = {"price": "1500.5", "currency": "wei", "unit": "seconds"}
    sighting = seen(A, nodes=nodes_of(runner(price_info=price)))
    assert "price_usd" not in json.dumps(listed(sighting))
    (line,) = build_entries([sighting], ListRules(usd_per_eth=Fraction(2000)))
    assert b'"price_info":{"price":1500.5,"currency":"wei","unit":"seconds","price_usd":0.000000000003001}' in line.encode()
    (line,) = build_entries([sighting], ListRules(usd_per_eth=Fraction(10**21)))
    assert b'"price_usd":1500500}' in line.encode()


def test_who_cannot_be_paid_is_not_listed_nor_are_his_runners() -> None:
    whole: dict[str, Any] = {"address": RECIPIENT}
    assert parse_terms(info([(LV2V, "m")], **whole)).recipient == RECIPIENT
    for raw in (
        info([(LV2V, "m")]),
        info([(LV2V, "m")], address=b"short"),
        info([(LV2V, "m")], None, **whole),
        info([(LV2V, "m")], (5, 0), **whole),
        info([(LV2V, "m")], (-5, 1), **whole),
    ):
        assert parse_terms(raw).recipient == b""
    assert listed(seen(A, CHEAP, nodes=nodes_of(runner()), recipient=b"")) == []
    assert listed(Sighting(A, nodes=nodes_of(runner()), nodes_seen_ns=NOW)) == [], "GetOrchestrator was never answered"


def test_whom_the_operator_denies_is_not_listed() -> None:
    other = bytes([8]) * 20
    both = seen(A, CHEAP, nodes=nodes_of(runner())), seen(B, CHEAP, recipient=other)
    assert [line["address"] for line in listed(*both, recipients=RecipientRules(deny=frozenset((RECIPIENT,))))] == [B]
    assert [line["address"] for line in listed(*both, recipients=RecipientRules(allow=frozenset((RECIPIENT,))))] == [A]
    assert len(listed(*both, recipients=RecipientRules(allow=frozenset((RECIPIENT, other))))) == 2


def test_an_entry_carries_advice_by_job_type_where_its_terms_are_known() -> None:
    ticket = TicketTerms(Fraction(10**9), Fraction(3 * 10**11), 10**15)
    told = seen(A, CHEAP)._replace(terms=terms(CHEAP)._replace(ticket=ticket))
    means = Means(TicketLimits(), Fraction(5), 0)
    (entry,) = build_entries([told], ListRules(Ceilings(), means=means), is_stale=False)
    advice = json.loads(entry.encode(with_advice=True))["advice"]
    assert advice["live"] == describe(advise(AdvisedOffer("live", *ticket), means))
    assert advice["live"]["verdict"] == "lapses"
    assert advice["lv2v"]["verdict"] == "refused"
    assert "advice" not in json.loads(entry.encode())
    (unknown,) = build_entries([seen(A, CHEAP)], ListRules(Ceilings(), means=means), is_stale=False)
    (unasked,) = build_entries([told], ListRules(Ceilings()), is_stale=False)
    assert unknown.advice == unasked.advice == ""
    short = verdicts(entry)
    assert short == {"url": A, "live": "lapses", "lv2v": "refused", "message": advice["live"]["findings"][0]["message"]}
    assert verdicts(unknown) is None
