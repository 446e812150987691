"""A cold treasury fills a small sender, on our contracts and on Livepeer's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from eth_utils.address import to_checksum_address

from livepeer_remote_signer.adapters.keys import SigningKey
from tests.chain.evm import ETH, Evm, Tools, running_anvil
from tests.chain.livepeer import LivepeerEvm
from tests.chain.test_funding import NAME as TREASURY_NAME
from tests.chain.test_funding import SENDER as TREASURY
from tests.chain.test_funding import Cli

pytestmark = pytest.mark.timeout(600)
HOT = bytes.fromhex("7e5f4552091a69125d5dfcb7b8c2659029395bdf")
"""The sender: its key is nowhere near these commands."""

MARKS = ("--below", "0.02eth", "--to", "0.05eth", "--max-per-day", "0.06eth", "--for", to_checksum_address(HOT))


@pytest.fixture(params=["ours", "livepeer"])
def chain(request: pytest.FixtureRequest, tools: Tools) -> Iterator[Evm]:
    if request.param == "ours":
        yield request.getfixturevalue("evm")
        return
    with running_anvil(tools) as anvil:
        yield LivepeerEvm(anvil, tools)


def funds_of(chain: Evm, sender: bytes) -> tuple[int, int, int]:
    """Deposit, withdraw round and reserve."""
    (deposit, withdraw_round), (reserve, _) = chain.broker.functions.getSenderInfo(to_checksum_address(sender)).call()
    return deposit, withdraw_round, reserve


def test_the_treasury_pays_and_the_senders_funds_grow(chain: Evm, tmp_path: Path) -> None:
    chain.give(TREASURY, ETH)
    cli = Cli(tmp_path, [chain.url], chain.controller.address)
    name = to_checksum_address(HOT)
    said = cli.ok("fund", "--for", name, "--deposit", "0.01eth", "--reserve", "0.3eth", "--yes")
    assert f"from {TREASURY_NAME}, whose wallet holds 1 ETH\nfor the sender {name}" in said
    assert funds_of(chain, HOT) == (ETH // 100, 0, 3 * ETH // 10)
    assert funds_of(chain, TREASURY) == (0, 0, 0)
    assert json.loads(cli.ok("funds", "--json", "--for", name))["reserve_wei"] == str(3 * ETH // 10)

    assert "pays 0.04 ETH in, of 0.04 ETH that are missing" in cli.ok("top-up", *MARKS)
    assert funds_of(chain, HOT) == (ETH // 20, 0, 3 * ETH // 10)
    assert "nothing to do" in cli.ok("top-up", *MARKS)
    chain.rpc("anvil_impersonateAccount", name)
    chain.give(HOT, ETH)
    chain.send(chain.broker.functions.unlock(), sender=name)
    assert "an unlock was begun" in cli.fails("top-up", "--below", "0.06eth", "--to", "0.06eth", *MARKS[4:])
    assert funds_of(chain, HOT)[1] != 0, "an unlock goes on"
    chain.next_round()
    chain.next_round()
    chain.send(chain.broker.functions.withdraw(), sender=name)
    cli.ok("fund", "--for", name, "--deposit", "0.01eth", "--yes")  # by hand: whoever took everything out may not want it filled
    assert "pays 0.02 ETH in, of 0.04 ETH that are missing" in cli.ok("top-up", *MARKS)
    assert funds_of(chain, HOT)[0] == 3 * ETH // 100
    done = cli.run("top-up", *MARKS[:-2], "--for", to_checksum_address(b"\x09" * 20))
    assert done.returncode == 0, "another sender has its own day"
    assert "--max-per-day is 0.06 ETH" in cli.fails("top-up", "--below", "0.04eth", *MARKS[2:])
    assert funds_of(chain, HOT)[0] == 3 * ETH // 100


def test_each_of_several_keys_pays_for_itself_when_it_is_named(evm: Evm, tmp_path: Path) -> None:
    cli = Cli(tmp_path, [evm.url], evm.controller.address)
    other = tmp_path / "other-key"
    other.write_text("44" * 32)
    other.chmod(0o600)
    cli.edit(
        lambda tree: tree | {"keys": {"red": tree.pop("key"), "blue": {"private_key_file": str(other)}}},
        senders=[{"auth_id": "*", "key": "red"}, {"auth_id": "blue", "key": "blue"}],
        state={"mac_key": "0x" + "3f" * 32},
        auth={"trusted_proxies": ["127.0.0.1/32"]},
    )
    blue = SigningKey(b"\x44" * 32).address
    for sender in (TREASURY, blue):
        evm.give(sender, ETH)
    cli.ok("fund", "--key", "blue", "--deposit", "0.2eth", "--reserve", "0.1eth", "--yes")
    cli.ok("fund", "--key", "red", "--deposit", "0.3eth", "--yes")
    assert "pays 0.1 ETH in" in cli.ok("top-up", "--key", "blue", "--below", "0.3eth", "--to", "0.3eth", "--max-per-day", "1eth")
    assert (funds_of(evm, blue)[0], funds_of(evm, TREASURY)[0]) == (3 * ETH // 10, 3 * ETH // 10)
    cli.ok("unlock", "--key", "blue", "--yes")
    assert (funds_of(evm, blue)[1] > 0, funds_of(evm, TREASURY)[1]) == (True, 0)
    for name, sender in (("blue", blue), ("red", TREASURY)):
        assert json.loads(cli.ok("funds", "--json", "--key", name))["sender"] == to_checksum_address(sender)
    assert json.loads(cli.ok("funds", "--json", "--for", to_checksum_address(blue)))["deposit_wei"] == str(3 * ETH // 10)
