"""The package's simulated counterparts, for tests: an orchestrator that judges payments with code of its own."""

from __future__ import annotations

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
    "url_of",
]
