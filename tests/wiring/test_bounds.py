"""Connections are bounded by the files that this process may have open now, not by those that it might be given."""

from __future__ import annotations

import resource

import pytest

from livepeer_remote_signer.adapters.metrics import Metrics
from livepeer_remote_signer.api.bounds import connections_within
from livepeer_remote_signer.config.serving import LimitsConfig
from livepeer_remote_signer.wiring.bounds import open_bounds


def test_connections_are_as_many_as_configured_or_as_open_files_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 1_048_576))
    assert open_bounds(LimitsConfig(), Metrics()).places.limit == connections_within(1024)
    assert open_bounds(LimitsConfig(max_connections=700), Metrics()).places.limit == 700
