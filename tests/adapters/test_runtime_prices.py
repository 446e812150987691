"""Prices changed at runtime reach every process on the same file or ledger, and survive a restart."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import pytest

from livepeer_remote_signer.adapters.ceilings import LiveCeilings
from livepeer_remote_signer.adapters.runtime_prices import PricesFileError, RuntimePrices
from livepeer_remote_signer.core.errors import LedgerUnavailable
from livepeer_remote_signer.core.rules.ceilings import Amount, CeilingAmounts, Rate
from livepeer_remote_signer.core.rules.runtime_prices import GLOBAL, PriceChange

CONFIGURED = CeilingAmounts(Amount(Fraction(5)))
SEVEN = PriceChange(GLOBAL, Amount(Fraction(7)))


class Settings:
    """Shared settings that can fail."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {"other": "x"}
        self.works = True

    async def settings(self) -> Mapping[str, str]:
        if not self.works:
            raise LedgerUnavailable("down")
        return dict(self.values)

    async def put_setting(self, name: str, value: str | None, author: str) -> None:
        await self.settings()
        if value is None:
            self.values.pop(name, None)
        else:
            self.values[name] = value


def opened(file: Path | None = None, settings: Settings | None = None) -> tuple[RuntimePrices, LiveCeilings]:
    ceilings = LiveCeilings(CONFIGURED)
    return RuntimePrices(CONFIGURED, ceilings, file=file, settings=settings), ceilings


async def test_a_change_is_in_force_at_once_and_can_be_taken_back() -> None:
    prices, ceilings = opened()
    await prices.change(SEVEN, "test")
    assert ceilings.current().global_ceiling == 7
    assert prices.kept_in == "memory"
    await prices.change(PriceChange(GLOBAL, None), "test")
    assert ceilings.current().global_ceiling == 5


def test_a_file_keeps_changes_for_the_next_start(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    prices, _ = opened(file)
    asyncio.run(prices.change(SEVEN, "test"))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]
    assert opened(file)[1].current().global_ceiling == 7


async def test_workers_on_one_file_see_each_others_changes(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    (one, _), (two, seen) = opened(file), opened(file)
    await two.start()
    try:
        await one.change(SEVEN, "test")
        async with asyncio.timeout(30):
            while seen.current().global_ceiling != 7:  # noqa: ASYNC110 - the file is looked at every half second
                await asyncio.sleep(0.01)
        await two.change(PriceChange("llm/x", Amount(Fraction(3))), "test")
    finally:
        await two.stop()
    assert set(json.loads(file.read_text())["prices"]) == {GLOBAL, "llm/x"}


async def test_a_file_that_ends_with_the_service_is_memory_to_people_and_its_end_changes_nothing(tmp_path: Path) -> None:
    file, ceilings = tmp_path / "prices.json", LiveCeilings(CONFIGURED)
    prices = RuntimePrices(CONFIGURED, ceilings, file=file, ends_with_service=True)
    await prices.change(SEVEN, "test")
    assert prices.kept_in == "memory"
    await prices.start()
    file.unlink()
    await asyncio.sleep(0.7)
    await prices.stop()
    assert ceilings.current().global_ceiling == 7


async def test_two_changes_at_once_are_both_kept(tmp_path: Path) -> None:
    prices, _ = opened(tmp_path / "prices.json")
    await asyncio.gather(*(prices.change(PriceChange(f"llm/{i}", Amount(Fraction(1 + i))), "test") for i in range(10)))
    assert len(opened(tmp_path / "prices.json")[1].current().per_capability) == 10


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[" * 100_000,
        "[]",
        '{"version":2,"prices":{}}',
        '{"version":1,"prices":{"globe":{}}}',
        '{"version":1,"prices":{"global":5}}',
    ],
)
def test_a_file_that_cannot_be_read_stops_the_start(tmp_path: Path, text: str) -> None:
    file = tmp_path / "prices.json"
    file.write_text(text)
    with pytest.raises(PricesFileError, match="runtime_file"):
        opened(file)


async def test_a_file_that_becomes_unreadable_leaves_the_last_good_ceilings(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    prices, ceilings = opened(file)
    await prices.change(SEVEN, "test")
    await prices.start()
    file.write_text("{")
    await asyncio.sleep(0.7)
    assert ceilings.current().global_ceiling == 7
    await prices.stop()


async def test_a_change_that_cannot_be_kept_is_not_in_force(tmp_path: Path) -> None:
    prices, ceilings = opened(tmp_path / "missing" / "prices.json")
    with pytest.raises(LedgerUnavailable):
        await prices.change(SEVEN, "test")
    settings = Settings()
    shared, shared_ceilings = opened(settings=settings)
    settings.works = False
    with pytest.raises(LedgerUnavailable):
        await shared.change(SEVEN, "test")
    assert ceilings.current().global_ceiling == shared_ceilings.current().global_ceiling == 5


async def test_a_ledgers_settings_are_the_truth_and_the_file_a_copy(tmp_path: Path) -> None:
    file, settings = tmp_path / "prices.json", Settings()
    file.write_text("not read where there is a ledger")
    one, _ = opened(file, settings)
    await one.start()
    await one.change(SEVEN, "test")
    assert GLOBAL in json.loads(file.read_text())["prices"]
    assert one.kept_in == "ledger"
    two, seen = opened(settings=settings)
    await two.start()
    assert seen.current().global_ceiling == 7
    await one.change(PriceChange(GLOBAL, None), "test")
    two.take_settings(settings.values)
    assert seen.current().global_ceiling == 5
    assert settings.values == {"other": "x"}


async def test_a_ledger_that_is_not_there_yet_does_not_stop_the_start() -> None:
    settings = Settings()
    prices, ceilings = opened(settings=settings)
    await prices.change(SEVEN, "test")
    settings.works = False
    late, seen = opened(settings=settings)
    await late.start()
    late.take_settings(settings.values)
    assert seen.current().global_ceiling == ceilings.current().global_ceiling == 7
    late.take_settings({"price:globe": "x"})
    assert seen.current().global_ceiling == 7


def test_a_file_that_the_system_refuses_stops_the_start_with_its_reason(tmp_path: Path) -> None:
    loop = tmp_path / "loop.json"
    loop.symlink_to(loop)
    folder = tmp_path / "folder"
    folder.mkdir()
    for path, reason in ((loop, "Too many levels of symbolic links"), (folder, "Is a directory")):
        with pytest.raises(PricesFileError, match=f"prices.runtime_file {path} cannot be read: {reason}"):
            opened(path)


def test_prices_may_be_given_in_the_currency_that_is_quoted_now_if_any() -> None:
    rate: list[Rate | None] = [None, Rate("usd", Fraction(3000))]
    prices = RuntimePrices(CONFIGURED, LiveCeilings(CONFIGURED), rate=lambda: rate[0])
    assert prices.feed_currencies() == ()
    rate.pop(0)
    assert prices.feed_currencies() == ("usd",)


async def test_a_change_goes_on_from_what_another_worker_has_just_changed(tmp_path: Path) -> None:
    file = tmp_path / "prices.json"
    (one, _), (other, _) = opened(file), opened(file)
    await one.change(PriceChange("llm/1", Amount(Fraction(1))), "test")
    await other.change(PriceChange("llm/2", Amount(Fraction(2))), "test")
    assert len(opened(file)[1].current().per_capability) == 2


async def test_the_workers_file_is_made_again_where_it_was_removed_and_believed_from_its_own_user_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "prices.json"
    workers = RuntimePrices(CONFIGURED, ceilings := LiveCeilings(CONFIGURED), file=file, ends_with_service=True)
    await workers.change(SEVEN, "test")
    file.unlink()
    workers._take_file(file)
    assert ceilings.current().global_ceiling == 7
    assert opened(file)[1].current().global_ceiling == 7, "for workers to come"
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(PricesFileError, match="belongs to another user"):
        RuntimePrices(CONFIGURED, LiveCeilings(CONFIGURED), file=file, ends_with_service=True)
    assert opened(file)[1].current().global_ceiling == 7, "an operator's file may be anybody's"


async def test_nothing_is_followed_after_the_end(tmp_path: Path) -> None:
    before = asyncio.all_tasks()
    prices, _ = opened(tmp_path / "prices.json")
    await prices.start()
    assert asyncio.all_tasks() != before
    await prices.stop()
    assert asyncio.all_tasks() == before
