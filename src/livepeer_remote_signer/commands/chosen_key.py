"""`--key NAME`: which of several keys a command uses."""

from __future__ import annotations

import argparse

from livepeer_remote_signer.commands.serve import print_faults, read_config
from livepeer_remote_signer.config.loading import ConfigError
from livepeer_remote_signer.config.models import Config


def add_key_option(parser: argparse.ArgumentParser) -> None:
    """Adds it."""
    parser.add_argument("--key", metavar="NAME", help="which of keys, where the configuration has several")


def read_config_of_key(arguments: argparse.Namespace, *, may_be_none: bool = False) -> Config | None:
    """The configuration with the chosen key as its `key`, or None after its faults were printed. `may_be_none`: without a choice the
    command asks for no key."""
    config = read_config(str(arguments.config))
    if config is None:
        return None
    try:
        return config if may_be_none and arguments.key is None else choose_key(config, arguments.key)
    except ConfigError as error:
        print_faults(str(arguments.config), error)
        return None


def choose_key(config: Config, name: str | None) -> Config:
    """The configuration with one of its keys as `key`; a single one need not be named. Raises ConfigError, which names them."""
    names = ", ".join(sorted(config.keys))
    if name is None and len(config.keys) > 1:
        raise ConfigError(f"keys has several keys: say which by --key, one of {names}")
    if name is None:
        return config
    if not config.keys:
        raise ConfigError(f"--key {name[:64]!r} names one of keys, and this configuration has one key alone: leave --key away")
    if name not in config.keys:
        raise ConfigError(f"--key {name[:64]!r} is not among keys, which has {names}")
    return config.model_copy(update={"key": config.keys[name]})
