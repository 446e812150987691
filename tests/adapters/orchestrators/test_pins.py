"""Pins of certificates: how many are kept, and which go first."""

from __future__ import annotations

import pytest

from livepeer_remote_signer.adapters.orchestrators import pins as module
from livepeer_remote_signer.adapters.orchestrators.pins import Pin, Pins
from livepeer_remote_signer.core.rules.addresses import parse_orchestrator_url

ADDRESS = bytes([1]) * 20


def test_beyond_the_most_the_one_that_answered_longest_ago_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PINS", 3)
    pins = Pins("tofu")
    urls = [parse_orchestrator_url(f"https://o{number}.example:8935") for number in range(4)]
    for url in (*urls[:3], urls[0], urls[3]):
        pins.accept(url, b"f", ADDRESS)
    assert [pins.get(url) for url in urls] == [Pin(b"f", ADDRESS), None, Pin(b"f", ADDRESS), Pin(b"f", ADDRESS)]
