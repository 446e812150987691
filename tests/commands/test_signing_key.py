"""`signing-key check` and `signing-key mac` as a person runs them."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from livepeer_remote_signer.cli import main
from livepeer_remote_signer.commands import signing_key
from livepeer_remote_signer.core.protocol.eip191 import checksum_address
from livepeer_remote_signer.wiring.keys import open_mac_key
from tests.hooks import Hook, reply, running_hook
from tests.outside import NEEDED_BY_OUTSIDE_KEYS, OutsideKey

Captured = pytest.CaptureFixture[str]
SECRET = "0x" + "55" * 32
KEY = OutsideKey(bytes.fromhex(SECRET[2:]))
ADDRESS = checksum_address(KEY.address)


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing_key, "QUOTA_SECONDS", 0.0)


@pytest.fixture
async def hook() -> AsyncIterator[Hook]:
    async with running_hook() as running:

        async def sign(writer: asyncio.StreamWriter) -> None:
            raw = await KEY.make(bytes.fromhex(running.questions[-1]["params"][1][2:]))
            await reply(json.dumps({"jsonrpc": "2.0", "id": 1, "result": "0x" + raw.hex()}).encode())(writer)

        running.answer = sign
        yield running


def check(folder: Path, key: dict[str, Any], *options: str) -> int:
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump({"key": key, "chain": {"source": "static"}, **NEEDED_BY_OUTSIDE_KEYS}))
    return main(["signing-key", "check", "--config", str(config), "--signatures", "5", *options])


async def test_a_key_outside_is_signed_with_and_measured(hook: Hook, tmp_path: Path, capsys: Captured) -> None:
    key = {"eth_sign": {"url": hook.url, "address": "0x" + KEY.address.hex(), "max_parallel": 2}}
    options = ("--usd", "0.000015", "--eth-usd", "3000")
    assert await asyncio.to_thread(check, tmp_path, key, *options) == 0
    said = capsys.readouterr().out
    for part in (
        f"address        {ADDRESS}",
        "deterministic  no: another signature each time",
        "0.000015 USD a ticket, 5000000000 wei",
        "500000000000 wei",
    ):
        assert part in said
    assert len(hook.questions) == 12
    assert hook.connections == 2
    assert await asyncio.to_thread(check, tmp_path, key, "--json", *options) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["signatures_per_second"] > 0
    assert 0 < found["median_seconds"] <= found["worst_seconds"]
    assert (found["key"], found["address"], found["deterministic"]) == ("eth_sign", ADDRESS, False)
    assert (found["price_usd"], found["price_wei"], found["throttled"]) == ("0.000015", "5000000000", None)


def test_a_local_key_is_tried_too(tmp_path: Path, capsys: Captured) -> None:
    assert check(tmp_path, {"private_key": SECRET}) == 0
    said = capsys.readouterr().out
    for part in ("key            local", ADDRESS, "deterministic  yes", "price          not known: --usd says"):
        assert part in said
    assert SECRET[2:] not in said


async def test_a_key_that_throttles_is_measured_as_far_as_it_went(hook: Hook, tmp_path: Path, capsys: Captured) -> None:
    sign = hook.answer

    async def few(writer: asyncio.StreamWriter) -> None:
        await (sign if len(hook.questions) <= 9 else reply(b"", "429 Too Many Requests"))(writer)

    hook.answer = few
    key = {"eth_sign": {"url": hook.url, "address": "0x" + KEY.address.hex(), "max_parallel": 1}}
    assert await asyncio.to_thread(check, tmp_path, key) == 0
    assert "signatures a second; ended by: the key's service takes no more requests now (429)" in capsys.readouterr().out


async def test_a_key_that_does_not_sign_ends_with_1_and_says_why(hook: Hook, tmp_path: Path, capsys: Captured) -> None:
    assert await asyncio.to_thread(check, tmp_path, {"eth_sign": {"url": hook.url, "address": "0x" + "ab" * 20}}) == 1
    assert "the key does not sign: the key's service (eth_sign) returned what is no signature" in capsys.readouterr().err
    assert await asyncio.to_thread(check, tmp_path, {"private_key_file": "/nowhere"}) == 1
    assert "the key cannot be used: " in capsys.readouterr().err
    assert await asyncio.to_thread(check, tmp_path, {}) == 2


@pytest.mark.parametrize("price", ["0.1eth", "x", "-1"])
def test_a_price_is_in_usd(tmp_path: Path, price: str) -> None:
    with pytest.raises(SystemExit) as ended:
        check(tmp_path, {"private_key": SECRET}, f"--usd={price}")
    assert ended.value.code == 2


def test_a_mac_key_is_made_once_for_its_owner_alone_and_can_be_used(tmp_path: Path, capsys: Captured) -> None:
    from livepeer_remote_signer.adapters.keys import SigningKey
    from livepeer_remote_signer.config.keys import StateConfig

    file = tmp_path / "mac"
    assert main(["signing-key", "mac", "--file", str(file)]) == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    made = file.read_text()
    assert open_mac_key(StateConfig(mac_key_file=file), SigningKey(bytes.fromhex(SECRET[2:]))) == bytes.fromhex(made)
    assert made.strip() not in capsys.readouterr().out
    assert main(["signing-key", "mac", "--file", str(file)]) == 1
    assert "is there already, and stays" in capsys.readouterr().err
    assert file.read_text() == made
    assert main(["signing-key", "mac", "--file", str(tmp_path / "none" / "mac")]) == 1
    assert main(["signing-key", "mac", "--file", str(tmp_path / "other")]) == 0
    assert (tmp_path / "other").read_text() != made
