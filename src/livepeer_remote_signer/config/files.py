"""What stands in a file of its own and is read with the configuration: ceilings, and secrets that are more than one word.

The values take the place of the key without `_file`, so that nothing behind the configuration knows where they stood.
Errors name the key, the file and the line, never its content.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError

from livepeer_remote_signer.config.faults import explain
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.config.prices import CapabilityPrice
from livepeer_remote_signer.config.strict_yaml import ConfigError
from livepeer_remote_signer.config.urls import check_http_url

MAX_SECRET_FILE_BYTES = 64 * 1024


def with_files(config: Config) -> Config:
    """The configuration with the content of the files it names. Raises ConfigError."""
    if isinstance(config.prices.max_price_per_capability, Path):
        prices = _capability_prices(config.prices.max_price_per_capability)
        config = config.model_copy(update={"prices": config.prices.model_copy(update={"max_price_per_capability": prices})})
    if config.chain.source == "rpc" and config.chain.rpc.urls_file is not None:
        rpc = config.chain.rpc.model_copy(update={"urls": _rpc_urls(config.chain.rpc.urls_file)})
        config = config.model_copy(update={"chain": config.chain.model_copy(update={"rpc": rpc})})
    if config.ledger.backend == "postgres" and config.ledger.url_file is not None:
        url = SecretStr(_secret_text(config.ledger.url_file, "ledger.url_file").strip())
        config = config.model_copy(update={"ledger": config.ledger.model_copy(update={"url": url})})
    webhook = config.auth.webhook
    if webhook is not None and webhook.headers_file is not None:
        webhook = webhook.model_copy(update={"headers": _headers(webhook.headers_file)})
        config = config.model_copy(update={"auth": config.auth.model_copy(update={"webhook": webhook})})
    return config


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
    return text


def _rpc_urls(path: Path) -> tuple[SecretStr, ...]:
    """One URL a line."""
    key, urls = "chain.rpc.urls_file", []
    for number, line in enumerate(_secret_text(path, key).splitlines(), 1):
        if url := line.strip():
            try:
                check_http_url(url)
            except ValueError as error:
                raise ConfigError(f"{key} {path}, line {number}: {error}") from None
            urls.append(SecretStr(url))
    return tuple(urls)


def _headers(path: Path) -> dict[str, SecretStr]:
    """`Name: value` a line."""
    key, headers = "auth.webhook.headers_file", {}
    for number, line in enumerate(_secret_text(path, key).splitlines(), 1):
        if line.strip():
            name, colon, value = line.partition(":")
            if not colon or not name.strip():
                raise ConfigError(f"{key} {path}, line {number}: must be a header such as X-Api-Key: value")
            headers[name.strip()] = SecretStr(value.strip())
    return headers


def _capability_prices(path: Path) -> tuple[CapabilityPrice, ...]:
    """`max_price_per_capability` given as a path, read from go-livepeer's file format."""
    where = f"prices.max_price_per_capability ({path})"
    try:
        document = json.loads(path.read_text("utf-8"), parse_int=str, parse_float=str)
        entries = document["capabilities_prices"]
        if not isinstance(entries, list):
            raise TypeError("a list of prices is expected")
        return tuple(_capability_price(where, index, entry) for index, entry in enumerate(entries))
    except OSError as error:
        raise ConfigError(f"{where} cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ConfigError(f'{where} is not {{"capabilities_prices": [...]}}') from None


def _capability_price(where: str, index: int, entry: Any) -> CapabilityPrice:
    try:
        return CapabilityPrice.model_validate(entry)
    except ValidationError as error:
        details = error.errors(include_url=False)
        raise ConfigError("\n".join(f"{where}, entry {index}: {explain(entry, detail)}" for detail in details)) from None
