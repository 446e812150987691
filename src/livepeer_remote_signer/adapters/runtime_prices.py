"""Price ceilings changed at runtime: kept where every worker and replica finds them within a second.

With a ledger its settings are the truth, which it tells us of; the file, when there is one, is a copy for people. Without
a ledger the file is the truth, shared by the workers of one host; where the operator names none it is a file that ends with
the service. A single process needs none for that: there a change lives in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import secrets
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from livepeer_remote_signer.core.errors import LedgerUnavailable
from livepeer_remote_signer.core.protocol.strict_json import is_too_deep
from livepeer_remote_signer.core.rules.ceilings import Amount, CeilingAmounts, Rate
from livepeer_remote_signer.core.rules.runtime_prices import (
    PriceChange,
    describe_absolute,
    describe_ceilings,
    encode_amount,
    overlay,
    parse_kept,
)

LOOK_EVERY_SECONDS = 0.5
SETTING_PREFIX = "price:"
MAX_FILE_BYTES = 1024 * 1024
FILE_VERSION = 1

_log = logging.getLogger(__name__)


class PricesFileError(Exception):
    """The file of runtime prices cannot be used; the message says why."""


class CeilingTarget(Protocol):
    """Where the ceilings in force go."""

    def replace(self, amounts: CeilingAmounts) -> None:
        """Takes them from now on."""


class SharedSettings(Protocol):
    """Settings that all processes on one ledger share. Raises LedgerUnavailable."""

    async def settings(self) -> Mapping[str, str]:
        """All of them, by name."""

    async def put_setting(self, name: str, value: str | None, author: str) -> None:
        """Sets one, durably; None takes it away. `author`: who does it."""


class RuntimePrices:
    """The ceilings of the configuration with the operator's changes laid over them."""

    def __init__(
        self,
        configured: CeilingAmounts,
        target: CeilingTarget,
        *,
        rate: Callable[[], Rate | None] | None = None,
        file: Path | None = None,
        ends_with_service: bool = False,
        settings: SharedSettings | None = None,
    ) -> None:
        """`ends_with_service`: `file` is there for the other workers alone and is gone when the last of them is."""
        self._configured = configured
        self._target = target
        self._rate = rate if rate is not None else lambda: None
        self._file = file
        self._ends_with_service = ends_with_service
        self._settings = settings
        self._changed: dict[str, Amount] = {}
        self._mark: tuple[int, int, int] | None = None
        self._looking: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        if settings is None and file is not None:
            self._take_file(file)

    @property
    def kept_in(self) -> Literal["ledger", "file", "memory"]:
        """Where a change is kept; in memory means until the service ends."""
        if self._settings is not None:
            return "ledger"
        return "memory" if self._file is None or self._ends_with_service else "file"

    def feed_currencies(self) -> Collection[str]:
        """What prices may be given in besides ETH and wei: the currency that the feed quotes now."""
        rate = self._rate()
        return () if rate is None else (rate.currency,)

    def describe(self) -> list[dict[str, Any]]:
        """What is in force, and where each ceiling came from."""
        return describe_ceilings(self._configured, self._changed, self._rate())

    def describe_absolute(self) -> list[dict[str, Any]]:
        """The absolute ceilings, which no change at runtime touches."""
        return describe_absolute(self._configured, self._rate())

    async def start(self) -> None:
        """Takes what was kept, and begins to look at the file. A ledger that is not there yet tells us when it is."""
        if self._settings is not None:
            try:
                self.take_settings(await self._settings.settings())
            except LedgerUnavailable:
                _log.warning("price ceilings set at runtime are not known until the ledger answers; until then nothing is signed")
        elif self._file is not None:
            self._looking = asyncio.create_task(self._look(self._file), name="runtime-prices")

    def take_settings(self, settings: Mapping[str, str]) -> None:
        """Told by the ledger what all settings are now. Nonsense among them leaves the last good ceilings in force."""
        try:
            self._take(_prices_in(settings))
        except ValueError as error:
            _log.error("a change of price ceilings cannot be taken: %s", error)

    async def stop(self) -> None:
        """Stops looking."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
            self._looking = None

    async def change(self, change: PriceChange, author: str) -> None:
        """Keeps a change, then takes it. Raises LedgerUnavailable when it cannot be kept; it is not in force then."""
        async with self._lock:
            if self._settings is not None:
                text = None if change.amount is None else encode_amount(change.amount)
                await self._settings.put_setting(SETTING_PREFIX + change.name, text, author)
                changed = _prices_in(await self._settings.settings())
            else:
                if self._file is not None:
                    self._take_file(self._file)
                changed = {name: amount for name, amount in self._changed.items() if name != change.name}
                if change.amount is not None:
                    changed[change.name] = change.amount
            if self._file is not None:
                self._write_file(self._file, changed)
            self._take(changed)

    def _take(self, changed: dict[str, Amount]) -> None:
        if changed != self._changed:
            self._changed = changed
            self._target.replace(overlay(self._configured, changed))
            _log.info("price ceilings changed: %d set at runtime", len(changed))

    async def _look(self, path: Path) -> None:
        """Follows what other workers changed. While the file cannot be read the last good ceilings stay in force."""
        while True:
            await asyncio.sleep(LOOK_EVERY_SECONDS)
            async with self._lock:
                try:
                    self._take_file(path)
                except PricesFileError as error:
                    _log.error("changes of price ceilings cannot be followed: %s", error)

    def _take_file(self, path: Path) -> None:
        """Takes the file's ceilings when it changed; a file that is not there yet holds none. Raises PricesFileError."""
        try:
            found = path.stat()
        except FileNotFoundError:
            self._mark = None
            if not self._ends_with_service:
                self._take({})
            elif self._changed:  # removed: the last payments still obey it, and workers to come shall find it
                self._write_again(path)
            return
        except OSError as error:
            raise PricesFileError(f"prices.runtime_file {path} cannot be read: {error.strerror}") from None
        if self._ends_with_service and found.st_uid != os.geteuid():
            raise PricesFileError(f"the workers' file of prices {path} belongs to another user")
        mark = (found.st_mtime_ns, found.st_size, found.st_ino)
        if mark != self._mark:
            self._take(_read_file(path))
            self._mark = mark

    def _write_again(self, path: Path) -> None:
        """The workers' file where it was removed; not over one that another worker wrote meanwhile, nor where the folder is gone too."""
        with contextlib.suppress(OSError):
            self._write_fresh(path, self._changed, os.link)

    def _write_file(self, path: Path, changed: Mapping[str, Amount]) -> None:
        """The whole file anew, or not at all. Raises LedgerUnavailable when it cannot be written."""
        try:
            self._write_fresh(path, changed, os.replace)
        except OSError as error:
            raise LedgerUnavailable(f"the change could not be kept: prices.runtime_file cannot be written: {error.strerror}") from None

    def _write_fresh(self, path: Path, changed: Mapping[str, Amount], publish: Callable[[Path, Path], None]) -> None:
        document = {"version": FILE_VERSION, "prices": {name: json.loads(encode_amount(amount)) for name, amount in changed.items()}}
        fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
                json.dump(document, file, indent=2)
                file.flush()
                os.fsync(file.fileno())
            publish(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)


def _prices_in(settings: Mapping[str, str]) -> dict[str, Amount]:
    """The ceilings among the shared settings. ValueError for one that cannot be read."""
    return parse_kept({name.removeprefix(SETTING_PREFIX): value for name, value in settings.items() if name.startswith(SETTING_PREFIX)})


def _read_file(path: Path) -> dict[str, Amount]:
    """The ceilings in the file. Raises PricesFileError."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise PricesFileError(f"prices.runtime_file {path} is larger than {MAX_FILE_BYTES} bytes")
        text = path.read_text("utf-8")
        document = None if is_too_deep(text.encode()) else json.loads(text)
        if not isinstance(document, dict) or document.get("version") != FILE_VERSION or not isinstance(document.get("prices"), dict):
            raise PricesFileError(f'prices.runtime_file {path} is not {{"version": {FILE_VERSION}, "prices": {{...}}}}')
        return parse_kept({name: json.dumps(price) for name, price in document["prices"].items()})
    except OSError as error:
        raise PricesFileError(f"prices.runtime_file {path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise PricesFileError(f"prices.runtime_file {path} holds no prices as the signer writes them: {error}") from None
