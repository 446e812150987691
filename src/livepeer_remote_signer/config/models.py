"""Every configuration key, its type, default and meaning. Cross-field rules stand next to the fields they tie."""

from __future__ import annotations

import ipaddress
import re
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    SecretStr,
    Tag,
    model_validator,
)

from livepeer_remote_signer.config.urls import HttpUrl, SecretHttpUrl
from livepeer_remote_signer.core.addresses import parse_orchestrator_url
from livepeer_remote_signer.core.amounts import decimal_text, parse_currency_amount, parse_wei
from livepeer_remote_signer.core.errors import BadField
from livepeer_remote_signer.core.listening import DEFAULT_LISTEN, ListenAddress, parse_listen
from livepeer_remote_signer.core.pricing import CAPABILITY_NUMBERS, DEFAULT_MODEL
from livepeer_remote_signer.core.timestamps import parse_rfc3339_ns

ARBITRUM_ONE_CONTROLLER = "0xD8E8328501E9645d16Cf49539efC04f734606ee4"
ARBITRUM_ONE_CHAIN_ID = 42161
_HEX = re.compile(r"0x[0-9a-fA-F]*")
ARBITRUM_ONE_ETH_USD_FEED = "0x639Fe6ab55C921f74e7fac1ee960C0B6293ba612"
ARBITRUM_ONE_AI_SERVICE_REGISTRY = "0x04C0b249740175999E5BF5c9ac1dA92431EF34C5"


class PriceAmount(NamedTuple):
    """A non-negative amount in a currency (`wei`, `eth`, `usd`), exact."""

    value: Fraction
    currency: str


def _wei(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("must be a whole number of wei")  # noqa: TRY004 - pydantic turns ValueError into a fault of the key
    return parse_wei(value) if isinstance(value, str) else value


def _amount(value: Any) -> Any:
    if isinstance(value, PriceAmount):
        return value
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("must be a number, or text such as 1200, 0.002eth or 0.50USD")  # noqa: TRY004 - as above
    return PriceAmount(*parse_currency_amount(str(value)))


def _decimal(value: Any) -> Any:
    if isinstance(value, Fraction):
        return value
    amount = _amount(value)
    if amount.currency != "wei":
        raise ValueError("must be a plain number")
    return amount.value


def _hex_bytes(length: int) -> BeforeValidator:
    def parse(value: Any) -> Any:
        if isinstance(value, bytes):
            return value
        if not isinstance(value, str) or len(value) != 2 + 2 * length or _HEX.fullmatch(value) is None:
            raise ValueError(f"must be 0x and {2 * length} hex digits")
        return bytes.fromhex(value[2:])

    return BeforeValidator(parse)


def _time(text: str) -> str:
    try:
        parse_rfc3339_ns(text)
    except ValueError:
        raise ValueError("must be a time such as 2026-04-07T20:00:00Z") from None
    return text


def _hex_text(value: bytes) -> str:
    return "0x" + value.hex()


Wei = Annotated[int, BeforeValidator(_wei), Field(ge=0), PlainSerializer(str)]
Amount = Annotated[
    PriceAmount,
    BeforeValidator(_amount),
    PlainSerializer(lambda a: f"{decimal_text(a.value)}{'' if a.currency == 'wei' else a.currency.upper()}"),
]
Decimal = Annotated[Fraction, BeforeValidator(_decimal), PlainSerializer(decimal_text)]
Address = Annotated[bytes, _hex_bytes(20), PlainSerializer(_hex_text)]
Hash = Annotated[bytes, _hex_bytes(32), PlainSerializer(_hex_text)]
Time = Annotated[str, AfterValidator(_time)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Network = Annotated[ipaddress.IPv4Network | ipaddress.IPv6Network, PlainSerializer(str)]


class Section(BaseModel):
    """A part of the file: unknown keys are errors, values never change, errors never repeat the input."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, arbitrary_types_allowed=True, validate_default=True)


Listen = Annotated[
    ListenAddress,
    BeforeValidator(lambda value: value if isinstance(value, ListenAddress) else parse_listen(str(value))),
    PlainSerializer(str),
]


def _check_one_form(section: Section, *names: str) -> None:
    """Raises ValueError where a value is given both by itself and in a file."""
    for name in names:
        if getattr(section, name) and getattr(section, f"{name}_file") is not None:
            raise ValueError(f"give either {name} or {name}_file, not both")


class KeyConfig(Section):
    """The one signing key: a raw key from file or environment, or a geth V3 keystore with its password file."""

    private_key: SecretStr | None = None
    private_key_file: Path | None = None
    keystore_file: Path | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    address: Address | None = None
    signer: Literal["coincurve", "eth-account"] = "coincurve"

    @model_validator(mode="after")
    def _one_source(self) -> KeyConfig:
        given = [n for n in ("private_key", "private_key_file", "keystore_file") if getattr(self, n) is not None]
        if len(given) != 1:
            raise ValueError(f"give exactly one of private_key, private_key_file and keystore_file, not {given or 'none'}")
        if self.keystore_file is not None and (self.password is None) == (self.password_file is None):
            raise ValueError("keystore_file needs exactly one of password_file and password")
        return self


class PreviousSeal(Section):
    """A key whose states are still accepted after a rotation, until a time."""

    private_key_file: Path | None = None
    mac_key_file: Path | None = None
    accept_until: Time

    @model_validator(mode="after")
    def _one_source(self) -> PreviousSeal:
        if (self.private_key_file is None) == (self.mac_key_file is None):
            raise ValueError("give exactly one of private_key_file and mac_key_file")
        return self


class StateConfig(Section):
    """How signer states are sealed. The MAC key is derived from the signing key unless given (32 bytes as hex)."""

    seal: Literal["mac", "signature"] = "mac"
    mac_key: SecretStr | None = None
    mac_key_file: Path | None = None
    previous: tuple[PreviousSeal, ...] = ()

    @model_validator(mode="after")
    def _one_form(self) -> StateConfig:
        _check_one_form(self, "mac_key")
        return self


class StaticChain(Section):
    """A chain view from configuration: development, tests, offchain."""

    l1_block: int = Field(0, ge=0)
    last_initialized_round: int = Field(0, ge=0)
    last_initialized_round_block_hash: Hash = bytes(32)
    deposit_wei: Wei = 0
    reserve_wei: Wei = 0
    withdraw_round: int = Field(0, ge=0)


class RpcChain(Section):
    """Live reads: endpoints in order of preference, never printed with their keys. The head may stand still for at most
    max_head_age_seconds; where it is not set for 300 s on Arbitrum One, and without limit elsewhere."""

    urls: tuple[SecretHttpUrl, ...] = Field((), description="JSON-RPC endpoints in order of preference")
    urls_file: Path | None = None
    controller: Address = bytes.fromhex(ARBITRUM_ONE_CONTROLLER[2:])
    chain_id: int = Field(ARBITRUM_ONE_CHAIN_ID, gt=0)
    poll_seconds: Seconds = 5
    max_age_seconds: Seconds = 60
    max_head_age_seconds: Seconds | None = None
    timeout_seconds: Seconds = 4

    @model_validator(mode="after")
    def _one_form(self) -> RpcChain:
        _check_one_form(self, "urls")
        return self


class ChainConfig(Section):
    """Where round, L1 block and funds come from."""

    source: Literal["static", "rpc"]
    static: StaticChain = StaticChain()
    rpc: RpcChain = RpcChain()

    @model_validator(mode="after")
    def _urls(self) -> ChainConfig:
        if self.source == "rpc" and not self.rpc.urls and self.rpc.urls_file is None:
            raise ValueError("chain.source rpc needs chain.rpc.urls or chain.rpc.urls_file (or ETH_RPC_URL)")
        return self


class LimitsConfig(Section):
    """Limits on tickets (wei) and on requests."""

    max_ticket_ev_wei: Wei = 3_000_000_000_000
    max_total_ev_wei: Wei = 20_000_000_000_000
    deposit_multiplier: int = Field(1, ge=1)
    max_body_bytes: int = Field(1024 * 1024, ge=1024)
    max_requests_in_work: int = Field(256, ge=1)
    body_timeout_seconds: Seconds = 10
    drain_seconds: Seconds = 20


class CapabilityPrice(Section):
    """One entry of go-livepeer's maxPricePerCapability file."""

    pipeline: str
    model_id: Annotated[str, BeforeValidator(lambda name: name or DEFAULT_MODEL)] = DEFAULT_MODEL
    price_per_unit: Amount
    pixels_per_unit: Decimal | None = None
    currency: Annotated[str, BeforeValidator(lambda name: "wei" if name is None or not str(name).strip() else name)] = "wei"

    @model_validator(mode="after")
    def _known(self) -> CapabilityPrice:
        if self.pipeline not in CAPABILITY_NUMBERS:
            raise ValueError(f"unknown pipeline {self.pipeline!r}: one of {', '.join(CAPABILITY_NUMBERS)}")
        if self.pixels_per_unit is not None and self.pixels_per_unit <= 0:
            raise ValueError("pixels_per_unit must be positive")
        return self


class CurrencyFeed(Section):
    """A Chainlink ETH/currency feed, read over chain.rpc."""

    address: Address = bytes.fromhex(ARBITRUM_ONE_ETH_USD_FEED[2:])
    max_age_seconds: Seconds = 5400


class PricesConfig(Section):
    """Price ceilings. 0 as max_price_per_unit: no global ceiling."""

    max_price_per_unit: Amount = PriceAmount(Fraction(0), "wei")
    pixels_per_unit: Decimal = Fraction(1)
    max_price_per_capability: Annotated[
        Annotated[tuple[CapabilityPrice, ...], Tag("[list]")] | Annotated[Path, Tag("[path]")],
        Discriminator(lambda given: "[path]" if isinstance(given, str | Path) else "[list]"),
    ] = ()
    currency_feed: CurrencyFeed | None = None
    runtime_file: Path | None = Field(None, description="where ceilings changed at runtime are kept")

    @model_validator(mode="after")
    def _positive(self) -> PricesConfig:
        if self.pixels_per_unit <= 0:
            raise ValueError("pixels_per_unit must be positive")
        return self


class WebhookConfig(Section):
    """The authorization webhook, asked before a payment is signed."""

    url: HttpUrl
    headers: dict[str, SecretStr] = {}
    headers_file: Path | None = None
    secret: SecretStr | None = None
    secret_file: Path | None = None
    timeout_seconds: Seconds = 5
    bind_verdicts: bool = False
    max_expiry_seconds: int = Field(3600, ge=600)

    @model_validator(mode="after")
    def _one_form(self) -> WebhookConfig:
        _check_one_form(self, "secret", "headers")
        return self


class JwtConfig(Section):
    """Bearer tokens: keys from a JWKS, or found through OIDC discovery of the issuer."""

    issuer: str
    audience: str
    jwks_url: HttpUrl | None = None
    auth_id_claim: str = "sub"
    clock_skew_seconds: int = Field(30, ge=0, le=300)


class AuthConfig(Section):
    """Who may call. Everything that is configured must agree; nothing configured: nobody is asked."""

    api_keys_file: Path | None = None
    jwt: JwtConfig | None = None
    webhook: WebhookConfig | None = None
    trusted_proxies: tuple[Network, ...] = ()
    allow_unauthenticated: bool = False

    @property
    def is_configured(self) -> bool:
        """Whether anybody is asked before a signature is made."""
        return self.api_keys_file is not None or self.jwt is not None or self.webhook is not None


class RecipientsConfig(Section):
    """Who may be paid. `None` as registered: `registered` on a live chain, `any` otherwise."""

    require: Literal["any", "registered", "active"] | None = None
    must_be_orchestrator: bool = True
    allow: tuple[Address, ...] = ()
    deny: tuple[Address, ...] = ()
    guard: GuardConfig | None = None


class GuardConfig(Section):
    """Pauses paying an orchestrator that takes first payments and delivers nothing, or spends too fast."""

    window_seconds: Seconds = 600
    max_abandoned_sessions: int | None = Field(None, ge=1)
    max_spend_wei: Wei | None = None
    pause_seconds: Seconds = 600


class AdminConfig(Section):
    """The admin listener: own address, own token. Absent: there is none."""

    listen: Listen
    token_file: Path


class LedgerConfig(Section):
    """Where spend, sequence numbers and events are kept."""

    backend: Literal["none", "sqlite", "postgres"] = "none"
    path: Path | None = None
    url: SecretStr | None = None
    url_file: Path | None = None
    on_stale: Literal["heal", "refuse"] = "heal"
    retention_seconds: int = Field(86_400, ge=3600)
    max_pending_events: int = Field(1_000_000, ge=1)
    on_full: Literal["refuse", "drop_oldest"] = "refuse"

    @model_validator(mode="after")
    def _place(self) -> LedgerConfig:
        if self.backend == "sqlite" and self.path is None:
            raise ValueError("backend sqlite needs path")
        if self.backend == "postgres" and self.url is None and self.url_file is None:
            raise ValueError("backend postgres needs url or url_file")
        _check_one_form(self, "url")
        return self


class HeadroomConfig(Section):
    """Seconds of credit bought ahead, by route."""

    generate_live_payment: int = Field(0, ge=0, le=3600)
    sign_ticket: int = Field(0, ge=0, le=3600)


class BudgetConfig(Section):
    """What may be spent by each matching id. `match` "*": each id on its own."""

    scope: Literal["auth_id", "app", "orchestrator", "global"]
    match: str = "*"
    window: Literal["total", "minute", "hour", "day"]
    measure: Literal["ev", "face_value"] = "ev"
    limit_wei: Wei

    @model_validator(mode="after")
    def _may_hold(self) -> BudgetConfig:
        if self.scope == "orchestrator" and self.match != "*" and (len(self.match) != 42 or _HEX.fullmatch(self.match) is None):
            raise ValueError(
                f'match of scope orchestrator must be "*", or 0x and 40 hex digits, not {self.match[:64]!r}: it would never hold'
            )
        return self


class FileSink(Section):
    """Events as JSON lines."""

    type: Literal["file"]
    path: Path


class HttpSink(Section):
    """Events as CloudEvents batches."""

    type: Literal["http"]
    url: HttpUrl
    secret: SecretStr | None = None
    secret_file: Path | None = None
    timeout_seconds: Seconds = 10

    @model_validator(mode="after")
    def _one_form(self) -> HttpSink:
        _check_one_form(self, "secret")
        return self


class KafkaSink(Section):
    """Events to a Kafka topic. With `username`: SASL PLAIN, over TLS unless `tls` is false."""

    type: Literal["kafka"]
    brokers: tuple[str, ...] = Field(min_length=1)
    topic: str
    username: str | None = None
    password: SecretStr | None = None
    password_file: Path | None = None
    tls: bool | None = None

    @model_validator(mode="after")
    def _credentials(self) -> KafkaSink:
        if self.username is not None and (self.password is None) == (self.password_file is None):
            raise ValueError("username needs exactly one of password_file and password")
        _check_one_form(self, "password")
        return self


class EventsConfig(Section):
    """Where billing events go."""

    sinks: tuple[Annotated[FileSink | HttpSink | KafkaSink, Field(discriminator="type")], ...] = ()


class DiscoveryConfig(Section):
    """The list of orchestrators behind GET /discover-orchestrators. The first configured source wins: webhook, static list,
    pool. With none of them, on a live chain, it is the pool with ServiceRegistry's URLs."""

    enabled: bool = False
    webhook_url: Annotated[HttpUrl | None, BeforeValidator(lambda url: url or None)] = None
    static: tuple[str, ...] = ()
    on_chain: Literal["none", "service_registry", "ai_service_registry"] = "none"
    ai_service_registry: Address = bytes.fromhex(ARBITRUM_ONE_AI_SERVICE_REGISTRY[2:])
    refresh_seconds: Seconds = 1500
    keep_seconds: Seconds = 1500
    timeout_seconds: Seconds = 3
    max_concurrency: int = Field(64, ge=1)
    allow_private_addresses: bool = False

    @model_validator(mode="after")
    def _urls(self) -> DiscoveryConfig:
        for url in self.static:
            try:
                parse_orchestrator_url(url)
            except BadField as error:
                raise ValueError(f"static: {url[:200]!r}: {error.message}") from None
        return self


class OrchestratorsConfig(Section):
    """How POST /getOrchestratorInfo dials orchestrators."""

    tls: Literal["tofu", "system", "pin-strict"] = "tofu"
    timeout_seconds: Seconds = 3
    allow_private_addresses: bool = False
    allowed_networks: tuple[Network, ...] = ()


class CorsConfig(Section):
    """Origins of browsers that may call the public routes; "*" for all."""

    allow_origins: tuple[str, ...] = ()


class LogConfig(Section):
    """Log lines: JSON for machines, console for people."""

    format: Literal["json", "console"] = "json"
    level: Literal["debug", "info", "warning", "error"] = "info"


class TracingConfig(Section):
    """OpenTelemetry traces over OTLP/HTTP (the extra `otel`)."""

    otlp_endpoint: HttpUrl | None = None


class DocsConfig(Section):
    """Interactive API documentation."""

    enabled: bool = False


class Config(Section):
    """The whole configuration, checked."""

    listen: Listen = DEFAULT_LISTEN
    key: KeyConfig
    state: StateConfig = StateConfig()
    chain: ChainConfig
    limits: LimitsConfig = LimitsConfig()
    prices: PricesConfig = PricesConfig()
    auth: AuthConfig = AuthConfig()
    recipients: RecipientsConfig = RecipientsConfig()
    admin: AdminConfig | None = None
    ledger: LedgerConfig = LedgerConfig()
    headroom_seconds: HeadroomConfig = HeadroomConfig()
    live_payment_interval_seconds: Seconds = 5
    budgets: tuple[BudgetConfig, ...] = ()
    events: EventsConfig = EventsConfig()
    discovery: DiscoveryConfig = DiscoveryConfig()
    orchestrators: OrchestratorsConfig = OrchestratorsConfig()
    cors: CorsConfig = CorsConfig()
    log: LogConfig = LogConfig()
    tracing: TracingConfig = TracingConfig()
    docs: DocsConfig = DocsConfig()
    byoc_jobs: bool = False

    @model_validator(mode="after")
    def _cross_field(self) -> Config:
        if not self.listen.is_loopback and not self.auth.is_configured and not self.auth.allow_unauthenticated:
            raise ValueError(
                f"listen {self.listen.host} is reachable from other hosts, but nobody is asked before signing: configure auth "
                "(webhook, api_keys_file or jwt), or set auth.allow_unauthenticated: true if the network itself keeps others out"
            )
        if self.budgets and self.ledger.backend == "none":
            raise ValueError("budgets need a ledger: set ledger.backend to sqlite or postgres")
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


RecipientsConfig.model_rebuild()
