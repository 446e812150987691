"""Composition of what operators look at: metrics, traces, and who is told of a payment's end. Part of `app`.

What is not configured is not imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from livepeer_remote_signer import __version__
from livepeer_remote_signer.adapters.chain.gauges import (
    add_chain_gauges,
    add_endpoint_gauges,
    add_feed_gauges,
    add_sender_gauges,
    reading_age,
)
from livepeer_remote_signer.adapters.keys.gauges import add_key_metrics
from livepeer_remote_signer.adapters.metrics import Metrics, Slots
from livepeer_remote_signer.adapters.metrics.by_sender import SenderGauges
from livepeer_remote_signer.adapters.metrics.payments import PaymentMetrics
from livepeer_remote_signer.adapters.metrics.process import add_process_metrics
from livepeer_remote_signer.adapters.metrics.spending import Sampler, SpendRate, burns
from livepeer_remote_signer.adapters.outbound import Outbound
from livepeer_remote_signer.adapters.runways import Runways, add_runway_gauges, read_burns
from livepeer_remote_signer.api.errors import status_of
from livepeer_remote_signer.config.loading import ConfigError
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.wiring.chain import ChainParts, open_sender_chain
from livepeer_remote_signer.wiring.senders import SenderParts

if TYPE_CHECKING:
    from livepeer_remote_signer.adapters.ledger.running import RunningLedger
    from livepeer_remote_signer.adapters.tracing import PaymentTraces


class MetricsParts(NamedTuple):
    """The numbers, what counts payments, and what looks at them while the application runs."""

    registry: Metrics
    by_sender: SenderGauges
    payments: PaymentMetrics
    sampler: Sampler
    runways: Runways


def open_metrics(
    chain: ChainParts, keys: Mapping[bytes, str], ledger: RunningLedger | None, workers_folder: Path | None, clock_ns: Callable[[], int]
) -> MetricsParts:
    """The metrics of one process, or with a folder of all workers that share it. A ledger knows what all replicas spend. `keys` are the
    names of the senders' keys, by address."""
    registry = Metrics(Slots(workers_folder / "metrics" if workers_folder is not None else None))
    gauges = SenderGauges(registry, keys)
    payments = PaymentMetrics(registry, status_of, keys)
    rates = {sender: SpendRate(partial(payments.spent_gwei, sender)) for sender in keys}
    views = {sender: open_sender_chain(chain, sender).view for sender in keys}
    add_chain_gauges(registry, gauges, views, reading_age(chain.rpc))
    signed = partial(read_burns, ledger.store, clock_ns, list(keys)) if ledger is not None else None
    runways = Runways(signed or partial(burns, rates, payments.mean_face_value_gwei), views)
    add_runway_gauges(gauges, runways)
    if chain.feed is not None:
        add_feed_gauges(registry, chain.feed)
    if chain.rpc is not None:
        add_endpoint_gauges(registry, chain.rpc)
    add_process_metrics(registry, __version__)
    return MetricsParts(registry, gauges, payments, Sampler(registry, rates.values()), runways)


def open_sender_gauges(metrics: Metrics, senders: Sequence[SenderParts], chain: ChainParts) -> None:
    """What is shown of keys outside this host, and of the funds of several senders."""
    if outside := [sender.key.outside for sender in senders if sender.key.outside is not None]:
        add_key_metrics(metrics, outside)
    if named := {sender.name: open_sender_chain(chain, sender.address).view for sender in senders if sender.name}:
        add_sender_gauges(metrics, named)


def open_traces(config: Config, instance: str, outbound: Outbound) -> PaymentTraces | None:
    """What `tracing` configures. Raises ConfigError."""
    if config.tracing.otlp_endpoint is None:
        return None
    try:
        from livepeer_remote_signer.adapters.tracing import PaymentTraces
    except ImportError:
        raise ConfigError("tracing.otlp_endpoint needs the extra `otel`: install livepeer-remote-signer[otel]") from None
    return PaymentTraces(
        config.tracing.otlp_endpoint, session=outbound.open_requests(), version=__version__, instance=instance, status_of=status_of
    )
