"""What a payment moves in the metrics, under our names and under those that dashboards of go-livepeer know."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from functools import partial
from types import SimpleNamespace
from typing import cast

import pytest
from msgspec import structs

from livepeer_remote_signer.adapters.chain.gauges import add_chain_gauges, add_endpoint_gauges, add_feed_gauges
from livepeer_remote_signer.adapters.chain.rpc import EndpointStatus, RpcChain
from livepeer_remote_signer.adapters.discovery import Discovery
from livepeer_remote_signer.adapters.discovery.gauges import add_discovery_gauges
from livepeer_remote_signer.adapters.events.metrics import EventMetrics, add_outbox_gauges
from livepeer_remote_signer.adapters.events.sink import Sink
from livepeer_remote_signer.adapters.metrics import Metrics, spending
from livepeer_remote_signer.adapters.metrics.by_sender import SenderGauges
from livepeer_remote_signer.adapters.metrics.payments import PaymentMetrics
from livepeer_remote_signer.adapters.metrics.spending import Sampler, SpendRate
from livepeer_remote_signer.adapters.price_feed import FeedStatus, PriceFeed
from livepeer_remote_signer.api.errors import status_of
from livepeer_remote_signer.core import errors
from livepeer_remote_signer.core.protocol.eip191 import checksum_address
from livepeer_remote_signer.core.rules.chain import ChainView, StaleReading
from livepeer_remote_signer.core.rules.draws import Kind
from livepeer_remote_signer.core.rules.events import Backlog
from livepeer_remote_signer.core.rules.readiness import DiscoveryStatus
from livepeer_remote_signer.core.rules.runway import Burn
from livepeer_remote_signer.core.rules.trail import Trail
from tests.plans import CHAIN, PAYER, orchestrator_info, plan_payment
from tests.prometheus_text import Metric, parse_metrics

PAY = "/generate-live-payment"
OTHER = b"\x70" * 20
NAMES_OF_GO_LIVEPEER = {
    "livepeer_ticket_value_sent",
    "livepeer_tickets_sent",
    "livepeer_payment_create_errors",
    "livepeer_gateway_deposit",
    "livepeer_gateway_reserve",
    "livepeer_gateway_max_float",
    "livepeer_gateway_ticket_face_value",
    "livepeer_broadcaster_deposit",
    "livepeer_broadcaster_reserve",
    "livepeer_kafka_event_send_errors",
}


def trail() -> Trail:
    """A request that began just now."""
    return Trail(PAY, "0" * 32, "", time.perf_counter)


class Counted:
    """Metrics of payments, and what a scrape reads."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self.payments = PaymentMetrics(self.metrics, status_of)

    def read(self) -> dict[str, Metric]:
        """A scrape."""
        return parse_metrics(self.metrics.render())


def test_a_payment_moves_the_counters_by_what_it_is_worth() -> None:
    counted = Counted()
    plan = plan_payment()
    for _ in range(3):
        counted.payments.paid(plan, trail())
    read = counted.read()
    assert read["livepeer_signer_requests_total"].value(route=PAY, status="200", code="ok", type="live") == 3
    assert read["livepeer_signer_payments_total"].value(type="live") == 3
    assert read["livepeer_signer_tickets_total"].value(type="live") == 3 * plan.num_tickets
    assert read["livepeer_signer_ev_gwei_total"].value(type="live") == pytest.approx(3 * plan.num_tickets * 1000)
    assert read["livepeer_signer_fee_gwei_total"].value(type="live") == pytest.approx(3 * 1000)
    assert read["livepeer_signer_face_value_gwei_total"].value(type="live") == pytest.approx(3 * plan.num_tickets * 1_200_000)
    assert read["livepeer_tickets_sent"].value() == 3 * plan.num_tickets
    assert read["livepeer_ticket_value_sent"].value() == pytest.approx(3 * plan.num_tickets * 1000)
    assert read["livepeer_gateway_ticket_face_value"].value() == 1_200_000
    assert read["livepeer_signer_request_seconds"].value("_count", route=PAY) == 3
    assert counted.payments.spent_gwei() == pytest.approx(3 * plan.num_tickets * 1000)


def test_credit_is_what_the_balance_buys_at_the_sessions_price() -> None:
    counted = Counted()
    plan = plan_payment()
    counted.payments.paid(plan, trail())
    seconds = float(plan.state.balance / plan.price)
    assert counted.read()["livepeer_signer_credit_seconds"].value("_sum", type="live") == pytest.approx(seconds)
    fixed = plan_payment(orchestrator_info(price_per_unit=10**12), job_type="fixed")
    counted.payments.paid(fixed, trail())
    assert {dict(labels)["type"] for _, labels in counted.read()["livepeer_signer_credit_seconds"].samples} == {"live"}


def test_refusals_are_counted_by_status_code_and_type() -> None:
    counted = Counted()
    known = trail()
    known.session = plan_payment(orchestrator_info(price_per_unit=1200), job_type="lv2v").session
    counted.payments.refused(errors.NoTickets("no tickets"), known)
    counted.payments.refused(errors.RefreshSession("token", "https://orch"), known)
    counted.payments.refused(errors.BadJson("not JSON"), trail())
    counted.payments.refused(errors.Denied("no", status=402, webhook_code="anything a webhook says"), trail())
    counted.payments.replied("/healthz", 200)
    counted.payments.replied("other", 404)
    read = counted.read()
    requests = read["livepeer_signer_requests_total"]
    assert requests.value(route=PAY, status="482", code="no_tickets", type="lv2v") == 1
    assert requests.value(route=PAY, status="480", code="refresh_session", type="lv2v") == 1
    assert requests.value(route=PAY, status="400", code="bad_json", type="unknown") == 1
    assert requests.value(route=PAY, status="402", code="denied", type="unknown") == 1, "a webhook's words are no label"
    assert requests.value(route="other", status="404", code="error", type="") == 1
    assert read["livepeer_payment_create_errors"].value() == 2, "480 and 482 are how sessions run"
    assert counted.payments.outcomes() == {"482": 1, "480": 1, "400": 1, "402": 1}


def test_every_known_name_is_there_with_a_value() -> None:
    counted = Counted()
    EventMetrics(counted.metrics)
    view = ChainView(1, 1, bytes(32), 2 * 10**18, 10**18, transcoder_pool_size=100)
    add_chain_gauges(counted.metrics, SenderGauges(counted.metrics, {PAYER: ""}), {PAYER: lambda: view}, lambda: 1.0)
    counted.payments.paid(plan_payment(), trail())
    read = counted.read()
    assert read.keys() >= NAMES_OF_GO_LIVEPEER
    assert read["livepeer_gateway_deposit"].value() == read["livepeer_broadcaster_deposit"].value() == 2 * 10**9
    assert read["livepeer_gateway_reserve"].value() == read["livepeer_broadcaster_reserve"].value() == 10**9
    assert read["livepeer_gateway_max_float"].value() == 10**7
    assert read["livepeer_kafka_event_send_errors"].value(event_type="create_signed_ticket") == 0


def test_the_chains_gauges_follow_the_view() -> None:
    metrics = Metrics()
    views = [CHAIN]
    age: list[float | None] = [3.5]
    add_chain_gauges(metrics, SenderGauges(metrics, {PAYER: ""}), {PAYER: lambda: views[-1]}, lambda: age[-1])

    def read(name: str) -> float:
        return parse_metrics(metrics.render())[name].value()

    assert read("livepeer_signer_chain_usable") == 1
    assert read("livepeer_signer_chain_age_seconds") == 3.5
    assert read("livepeer_signer_chain_l1_block") == CHAIN.l1_block
    views.append(ChainView(1, 10, bytes(32), 5, 5, withdraw_round=11))
    assert read("livepeer_signer_chain_usable") == 0
    assert read("livepeer_signer_withdraw_round") == 11
    views.append(ChainView(1, 10, bytes(32), 5, 5, stale=StaleReading("old", 90.0, 60.0)))
    assert read("livepeer_signer_chain_usable") == 0
    age.append(None)
    assert "livepeer_signer_chain_age_seconds" not in parse_metrics(metrics.render())


def test_of_several_senders_each_has_its_own_funds_and_what_it_spent() -> None:
    keys = {PAYER: "red", OTHER: "blue"}
    metrics = Metrics()
    payments = PaymentMetrics(metrics, status_of, keys)
    views = {PAYER: lambda: CHAIN, OTHER: lambda: replace(CHAIN, deposit_wei=0, withdraw_round=0)}
    add_chain_gauges(metrics, SenderGauges(metrics, keys), views, lambda: 1.0)
    plan = plan_payment()
    for sender in (PAYER, OTHER, OTHER):
        payments.paid(structs.replace(plan, sender=sender), trail())
    read = parse_metrics(metrics.render())
    red, blue = ({"key": name, "sender": checksum_address(sender)} for sender, name in keys.items())
    assert [read["livepeer_gateway_deposit"].value(**own) for own in (red, blue)] == [CHAIN.deposit_wei / 10**9, 0]
    assert [read["livepeer_signer_chain_usable"].value(**own) for own in (red, blue)] == [1, 0]
    assert [read["livepeer_signer_sender_tickets_total"].value(**own) for own in (red, blue)] == [plan.num_tickets, 2 * plan.num_tickets]
    assert payments.spent_gwei(OTHER) == 2 * payments.spent_gwei(PAYER) == pytest.approx(payments.spent_gwei() * 2 / 3)
    assert payments.mean_face_value_gwei(OTHER) == payments.mean_face_value_gwei() > 0


def test_one_sender_has_no_label_wherever_its_key_is_named() -> None:
    metrics = Metrics()
    PaymentMetrics(metrics, status_of, {PAYER: "red"})
    add_chain_gauges(metrics, SenderGauges(metrics, {PAYER: "red"}), {PAYER: lambda: CHAIN}, lambda: 1.0)
    shown = metrics.render().decode()
    assert "\nlivepeer_gateway_deposit 1000000000\n" in shown
    assert "sender=" not in shown
    assert "livepeer_signer_sender" not in shown


async def test_without_a_ledger_the_burn_is_what_was_spent_in_the_last_hour_at_the_mean_face_value() -> None:
    now, spent = [0.0], [0.0]
    rate = SpendRate(lambda: spent[-1], clock=lambda: now[-1])
    assert await rate.burn(lambda: 0.0) == Burn(0, ())
    for minute in range(1, 181):
        now.append(minute * 60.0)
        spent.append(spent[-1] + (600.0 if minute > 60 else 6000.0))
        rate.sample()
    assert rate.wei_per_second() == pytest.approx(600 * 10**9 / 60)
    burn = await rate.burn(lambda: 10.0)
    assert burn.wei_per_hour == pytest.approx(3600 * 10**10)
    assert burn.kinds == (Kind(10 * 10**9, burn.wei_per_hour / 10**10),)
    for minute in range(181, 300):
        now.append(minute * 60.0)
        rate.sample()
    assert (await rate.burn(lambda: 10.0)).wei_per_hour == 0


def test_events_are_counted_by_sink() -> None:
    metrics = Metrics()
    events = EventMetrics(metrics)
    events.expect("file")
    events.sent("kafka", 5)
    events.send_failed("kafka")
    events.send_failed("http")
    events.lost.set(3)
    read = parse_metrics(metrics.render())
    assert read["livepeer_signer_events_sent_total"].value(sink="kafka") == 5
    assert read["livepeer_signer_events_sent_total"].value(sink="file") == 0
    assert read["livepeer_signer_event_send_failures_total"].value(sink="http") == 1
    assert read["livepeer_kafka_event_send_errors"].value(event_type="create_signed_ticket") == 1
    assert read["livepeer_signer_events_lost_total"].value() == 3


def test_the_gauges_of_prices_discovery_and_endpoints_follow_what_they_show() -> None:
    metrics = Metrics()
    price: list[Fraction | None] = [Fraction(7001, 2), None]
    feed = SimpleNamespace(usd_per_eth=lambda: price[0], status=lambda: FeedStatus(None, 30.0, 5400.0, ""))
    found = DiscoveryStatus(1, 1, 3, 5, "", 0.5, 60.0, {"unreachable": 2}, [])
    healths = [EndpointStatus("a", True, 0, "", 7), EndpointStatus("b", False, 3, "silent", 0)]
    add_feed_gauges(metrics, cast(PriceFeed, feed))
    add_discovery_gauges(metrics, cast(Discovery, SimpleNamespace(status=lambda: found)))
    add_endpoint_gauges(metrics, cast(RpcChain, SimpleNamespace(status=lambda: SimpleNamespace(endpoints=healths))))
    read = parse_metrics(metrics.render())
    assert read["livepeer_signer_eth_usd_price"].value() == 3500.5
    assert read["livepeer_signer_price_feed_age_seconds"].value() == 30
    assert read["livepeer_signer_discovery_orchestrators"].value() == 3
    assert read["livepeer_signer_discovery_left_out"].value(cause="unreachable") == 2
    assert read["livepeer_signer_discovery_left_out"].value(cause="price") == 0
    assert read["livepeer_signer_discovery_age_seconds"].value() == 0.5
    assert read["livepeer_signer_discovery_kept_seconds"].value() == 60
    usable = read["livepeer_signer_rpc_endpoint_usable"]
    assert (usable.value(endpoint="0"), usable.value(endpoint="1")) == (1, 0)
    price.pop(0)
    assert "livepeer_signer_eth_usd_price" not in parse_metrics(metrics.render())


@pytest.mark.parametrize("is_shared", [False, True])
def test_how_many_events_wait_since_when_and_for_whom_is_shown(is_shared: bool) -> None:
    metrics = Metrics()
    outbox = SimpleNamespace(backlog=Backlog(7, time.time_ns() // 1_000_000 - 90_000, 2, 4), sink_faults={"b": "away"})
    sinks = [SimpleNamespace(kind="http", name=name) for name in ("a", "b")]
    add_outbox_gauges(metrics, EventMetrics(metrics), outbox, cast(list[Sink], sinks), is_shared=is_shared)
    read = parse_metrics(metrics.render())
    assert read["livepeer_signer_outbox_pending"].value() == 7
    assert 90 <= read["livepeer_signer_outbox_oldest_age_seconds"].value() < 150
    degraded = read["livepeer_signer_sink_degraded"]
    assert (degraded.value(sink="http", position="0"), degraded.value(sink="http", position="1")) == (0, 1)
    assert read["livepeer_signer_events_lost_total"].value() == 2
    assert ("livepeer_signer_outbox_parked" in read) is is_shared
    if is_shared:
        assert read["livepeer_signer_outbox_parked"].value() == 4


class Counting:
    """Takes the place of the metrics and of the rate; counts what is asked of it."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()
        for name in ("keep_shared", "settle", "sample"):
            setattr(self, name, partial(self._count, name))

    def _count(self, name: str) -> None:
        self.done[name] += 1


async def test_the_spend_is_noted_once_in_its_time_and_what_waits_is_counted_all_the_while_and_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spending, "SETTLE_SECONDS", 0.001)
    for sample_seconds, is_noted in ((3600.0, False), (0.0, True)):
        monkeypatch.setattr(spending, "SAMPLE_SECONDS", sample_seconds)
        counting = Counting()
        sampler = Sampler(cast(Metrics, counting), [cast(SpendRate, counting)])
        await sampler.start()
        async with asyncio.timeout(20):
            while counting.done["settle"] < 3:  # noqa: ASYNC110 - a plain count
                await asyncio.sleep(0.001)
        before = counting.done["settle"]
        await sampler.stop()
        assert counting.done["settle"] == before + 1
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "metrics-sampler"]
        assert counting.done["keep_shared"] == before
        assert (counting.done["sample"] > 0) is is_noted


async def test_who_was_never_started_notes_the_last_numbers_all_the_same() -> None:
    counting = Counting()
    await Sampler(cast(Metrics, counting), [cast(SpendRate, counting)]).stop()
    assert counting.done == {"settle": 1}
