"""Livepeer's addresses on Arbitrum One, to the byte: a wrong one would have tickets signed that nobody can redeem."""

from __future__ import annotations

from livepeer_remote_signer.core.protocol import arbitrum_one


def test_the_chain_is_arbitrum_one() -> None:
    assert arbitrum_one.CHAIN_ID == 42161


def test_the_controller_is_livepeers() -> None:
    assert "0x" + arbitrum_one.CONTROLLER.hex() == "0xd8e8328501e9645d16cf49539efc04f734606ee4"


def test_the_contracts_are_named_as_the_controller_names_them_in_the_order_in_which_they_are_asked_for() -> None:
    assert [(name, "0x" + address.hex()) for name, address in arbitrum_one.CONTRACTS.items()] == [
        ("TicketBroker", "0xa8bb618b1520e284046f3dfc448851a1ff26e41b"),
        ("RoundsManager", "0xdd6f56dcc28d3f5f27084381fe8df634985cc39f"),
        ("BondingManager", "0x35bcf3c30594191d53231e4ff333e8a770453e40"),
    ]
