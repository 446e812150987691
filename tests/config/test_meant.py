"""Values that YAML makes of what nobody meant are named: a truth where none is expected, a section with nothing under it."""

from __future__ import annotations

import pytest

from livepeer_remote_signer.config.loading import parse_config
from tests.config.reading import LEAST, fault


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("limits: {max_connections: yes}", "limits.max_connections"),
        ("limits: {drain_seconds: true}", "limits.drain_seconds"),
        ("prices: {max_price_per_unit: on}", "prices.max_price_per_unit"),
        ("events: {sinks: [{type: kafka, brokers: ['a:1'], topic: no}]}", "events.sinks.0.topic"),
        ("auth: {webhook: {url: 'http://a/', headers: {X-One: yes}}}", "auth.webhook.headers.X-One"),
        ("cors: {allow_origins: [off]}", "cors.allow_origins.0"),
        ("recipients: {guard: {window_seconds: true}}", "recipients.guard.window_seconds"),
    ],
)
def test_yes_where_no_truth_is_expected_is_named(text: str, key: str) -> None:
    assert fault(f"{LEAST}{text}\n") == (
        f"{key}: YAML reads yes, no, on, off, true and false as true or false, which cannot be meant here; text stands in quotes"
    )


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("limits:", "limits"),
        ("auth:\n  webhook:", "auth.webhook"),
        ("auth:\n  jwt:", "auth.jwt"),
        ("admin:", "admin"),
        ("budgets:", "budgets"),
        ("events:\n  sinks:", "events.sinks"),
        ("recipients: {guard: }", "recipients.guard"),
        ("limits: {max_ticket_ev_wei: }", "limits.max_ticket_ev_wei"),
    ],
)
def test_a_section_with_nothing_under_it_is_named(text: str, key: str) -> None:
    assert fault(f"{LEAST}{text}\n") == f"{key}: nothing stands under it: give it a value, or take the key away"


def test_what_may_be_true_or_nothing_still_may() -> None:
    text = "byoc_jobs: yes\nauth: {allow_unauthenticated: on}\noutbound: {proxy: }\nledger: {path: }\n"
    config = parse_config(LEAST + text, {})
    assert (config.byoc_jobs, config.auth.allow_unauthenticated, config.outbound.proxy, config.ledger.path) == (True, True, None, None)
