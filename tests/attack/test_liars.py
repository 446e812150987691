"""Orchestrators that want to stand in another's place, and a payer beside them who notices next to nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attack import liars
from tests.attack.rig import Target, attacked, attacking
from tests.ports import free_port
from tests.served import served

pytestmark = [pytest.mark.attack, pytest.mark.timeout(600)]

DENIED = bytes(range(20))
VICTIM = "https://victim.example:8935"


def test_runners_under_anothers_address_and_orchestrators_that_are_denied(tmp_path: Path) -> None:
    liar = liars.Liar(free_port(), free_port(), DENIED, VICTIM)
    urls = [f"https://127.0.0.1:{port}" for port in (liar.port, liar.denied_port)]
    discovery = {"enabled": True, "static": urls, "refresh_seconds": 2, "keep_seconds": 60}
    recipients = {"deny": ["0x" + DENIED.hex()]}
    with (
        attacking(liars.runners_under_anothers_address, Target(0, told=liar), 120) as attacker,
        served(tmp_path, discovery=discovery, recipients=recipients, orchestrators={"allowed_networks": ["127.0.0.1/32"]}) as signer,
    ):
        attacker.wait_until_begun()
        report = attacked(signer, liars.lists_asked_for)
    assert report.said.keys() == {urls[0]}, "neither the victim nor who is denied"
    assert liars.STOLEN_APP not in str(report.said)
    report.check()
