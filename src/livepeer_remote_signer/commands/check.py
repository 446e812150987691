"""`check-config`: what is in force, and what `serve` would refuse. Connects to nothing; `doctor` does."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from livepeer_remote_signer.commands.notes import notes_on_files, notes_on_proxies, notes_on_time, notes_on_variables
from livepeer_remote_signer.commands.places import place_faults
from livepeer_remote_signer.commands.serve import print_faults, read_config
from livepeer_remote_signer.config.doubtful import doubtful_settings
from livepeer_remote_signer.config.exposure import missing_bounds, most_in_an_hour
from livepeer_remote_signer.config.in_force import in_force
from livepeer_remote_signer.config.ledger import budgets_of
from livepeer_remote_signer.config.loading import ConfigError
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.config.secret_files import FileKind, named_files

_NO_KEY = bytes(31) + b"\x01"
"""Stands for a signing key that cannot be read here, or is on another host."""


def add_parsers(subparsers: Any) -> None:
    """Adds this module's command."""
    check = subparsers.add_parser(
        "check-config",
        help="check a configuration and print what is in force",
        description="Prints the effective configuration with secrets redacted; exits 2 and names the key when it cannot be used. "
        "Connects to nothing: `doctor` tries the rest.",
    )
    check.add_argument("--config", required=True, metavar="FILE", help="the YAML configuration")
    check.set_defaults(run=run_check_config)


def run_check_config(arguments: argparse.Namespace) -> int:
    """Prints the effective configuration, secrets redacted; what serve would refuse is refused here."""
    config = read_config(arguments.config)
    if config is None:
        return 2
    from livepeer_remote_signer.process.descriptors import connections_of_serve

    unread = unread_files(config)
    if faults := list(local_faults(config, unread)):
        for fault in faults:
            print_faults(arguments.config, fault)
        return 2
    shown = in_force(config, connections_of_serve())
    print(yaml.safe_dump(shown.model_dump(mode="json"), sort_keys=False, allow_unicode=True), end="")
    for kind, text in _remarks(config, Path(arguments.config), unread):
        print(f"{kind}: {text}", file=sys.stderr)
    return 0


def unread_files(config: Config) -> Mapping[str, Path]:
    """Files of secrets that cannot be read here, by the key that names them: they may be on another host, or not made yet."""
    return {key: path for key, path, kind in named_files(config) if kind is not FileKind.LOADED and not os.access(path, os.R_OK)}


def local_faults(config: Config, unread: Collection[str]) -> Iterator[Exception]:
    """Why `serve` would not start, as far as that can be told without a connection: a fault of the parts, then folders and files."""
    from livepeer_remote_signer.adapters.keys import SigningKeyError

    try:
        _build_parts(config, unread)
    except (ConfigError, SigningKeyError) as error:
        yield error
    yield from map(ConfigError, place_faults(config))


def _remarks(config: Config, file: Path, unread: Mapping[str, Path]) -> Iterator[tuple[str, str]]:
    """Each with its kind. What bounds the loss comes first."""
    from livepeer_remote_signer.core.rules.budgets import raised_limits

    for text in (*missing_bounds(config), *doubtful_settings(config, file)):
        yield "warning", text
    yield "exposure", f"one caller in league with an orchestrator can take at most {most_in_an_hour(config).text}"
    for budget, default in raised_limits(budgets_of(config.budgets)):
        yield (
            "note",
            f"budgets: {budget.scope} {budget.match!r} may spend {budget.limit_wei} wei {budget.measure} per {budget.window}: "
            f'its own entry stands instead of the {default.limit_wei} wei of match "*"',
        )
    for text in (*notes_on_variables(file, os.environ), *notes_on_proxies(os.environ), *notes_on_time(config), *notes_on_files(config)):
        yield "note", text
    for key, path in unread.items():
        yield "note", f"{key} {path} {'cannot be read here' if path.exists() else 'is not there yet'}"


def _build_parts(config: Config, unread: Collection[str]) -> None:
    """Makes the parts that connect to nothing, because some faults show only there: a ceiling in a currency without a feed,
    two headers of one name, a token that is too short. Parts with a file that cannot be read here are left alone.
    Raises ConfigError, or SigningKeyError for a file that holds no secret."""
    from livepeer_remote_signer.adapters.keys import SigningKey
    from livepeer_remote_signer.adapters.keys.sender import Sender
    from livepeer_remote_signer.wiring.admin import load_tokens, open_prices
    from livepeer_remote_signer.wiring.auth import open_auth, open_recipients
    from livepeer_remote_signer.wiring.chain import open_chain
    from livepeer_remote_signer.wiring.events import open_sinks
    from livepeer_remote_signer.wiring.keys import open_mac_key, open_seal, open_signing_key
    from livepeer_remote_signer.wiring.ledger import open_ledger
    from livepeer_remote_signer.wiring.operations import open_traces
    from livepeer_remote_signer.wiring.outbound import open_outbound
    from livepeer_remote_signer.wiring.senders import open_senders

    def is_whole(section: str) -> bool:
        return not any(key.startswith(section) for key in unread)

    outbound = open_outbound(config.outbound if is_whole("outbound.") else config.outbound.model_copy(update={"ca_file": None}))
    key = SigningKey(_NO_KEY)
    if config.key.external is None and is_whole("key.") and is_whole("keys."):
        key = open_signing_key(config.key)
        if config.keys and is_whole("state.") and not config.has_external_keys:
            open_senders(config, outbound, time.time_ns)
    chain = open_chain(config, key.address, outbound)
    open_recipients(config, chain)
    open_ledger(config, time.time_ns)
    open_prices(config, chain, None, None)
    open_traces(config, "", outbound)
    if is_whole("auth."):
        open_auth(config.auth, bytes(32), outbound, None, chain.source.view)
    if is_whole("events."):
        open_sinks(config, outbound)
    if is_whole("state."):
        local = key if config.key.external is None else None
        open_seal(config.state, Sender(key.address, open_mac_key(config.state, local), local, None), time.time_ns)
    if config.admin is not None and is_whole("admin."):
        load_tokens(config.admin)
