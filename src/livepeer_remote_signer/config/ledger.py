"""The ledger, and the budgets that it keeps. Every key with its type, default and meaning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from pydantic import (
    Field,
    SecretStr,
    model_validator,
)

from livepeer_remote_signer.config.secret_files import LoadedFile
from livepeer_remote_signer.config.values import HEX, Address, Section, Wei, check_one_form
from livepeer_remote_signer.core.rules.budgets import Budget


class LedgerConfig(Section):
    """Where spend, sequence numbers and events are kept."""

    backend: Literal["none", "sqlite", "postgres"] = "none"
    path: Path | None = None
    url: SecretStr | None = None
    url_file: LoadedFile = None
    timeout_seconds: float = Field(2, ge=0.1, le=60)
    on_stale: Literal["heal", "refuse"] = "heal"
    retention_seconds: int = Field(86_400, ge=3600)
    usage_retention_days: int = Field(400, ge=31, le=36_500)
    audit_retention_days: int = Field(400, ge=1, le=3660)
    max_pending_events: int = Field(1_000_000, ge=1)
    on_full: Literal["refuse", "drop_oldest"] = "refuse"
    senders: tuple[Address, ...] = ()

    @model_validator(mode="after")
    def _place(self) -> LedgerConfig:
        if self.backend == "sqlite" and self.path is None:
            raise ValueError("backend sqlite needs path")
        if self.backend == "postgres" and self.url is None and self.url_file is None:
            raise ValueError("backend postgres needs url or url_file")
        check_one_form(self, "url")
        return self


class HeadroomConfig(Section):
    """Seconds of credit bought ahead, by route."""

    generate_live_payment: int = Field(0, ge=0, le=3600)
    sign_ticket: int = Field(0, ge=0, le=3600)


class CatchUpConfig(Section):
    """Whether a session that owes more than one payment may hold pays in parts, by route, and the most that it may owe."""

    generate_live_payment: bool = False
    sign_ticket: bool = False
    max_seconds: int = Field(900, ge=1, le=86_400)


class BudgetConfig(Section):
    """What may be spent by each matching id. `match` "*": each id on its own that no entry of the same kind names."""

    scope: Literal["auth_id", "app", "orchestrator", "sender", "global"]
    match: str = "*"
    window: Literal["total", "minute", "hour", "day"]
    measure: Literal["ev", "face_value"] = "ev"
    limit_wei: Wei

    @model_validator(mode="after")
    def _may_hold(self) -> BudgetConfig:
        if self.scope == "app" and self.match == "*":
            raise ValueError(
                'scope app needs a match that names one app: with "*" a caller escapes its limit under any new app label, and each '
                "label leaves a row for ever; to limit a caller whatever it calls itself use scope auth_id"
            )
        if self.scope == "orchestrator" and self.match != "*" and not is_address(self.match):
            raise ValueError(
                f'match of scope orchestrator must be "*", or 0x and 40 hex digits, not {self.match[:64]!r}: it would never hold'
            )
        return self


def budgets_of(entries: Sequence[BudgetConfig], addresses: Mapping[str, bytes] = MappingProxyType({})) -> tuple[Budget, ...]:
    """The configured budgets as rules. `addresses` are those of the keys that a sender's budgets name."""

    def match_of(entry: BudgetConfig) -> str:
        return "0x" + addresses[entry.match].hex() if entry.scope == "sender" and entry.match in addresses else entry.match

    return tuple(Budget(entry.scope, match_of(entry), entry.window, entry.measure, entry.limit_wei) for entry in entries)


def is_address(text: str) -> bool:
    """Whether this is written as an address is."""
    return len(text) == 42 and HEX.fullmatch(text) is not None
