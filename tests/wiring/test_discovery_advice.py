"""The list of orchestrators is one for all callers: its advice may rest on funds only where those are everybody's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from livepeer_remote_signer.adapters.outbound import Outbound
from livepeer_remote_signer.config.loading import parse_config
from livepeer_remote_signer.wiring.chain import open_chain
from livepeer_remote_signer.wiring.orchestrators import open_discovery
from livepeer_remote_signer.wiring.senders import open_senders
from tests.api_keys import create_key
from tests.integration.test_senders import ACME, EVERYBODY, KEYS, MAC
from tests.plans import CHAIN, NOW_NS
from tests.signer import configuration

SEVERAL = {"keys": KEYS, "senders": [ACME, EVERYBODY], "state": MAC}


@pytest.mark.parametrize(("sections", "deposit_wei"), [({}, CHAIN.deposit_wei), (SEVERAL, None)], ids=["one", "several"])
def test_advice_rests_on_the_funds_of_the_only_sender_and_on_none_of_several(
    sections: dict[str, Any], deposit_wei: int | None, tmp_path: Path
) -> None:
    api_keys = tmp_path / "api-keys.json"
    create_key(api_keys, name="a", auth_id="acme", now=5)
    discovery = {"enabled": True, "static": ["https://127.0.0.1:1"]}
    config = parse_config(
        yaml.safe_dump(configuration(**sections, auth={"api_keys_file": str(api_keys)}, discovery=discovery)),
        {},
    )
    sender = open_senders(config, Outbound(), lambda: NOW_NS)[0]
    chain = open_chain(config, sender.address, Outbound())
    rules = open_discovery(config, sender.address, sender.info, chain, lambda: NOW_NS)._rules()
    assert rules.means is not None
    assert rules.means.deposit_wei == deposit_wei
