"""`--key NAME`: commands that use the signing key are told which, where the configuration has several."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from livepeer_remote_signer.adapters.keys import SigningKey
from livepeer_remote_signer.adapters.orchestrator_queries import OrchestratorQueries
from livepeer_remote_signer.cli import main
from livepeer_remote_signer.commands import signing_key
from livepeer_remote_signer.commands.funding import _read_signed
from livepeer_remote_signer.config.loading import load_config
from livepeer_remote_signer.core.protocol.eip191 import checksum_address
from tests.ledgers import opened, signed_for
from tests.plans import orchestrator_info
from tests.signer import configuration

Captured = pytest.CaptureFixture[str]
ACMES, OURS = (SigningKey(bytes([byte]) * 32) for byte in (0x41, 0x42))
SECTIONS: dict[str, Any] = {
    "keys": {
        "ours": {"private_key": "0x" + "42" * 32},
        "acme": {"private_key": "0x" + "41" * 32, "signature_cost_wei": str(10**11)},
    },
    "senders": [{"auth_id": "acme", "key": "acme"}, {"auth_id": "*", "key": "ours"}],
    "state": {"mac_key": "0x" + "3f" * 32},
    "auth": {"trusted_proxies": ["127.0.0.1/32"]},
}
FUNDING = (
    ("funds",),
    ("fund", "--deposit", "1eth", "--yes"),
    ("unlock", "--yes"),
    ("cancel-unlock", "--yes"),
    ("withdraw", "--yes"),
    ("top-up", "--below", "1eth", "--to", "2eth", "--max-per-day", "2eth"),
    ("fund", "--deposit", "1eth", "--yes", "--for", "0x" + "11" * 20),
)
OTHERS = (("signing-key", "check"), ("advise", "https://orch.example:8935"))


def written(folder: Path, **sections: Any) -> str:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(configuration(**sections)))
    return str(path)


@pytest.mark.parametrize("command", [*FUNDING, *OTHERS], ids=" ".join)
def test_without_it_or_with_another_name_nothing_is_done_and_the_names_are_told(
    command: tuple[str, ...], tmp_path: Path, capsys: Captured
) -> None:
    config = written(tmp_path, **SECTIONS)
    assert main([*command, "--config", config]) == 2
    assert capsys.readouterr().err == f"{config}: keys has several keys: say which by --key, one of acme, ours\n"
    assert main([*command, "--config", config, "--key", "acmee"]) == 2
    assert capsys.readouterr().err == f"{config}: --key 'acmee' is not among keys, which has acme, ours\n"


@pytest.mark.parametrize("command", [FUNDING[0], OTHERS[0]], ids=" ".join)
def test_one_key_alone_has_no_name(command: tuple[str, ...], tmp_path: Path, capsys: Captured) -> None:
    config = written(tmp_path)
    assert main([*command, "--config", config, "--key", "ours"]) == 2
    assert "this configuration has one key alone: leave --key away" in capsys.readouterr().err


def test_the_chosen_key_is_the_one_that_signs(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing_key, "QUOTA_SECONDS", 0.0)
    config = written(tmp_path, **SECTIONS)
    for name, key in (("acme", ACMES), ("ours", OURS)):
        assert main(["signing-key", "check", "--config", config, "--signatures", "2", "--json", "--key", name]) == 0
        assert json.loads(capsys.readouterr().out)["address"] == checksum_address(key.address)
    only = {**SECTIONS, "keys": {"ours": SECTIONS["keys"]["ours"]}, "senders": [{"auth_id": "*", "key": "ours"}]}
    assert main(["signing-key", "check", "--config", written(tmp_path, **only), "--signatures", "2", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["address"] == checksum_address(OURS.address), "a single key need not be named"


def test_advice_is_of_the_chosen_keys_sender(tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fetch(_: OrchestratorQueries, url: str, capabilities: bytes) -> bytes:
        return orchestrator_info()

    monkeypatch.setattr(OrchestratorQueries, "fetch_info", fetch)
    config = written(tmp_path, **SECTIONS)
    costs = {}
    for name in ("acme", "ours"):
        main(["advise", "https://orch.example:8935", "--config", config, "--json", "--key", name])
        costs[name] = [one["code"] for one in json.loads(capsys.readouterr().out)["findings"]].count("signature_cost")
    assert costs == {"acme": 1, "ours": 0}


def test_the_runway_of_funds_is_that_of_the_chosen_senders_tickets(tmp_path: Path) -> None:
    place = tmp_path / "ledger.sqlite"
    config = load_config(written(tmp_path, **SECTIONS, ledger={"backend": "sqlite", "path": str(place)}))

    async def sign() -> int:
        async with opened(place) as (ledger,):  # while there was one sender
            await signed_for(ledger, OURS.address, 10)
        async with opened(place, senders=[OURS.address, ACMES.address]) as (ledger,):
            await signed_for(ledger, OURS.address, 20)
            await signed_for(ledger, ACMES.address, 10)
            return ledger.now_ns

    now_ns = asyncio.run(sign())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("livepeer_remote_signer.commands.funding.time.time_ns", lambda: now_ns)
        acmes, ours = _read_signed(config, ACMES.address, "acme"), _read_signed(config, OURS.address, "ours")
        nobodys = _read_signed(config, b"\x09" * 20, None)
    assert acmes is not None
    assert ours is not None
    assert nobodys is not None
    assert (ours.wei_per_hour, nobodys.wei_per_hour) == (3 * acmes.wei_per_hour, 0)
