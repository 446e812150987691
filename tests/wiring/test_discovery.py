"""The list of orchestrators is asked for as it is configured, and made by what the chain says. It is one for all callers: its advice
may rest on funds only where those are everybody's."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml

from livepeer_remote_signer.adapters.discovery import Discovery
from livepeer_remote_signer.adapters.outbound import Outbound
from livepeer_remote_signer.adapters.price_feed import PriceFeed
from livepeer_remote_signer.config.loading import parse_config
from livepeer_remote_signer.wiring.chain import open_chain
from livepeer_remote_signer.wiring.orchestrators import open_discovery
from livepeer_remote_signer.wiring.senders import open_senders
from tests.api_keys import create_key
from tests.integration.test_senders import ACME, EVERYBODY, KEYS, MAC
from tests.plans import CHAIN, NOW_NS
from tests.signer import configuration

URL = "https://127.0.0.1:1"
SEVERAL = {"keys": KEYS, "senders": [ACME, EVERYBODY], "state": MAC}


def opened(discovery: dict[str, Any] | None = None, **sections: Any) -> Discovery:
    """Not started."""
    discovery = {"enabled": True, "static": [URL], **(discovery or {})}
    config = parse_config(yaml.safe_dump(configuration(discovery=discovery, **sections)), {})
    sender = open_senders(config, Outbound(), lambda: NOW_NS)[0]
    return open_discovery(config, sender.address, sender.info, open_chain(config, sender.address, Outbound()), lambda: NOW_NS)


@pytest.mark.parametrize(("sections", "deposit_wei"), [({}, CHAIN.deposit_wei), (SEVERAL, None)], ids=["one", "several"])
def test_advice_rests_on_the_funds_of_the_only_sender_and_on_none_of_several(
    sections: dict[str, Any], deposit_wei: int | None, tmp_path: Path
) -> None:
    api_keys = tmp_path / "api-keys.json"
    create_key(api_keys, name="a", auth_id="acme", now=5)
    rules = opened(**sections, auth={"api_keys_file": str(api_keys)})._rules()
    assert rules.means is not None
    assert rules.means.deposit_wei == deposit_wei


def test_everybody_is_asked_as_it_is_configured() -> None:
    job = opened({"follow_nodes": 3, "timeout_seconds": 7, "allow_private_addresses": True}, orchestrators={"tls": "system"})._job
    assert (job.urls, job.follow_nodes, job.timeout_seconds, job.allow_private, job.tls) == ((URL,), 3, 7, True, "system")
    assert (opened()._job.follow_nodes, opened()._job.allow_private) == (0, False)


def test_prices_in_usd_are_those_of_the_feed_which_needs_no_more_than_its_section_on_arbitrum_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PriceFeed, "usd_per_eth", lambda _: Fraction(3000))
    live = {"source": "rpc", "rpc": {"urls": ["http://127.0.0.1:1"]}}
    assert opened(chain=live, prices={"currency_feed": {}})._rules().usd_per_eth == 3000
    assert opened(chain=live)._rules().usd_per_eth is None
