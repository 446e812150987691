"""go-livepeer's flags as keys of this configuration: a command line or a -config file in, a tree for YAML out.

Pure. Every flag is accounted for: taken, without meaning here, or left out with the reason. A secret on the command line is never repeated:
the tree names a file to put it into.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from livepeer_remote_signer.config.loading import ConfigError, parse_go_duration

SECRETS_FOLDER = "./secrets"
DEFAULT_PORT = 8935
DEBUG_FROM = 6
"""From this -v on go-livepeer writes what is here the level debug."""

_TRUE, _FALSE = frozenset(("1", "t", "true")), frozenset(("0", "f", "false"))


class UnreadableError(Exception):
    """The words are no go-livepeer command line; the message says which of them."""


class Account(NamedTuple):
    """What became of one flag: `taken`, `no meaning` or `left out`, and what there is to know of it."""

    flag: str
    fate: str
    told: str


class Migration(NamedTuple):
    """The configuration as a tree, what became of each flag, and what is left for a person to do."""

    tree: dict[str, Any]
    accounts: list[Account]
    todo: list[str]


class _Making:
    """A migration in the making."""

    def __init__(self) -> None:
        self.tree: dict[str, Any] = {}
        self.todo: list[str] = []
        self.kafka: dict[str, Any] = {}

    def set(self, key: str, value: Any) -> str:
        """Sets a dotted key. Returns it."""
        *sections, last = key.split(".")
        at = self.tree
        for section in sections:
            at = at.setdefault(section, {})
        at[last] = value
        return key

    def secret(self, key: str, name: str, what: str) -> str:
        """Names a file for a secret that stood on the command line."""
        self.set(key, f"{SECRETS_FOLDER}/{name}")
        self.todo.append(f"put {what} into {SECRETS_FOLDER}/{name}, readable by the signer alone")
        return f"{key}: the secret itself belongs into that file"


_Take = Callable[[_Making, str], str]


def _to(key: str) -> _Take:
    return lambda making, value: making.set(key, value)


def _seconds_to(key: str) -> _Take:
    return lambda making, value: making.set(key, parse_go_duration(value, key) if not value.isdecimal() else int(value))


def _flag_to(key: str) -> _Take:
    return lambda making, value: making.set(key, _is_true(value))


def _list_to(key: str, spell: Callable[[str], str] = str) -> _Take:
    return lambda making, value: making.set(key, [spell(part) for part in _parts(value)])


def _kafka(key: str) -> _Take:
    def take(making: _Making, value: str) -> str:
        if key == "password":
            making.kafka["password_file"] = f"{SECRETS_FOLDER}/kafka-password"
            making.todo.append(f"put Kafka's password into {SECRETS_FOLDER}/kafka-password, readable by the signer alone")
        else:
            making.kafka[key] = _parts(value) if key == "brokers" else value
        return f"events.sinks[].{key}"

    return take


def _network(making: _Making, value: str) -> str:
    if value == "offchain":
        making.todo.append("chain.static: give deposit_wei, reserve_wei, round and L1 block, or nothing can be paid")
        return making.set("chain.source", "static")
    making.set("chain.source", "rpc")
    if value != "arbitrum-one-mainnet":
        making.todo.append(f"chain.rpc.controller and chain.rpc.chain_id of the network {value}")
    return "chain.source: rpc, whose defaults are Arbitrum One"


def _address(making: _Making, value: str) -> str:
    return making.set("key.address", value if value.startswith("0x") else f"0x{value}")


def _password(making: _Making, value: str) -> str:
    if "/" in value or value.startswith("."):
        return making.set("key.password_file", value)
    return making.secret("key.password_file", "keystore-password", "the keystore's password")


def _listen(making: _Making, value: str) -> str:
    host, _, port = value.rpartition(":")
    return making.set("listen", f"{host or '0.0.0.0'}:{port or DEFAULT_PORT}")  # noqa: S104 - go-livepeer's default


def _admin(making: _Making, value: str) -> str:
    making.set("admin.listen", value)
    making.set("admin.token_file", f"{SECRETS_FOLDER}/admin-token")
    making.todo.append(f"make {SECRETS_FOLDER}/admin-token: at least 16 characters; go-livepeer's port had no token")
    return "admin.listen, which demands a token"


def _headers(making: _Making, value: str) -> str:
    return making.secret("auth.webhook.headers_file", "webhook-headers", "the webhook's headers, one `Name: value` a line,")


def _level(making: _Making, value: str) -> str:
    return making.set("log.level", "debug" if value.isdecimal() and int(value) >= DEBUG_FROM else "info")


def _registry(making: _Making, value: str) -> str:
    return making.set("discovery.on_chain", "ai_service_registry") if _is_true(value) else "discovery.on_chain stays as it is"


def _https(url: str) -> str:
    return url if "://" in url else f"https://{url}"


TAKEN: Mapping[str, _Take] = {
    "httpAddr": _listen,
    "cliAddr": _admin,
    "network": _network,
    "ethUrl": _list_to("chain.rpc.urls"),
    "ethController": _to("chain.rpc.controller"),
    "ethKeystorePath": _to("key.keystore_file"),
    "ethAcctAddr": _address,
    "ethPassword": _password,
    "blockPollingInterval": _seconds_to("chain.rpc.poll_seconds"),
    "maxPricePerUnit": _to("prices.max_price_per_unit"),
    "pixelsPerUnit": _to("prices.pixels_per_unit"),
    "maxPricePerCapability": _to("prices.max_price_per_capability"),
    "priceFeedAddr": _to("prices.currency_feed.address"),
    "maxTicketEV": _to("limits.max_ticket_ev_wei"),
    "maxTotalEV": _to("limits.max_total_ev_wei"),
    "depositMultiplier": _to("limits.deposit_multiplier"),
    "remoteSignerWebhookUrl": _to("auth.webhook.url"),
    "remoteSignerWebhookHeaders": _headers,
    "remoteSignerAllowNoAuth": _flag_to("auth.allow_unauthenticated"),
    "remoteDiscovery": _flag_to("discovery.enabled"),
    "orchWebhookUrl": _to("discovery.webhook_url"),
    "orchAddr": _list_to("discovery.static", _https),
    "extraNodes": _to("discovery.follow_nodes"),
    "discoveryTimeout": _seconds_to("discovery.timeout_seconds"),
    "aiServiceRegistry": _registry,
    "liveAICapReportInterval": _seconds_to("discovery.refresh_seconds"),
    "livePaymentInterval": _seconds_to("live_payment_interval_seconds"),
    "orchBlocklist": _list_to("recipients.deny"),
    "kafkaBootstrapServers": _kafka("brokers"),
    "kafkaGatewayTopic": _kafka("topic"),
    "kafkaUser": _kafka("username"),
    "kafkaPassword": _kafka("password"),
    "v": _level,
}
"""Flags that become keys."""

NO_MEANING: Mapping[str, str] = {
    "remoteSigner": "the command `serve` is one",
    "monitor": "/metrics is always there",
    "metricsPerStream": "metrics have no label a stream: their number would have no bound",
    "metricsClientIP": "the same",
    "datadir": "nothing is kept in a folder of its own; the ledger has ledger.path",
    "ethOrchAddr": "it concerns orchestrators",
    "gasLimit": "serving sends no transaction; the funding commands estimate gas",
    "maxGasPrice": "serving sends no transaction; the funding commands have --max-gas-price",
    "minGasPrice": "serving sends no transaction",
    "transactionTimeout": "serving sends no transaction",
    "maxTransactionReplacements": "serving sends no transaction",
    "rtmpAddr": "a signer takes no streams",
    "httpIngest": "a signer takes no streams",
    "serviceAddr": "it concerns orchestrators",
    "nodeName": "replicas tell themselves apart; Kafka's `gateway` stays empty as go-livepeer leaves it",
    "localVerify": "a signer transcodes nothing",
    "maxSessions": "a signer has none; limits.max_requests_in_work bounds what is in work",
    "logtostderr": "logs go to the standard output",
    "stderrthreshold": "logs go to the standard output",
    "initializeRound": "serving sends no transaction",
}

LEFT_OUT: Mapping[str, str] = {
    "ignoreMaxPriceIfNeeded": "a ceiling that gives way is none",
    "ethExternalSigner": "the key is a file or a secret of this host",
    "gateway": "this is a signer: the gateway keeps its own command line",
    "orchestrator": "this is a signer",
    "transcoder": "this is a signer",
    "redeemer": "this is a signer: it redeems nothing",
    "currentManifest": "it concerns gateways",
    "testTranscoder": "it concerns transcoders",
    "remoteSignerUrl": "that is the gateway's flag, and stays there",
    "remoteSignerHeaders": "that is the gateway's flag, and stays there",
}

BOOLEAN = frozenset(
    (
        "remoteSigner",
        "remoteSignerAllowNoAuth",
        "remoteDiscovery",
        "aiServiceRegistry",
        "monitor",
        "metricsPerStream",
        "metricsClientIP",
        "httpIngest",
        "localVerify",
        "logtostderr",
        "initializeRound",
        "ignoreMaxPriceIfNeeded",
        "gateway",
        "orchestrator",
        "transcoder",
        "redeemer",
        "currentManifest",
        "testTranscoder",
    )
)
"""Flags that need no value."""


def read_words(words: Sequence[str]) -> list[tuple[str, str]]:
    """The flags of a command line, as Go's flag package reads them; variables `LP_NAME=value` before the command count as their flag.

    Raises UnreadableError.
    """
    left = list(words)
    found = []
    while left and "=" in left[0] and not left[0].startswith("-"):
        name, _, value = left.pop(0).partition("=")
        if name.startswith("LP_"):
            found.append((_spelled(name.removeprefix("LP_")), value))
    if left and not left[0].startswith("-"):
        left.pop(0)  # the program
    return found + list(_read_flags(left))


def _read_flags(words: list[str]) -> Iterator[tuple[str, str]]:
    while words:
        word = words.pop(0)
        name, has_value, value = word.lstrip("-").partition("=")
        if not word.startswith("-") or not name:
            raise UnreadableError(f"{word[:64]!r} is no flag: a flag begins with - and its value follows it")
        if not has_value and name in BOOLEAN:
            value = "true"
        elif not has_value:
            if not words:
                raise UnreadableError(f"-{name[:64]} has no value")
            value = words.pop(0)
        yield name, value


def read_file(text: str) -> list[tuple[str, str]]:
    """The flags of a -config file: a name, a blank, a value a line; `#` begins a comment."""
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition(" ") for line in lines if line and not line.startswith("#"))
    return [(name.lstrip("-"), value.strip() or "true") for name, _, value in pairs]


def migrate(flags: Sequence[tuple[str, str]]) -> Migration:
    """The configuration that does what the flags did. Raises UnreadableError for a value that cannot be read."""
    making = _Making()
    making.set("listen", f"0.0.0.0:{DEFAULT_PORT}")
    accounts = []
    for name, value in flags:
        if (take := TAKEN.get(name)) is not None:
            try:
                accounts.append(Account(f"-{name}", "taken", take(making, value)))
            except (ValueError, ConfigError) as error:
                raise UnreadableError(f"-{name}: {error}") from None
        elif name in NO_MEANING:
            accounts.append(Account(f"-{name}", "no meaning", NO_MEANING[name]))
        else:
            accounts.append(Account(f"-{name}", "left out", LEFT_OUT.get(name, "this flag is not known here")))
    if making.kafka:
        making.set("events.sinks", [{"type": "kafka", **making.kafka}])
    _complete(making)
    return Migration(making.tree, accounts, making.todo)


def _complete(making: _Making) -> None:
    """What a configuration needs that go-livepeer had no flag for, or another default."""
    making.tree.setdefault("chain", {"source": "rpc"}).setdefault("source", "rpc")
    if "key" not in making.tree:
        making.todo.append("key: name the key, which go-livepeer looked for in its -datadir")
    making.set("ledger", {"backend": "sqlite", "path": "./ledger.sqlite"})
    making.set("state.seal", "signature")
    making.todo.append("state.seal: `mac` when no go-livepeer signs with this key any more: it is far cheaper")
    auth = making.tree.get("auth", {})
    if not auth.get("webhook") and "allow_unauthenticated" not in auth:
        making.todo.append("auth: say who may spend; go-livepeer asked nobody, here a signer that others reach does not start so")


def _parts(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def _is_true(value: str) -> bool:
    if value.lower() not in _TRUE | _FALSE:
        raise ValueError(f"{value[:32]!r} is neither true nor false")
    return value.lower() in _TRUE


def _spelled(variable: str) -> str:
    """The flag behind a variable's name, which is written in capitals."""
    known = {name.upper(): name for name in (*TAKEN, *NO_MEANING, *LEFT_OUT)}
    return known.get(variable, variable)
