"""How long the funds last, as metrics tell it: nothing before it is known, then every case."""

from __future__ import annotations

from livepeer_remote_signer.adapters.metrics import Metrics
from livepeer_remote_signer.adapters.runways import Runways, add_runway_gauges
from livepeer_remote_signer.core.rules.chain import ChainView
from livepeer_remote_signer.core.rules.runway import Burn
from tests.prometheus_text import parse_metrics


async def idle() -> Burn:
    return Burn(0, ())


async def test_gauges_are_left_out_before_the_first_answer_and_tell_every_case_after_it() -> None:
    runways = Runways(idle, lambda: ChainView(7, 1, bytes(32), 10**18, 10**18))
    metrics = Metrics()
    metrics.gauge("depth", "Depth.", lambda: 1.5)
    add_runway_gauges(metrics, runways)
    assert parse_metrics(metrics.render()).keys() == {"depth"}
    await runways.look()
    read = parse_metrics(metrics.render())
    for name in ("livepeer_signer_runway_seconds", "livepeer_signer_funds_runway_seconds"):
        assert [read[name].value(quantile=case) for case in ("0.5", "0.05", "0.01")] == [float("inf")] * 3
    assert read["livepeer_signer_safe_week_deposit_gwei"].value() == 0
