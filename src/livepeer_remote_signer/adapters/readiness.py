"""What payments depend on, looked at when somebody asks whether this signer is ready: `/readyz` and the console."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from livepeer_remote_signer.core.rules.ceilings import CeilingAmounts, Rate
from livepeer_remote_signer.core.rules.chain import ChainView
from livepeer_remote_signer.core.rules.readiness import (
    DiscoveryStatus,
    ReadyCheck,
    authority_ready,
    chain_ready,
    clock_ready,
    connections_ready,
    discovery_ready,
    endpoints_ready,
    feed_ready,
    key_ready,
    ledger_ready,
    senders_ready,
    sink_ready,
)


class Ceilings(Protocol):
    """The price ceilings in force."""

    @property
    def amounts(self) -> CeilingAmounts: ...


class FeedReading(Protocol):
    """What a price feed last said. `fault` is "" while there is a rate."""

    @property
    def rate(self) -> Rate | None: ...

    @property
    def fault(self) -> str: ...


class Feed(Protocol):
    """A price feed."""

    def status(self) -> FeedReading: ...


class Endpoints(Protocol):
    """The RPC endpoints of a live chain."""

    def faults(self) -> tuple[Mapping[str, str], int]:
        """Why each endpoint is not used that is not, by name; and how many there are."""


class Discovery(Protocol):
    """What keeps the list of orchestrators."""

    def status(self) -> DiscoveryStatus: ...


class Ledger(Protocol):
    """What records payments."""

    @property
    def failure(self) -> str:
        """Why it cannot, "" when it can."""


class Sinks(Protocol):
    """What sends events."""

    @property
    def sink_faults(self) -> Sequence[str]:
        """Why each sink takes no events, "" for those that do."""


class Authority(Protocol):
    """Who says who may spend: a keys file, a token issuer, a webhook."""

    @property
    def fault(self) -> str:
        """Why it cannot be asked, "" when it can."""


class Key(Protocol):
    """A key outside this host."""

    @property
    def fault(self) -> str:
        """Why it does not sign, "" when it does."""


class Places(Protocol):
    """The connections of this process."""

    @property
    def fault(self) -> str:
        """Why new ones are not taken just now, "" when they are."""


class Readiness:
    """Asks the parts that are there. Everything is answered from memory."""

    def __init__(
        self,
        view: Callable[[], ChainView],
        ceilings: Ceilings,
        *,
        endpoints: Endpoints | None = None,
        feed: Feed | None = None,
        discovery: Discovery | None = None,
        ledger: Ledger | None = None,
        sinks: Sinks | None = None,
        authorities: Mapping[str, Authority] | None = None,
        places: Places | None = None,
        keys: Mapping[str, Key] | None = None,
        senders: Mapping[str, Callable[[], ChainView]] | None = None,
    ) -> None:
        """`keys` are those outside this host, by their place in the configuration; `senders` the views of several senders, by the
        names of their keys. With `endpoints` block times are read, which this host's clock is compared with."""
        self._view = view
        self._endpoints = endpoints
        self._ceilings = ceilings
        self._feed = feed
        self._discovery = discovery
        self._ledger = ledger
        self._sinks = sinks
        self._authorities = authorities or {}
        self._places = places
        self._keys = keys or {}
        self._senders = senders or {}

    def checks(self) -> list[ReadyCheck]:
        """One line for each part, good or bad."""
        view = self._view()
        found = [chain_ready(view, has_senders=bool(self._senders))]
        found += senders_ready({name: view_of() for name, view_of in self._senders.items()})
        if self._endpoints is not None:
            found += [clock_ready(view), endpoints_ready(*self._endpoints.faults())]
        if self._feed is not None:
            feed = self._feed.status()
            found.append(feed_ready(self._ceilings.amounts, feed.rate, feed.fault))
        if self._discovery is not None:
            found.append(discovery_ready(self._discovery.status()))
        if self._ledger is not None:
            found.append(ledger_ready(self._ledger.failure))
        found += [key_ready(name, key.fault, is_only=not self._senders) for name, key in self._keys.items()]
        found += [authority_ready(name, authority.fault) for name, authority in self._authorities.items()]
        if self._sinks is not None:
            found += [sink_ready(position, fault) for position, fault in enumerate(self._sinks.sink_faults)]
        if self._places is not None:
            found.append(connections_ready(self._places.fault))
        return found
