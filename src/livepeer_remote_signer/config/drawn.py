"""Redeemed tickets, followed on the chain. Every key with its type, default and meaning."""

from __future__ import annotations

from typing import Literal

from pydantic import (
    Field,
)

from livepeer_remote_signer.config.values import Section


class DrawnConfig(Section):
    """What the chain has paid of the tickets that were signed, and what a ticket means that this ledger never signed."""

    enabled: bool = True
    poll_seconds: float = Field(15, ge=0.1, le=60)
    other_signers: bool = False
    on_foreign_ticket: Literal["alarm", "suspend"] = "alarm"
