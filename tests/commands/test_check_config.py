"""`check-config` refuses what `serve` would refuse, before anything is served."""

from __future__ import annotations

from pathlib import Path

import pytest

from livepeer_remote_signer.cli import main

KEY = f"key: {{private_key: '0x{'01' * 32}'}}\n"


def check(folder: Path, text: str) -> int:
    """The exit status for a configuration of this text."""
    file = folder / "config.yaml"
    file.write_text(KEY + text)
    return main(["check-config", "--config", str(file)])


def test_what_is_in_force_is_printed_without_secrets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(tmp_path, "chain: {source: static}\n") == 0
    printed = capsys.readouterr()
    assert "source: static" in printed.out
    assert "0101" not in printed.out


def test_a_fault_of_one_part_is_told_with_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(tmp_path, "chain: {source: nowhere}\n") == 2
    assert f"{tmp_path / 'config.yaml'}: " in capsys.readouterr().err


@pytest.mark.parametrize("chain", ["{source: static}", "{source: rpc, rpc: {urls: ['http://127.0.0.1:1'], chain_id: 1}}"])
def test_a_ceiling_in_dollars_needs_a_feed_that_quotes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str], chain: str) -> None:
    assert check(tmp_path, f"chain: {chain}\nprices: {{max_price_per_unit: 0.5USD}}\n") == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "prices.currency_feed.address must name the Chainlink feed" in printed.err


def test_on_arbitrum_one_dollars_have_a_feed(tmp_path: Path) -> None:
    assert check(tmp_path, "chain: {source: rpc, rpc: {urls: ['http://127.0.0.1:1']}}\nprices: {max_price_per_unit: 0.5USD}\n") == 0
