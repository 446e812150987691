"""What is accepted because existing stacks run so, though somebody else may not have meant it. One sentence each, with the reason."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from livepeer_remote_signer.config.ceilings import ceiling_amounts
from livepeer_remote_signer.config.events import HttpSink
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.config.strict_yaml import parse_yaml
from livepeer_remote_signer.core.protocol.amounts import WEI_PER_GWEI, decimal_text
from livepeer_remote_signer.core.protocol.prices import CAPABILITY_NUMBERS
from livepeer_remote_signer.core.rules.ceilings import Amount

_SECRETS = frozenset(("private_key", "password", "mac_key", "secret"))
"""Keys whose value is a secret as it stands."""


def doubtful_settings(config: Config, file: Path) -> Iterator[str]:
    """Of a configuration that was read from `file`. Raises ConfigError for ceilings that cannot be used."""
    for key in _written_secrets(parse_yaml(file.read_text("utf-8")), ""):
        yield f"{key} stands in {file} itself: whoever reads or copies the file has it; name a file ({key}_file), or write ${{VAR}}"
    yield from _doubtful_prices(config)
    for key, url in _urls_with_secrets(config):
        parts = urlsplit(url)
        if parts.scheme == "http" and not _is_this_host(parts.hostname or ""):
            yield f"{key} is plain http to {parts.hostname}: who sits on the way reads and changes what is asked and answered; use https"
    if config.auth.webhook is not None and not config.auth.require_auth_id and _counts_auth_ids(config):
        yield (
            "auth.require_auth_id is not set: a payment for which the webhook names no auth id is made all the same, and no budget of an "
            "auth id counts it"
        )


def _written_secrets(value: Any, where: str) -> Iterator[str]:
    """The keys whose secret stands in the file, and not in a file of its own or a variable."""
    if isinstance(value, dict):
        for name, item in value.items():
            key = f"{where}{name}"
            if name in _SECRETS and isinstance(item, str) and item and "${" not in item:
                yield key
            yield from _written_secrets(item, f"{key}.")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _written_secrets(item, f"{where}{index}.")


def _doubtful_prices(config: Config) -> Iterator[str]:
    amounts, names = ceiling_amounts(config.prices), {number: name for name, number in CAPABILITY_NUMBERS.items()}
    named: Mapping[str, Amount] = {
        "max_price_per_unit": amounts.global_amount,
        "max_price_per_hour": amounts.per_hour,
        "max_price_per_job": amounts.per_job,
        **{f"max_price_per_capability {names[number]}/{model}": amount for (number, model), amount in amounts.per_capability.items()},
    }
    for name, amount in named.items():
        if amount.currency == "wei" and _is_doubtful(name, amount.value):
            yield (
                f"prices.{name} is {decimal_text(amount.value)} wei, next to nothing: without a currency an amount is wei; was "
                f"{decimal_text(amount.value)}USD or {decimal_text(amount.value)}eth meant?"
            )


def _is_doubtful(name: str, wei: Fraction) -> bool:
    """A part of a wei; or, for an hour or a job, less than a gwei."""
    return wei.denominator != 1 or (name in ("max_price_per_hour", "max_price_per_job") and 0 < wei < WEI_PER_GWEI)


def _urls_with_secrets(config: Config) -> Iterator[tuple[str, str]]:
    """Who is believed about callers, who signs, and who is told of payments."""
    if config.auth.webhook is not None:
        yield "auth.webhook.url", config.auth.webhook.url
    for place, key in config.named_keys:
        if key.eth_sign is not None:
            yield f"{place}.eth_sign.url", key.eth_sign.url
    if config.auth.jwt is not None:
        yield ("auth.jwt.jwks_url", config.auth.jwt.jwks_url) if config.auth.jwt.jwks_url else ("auth.jwt.issuer", config.auth.jwt.issuer)
    for index, sink in enumerate(config.events.sinks):
        if isinstance(sink, HttpSink):
            yield f"events.sinks.{index}.url", sink.url


def _is_this_host(host: str) -> bool:
    try:
        return host == "localhost" or host.endswith(".localhost") or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _counts_auth_ids(config: Config) -> bool:
    return any(budget.scope == "auth_id" for budget in config.budgets)
