"""The package's simulated counterparts, for tests: an orchestrator that judges payments with code of its own."""

from __future__ import annotations

from typing import Any

from livepeer_remote_signer.simulate.clock import Clock
from livepeer_remote_signer.simulate.gateway import Gateway, Session
from livepeer_remote_signer.simulate.orchestrator import Offer, Orchestrator
from livepeer_remote_signer.simulate.recipient import Chain, PaymentRefused, Recipient
from livepeer_remote_signer.simulate.serving import Answers, HttpRequest, Network, answers_of, url_of

__all__ = [
    "Answers",
    "Chain",
    "Clock",
    "Gateway",
    "HttpRequest",
    "Network",
    "Offer",
    "Orchestrator",
    "PaymentRefused",
    "Recipient",
    "Session",
    "answers_of",
    "static_chain",
    "url_of",
]


def static_chain(chain: Chain) -> dict[str, Any]:
    """The signer's `chain` section that says what the simulated orchestrators see, and that it has funds."""
    static = {
        "l1_block": chain.l1_block,
        "last_initialized_round": chain.round,
        "last_initialized_round_block_hash": "0x" + chain.block_hash.hex(),
        "deposit_wei": "1eth",
        "reserve_wei": "1eth",
    }
    return {"source": "static", "static": static}
