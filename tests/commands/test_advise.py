"""`advise` says what sessions with an orchestrator come to, before the first payment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from livepeer_remote_signer.adapters.orchestrator_queries import OrchestratorQueries
from livepeer_remote_signer.cli import main
from livepeer_remote_signer.core.errors import OrchestratorUnreachable
from tests.plans import CHAIN, orchestrator_info
from tests.signer import configuration

URL = "https://orch.example:8935"


@pytest.fixture
def terms(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the orchestrator answers; `asked` notes whom."""
    told: dict[str, Any] = {"info": orchestrator_info(), "asked": []}

    async def fetch(_: OrchestratorQueries, url: str, capabilities: bytes) -> bytes:
        told["asked"].append((url, capabilities))
        if isinstance(told["info"], Exception):
            raise told["info"]
        return bytes(told["info"])

    monkeypatch.setattr(OrchestratorQueries, "fetch_info", fetch)
    return told


def written(folder: Path, **sections: Any) -> str:
    """A configuration file."""
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(configuration(**sections)))
    return str(path)


def advised(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    """The exit status, and the JSON."""
    status = main(["advise", URL, "--json", *arguments])
    return status, json.loads(capsys.readouterr().out)


def test_sessions_that_will_lapse_are_told_with_the_numbers(
    terms: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = written(tmp_path)
    status, told = advised(capsys, "--config", config)
    assert (status, told["verdict"]) == (1, "lapses")
    assert terms["asked"] == [(URL, b"")]
    assert (told["ticketSeconds"], told["rightHeadroomSeconds"], told["terms"]["price"]) == (9.999, 8, str(10**11))
    assert told["winnersCovered"] == CHAIN.deposit_wei // 1_200_000_000_000_000
    assert main(["advise", URL, "--config", config]) == 1
    assert "sessions will lapse: one ticket lasts 10 s, the client pays every 5 s" in capsys.readouterr().out


def test_with_the_headroom_that_it_names_the_terms_are_good(
    terms: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = written(tmp_path, headroom_seconds={"sign_ticket": 8})
    assert advised(capsys, "--config", config)[0] == 1
    status, told = advised(capsys, "--config", config, "--route", "signTicket")
    assert (status, told["verdict"], told["findings"]) == (0, "good", [])


def test_limits_costs_and_funds_of_the_configuration_are_held_against_them(
    terms: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = {**configuration()["key"], "signature_cost_wei": str(10**11)}
    config = written(tmp_path, key=key, limits={"max_ticket_ev_wei": "5", "deposit_multiplier": 10**6})
    status, told = advised(capsys, "--config", config, "--type", "lv2v")
    assert status == 1
    assert {finding["code"] for finding in told["findings"]} >= {
        "ticket_ev_exceeded",
        "too_many_tickets",
        "deposit_too_small",
        "signature_cost",
    }


def test_who_does_not_answer_and_what_cannot_be_read_is_said(
    terms: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = written(tmp_path)
    terms["info"] = OrchestratorUnreachable("it does not answer")
    assert main(["advise", URL, "--config", config]) == 1
    assert capsys.readouterr().err == f"{URL}: it does not answer\n"
    terms["info"] = b""
    assert main(["advise", URL, "--config", config]) == 1
    assert "missing orchestrator" in capsys.readouterr().err
    assert main(["advise", URL, "--config", str(tmp_path / "nowhere.yaml")]) == 2
