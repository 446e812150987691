"""What is configured of redeemed tickets, and what would never come of it."""

from __future__ import annotations

import pytest

from livepeer_remote_signer.config.loading import ConfigError, parse_config

LEAST = "key: {private_key_file: k}\nchain: {source: static}\n"
ENDPOINTS = "chain: {source: rpc, rpc: {urls: [%s]}}\nledger: {backend: sqlite, path: l.db}\n"


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ("drawn: {on_foreign_ticket: suspend}", "needs chain.source rpc and a ledger"),
        ("drawn: {on_foreign_ticket: suspend, other_signers: true}", "drawn.other_signers: false"),
        ("drawn: {on_foreign_ticket: suspend, enabled: false}", "drawn.enabled: true"),
    ],
)
def test_a_switch_that_nothing_would_set_is_refused(sections: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_config(LEAST + sections, {})


def test_one_endpoint_suspends_nobody() -> None:
    key, suspend = "key: {private_key_file: k}\n", "drawn: {on_foreign_ticket: suspend}\n"
    with pytest.raises(ConfigError, match=r"a second entry in chain\.rpc\.urls"):
        parse_config(key + ENDPOINTS % "'https://a.example'" + suspend, {})
    config = parse_config(key + ENDPOINTS % "'https://a.example', 'https://b.example'" + suspend, {})
    assert (config.drawn.on_foreign_ticket, config.drawn.poll_seconds) == ("suspend", 15)
