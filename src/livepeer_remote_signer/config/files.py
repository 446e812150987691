"""What stands in a file of its own and is read with the configuration: ceilings, and secrets that are more than one word.

The values take the place of the key without `_file`, so that nothing behind the configuration knows where they stood.
Errors name the key, the file and the line, never its content.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import SecretStr, ValidationError

from livepeer_remote_signer.config.events import HttpSink
from livepeer_remote_signer.config.faults import explain
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.config.prices import CapabilityPrice, check_each_once
from livepeer_remote_signer.config.secret_files import FileKind, named_files
from livepeer_remote_signer.config.strict_yaml import ConfigError
from livepeer_remote_signer.config.urls import check_http_url
from livepeer_remote_signer.config.values import Section
from livepeer_remote_signer.core.rules.secret_text import secret_text_fault

MAX_SECRET_FILE_BYTES = 64 * 1024

SectionT = TypeVar("SectionT", bound=Section)


def with_files(config: Config) -> Config:
    """The configuration with the content of the files it names. Raises ConfigError."""
    if isinstance(config.prices.max_price_per_capability, Path):
        config = _with_value(config, "prices.max_price_per_capability", _capability_prices(config.prices.max_price_per_capability))
    unused = {"chain.rpc.urls_file": config.chain.source != "rpc", "ledger.url_file": config.ledger.backend != "postgres"}
    for key, path, kind in tuple(named_files(config)):
        if kind is FileKind.LOADED and not unused.get(key, False):
            config = _with_value(config, key.removesuffix("_file"), _parser(key)(_secret_text(path, key), f"{key} {path}"))
    return config


def known_secrets(config: Config) -> list[str]:
    """Every secret of the configuration: its secret values, and what stands in the files that it names."""
    found = list(_secret_values(config))
    for _, path, kind in named_files(config):
        if kind is FileKind.SECRET:
            with suppress(OSError, UnicodeDecodeError):  # whoever needs the file says what is wrong with it
                found.append(path.read_text("utf-8").strip())
    return found


def known_urls(config: Config) -> list[str]:
    """The URLs that may be printed but for what is secret in them: a password, a key in the path or in the query."""
    urls = [sink.url for sink in config.events.sinks if isinstance(sink, HttpSink)]
    if config.auth.webhook is not None:
        urls.append(config.auth.webhook.url)
    urls += [key.eth_sign.url for key in (config.key, *config.keys.values()) if key.eth_sign is not None]
    return urls + [url for url in (config.discovery.webhook_url, config.tracing.otlp_endpoint, config.outbound.proxy) if url is not None]


def _secret_values(value: object) -> Iterator[str]:
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, Section):
        for name in type(value).model_fields:
            yield from _secret_values(getattr(value, name))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _secret_values(item)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for item in value:
            yield from _secret_values(item)


def _with_value(section: SectionT, key: str, value: object) -> SectionT:
    """The section with another value under a dotted key."""
    name, _, rest = key.partition(".")
    found = getattr(section, name)
    if rest and isinstance(found, Mapping):
        item, _, rest = rest.partition(".")
        return section.model_copy(update={name: {**found, item: _with_value(found[item], rest, value)}})
    return section.model_copy(update={name: _with_value(found, rest, value) if rest else value})


def _secret_text(path: Path, key: str) -> str:
    try:
        if path.stat().st_size > MAX_SECRET_FILE_BYTES:
            raise ConfigError(f"{key} {path} is larger than {MAX_SECRET_FILE_BYTES} bytes: that is not a secret")
        text = path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"{key} {path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise ConfigError(f"{key} {path} is not text") from None
    if not text.strip():
        raise ConfigError(f"{key} {path} is empty")
    if fault := secret_text_fault(text, one_line=_parser(key) is _parse_secret):
        raise ConfigError(f"{key} {path} {fault}")
    return text


def _parse_urls(text: str, where: str) -> tuple[SecretStr, ...]:
    """One URL a line."""
    urls = []
    for number, line in enumerate(text.splitlines(), 1):
        if url := line.strip():
            try:
                check_http_url(url)
            except ValueError as error:
                raise ConfigError(f"{where}, line {number}: {error}") from None
            urls.append(SecretStr(url))
    return tuple(urls)


def _parse_headers(text: str, where: str) -> dict[str, SecretStr]:
    """`Name: value` a line."""
    headers = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            name, colon, value = line.partition(":")
            if not colon or not name.strip():
                raise ConfigError(f"{where}, line {number}: must be a header such as X-Api-Key: value")
            headers[name.strip()] = SecretStr(value.strip())
    return headers


def _parse_secret(text: str, _: str) -> SecretStr:
    return SecretStr(text.strip())


_PARSERS: Mapping[str, Callable[[str, str], object]] = {
    "urls_file": _parse_urls,
    "url_file": _parse_secret,
    "headers_file": _parse_headers,
}
"""By the last part of the key."""


def _parser(key: str) -> Callable[[str, str], object]:
    return _PARSERS[key.rpartition(".")[2]]


def _capability_prices(path: Path) -> tuple[CapabilityPrice, ...]:
    """`max_price_per_capability` given as a path, read from go-livepeer's file format."""
    where = f"prices.max_price_per_capability ({path})"
    try:
        document = json.loads(path.read_text("utf-8"), parse_int=str, parse_float=str, object_pairs_hook=partial(_each_key_once, where))
        entries = document["capabilities_prices"]
        if not isinstance(entries, list):
            raise TypeError("a list of prices is expected")
    except OSError as error:
        raise ConfigError(f"{where} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ConfigError(f'{where} is not {{"capabilities_prices": [...]}}') from None
    if others := document.keys() - {"capabilities_prices"}:
        raise ConfigError(f"{where}: unknown key {min(others)[:64]!r}: known here: capabilities_prices")
    prices = tuple(_capability_price(where, index, entry) for index, entry in enumerate(entries))
    try:
        check_each_once(prices)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None
    return prices


def _each_key_once(where: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object; of a doubled key JSON's readers take one in silence, and with it another price, or none at all."""
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        doubled = next(key for key in keys if keys.count(key) > 1)
        raise ConfigError(f"{where}: the key {doubled[:64]!r} stands twice in one object")
    return found


def _capability_price(where: str, index: int, entry: Any) -> CapabilityPrice:
    try:
        return CapabilityPrice.model_validate(entry)
    except ValidationError as error:
        details = error.errors(include_url=False)
        raise ConfigError("\n".join(f"{where}, entry {index}: {explain(entry, detail, CapabilityPrice)}" for detail in details)) from None
