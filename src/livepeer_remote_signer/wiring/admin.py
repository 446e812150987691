"""Composition of what an operator changes while the signer runs: prices, kill switches, the admin listener. Part of `app`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from livepeer_remote_signer.adapters.keys import read_secret_file
from livepeer_remote_signer.adapters.runtime_prices import PricesFileError, RuntimePrices
from livepeer_remote_signer.api.rest import ReadyCheck
from livepeer_remote_signer.config.loading import ConfigError
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.wiring.chain import ChainParts, ceiling_amounts
from livepeer_remote_signer.wiring.ledger import LedgerParts
from livepeer_remote_signer.wiring.operations import WORKER_FOLDER_VARIABLE

if TYPE_CHECKING:
    from fastapi import FastAPI

    from livepeer_remote_signer.adapters.ledger.controls import Controls
    from livepeer_remote_signer.config.auth import AdminConfig
    from livepeer_remote_signer.wiring.console import Overview

MIN_TOKEN_CHARACTERS = 16
WORKERS_PRICES_FILE = "prices.json"
"""In the workers' folder: what they tell each other of prices where neither a ledger nor a file of the operator's does it."""


class ConsoleSources(NamedTuple):
    """What the console shows beside chain, ledger and prices. `outcomes` are answers on the paying routes by status."""

    address: bytes
    ready_checks: Callable[[], Sequence[ReadyCheck]]
    outcomes: Callable[[], Mapping[str, int]] | None = None
    discovery: Callable[[], Mapping[str, Any] | None] = lambda: None
    clock_ns: Callable[[], int] = time.time_ns


class Administration(NamedTuple):
    """The prices in force, and the admin listener's application where one is configured."""

    prices: RuntimePrices
    app: FastAPI | None

    async def start(self) -> None:
        """Takes the prices that were kept; the ledger must have been started."""
        await self.prices.start()

    async def stop(self) -> None:
        """Stops following changes."""
        await self.prices.stop()


def open_administration(
    config: Config, chain: ChainParts, ledger: LedgerParts | None, render_metrics: Callable[[], bytes], console: ConsoleSources
) -> Administration:
    """What can be changed at runtime. Raises ConfigError, or SigningKeyError for the token's file."""
    controls = ledger.controls if ledger is not None else None
    workers_file = _workers_file(config) if controls is None else None
    try:
        prices = RuntimePrices(
            ceiling_amounts(config.prices),
            chain.ceilings,
            rate=chain.feed.rate if chain.feed is not None else lambda: None,
            file=workers_file or config.prices.runtime_file,
            ends_with_service=workers_file is not None,
            settings=controls,
        )
    except PricesFileError as error:
        raise ConfigError(str(error)) from None
    if ledger is not None:
        ledger.housekeeping.on_settings = prices.take_settings
    if config.admin is None:
        return Administration(prices, None)
    from livepeer_remote_signer.wiring.console import Overview

    overview = Overview(sources=console, chain=chain, ledger=ledger, deposit_multiplier=config.limits.deposit_multiplier, prices=prices)
    return Administration(prices, _open_app(config.admin, prices, chain, controls, render_metrics, overview))


def _workers_file(config: Config) -> Path | None:
    """The file through which workers learn of changes without a ledger, None where the operator named one or there is one process."""
    folder = os.environ.get(WORKER_FOLDER_VARIABLE)
    return Path(folder) / WORKERS_PRICES_FILE if folder and config.prices.runtime_file is None else None


def _open_app(
    config: AdminConfig,
    prices: RuntimePrices,
    chain: ChainParts,
    controls: Controls | None,
    render_metrics: Callable[[], bytes],
    overview: Overview,
) -> FastAPI:
    from livepeer_remote_signer.api.admin import AdminParts, create_admin
    from livepeer_remote_signer.api.console import ConsoleParts

    token = read_secret_file(config.token_file, "admin.token_file").strip()
    if len(token) < MIN_TOKEN_CHARACTERS or not token.isascii():
        raise ConfigError(f"admin.token_file must hold at least {MIN_TOKEN_CHARACTERS} ASCII characters, it holds {len(token)}")

    def feed_currencies() -> Collection[str]:
        rate = chain.feed.rate() if chain.feed is not None else None
        return () if rate is None else (rate.currency,)

    return create_admin(AdminParts(token, prices, feed_currencies, controls, render_metrics, ConsoleParts(overview.read)))
