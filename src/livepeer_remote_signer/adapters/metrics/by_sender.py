"""Gauges of what each sender has: with one sender as they are, with several one line for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from livepeer_remote_signer.adapters.metrics.registry import GaugeValue, Metrics
from livepeer_remote_signer.core.protocol.eip191 import checksum_address

LABELS = ("key", "sender")
"""The name of its key, and its address."""


def sender_labels(keys: Mapping[bytes, str]) -> dict[bytes, tuple[str, ...]]:
    """What lines of several senders, by their keys' names, are told apart by."""
    return {sender: (name, checksum_address(sender)) for sender, name in keys.items()}


class SenderGauges:
    """Makes them. `keys` are the names of the senders' keys, by address; of one alone nothing is said."""

    def __init__(self, metrics: Metrics, keys: Mapping[bytes, str]) -> None:
        self._metrics = metrics
        self._labels = sender_labels(keys)

    def gauge(self, name: str, text: str, read: Callable[[bytes], GaugeValue], labels: Sequence[str] = ()) -> None:
        """As `Metrics.gauge`, for each sender."""
        if len(self._labels) == 1:
            (only,) = self._labels
            self._metrics.gauge(name, text, lambda: read(only), labels)
            return

        def read_all() -> dict[tuple[str, ...], float]:
            found: dict[tuple[str, ...], float] = {}
            for sender, own in self._labels.items():
                value = read(sender)
                if isinstance(value, Mapping):
                    found |= {(*own, *named): one for named, one in value.items()}
                elif value is not None:
                    found[own] = value
            return found

        self._metrics.gauge(name, text, read_all, (*LABELS, *labels))
