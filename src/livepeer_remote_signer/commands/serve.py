"""`serve` and `openapi`."""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import resource
import socket
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from livepeer_remote_signer.commands.notes import notes_on_files, notes_on_proxies, notes_on_variables
from livepeer_remote_signer.commands.places import place_faults
from livepeer_remote_signer.config.doubtful import doubtful_settings
from livepeer_remote_signer.config.exposure import missing_bounds
from livepeer_remote_signer.config.loading import ConfigError, load_config
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.config.secret_files import named_files
from livepeer_remote_signer.process.listening import StartupError, bind
from livepeer_remote_signer.process.memory import hide_memory
from livepeer_remote_signer.process.workers import Orders, Worker, inherited_worker, supervise

if TYPE_CHECKING:
    from livepeer_remote_signer.adapters.logs import LogWriter


_log = logging.getLogger(__name__)


def add_parsers(subparsers: Any) -> None:
    """Adds this module's commands."""
    serve = subparsers.add_parser("serve", help="run the signer", description="Runs the signer until SIGTERM, then drains.")
    serve.add_argument("--config", required=True, metavar="FILE", help="the YAML configuration (see config.example.yaml)")
    serve.add_argument(
        "--workers",
        type=positive,
        default=1,
        metavar="N",
        help="processes that share the address; above 1 a supervisor replaces them, and restarts them on SIGHUP without a gap",
    )
    serve.set_defaults(run=run_serve)
    openapi = subparsers.add_parser("openapi", help="print the OpenAPI description of the JSON API")
    openapi.set_defaults(run=run_openapi)


def read_config(path: str) -> Config | None:
    """The configuration, or None after its faults were printed."""
    try:
        return load_config(path)
    except ConfigError as error:
        print_faults(path, error)
        return None


def print_faults(path: str, error: Exception) -> None:
    for line in str(error).splitlines():
        print(f"{path}: {line}", file=sys.stderr)


def positive(text: str) -> int:
    """An option's whole number of at least 1. Raises ArgumentTypeError."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text[:40]!r} is not a whole number of at least 1")
    return number


def run_serve(arguments: argparse.Namespace) -> int:
    """Runs the service: in this process, as one worker of a supervisor, or as the supervisor."""
    config = read_config(arguments.config)
    if config is None:
        return 2
    from livepeer_remote_signer.wiring.logs import open_logs  # other commands need none of it

    worker = inherited_worker(os.environ)
    logs = open_logs(config)
    if worker is None:
        file = Path(arguments.config)
        for note in (
            *notes_on_variables(file, os.environ),
            *notes_on_proxies(os.environ),
            *notes_on_files(config),
            *doubtful_settings(config, file),
        ):
            _log.warning("%s", note)
    try:
        if worker is None and arguments.workers > 1:
            listeners = open_listeners(config)
            _warn_of_missing_bounds(config, arguments.workers)
            return supervise(arguments.config, arguments.workers, listeners, _orders(config), lambda: _reread(arguments.config, config))
        return _run_server(config, worker, logs)
    except StartupError as error:
        print(f"cannot start: {error}", file=sys.stderr)
        return 1
    finally:
        logs.close()


def open_listeners(config: Config) -> dict[str, socket.socket]:
    """The sockets of the public and, where there is one, the admin address. Raises StartupError."""
    listeners = {"public": bind(*config.listen, key="listen")}
    if config.admin is not None:
        try:
            listeners["admin"] = bind(*config.admin.listen, key="admin.listen")
        except StartupError:
            listeners["public"].close()
            raise
    return listeners


def _run_server(config: Config, worker: Worker | None, logs: LogWriter) -> int:
    """Serves until told to end. Raises StartupError."""
    gc.disable()  # what is imported stays: looking through it again and again costs a tenth of the start
    _allow_connections()
    hide_memory()
    from livepeer_remote_signer.adapters.keys import SigningKeyError  # the service's imports take half a second
    from livepeer_remote_signer.app import create_app
    from livepeer_remote_signer.process.server import make_server

    if fault := next(place_faults(config), ""):
        raise StartupError(fault)
    try:
        app = create_app(config, logs=logs, workers_folder=worker.folder if worker is not None else None)
    except (ConfigError, SigningKeyError) as error:
        raise StartupError(str(error)) from None
    listeners = worker.listeners if worker is not None else open_listeners(config)
    if worker is None:
        _warn_of_missing_bounds(config, 1)
    server = make_server(app, config.limits.drain_seconds, listeners.get("admin"), worker)
    server.run(sockets=[listeners["public"]])
    return 0


def _warn_of_missing_bounds(config: Config, processes: int) -> None:
    """Of a configuration that can be used: what cannot be is said alone."""
    for warning in missing_bounds(config, processes):
        _log.warning("%s", warning)


def _allow_connections() -> None:
    """As many open files as this process may have: a shell's usual 1024 are as many connections."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _orders(config: Config) -> Orders:
    """Opening a keystore with geth's usual parameters takes 256 MiB for a second."""
    return Orders(config.limits.drain_seconds, any(key.endswith("keystore_file") for key, _, _ in named_files(config)))


def _reread(path: str, running: Config) -> Orders | None:
    """What the supervisor goes by in the configuration as it stands now, None after its faults were printed."""
    config = read_config(path)
    if config is None:
        return None
    if (config.listen, config.admin and config.admin.listen) != (running.listen, running.admin and running.admin.listen):
        print(f"{path}: listen or admin.listen changed: that needs a stop and a start, the old addresses stay", file=sys.stderr)
    return _orders(config)


def run_openapi(_: argparse.Namespace) -> int:
    """Prints the OpenAPI description of all routes, also of those that are off by default."""
    from livepeer_remote_signer.app import create_app
    from livepeer_remote_signer.config.loading import parse_config

    with tempfile.NamedTemporaryFile("w", suffix=".token") as token:
        token.write("t" * 32)
        token.flush()
        text = (
            f"key: {{private_key: '0x{'01' * 32}'}}\nchain: {{source: static}}\nbyoc_jobs: true\nauth: {{allow_unauthenticated: true}}\n"
            f"admin: {{listen: 127.0.0.1:8937, token_file: {token.name}}}\n"
        )
        app = create_app(parse_config(text, {}))
    print(json.dumps(app.openapi(), indent=2, ensure_ascii=False))
    return 0
