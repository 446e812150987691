"""Livepeer on Arbitrum One: what section 10 of the protocol fixes. For defaults and for cross-checking."""

from __future__ import annotations

from collections.abc import Mapping

CHAIN_ID = 42161
CONTROLLER = bytes.fromhex("D8E8328501E9645d16Cf49539efC04f734606ee4")
CONTRACTS: Mapping[str, bytes] = {
    "TicketBroker": bytes.fromhex("a8bB618B1520E284046F3dFc448851A1Ff26e41B"),
    "RoundsManager": bytes.fromhex("dd6f56DcC28D3F5f27084381fE8Df634985cc39f"),
    "BondingManager": bytes.fromhex("35Bcf3c30594191d53231E4FF333E8A770453e40"),
}
"""What the Controller must name."""
