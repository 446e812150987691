"""The whole configuration: its sections, and the rules that tie them."""

from __future__ import annotations

from collections import Counter
from typing import Any

from pydantic import (
    Field,
    model_validator,
)

from livepeer_remote_signer.config.auth import AdminConfig, AuthConfig, RecipientsConfig
from livepeer_remote_signer.config.chain import ChainConfig
from livepeer_remote_signer.config.drawn import DrawnConfig
from livepeer_remote_signer.config.events import EventsConfig
from livepeer_remote_signer.config.keys import MAX_KEYS, KeyConfig, KeyName, SenderConfig, StateConfig
from livepeer_remote_signer.config.ledger import BudgetConfig, CatchUpConfig, HeadroomConfig, LedgerConfig, is_address
from livepeer_remote_signer.config.listening import DEFAULT_LISTEN, ListenAddress
from livepeer_remote_signer.config.orchestrators import DiscoveryConfig, OrchestratorsConfig
from livepeer_remote_signer.config.outbound import OutboundConfig
from livepeer_remote_signer.config.prices import PricesConfig
from livepeer_remote_signer.config.serving import CorsConfig, DocsConfig, HostName, LimitsConfig, LogConfig, TracingConfig
from livepeer_remote_signer.config.values import Listen, Seconds, Section
from livepeer_remote_signer.core.rules.policy import NAMESPACES

_ALL_HOSTS = ("0.0.0.0", "::")  # noqa: S104 - what listens on all of them is in the way of everybody


def _is_one_address(one: ListenAddress, other: ListenAddress) -> bool:
    """Whether the second of two listeners finds its address taken. Port 0 is any that is free."""
    is_same_host = one.host == other.host or one.host in _ALL_HOSTS or other.host in _ALL_HOSTS
    return one.port == other.port != 0 and is_same_host


NEEDS_LEDGER = (
    "a key outside this host needs a ledger: set ledger.backend to sqlite or postgres. It draws a ticket's luck anew with each signature, "
    "so each ticket that is signed must be written down before it is given away"
)


def _not_namespaced(auth_id: str) -> str:
    shown = auth_id[:64]
    ones = ", ".join(f"{namespace}{shown}" for namespace in NAMESPACES)
    return f"with auth.namespaces no auth id is {shown!r}: say whose it is, one of {ones}"


class Config(Section):
    """The whole configuration, checked."""

    listen: Listen = DEFAULT_LISTEN
    allowed_hosts: tuple[HostName, ...] = ()
    key: KeyConfig
    keys: dict[KeyName, KeyConfig] = Field(default_factory=dict, max_length=MAX_KEYS)
    senders: tuple[SenderConfig, ...] = ()
    state: StateConfig = StateConfig()
    chain: ChainConfig
    limits: LimitsConfig = LimitsConfig()
    prices: PricesConfig = PricesConfig()
    auth: AuthConfig = AuthConfig()
    recipients: RecipientsConfig = RecipientsConfig()
    admin: AdminConfig | None = None
    ledger: LedgerConfig = LedgerConfig()
    drawn: DrawnConfig = DrawnConfig()
    headroom_seconds: HeadroomConfig = HeadroomConfig()
    catch_up: CatchUpConfig = CatchUpConfig()
    live_payment_interval_seconds: Seconds = 5
    budgets: tuple[BudgetConfig, ...] = ()
    events: EventsConfig = EventsConfig()
    outbound: OutboundConfig = OutboundConfig()
    discovery: DiscoveryConfig = DiscoveryConfig()
    orchestrators: OrchestratorsConfig = OrchestratorsConfig()
    cors: CorsConfig = CorsConfig()
    log: LogConfig = LogConfig()
    tracing: TracingConfig = TracingConfig()
    docs: DocsConfig = DocsConfig()
    byoc_jobs: bool = False

    @property
    def key_names(self) -> list[str]:
        """The names of several keys, that of everybody else, or of the first sender, first."""
        first = next((sender.key for sender in self.senders if sender.auth_id == "*"), self.senders[0].key if self.senders else None)
        return sorted(self.keys, key=lambda name: name != first)

    @property
    def named_keys(self) -> list[tuple[str, KeyConfig]]:
        """Every key with its place in the configuration, that of everybody else first."""
        return [(f"keys.{name}", self.keys[name]) for name in self.key_names] or [("key", self.key)]

    @property
    def has_external_keys(self) -> bool:
        """Whether any key is outside this host."""
        return any(key.external is not None for key in (self.key, *self.keys.values()))

    @model_validator(mode="before")
    @classmethod
    def _default_key(cls, tree: Any) -> Any:
        """Where there are several keys, `key` is that of whoever no sender names, or else the first sender's."""
        if not isinstance(tree, dict) or not tree.get("keys"):
            return tree
        if "key" in tree:
            raise ValueError("give key, or keys with senders, not both (SIGNER_ETH_ADDR and SIGNER_ETH_KEYSTORE_PATH set key)")
        keys, senders = tree["keys"], tree.get("senders")
        if not isinstance(keys, dict) or not isinstance(senders, list | tuple) or not senders:
            raise ValueError('keys is a mapping of names to keys, and senders says whose payments each makes: [{auth_id: "*", key: NAME}]')
        named = [sender.get("key") for sender in senders if isinstance(sender, dict) and sender.get("auth_id") == "*"]
        named += [sender.get("key") for sender in senders if isinstance(sender, dict)]
        name = next((name for name in named if isinstance(name, str) and name in keys), None)
        return tree if name is None else {**tree, "key": keys[name]}

    @model_validator(mode="after")
    def _several_senders(self) -> Config:
        if not self.keys:
            if self.senders:
                raise ValueError("senders name keys of keys, which is empty: with one key leave senders away")
            return self
        auth_ids = [sender.auth_id for sender in self.senders]
        if doubled := [auth_id for auth_id, count in Counter(auth_ids).items() if count > 1]:
            raise ValueError(f"senders name the auth id {doubled[0][:64]!r} twice: its payments have one sender")
        named = {sender.key for sender in self.senders}
        if unknown := sorted(named - self.keys.keys()):
            raise ValueError(f"senders name the key {unknown[0][:64]!r}, and keys has {', '.join(sorted(self.keys))}")
        if unused := sorted(self.keys.keys() - named):
            raise ValueError(f"keys.{unused[0]} is nobody's: name it in senders, or take it away")
        auth = self.auth
        if set(auth_ids) != {"*"} and not (auth.has_api_keys or auth.jwt is not None or auth.trusted_proxies):
            raise ValueError(
                "senders choose a key by who calls, which must be known before anything else: configure auth.api_keys_file, auth.jwt or "
                "auth.trusted_proxies (a webhook names a caller only after the deposit was checked)"
            )
        for index, auth_id in enumerate(auth_ids):
            if auth.namespaces and auth_id != "*" and not auth_id.startswith(NAMESPACES):
                raise ValueError(f"senders.{index}: {_not_namespaced(auth_id)}")
        if self.state.seal == "signature":
            raise ValueError("state.seal signature does not tell whose a state is: with senders set state.seal to mac")
        if self.state.mac_key is None and self.state.mac_key_file is None:
            raise ValueError(
                "senders: states are sealed with keys that are derived from one MAC key: set state.mac_key_file, which "
                "`livepeer-remote-signer signing-key mac` makes"
            )
        return self

    @model_validator(mode="after")
    def _cross_field(self) -> Config:
        if not self.listen.is_loopback and not self.auth.is_configured and not self.auth.allow_unauthenticated:
            raise ValueError(
                f"listen {self.listen.host} is reachable from other hosts, but nobody is asked before signing: configure auth "
                "(webhook, api_keys_file, api_keys_in_ledger or jwt), or set auth.allow_unauthenticated: true if the network itself keeps "
                "others out"
            )
        if self.admin is not None and _is_one_address(self.listen, self.admin.listen):
            raise ValueError(
                f"listen {self.listen} and admin.listen {self.admin.listen} are one address: give the admin listener another port, "
                "such as 127.0.0.1:8937"
            )
        if self.byoc_jobs and not self.auth.is_configured and not self.auth.allow_unauthenticated:
            raise ValueError(
                "byoc_jobs: true would sign jobs for whoever asks, because nobody is asked before signing: configure auth (webhook, "
                "api_keys_file, api_keys_in_ledger or jwt), or set auth.allow_unauthenticated: true"
            )
        for index, budget in enumerate(self.budgets):
            if self.auth.namespaces and budget.scope == "auth_id" and budget.match != "*" and not budget.match.startswith(NAMESPACES):
                raise ValueError(f"budgets.{index}: {_not_namespaced(budget.match)}")
            if budget.scope == "sender" and budget.match != "*" and budget.match not in self.keys and not is_address(budget.match):
                known = f", which has {', '.join(sorted(self.keys))}" if self.keys else ""
                raise ValueError(
                    f'budgets.{index}: match of scope sender must be "*", an address of 0x and 40 hex digits, or one of keys{known}, not '
                    f"{budget.match[:64]!r}: it would never hold"
                )
        if "*" in self.cors.allow_origins and not self.auth.is_configured:
            raise ValueError(
                "cors.allow_origins '*' would let every web page have tickets signed, because nobody is asked before signing: name the "
                "origins of your pages, or configure auth (webhook, api_keys_file, api_keys_in_ledger or jwt)"
            )
        if self.auth.require_auth_id and not self.auth.is_configured and not self.auth.trusted_proxies:
            raise ValueError("auth.require_auth_id: true refuses every payment, because nobody says whose it is: configure auth")
        feed, poll_seconds = self.prices.currency_feed, self.chain.rpc.poll_seconds
        if feed is not None and feed.max_age_seconds < poll_seconds:
            raise ValueError(
                f"prices.currency_feed.max_age_seconds {feed.max_age_seconds:g} is below chain.rpc.poll_seconds {poll_seconds:g}: payments "
                "would stop before every poll; raise the former or lower the latter"
            )
        if self.budgets and self.ledger.backend == "none":
            raise ValueError("budgets need a ledger: set ledger.backend to sqlite or postgres")
        if self.auth.api_keys_in_ledger and self.ledger.backend == "none":
            raise ValueError("auth.api_keys_in_ledger needs a ledger: set ledger.backend to sqlite or postgres")
        if self.admin is not None and self.admin.manage_users and self.ledger.backend == "none":
            raise ValueError("admin.manage_users needs a ledger: set ledger.backend to sqlite or postgres")
        return self

    @model_validator(mode="after")
    def _foreign_tickets(self) -> Config:
        """The switch for all is set by two endpoints' word alone, and where every ticket is known."""
        if self.drawn.on_foreign_ticket == "alarm":
            return self
        if not self.drawn.enabled or self.drawn.other_signers:
            raise ValueError(
                "drawn.on_foreign_ticket suspend needs drawn.enabled: true and drawn.other_signers: false: nothing would set it"
            )
        if self.chain.source != "rpc" or self.ledger.backend == "none":
            raise ValueError("drawn.on_foreign_ticket suspend needs chain.source rpc and a ledger: nothing would set it")
        if self.chain.rpc.urls_file is None and len(self.chain.rpc.urls) < 2:
            raise ValueError("drawn.on_foreign_ticket suspend needs a second entry in chain.rpc.urls: one endpoint's word suspends nobody")
        return self

    @model_validator(mode="after")
    def _key_outside(self) -> Config:
        """What a key that this host has not cannot do."""
        if not self.has_external_keys:
            return self
        external = next(f"{place}.{key.external}" for place, key in self.named_keys if key.external is not None)
        if self.ledger.backend == "none":
            raise ValueError(f"{external}: {NEEDS_LEDGER}")
        if self.state.seal == "signature":
            raise ValueError(f"state.seal signature would sign every state anew with {external}: set state.seal to mac")
        if self.state.mac_key is None and self.state.mac_key_file is None:
            raise ValueError(
                f"{external}: states are sealed with a MAC key that cannot be derived from a key outside this host: set "
                "state.mac_key_file, which `livepeer-remote-signer signing-key mac` makes"
            )
        return self

    @model_validator(mode="after")
    def _live_chain(self) -> Config:
        """What only a live chain can answer is not to be asked of a static one."""
        if self.chain.source == "rpc":
            return self
        require, discovery = self.recipients.require, self.discovery
        if require not in (None, "any"):
            raise ValueError(f"recipients.require {require} needs a live chain: set chain.source to rpc, or require to any")
        if discovery.enabled and discovery.on_chain != "none" and not discovery.webhook_url and not discovery.static:
            raise ValueError(f"discovery.on_chain {discovery.on_chain} needs a live chain: set chain.source to rpc")
        return self
