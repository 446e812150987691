"""Readiness waits for discovery, but not for ever: payments can be signed without it."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from livepeer_remote_signer.adapters.readiness import Readiness
from livepeer_remote_signer.config.loading import parse_config
from livepeer_remote_signer.core.rules.readiness import ATTEMPTS_BEFORE_READY, ReadyCheck
from livepeer_remote_signer.wiring import chain, orchestrators
from tests.signer import configuration


async def test_a_source_that_can_never_be_read_keeps_nobody_from_paying(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fetch_urls() -> Sequence[str]:
        raise OSError("no contract there")

    monkeypatch.setattr(orchestrators, "_open_pool", lambda *_: fetch_urls)
    live = {"source": "rpc", "rpc": {"urls": ["http://127.0.0.1:9"]}}
    section = {"enabled": True, "on_chain": "service_registry"}
    config = parse_config(json.dumps({**configuration(), "chain": live, "discovery": section}), {})
    opened = chain.open_chain(config, bytes(20))
    discovery = orchestrators.open_discovery(config, bytes(20), bytes(65), opened, lambda: 0)

    def last_check() -> ReadyCheck:
        return Readiness(opened.source.view, opened.ceilings, discovery=discovery).checks()[-1]

    assert not last_check().ok
    for attempt in range(1, ATTEMPTS_BEFORE_READY + 2):
        await discovery.refresh()
        check = last_check()
        assert (check.name, check.ok) == ("discovery", attempt >= ATTEMPTS_BEFORE_READY)
        assert check.reason == "nobody could be asked yet: the on-chain pool cannot be read: OSError"
