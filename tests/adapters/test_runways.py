"""How long the funds last, as metrics tell it: nothing before it is known, then every case, of each sender."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from livepeer_remote_signer.adapters.metrics import Metrics
from livepeer_remote_signer.adapters.metrics.by_sender import SenderGauges
from livepeer_remote_signer.adapters.runways import Runways, add_runway_gauges, read_burn, read_burns
from livepeer_remote_signer.core.protocol.eip191 import checksum_address
from livepeer_remote_signer.core.rules.chain import ChainView
from livepeer_remote_signer.core.rules.runway import Burn
from tests.adapters.ledger.conftest import place
from tests.ledgers import opened, signed_for
from tests.plans import PAYER
from tests.prometheus_text import parse_metrics

OTHER = b"\x70" * 20

__all__ = ["place"]


def view(deposit: int = 10**18) -> ChainView:
    return ChainView(7, 1, bytes(32), deposit, 10**18)


async def idle() -> Mapping[bytes, Burn]:
    return {PAYER: Burn(0, ())}


async def test_gauges_are_left_out_before_the_first_answer_and_tell_every_case_after_it() -> None:
    runways = Runways(idle, {PAYER: view})
    metrics = Metrics()
    metrics.gauge("depth", "Depth.", lambda: 1.5)
    add_runway_gauges(SenderGauges(metrics, {PAYER: ""}), runways)
    assert parse_metrics(metrics.render()).keys() == {"depth"}
    await runways.look()
    read = parse_metrics(metrics.render())
    for name in ("livepeer_signer_runway_seconds", "livepeer_signer_funds_runway_seconds"):
        assert [read[name].value(quantile=case) for case in ("0.5", "0.05", "0.01")] == [float("inf")] * 3
    assert read["livepeer_signer_safe_week_deposit_gwei"].value() == 0


async def test_each_senders_deposit_lasts_by_what_that_sender_signed(place: Path | str) -> None:
    senders = {PAYER: "red", OTHER: "blue"}
    async with opened(place, senders=list(senders)) as (ledger,):
        await signed_for(ledger, PAYER, 300)
        await signed_for(ledger, OTHER, 100)

        async def burns() -> Mapping[bytes, Burn]:
            return await read_burns(ledger.store, lambda: ledger.now_ns, list(senders))  # type: ignore[arg-type] # both stores have it

        all_ = await read_burn(ledger.store, lambda: ledger.now_ns)  # type: ignore[arg-type] # both stores have it
        red, blue = (await burns())[PAYER], (await burns())[OTHER]
        assert (red.wei_per_hour, blue.wei_per_hour) == (all_.wei_per_hour * 3 // 4, all_.wei_per_hour // 4)
        assert red.face_value_wei_per_hour == 3 * blue.face_value_wei_per_hour == all_.face_value_wei_per_hour * 3 // 4

        runways, metrics = Runways(burns, {PAYER: view, OTHER: lambda: view(0)}), Metrics()
        add_runway_gauges(SenderGauges(metrics, senders), runways)
        await runways.look()
        read = parse_metrics(metrics.render())["livepeer_signer_runway_seconds"]
        lasts = [read.value(key=name, sender=checksum_address(sender), quantile="0.5") for sender, name in senders.items()]
        assert lasts == [pytest.approx(3600 * 10**18 / red.wei_per_hour, rel=0.05), 0]
        now = runways.latest(OTHER)
        assert now is not None
        assert now.burn_wei_per_hour == blue.wei_per_hour
