"""A sender whose key is outside pays its own funds in, and takes them out again: nobody else could."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from eth_utils.address import to_canonical_address

from livepeer_remote_signer.config.keys import KeyConfig
from tests.chain.evm import CHAIN_ID, ETH, Anvil, Evm, Tools
from tests.custody.test_services import aws

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def evm(anvil: Anvil, tools: Tools) -> Evm:
    return Evm(anvil, tools)


class Cli:
    """The funding commands with a key outside."""

    def __init__(self, folder: Path, evm: Evm, key: dict[str, Any]) -> None:
        rpc = {"urls": [evm.url], "controller": evm.controller.address, "chain_id": CHAIN_ID}
        KeyConfig.model_validate(key)
        self._config = folder / "config.yaml"
        parts = {"ledger": {"backend": "sqlite", "path": str(folder / "ledger.sqlite")}, "state": {"mac_key": "5a" * 32}}
        self._config.write_text(yaml.safe_dump({"key": key, "chain": {"source": "rpc", "rpc": rpc}, **parts}))
        self._environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}

    def run(self, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "livepeer_remote_signer", command, "--config", str(self._config), *arguments]
        return subprocess.run(line, capture_output=True, text=True, timeout=100, check=False, env=self._environment)

    def ok(self, command: str, *arguments: str) -> str:
        done = self.run(command, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.mark.parametrize("kind", ["aws_kms", "pkcs11"])
def test_it_funds_unlocks_and_withdraws(kind: str, evm: Evm, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    key = {kind: aws(request.getfixturevalue("kms")) if kind == "aws_kms" else request.getfixturevalue("hsm").config()}
    cli = Cli(tmp_path, evm, key)
    sender = to_canonical_address(json.loads(cli.ok("funds", "--json"))["sender"])
    evm.give(sender, ETH)
    cli.ok("fund", "--deposit", "0.2eth", "--reserve", "0.3eth", "--yes")
    assert evm.deposit_of(sender) == ETH // 5
    if kind == "aws_kms":  # each command imports web3, which takes seconds: one key goes the whole way
        return
    cli.ok("unlock", "--yes")
    evm.next_round()
    evm.next_round()
    cli.ok("withdraw", "--yes")
    assert evm.deposit_of(sender) == 0


def test_eth_sign_signs_no_transactions_and_says_so(evm: Evm, tmp_path: Path) -> None:
    cli = Cli(tmp_path, evm, {"eth_sign": {"url": evm.url, "address": evm.owner}})
    done = cli.run("fund", "--deposit", "1", "--yes")
    assert done.returncode == 1
    assert "key.eth_sign signs messages, and no transactions: send this one with a tool of that service's" in done.stderr
