"""Readiness waits for discovery, but not for ever: payments can be signed without it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from livepeer_remote_signer.adapters.ceilings import LiveCeilings
from livepeer_remote_signer.adapters.outbound import Outbound
from livepeer_remote_signer.adapters.readiness import Readiness
from livepeer_remote_signer.config.loading import parse_config
from livepeer_remote_signer.core.rules.ceilings import CeilingAmounts
from livepeer_remote_signer.core.rules.readiness import ATTEMPTS_BEFORE_READY, ReadyCheck
from livepeer_remote_signer.service.signing import InfoSignature
from livepeer_remote_signer.wiring import chain, orchestrators
from tests.api_keys import create_key
from tests.plans import CHAIN
from tests.signer import configuration, running_signer


async def test_a_source_that_can_never_be_read_keeps_nobody_from_paying(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fetch_urls() -> Sequence[str]:
        raise OSError("no contract there")

    monkeypatch.setattr(orchestrators, "_open_pool", lambda *_: fetch_urls)
    live = {"source": "rpc", "rpc": {"urls": ["http://127.0.0.1:9"]}}
    section = {"enabled": True, "on_chain": "service_registry"}
    config = parse_config(json.dumps({**configuration(), "chain": live, "discovery": section}), {})
    opened = chain.open_chain(config, bytes(20), Outbound())

    async def unasked(message: bytes) -> bytes:
        raise AssertionError("nobody is asked")

    discovery = orchestrators.open_discovery(config, bytes(20), InfoSignature(bytes(20), unasked), opened, lambda: 0)

    def last_check() -> ReadyCheck:
        return Readiness(opened.source.view, opened.ceilings, discovery=discovery).checks()[-1]

    assert not last_check().ok
    for attempt in range(1, ATTEMPTS_BEFORE_READY + 2):
        await discovery.refresh()
        check = last_check()
        assert (check.name, check.ok) == ("discovery", attempt >= ATTEMPTS_BEFORE_READY)
        assert check.reason == "nobody could be asked yet: the on-chain pool cannot be read: OSError"


async def test_a_keys_file_that_cannot_be_read_ends_readiness_until_it_can(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    create_key(path, name="a", auth_id="team-a", now=5)
    async with running_signer(auth={"api_keys_file": str(path)}) as signer:
        for is_there in (True, False, True):
            if not is_there:
                path.rename(tmp_path / "away")
            elif not path.exists():
                (tmp_path / "away").rename(path)
            async with asyncio.timeout(20):
                while (reply := await signer.client.get("/readyz")).status_code != (200 if is_there else 503):  # noqa: ASYNC110 - as from outside
                    await asyncio.sleep(0.05)
            (check,) = (c for c in reply.json()["checks"] if c["name"] == "auth.api_keys_file")
            assert (check["ok"], "cannot be read" in check["reason"]) == (is_there, not is_there)


def readiness(fault: str, *, senders: Sequence[str] = ()) -> dict[str, tuple[bool, bool]]:
    """Whether each part is ready, and whether it is degraded, when each of them has this fault."""
    part = SimpleNamespace(fault=fault, failure=fault, sink_faults=[fault])
    checks = Readiness(
        lambda: CHAIN,
        LiveCeilings(CeilingAmounts()),
        ledger=part,
        sinks=part,
        authorities={"auth.webhook": part},
        places=part,
        keys={"key": part},
        senders={name: lambda: CHAIN for name in senders},
    ).checks()
    return {check.name: (check.ok, check.degraded) for check in checks}


def test_each_part_that_is_there_is_asked_and_its_fault_counts() -> None:
    parts = {"chain", "ledger", "key", "auth.webhook", "events.sinks.0", "connections"}
    assert readiness("") == dict.fromkeys(parts, (True, False))
    faulty = readiness("it fails")
    assert faulty.keys() == parts
    assert [name for name, (ok, _) in faulty.items() if not ok] == ["ledger", "key", "auth.webhook"]
    assert faulty["events.sinks.0"] == faulty["connections"] == (True, True), "payments go on, and somebody should look"


def test_the_key_of_one_of_several_senders_ends_its_own_payments_alone() -> None:
    assert readiness("it fails", senders=["a", "b"])["key"] == (True, True)
    assert readiness("it fails")["key"] == (False, False)
