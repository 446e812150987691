"""What the funding commands say of a change after it was sent."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from livepeer_remote_signer.adapters.funding import FundingError, Prepared
from livepeer_remote_signer.adapters.transaction_keys import LocalTransactionKey, Signed
from livepeer_remote_signer.commands import funding
from livepeer_remote_signer.config.loading import parse_config
from livepeer_remote_signer.core.rules.funding import Funds

ETH = 10**18
FUNDS = Funds(ETH, ETH, ETH, 0, 0, 7, True, 5760, 100, 100, 2, 1, False)
CONFIG = parse_config("key: {private_key: '0x" + "01" * 32 + "'}\nchain: {source: static}", {})
HASH = "0x" + "ab" * 32


class Chain:
    """A chain on which the change succeeds; `fault` meets the reading after it, `send_fault` the sending."""

    ticket_broker, endpoint = "0xb", "rpc[0] (host)"

    def __init__(self, fault: FundingError | None = None, send_fault: FundingError | None = None) -> None:
        self._fault = fault
        self._send_fault = send_fault
        self._is_done = False

    def read_funds(self, _: bytes, __: bytes | None = None) -> Funds:
        if self._is_done and self._fault is not None:
            raise self._fault
        return FUNDS

    def count_nonces(self, _: bytes) -> tuple[int, int]:
        return 4, 4

    def read_head(self) -> tuple[int, str]:
        return 9, "0x09"

    def prepare(self, _: bytes, __: str, **___: int | None) -> Prepared:
        return Prepared({"value": 0, "nonce": 4}, 21000, 1, 42000)

    def send(self, _: Signed) -> str:
        if self._send_fault is not None:
            raise self._send_fault
        return ""

    def wait(self, transaction_hash: str, _: float, __: Callable[[float], None]) -> int:
        assert transaction_hash == HASH
        self._is_done = True
        return 12


@pytest.fixture(autouse=True)
def _own_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(LocalTransactionKey, "sign_transaction", lambda *_: Signed(HASH, b""))


def unlock(chain: Any) -> int:
    return funding._change(chain, CONFIG, argparse.Namespace(command="unlock", config=Path("c"), yes=True, timeout=1.0, max_gas_price=None))


def test_a_change_that_is_made_is_done_although_its_result_cannot_be_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert unlock(Chain(FundingError("the contracts: HTTP status 429"))) == 0
    said = capsys.readouterr()
    assert "done in block 12" in said.out
    assert "note: deposit and reserve cannot be read now: the contracts: HTTP status 429" in said.err


def test_a_change_that_is_made_shows_what_is_there_now(capsys: pytest.CaptureFixture[str]) -> None:
    assert unlock(Chain()) == 0
    assert "done in block 12\ndeposit 1 ETH, reserve 1 ETH, locked" in capsys.readouterr().out


def test_the_transactions_hash_is_told_before_it_is_sent(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FundingError):
        unlock(Chain(send_fault=FundingError("no answer")))
    said = capsys.readouterr().out
    assert f"sending transaction {HASH}" in said
    assert f"sent {HASH}" not in said
