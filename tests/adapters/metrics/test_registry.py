"""Counters and histograms: text that Prometheus reads, and a price that the paying path can afford."""

from __future__ import annotations

import timeit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livepeer_remote_signer.adapters.metrics import Metrics
from livepeer_remote_signer.adapters.metrics.registry import MAX_SERIES
from tests.prometheus_text import parse_metrics


def test_what_was_counted_is_what_is_read() -> None:
    metrics = Metrics()
    requests = metrics.counter("requests_total", "Requests.", ("route", "status"))
    requests.add(1, "/a", "200")
    requests.add(2, "/a", "200")
    requests.add(1, "/a", "480")
    tally = metrics.tally("paid", ("type",), (("payments_total", "Payments."), ("tickets_total", "Tickets.")))
    tally.add((1, 7), "live")
    tally.add((1, 3), "live")
    metrics.gauge("depth", "Depth.", lambda: 1.5)
    metrics.gauge("by_name", "By name.", lambda: {("x",): 1.0, ("y",): 2.0}, ("name",))
    metrics.gauge("unknown", "Nothing is known.", lambda: None)
    metrics.derived("all_total", "All.", requests, lambda merged: sum(values[0] for values in merged.values()))
    read = parse_metrics(metrics.render())
    assert read["requests_total"].value(route="/a", status="200") == 3
    assert read["requests_total"].value(route="/a", status="480") == 1
    assert read["payments_total"].value(type="live") == 2
    assert read["tickets_total"].value(type="live") == 10
    assert read["depth"].value() == 1.5
    assert read["by_name"].value(name="y") == 2
    assert read["all_total"].value() == 4
    assert "unknown" not in read
    assert read["requests_total"].kind == "counter"
    assert read["depth"].kind == "gauge"


def test_a_histogram_counts_values_up_to_and_including_a_bound() -> None:
    metrics = Metrics()
    seconds = metrics.histogram("seconds", "Seconds.", (0.1, 1.0), ("phase",))
    for value in (0.05, 0.1, 0.5, 1.0, 7.0):
        seconds.observe_all([value], "sign")
    read = parse_metrics(metrics.render())["seconds"]
    assert [read.value("_bucket", phase="sign", le=le) for le in ("0.1", "1", "+Inf")] == [2, 4, 5]
    assert read.value("_sum", phase="sign") == pytest.approx(8.65)


def test_a_counter_without_labels_is_there_before_anything_was_counted() -> None:
    metrics = Metrics()
    metrics.counter("lost_total", "Lost.")
    assert parse_metrics(metrics.render())["lost_total"].value() == 0


@given(st.text(), st.text())
def test_any_label_value_survives(one: str, two: str) -> None:
    try:
        (one + two).encode()
    except UnicodeEncodeError:
        return
    metrics = Metrics()
    metrics.gauge("x", "Any\ntext \\ of help", lambda: {(one, two): 1.0}, ("a", "b"))
    if "\r" not in one + two:
        assert parse_metrics(metrics.render())["x"].value(a=one, b=two) == 1


def test_label_values_without_bound_are_counted_together() -> None:
    metrics = Metrics()
    counter = metrics.counter("odd_total", "Odd.", ("who",))
    for n in range(MAX_SERIES + 500):
        counter.add(1, str(n))
    read = parse_metrics(metrics.render())["odd_total"]
    assert len(read.samples) == MAX_SERIES + 1
    assert read.value(who="other") == 500


def test_infinity_is_written_as_prometheus_spells_it() -> None:
    metrics = Metrics()
    metrics.gauge("runway", "Runway.", lambda: float("inf"))
    assert b"runway +Inf\n" in metrics.render()


def test_an_observation_costs_less_than_a_hundredth_of_a_payment() -> None:
    metrics = Metrics()
    counter = metrics.counter("c_total", "C.", ("route", "status", "code", "type"))
    histogram = metrics.histogram("h", "H.", tuple(0.0001 * 2**n for n in range(16)), ("phase",))

    def observe() -> None:
        counter.add(1.0, "/generate-live-payment", "200", "ok", "live")
        histogram.observe_all([0.0021], "sign")

    best = min(timeit.repeat(observe, number=5000, repeat=7)) / 5000 / 2
    assert best < 5e-6, f"{best * 1e6:.2f} us: a fault of another kind than a busy machine"


def test_a_gauge_that_knows_nobody_yet_is_left_out() -> None:
    metrics = Metrics()
    known: dict[tuple[str, ...], float] = {}
    metrics.gauge("left", "Left.", lambda: known, ("who",))
    assert b"left" not in metrics.render()
    known[("a",)] = 0.0
    assert parse_metrics(metrics.render())["left"].value(who="a") == 0
