"""The time of a payment is accounted for phase by phase, whatever ledger records it and in whichever task it is signed."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from livepeer_remote_signer.adapters.keys.external import CheckedKey
from livepeer_remote_signer.adapters.ledger.sqlite import SqliteStore
from livepeer_remote_signer.adapters.ledger.store import Conflict, Writes
from livepeer_remote_signer.adapters.metrics.payments import PaymentMetrics
from livepeer_remote_signer.app import create_app
from livepeer_remote_signer.config.loading import parse_config
from livepeer_remote_signer.core.errors import CallerLeft, SignerError
from livepeer_remote_signer.core.protocol.eip191 import checksum_address
from livepeer_remote_signer.core.rules.payment import PaymentPlan
from livepeer_remote_signer.core.rules.trail import Trail
from livepeer_remote_signer.wiring import keys
from tests.asgi import running
from tests.outside import NEEDED_BY_OUTSIDE_KEYS, OutsideKey
from tests.plans import orchestrator_info
from tests.prometheus_text import parse_metrics
from tests.signer import RunningSigner, configuration, running_signer

BEFORE = {"none": ["parse", "open", "policy"], "sqlite": ["parse", "open", "lookup", "policy", "ledger"]}
BEFORE["postgres"] = BEFORE["sqlite"]


@pytest.fixture(params=["none", "sqlite", "postgres"])
def backend(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
def sections(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    """A configuration with this ledger, and somebody who takes events."""
    ledger: dict[str, str] = {"backend": backend}
    if backend == "sqlite":
        ledger["path"] = str(tmp_path / "ledger")
    elif backend == "postgres":
        create: Callable[[], str] = request.getfixturevalue("postgres_url")
        ledger["url"] = create()
    return {"ledger": ledger, "events": {"sinks": [{"type": "file", "path": str(tmp_path / "events.jsonl")}]}}


@pytest.fixture
def trails(monkeypatch: pytest.MonkeyPatch) -> list[Trail]:
    """Of the payments that were made."""
    seen: list[Trail] = []
    real = PaymentMetrics.paid

    def paid(self: PaymentMetrics, plan: PaymentPlan, trail: Trail) -> None:
        seen.append(trail)
        real(self, plan, trail)

    monkeypatch.setattr(PaymentMetrics, "paid", paid)
    return seen


async def counted(signer: RunningSigner, phase: str) -> float:
    """How often /metrics has seen a phase."""
    read = parse_metrics((await signer.client.get("/metrics")).content)
    return read["livepeer_signer_phase_seconds"].value("_count", phase=phase)


async def test_each_phase_of_each_payment_is_there_once(backend: str, sections: dict[str, Any], trails: list[Trail]) -> None:
    async with running_signer(**sections) as signer:
        for _ in range(3):
            assert (await signer.pay()).status_code == 200
        assert (await signer.pay(type="nonsense")).status_code == 400
        for phase in ("sign", "event"):
            assert await counted(signer, phase) == 3
    for trail in trails:
        assert [phase for phase, _, _ in trail.marks] == [*BEFORE[backend], "sign", "event"]
        _, began, ended = next(mark for mark in trail.marks if mark[0] == "sign")
        assert trail.started < began < ended
    assert len(trails) == 3


@pytest.mark.parametrize("backend", ["none", "sqlite"])
async def test_a_refused_payments_phases_are_there_once_and_the_last_one_is_where_it_was_refused(
    sections: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[Trail] = []
    monkeypatch.setattr(PaymentMetrics, "refused", lambda _, error, trail: refused.append(trail))
    async with running_signer(**sections) as signer:
        assert (await signer.pay(type="nonsense")).status_code == 400
        assert (await signer.pay(orchestrator="AA")).status_code == 400
        assert (await signer.pay(state={"State": "e30=", "Sig": "AA=="})).status_code == 400
    phases = [[phase for phase, _, _ in trail.marks if phase not in ("lookup", "ledger")] for trail in refused]
    assert phases == [["parse", "open", "policy"], ["parse"], ["parse", "open"]]


async def test_for_a_client_that_left_nothing_is_signed_and_nothing_is_planned_again(monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[tuple[SignerError, Trail]] = []
    monkeypatch.setattr(PaymentMetrics, "refused", lambda _, error, trail: refused.append((error, trail)))
    front = create_app(parse_config(yaml.safe_dump(configuration(headroom_seconds={"generate_live_payment": 60})), {}))
    body = {"orchestrator": b64encode(orchestrator_info(now_ns=time.time_ns())).decode(), "ManifestID": "m1", "type": "live"}
    async with running(front):
        front.paying.respond("/generate-live-payment", [], json.dumps(body).encode(), "127.0.0.1", lambda: True)
    ((error, trail),) = refused
    assert isinstance(error, CallerLeft)
    assert [phase for phase, _, _ in trail.marks] == ["parse", "open", "policy"]


@pytest.mark.parametrize("backend", ["none"])
async def test_where_nothing_waits_phases_follow_each_other_without_a_gap(sections: dict[str, Any], trails: list[Trail]) -> None:
    async with running_signer(**sections) as signer:
        assert (await signer.pay()).status_code == 200
    marks = trails[0].marks[: len(BEFORE["none"]) + 1]
    assert [mark[0] for mark in marks] == [*BEFORE["none"], "sign"]
    assert all(before[2] == after[1] for before, after in pairwise(marks))


@pytest.mark.parametrize("backend", ["sqlite", "postgres"])
async def test_a_key_outside_signs_between_two_looks_at_the_ledger(
    sections: dict[str, Any], trails: list[Trail], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = OutsideKey(b"\x57" * 32)
    monkeypatch.setattr(keys, "open_external_key", lambda *_: CheckedKey(key, key.address, timeout_seconds=30))
    form = {"eth_sign": {"url": "http://127.0.0.1:9", "address": checksum_address(key.address)}}
    async with running_signer(key=form, state=NEEDED_BY_OUTSIDE_KEYS["state"], **sections) as signer:
        for _ in range(3):
            assert (await signer.pay()).status_code == 200
        assert (await signer.pay(type="nonsense")).status_code == 400
        assert [await counted(signer, phase) for phase in ("sign", "event", "ledger")] == [3, 3, 6]
    for trail in trails:
        assert sorted(phase for phase, _, _ in trail.marks) == ["event", "ledger", "ledger", "lookup", "open", "parse", "policy", "sign"]


@pytest.mark.parametrize("backend", ["sqlite"])
async def test_signatures_of_a_transaction_that_had_to_be_repeated_do_not_count(
    sections: dict[str, Any], trails: list[Trail], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = SqliteStore.commit
    conflicts = iter((Conflict("another process was faster"),))

    async def commit(self: SqliteStore, writes: Writes) -> None:
        for conflict in conflicts:
            await self.rollback()
            raise conflict
        await real(self, writes)

    monkeypatch.setattr(SqliteStore, "commit", commit)
    async with running_signer(**sections) as signer:
        assert (await signer.pay()).status_code == 200
        assert await counted(signer, "sign") == 1
    assert [phase for phase, _, _ in trails[0].marks].count("sign") == 1
    assert next(conflicts, None) is None, "there was one"
