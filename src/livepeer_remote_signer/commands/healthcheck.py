"""`healthcheck`: asks the signer that runs with a configuration whether it is up. For the image's health check.

It runs every ten seconds, so it imports next to nothing: of the configuration it reads the one key that it needs, and
leaves the judgement on all others to the signer.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import yaml

from livepeer_remote_signer.config.listening import DEFAULT_LISTEN, ListenAddress, parse_listen, with_port
from livepeer_remote_signer.config.variables import fill_variables

TIMEOUT_SECONDS = 2


def add_parsers(subparsers: Any) -> None:
    """Adds `healthcheck`."""
    parser = subparsers.add_parser(
        "healthcheck",
        help="ask a running signer whether it is up",
        description="Asks /healthz at the configuration's listen address, SIGNER_PORT over it. Exit status 0 when it answers 200, else 1.",
    )
    parser.add_argument("--config", required=True, metavar="FILE", help="the YAML configuration that the signer runs with")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """0 when the signer answers 200, else 1 after it was said why."""
    try:
        address, status = ask(read_listen(Path(arguments.config), os.environ).from_this_host)
    except (OSError, ValueError, yaml.YAMLError, HTTPException) as error:
        print(f"{arguments.config}: {error or type(error).__name__}", file=sys.stderr)
        return 1
    if status != 200:
        print(f"{address} answered {status}, not 200", file=sys.stderr)
        return 1
    return 0


def read_listen(path: Path, environ: Mapping[str, str]) -> ListenAddress:
    """Where the signer with this configuration listens. Raises OSError, ValueError or YAMLError."""
    tree = yaml.load(path.read_text("utf-8"), Loader=yaml.BaseLoader)  # noqa: S506 - makes nothing but text, lists and mappings
    listen = tree.get("listen", str(DEFAULT_LISTEN)) if isinstance(tree, dict) else str(DEFAULT_LISTEN)
    text = fill_variables(str(listen), environ)
    if port := environ.get("SIGNER_PORT"):
        text = with_port(text, port)
    try:
        return parse_listen(text)
    except ValueError as error:
        raise ValueError(f"listen: {error}") from None


def ask(addresses: Sequence[ListenAddress]) -> tuple[ListenAddress, int]:
    """The first of them that answers, and its status. Raises OSError or HTTPException where none does: what the first one gave."""
    failures: list[OSError | HTTPException] = []
    for address in addresses:
        try:
            return address, fetch_status(address)
        except (OSError, HTTPException) as error:
            failures.append(error)
    raise failures[0]


def fetch_status(address: ListenAddress) -> int:
    """The status that /healthz is answered with. Raises OSError or HTTPException."""
    connection = HTTPConnection(address.host, address.port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status
    finally:
        connection.close()
