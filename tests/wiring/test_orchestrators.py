"""Readiness waits for discovery, but not for ever: payments can be signed without it."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from livepeer_remote_signer.config.loading import parse_config
from livepeer_remote_signer.wiring import chain
from livepeer_remote_signer.wiring.keys import open_signing_key
from livepeer_remote_signer.wiring.orchestrators import ATTEMPTS_BEFORE_READY, OrchestratorParts
from tests.signer import configuration


async def test_a_source_that_can_never_be_read_keeps_nobody_from_paying(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fetch_urls() -> Sequence[str]:
        raise OSError("no contract there")

    monkeypatch.setattr(OrchestratorParts, "_open_pool", lambda *_: fetch_urls)
    live = {"source": "rpc", "rpc": {"urls": ["http://127.0.0.1:9"]}}
    discovery = {"enabled": True, "on_chain": "service_registry"}
    config = parse_config(json.dumps({**configuration(), "chain": live, "discovery": discovery}), {})
    key = open_signing_key(config.key)
    parts = OrchestratorParts(config, key, chain.open_chain(config, key.address), lambda: 0)
    assert parts.discovery is not None
    assert [check.ok for check in parts.ready_checks()] == [False]
    for attempt in range(1, ATTEMPTS_BEFORE_READY + 2):
        await parts.discovery.refresh()
        (check,) = parts.ready_checks()
        assert check.ok == (attempt >= ATTEMPTS_BEFORE_READY)
        assert check.reason == "nobody could be asked yet: the on-chain pool cannot be read: OSError"
