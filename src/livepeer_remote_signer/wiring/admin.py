"""Composition of what an operator changes while the signer runs: prices, kill switches, the admin listener. Part of `app`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from livepeer_remote_signer.adapters.keys import read_secret_file
from livepeer_remote_signer.adapters.readiness import Readiness
from livepeer_remote_signer.adapters.runtime_prices import PricesFileError, RuntimePrices
from livepeer_remote_signer.config.ceilings import ceiling_amounts
from livepeer_remote_signer.config.loading import ConfigError
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.core.rules.secret_text import token_fault
from livepeer_remote_signer.wiring.chain import ChainParts, open_sender_chain
from livepeer_remote_signer.wiring.drawn import DrawnParts
from livepeer_remote_signer.wiring.operations import MetricsParts

if TYPE_CHECKING:
    from fastapi import FastAPI

    from livepeer_remote_signer.adapters.discovery import Discovery
    from livepeer_remote_signer.adapters.ledger.running import RunningLedger
    from livepeer_remote_signer.adapters.overview import Overview
    from livepeer_remote_signer.adapters.overview.refusals import RecentRefusals
    from livepeer_remote_signer.config.auth import AdminConfig

WORKERS_PRICES_FILE = "prices.json"
"""In the workers' folder: what they tell each other of prices where neither a ledger nor a file of the operator's does it."""


def open_prices(config: Config, chain: ChainParts, ledger: RunningLedger | None, workers_folder: Path | None) -> RuntimePrices:
    """The price ceilings that can be changed. Raises ConfigError."""
    controls = ledger.controls if ledger is not None else None
    file = config.prices.runtime_file
    ends_with_service = controls is None and file is None and workers_folder is not None
    if ends_with_service and workers_folder is not None:
        file = workers_folder / WORKERS_PRICES_FILE
    try:
        prices = RuntimePrices(
            ceiling_amounts(config.prices),
            chain.ceilings,
            rate=chain.feed.rate if chain.feed is not None else None,
            file=file,
            ends_with_service=ends_with_service,
            settings=controls,
        )
    except PricesFileError as error:
        raise ConfigError(str(error)) from None
    if ledger is not None:
        ledger.housekeeping.on_settings = prices.take_settings
    return prices


def open_overview(
    config: Config,
    keys: Mapping[bytes, str],
    chain: ChainParts,
    ledger: RunningLedger | None,
    prices: RuntimePrices,
    discovery: Discovery | None,
    readiness: Readiness,
    metrics: MetricsParts,
    clock_ns: Callable[[], int],
    refusals: RecentRefusals,
    drawn: DrawnParts,
) -> Overview:
    """What the console shows. `keys` are the names of the senders' keys, by address."""
    from livepeer_remote_signer.adapters.overview import Overview

    return Overview(
        keys=keys,
        views={sender: open_sender_chain(chain, sender).view for sender in keys},
        rpc=chain.rpc if config.chain.source == "rpc" else None,
        feed=chain.feed,
        controls=ledger.controls if ledger is not None else None,
        prices=prices,
        discovery=discovery,
        deposit_multiplier=config.limits.deposit_multiplier,
        ready_checks=readiness.checks,
        outcomes=metrics.payments.outcomes,
        runway=metrics.runways.latest,
        clock_ns=clock_ns,
        refusals=refusals.describe,
        drawn=drawn.watch.describe if drawn.watch is not None else None,
        parked=ledger.outbox.count_parked if ledger is not None and ledger.outbox is not None else None,
    )


def open_admin(
    config: AdminConfig, prices: RuntimePrices, ledger: RunningLedger | None, render_metrics: Callable[[], bytes], overview: Overview
) -> FastAPI:
    """The admin listener's application. Raises ConfigError, or SigningKeyError for the token's file."""
    from livepeer_remote_signer.api.admin import AdminParts, create_admin
    from livepeer_remote_signer.api.admin_users import UserParts
    from livepeer_remote_signer.api.console import ConsoleParts

    token, metrics_token = load_tokens(config)
    controls = ledger.controls if ledger is not None else None
    return create_admin(
        AdminParts(
            token,
            prices,
            prices.feed_currencies,
            controls,
            render_metrics,
            ConsoleParts(overview.read, overview.budgets, config.public_url),
            metrics_token,
            usage=controls,
            users=UserParts(ledger.users, ledger.controls.budgets_of, config.manage_users) if ledger is not None else None,
        )
    )


def load_tokens(config: AdminConfig) -> tuple[str, str]:
    """The admin token and the one for metrics alone, "" where there is none. Raises as `open_admin` does."""
    token = _load_token(config.token_file, "admin.token_file")
    return token, _load_token(config.metrics_token_file, "admin.metrics_token_file") if config.metrics_token_file is not None else ""


def _load_token(file: Path, key: str) -> str:
    """Raises ConfigError for one that could be guessed, SigningKeyError for a file that cannot be read."""
    token = read_secret_file(file, key).strip()
    if fault := token_fault(token):
        raise ConfigError(f"{key} {fault}")
    return token
