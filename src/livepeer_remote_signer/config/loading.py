"""Reads the YAML file, fills in `${VAR}`, lays the environment of existing compose stacks over it, and validates.

Source of the environment names: section 13 of the protocol. Errors name the key and what to change, never a value: it
could be a secret.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from livepeer_remote_signer.config.faults import explain
from livepeer_remote_signer.config.files import with_files
from livepeer_remote_signer.config.keys import EXTERNAL_FORMS
from livepeer_remote_signer.config.listening import DEFAULT_LISTEN, with_port
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.config.strict_yaml import ConfigError, parse_yaml
from livepeer_remote_signer.config.variables import fill_variables
from livepeer_remote_signer.config.written import unmeant_values

__all__ = ["ConfigError", "load_config", "parse_config", "parse_go_duration"]

_GO_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ns|us|µs|ms|s|m|h)")
_GO_DURATION_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_TRUE = {"true", "1"}
_FALSE = {"false", "0", ""}


def load_config(path: str | os.PathLike[str], environ: Mapping[str, str] | None = None) -> Config:
    """The checked configuration of the file at `path` and the environment. Raises ConfigError."""
    env = os.environ if environ is None else environ
    try:
        text = Path(path).read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from None
    except ValueError:
        raise ConfigError(f"cannot read the configuration {path}: it is not UTF-8 text") from None
    return parse_config(text, env)


def parse_config(text: str, environ: Mapping[str, str]) -> Config:
    """The checked configuration of YAML `text` under `environ`. Raises ConfigError."""
    tree = parse_yaml(text)
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise ConfigError("the configuration must be a mapping of keys")
    tree = _with_variables(tree, environ, "")
    _lay_environment_over(tree, environ)
    if unmeant := list(unmeant_values(tree)):
        raise ConfigError("\n".join(unmeant))
    try:
        config = Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError("\n".join(explain(tree, detail) for detail in error.errors(include_url=False))) from None
    return with_files(config)


def _with_variables(value: Any, environ: Mapping[str, str], where: str) -> Any:
    """Every `${VAR}` in a string replaced; what cannot be is an error that names the key."""
    if isinstance(value, dict):
        return {key: _with_variables(item, environ, f"{where}.{key}".lstrip(".")) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_variables(item, environ, f"{where}.{index}") for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value
    try:
        return fill_variables(value, environ)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from None


def _section(tree: dict[str, Any], *names: str) -> dict[str, Any]:
    for name in names:
        child = tree.setdefault(name, {})
        if child is None:
            child = tree[name] = {}
        if not isinstance(child, dict):
            raise ConfigError(f"{name} must be a mapping of keys")
        tree = child
    return tree


def _lay_environment_over(tree: dict[str, Any], environ: Mapping[str, str]) -> None:
    """Section 13's names, each over the file's key; an empty variable counts as unset."""

    def get(name: str) -> str | None:
        return environ.get(name) or None

    if network := get("SIGNER_NETWORK"):
        chain = _section(tree, "chain")
        if network == "offchain":
            chain["source"] = "static"
        elif network == "arbitrum-one-mainnet":
            chain["source"] = "rpc"
            rpc = _section(chain, "rpc")
            rpc.pop("controller", None)
            rpc.pop("chain_id", None)
        else:
            raise ConfigError(f"SIGNER_NETWORK is {network!r}: one of arbitrum-one-mainnet and offchain")
    if port := get("SIGNER_PORT"):
        try:
            tree["listen"] = with_port(str(tree.get("listen", DEFAULT_LISTEN)), port)
        except ValueError as error:
            raise ConfigError(str(error)) from None
    if urls := get("ETH_RPC_URL"):
        rpc = _section(tree, "chain", "rpc")
        rpc.pop("urls_file", None)
        rpc["urls"] = [url.strip() for url in urls.split(",") if url.strip()]
    if address := get("SIGNER_ETH_ADDR"):
        _section(tree, "key")["address"] = address if address.startswith("0x") else f"0x{address}"
    if keystore := get("SIGNER_ETH_KEYSTORE_PATH"):
        key = _section(tree, "key")
        key.pop("private_key", None)
        key.pop("private_key_file", None)
        for form in EXTERNAL_FORMS:
            key.pop(form, None)
        key["keystore_file"] = keystore
    if url := get("REMOTE_SIGNER_WEBHOOK_URL"):
        _section(tree, "auth", "webhook")["url"] = url
    if secret := get("WEBHOOK_SECRET"):
        if _section(tree, "auth").get("webhook") is None:
            raise ConfigError("WEBHOOK_SECRET is set, but no webhook is: set REMOTE_SIGNER_WEBHOOK_URL or auth.webhook.url")
        webhook = _section(tree, "auth", "webhook")
        webhook.pop("secret_file", None)
        webhook["secret"] = secret
    _lay_kafka_over(tree, get("KAFKA_BROKERS"), get("KAFKA_GATEWAY_TOPIC"), get("LP_KAFKAUSER"), get("LP_KAFKAPASSWORD"))
    if discovery := get("SIGNER_REMOTE_DISCOVERY"):
        if discovery.lower() not in _TRUE | _FALSE:
            raise ConfigError("SIGNER_REMOTE_DISCOVERY is neither true nor false")
        _section(tree, "discovery")["enabled"] = discovery.lower() in _TRUE
    if url := get("ORCH_WEBHOOK_URL"):
        _section(tree, "discovery")["webhook_url"] = url
    if interval := get("LIVE_AI_CAP_REPORT_INTERVAL"):
        _section(tree, "discovery")["refresh_seconds"] = parse_go_duration(interval, "LIVE_AI_CAP_REPORT_INTERVAL")
    if limit := get("SIGNER_MAX_TOTAL_EV"):
        _section(tree, "limits")["max_total_ev_wei"] = limit


def _lay_kafka_over(tree: dict[str, Any], brokers: str | None, topic: str | None, user: str | None, password: str | None) -> None:
    """Each over its key of the file's kafka sink, where there is exactly one: its other keys stay. Else they make the sink."""
    if brokers is None and topic is None and user is None and password is None:
        return
    events = _section(tree, "events")
    sinks = events.get("sinks") or []
    if not isinstance(sinks, list):
        raise ConfigError("events.sinks must be a list")
    given: dict[str, Any] = {} if topic is None else {"topic": topic}
    if brokers is not None:
        given["brokers"] = [broker.strip() for broker in brokers.split(",") if broker.strip()]
    if user is not None:
        given["username"] = user
    if password is not None:
        given["password"] = password
    places = [i for i, sink in enumerate(sinks) if isinstance(sink, dict) and sink.get("type") == "kafka"]
    if len(places) == 1:
        kept = {key: value for key, value in sinks[places[0]].items() if password is None or key != "password_file"}
        sinks[places[0]] = {**kept, **given}
    elif brokers is not None:
        if topic is None:
            raise ConfigError("KAFKA_BROKERS is set, but KAFKA_GATEWAY_TOPIC is not, and the file has no kafka sink that names one")
        events["sinks"] = [*(sink for i, sink in enumerate(sinks) if i not in places), {"type": "kafka", **given}]


def parse_go_duration(text: str, name: str) -> float:
    """`25m` or `1h30m` in seconds; ConfigError, naming the variable, for anything else."""
    if not text or _GO_DURATION_PART.sub("", text):
        raise ConfigError(f"{name} is not a duration such as 25m or 1h30m")
    return sum(float(n) * _GO_DURATION_SECONDS[unit] for n, unit in _GO_DURATION_PART.findall(text))
