"""`serve`, `check-config` and `openapi`."""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import logging
import os
import resource
import socket
import stat
import sys
import time
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

import yaml

from livepeer_remote_signer.adapters.outbound import disobeyed_variables
from livepeer_remote_signer.config.exposure import missing_bounds, most_in_an_hour
from livepeer_remote_signer.config.ledger import budgets_of
from livepeer_remote_signer.config.loading import ConfigError, load_config
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.config.secret_files import FileKind, named_files
from livepeer_remote_signer.process.listening import StartupError, bind
from livepeer_remote_signer.process.memory import hide_memory
from livepeer_remote_signer.process.workers import Worker, inherited_worker, supervise

if TYPE_CHECKING:
    from livepeer_remote_signer.adapters.logs import LogWriter


_log = logging.getLogger(__name__)

CLIENTS_WAIT_SECONDS = 5
"""What the Python SDK and the identity webhooks give a call (protocol section 5.1)."""

_NO_KEY = bytes(31) + b"\x01"
"""Stands for the signing key, which check-config does not open."""


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
    check = subparsers.add_parser(
        "check-config",
        help="check a configuration and print what is in force",
        description="Prints the effective configuration with secrets redacted; exits 2 and names the key when it cannot be used.",
    )
    check.add_argument("--config", required=True, metavar="FILE", help="the YAML configuration")
    check.set_defaults(run=run_check_config)
    openapi = subparsers.add_parser("openapi", help="print the OpenAPI description of the JSON API")
    openapi.set_defaults(run=run_openapi)


def read_config(path: str) -> Config | None:
    """The configuration, or None after its faults were printed."""
    try:
        return load_config(path)
    except ConfigError as error:
        _print_faults(path, error)
        return None


def _print_faults(path: str, error: Exception) -> None:
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
        for note in (*_notes_on_proxies(), *_notes_on_files(config)):
            _log.warning("%s", note)
    try:
        if worker is None and arguments.workers > 1:
            listeners = open_listeners(config)
            _warn_of_missing_bounds(config, arguments.workers)
            return supervise(
                arguments.config, arguments.workers, listeners, config.limits.drain_seconds, lambda: _reread(arguments.config, config)
            )
        return _run_server(config, worker, logs)
    except StartupError as error:
        print(f"cannot start: {error}", file=sys.stderr)
        return 1
    finally:
        logs.close()


def open_listeners(config: Config) -> dict[str, socket.socket]:
    """The sockets of the public and, where there is one, the admin address. Raises StartupError."""
    listeners = {"public": bind(config.listen.host, config.listen.port)}
    if config.admin is not None:
        listeners["admin"] = bind(config.admin.listen.host, config.admin.listen.port)
    return listeners


def _run_server(config: Config, worker: Worker | None, logs: LogWriter) -> int:
    """Serves until told to end. Raises StartupError."""
    gc.disable()  # what is imported stays: looking through it again and again costs a tenth of the start
    _allow_connections()
    hide_memory()
    from livepeer_remote_signer.adapters.keys import SigningKeyError  # the service's imports take half a second
    from livepeer_remote_signer.app import create_app
    from livepeer_remote_signer.process.server import make_server

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


def _reread(path: str, running: Config) -> float | None:
    """The seconds to drain of the configuration as it stands now, None after its faults were printed."""
    config = read_config(path)
    if config is None:
        return None
    if (config.listen, config.admin and config.admin.listen) != (running.listen, running.admin and running.admin.listen):
        print(f"{path}: listen or admin.listen changed: that needs a stop and a start, the old addresses stay", file=sys.stderr)
    return config.limits.drain_seconds


def run_check_config(arguments: argparse.Namespace) -> int:
    """Prints the effective configuration, secrets redacted; what serve would refuse is refused here."""
    config = read_config(arguments.config)
    if config is None:
        return 2
    from livepeer_remote_signer.adapters.keys import SigningKeyError
    from livepeer_remote_signer.core.rules.budgets import raised_limits

    unread = {key: path for key, path, kind in named_files(config) if kind is not FileKind.LOADED and not os.access(path, os.R_OK)}
    try:
        _build_parts(config, unread)
    except (ConfigError, SigningKeyError) as error:
        _print_faults(arguments.config, error)
        return 2
    print(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True), end="")
    for warning in missing_bounds(config):
        print(f"warning: {warning}", file=sys.stderr)
    print(f"exposure: one caller in league with an orchestrator can take at most {most_in_an_hour(config).text}", file=sys.stderr)
    for budget, default in raised_limits(budgets_of(config.budgets)):
        print(
            f"note: budgets: {budget.scope} {budget.match!r} may spend {budget.limit_wei} wei {budget.measure} per {budget.window}: "
            f'its own entry stands instead of the {default.limit_wei} wei of match "*"',
            file=sys.stderr,
        )
    for note in _notes_on_proxies():
        print(f"note: {note}", file=sys.stderr)
    for note in (*_notes_on_time(config), *_notes_on_files(config)):
        print(f"note: {note}", file=sys.stderr)
    for key, path in unread.items():
        print(f"note: {key} {path} {'cannot be read here' if path.exists() else 'is not there yet'}", file=sys.stderr)
    return 0


def _notes_on_proxies() -> Iterator[str]:
    """Variables that other programs of this host may obey."""
    for name in disobeyed_variables(os.environ):
        yield f"{name} is set and not obeyed: outbound.proxy alone says through whom requests go"


def _notes_on_files(config: Config) -> Iterator[str]:
    """Secrets that every user of this host can read. Containers mount theirs so, and are not refused."""
    for key, path, kind in named_files(config):
        with contextlib.suppress(OSError):
            if kind is not FileKind.PUBLIC and path.stat().st_mode & stat.S_IROTH:
                yield f"{key} {path} can be read by every user of this host: chmod 600 it, unless it is mounted so for this process alone"


def _notes_on_time(config: Config) -> Iterator[str]:
    """Limits of time that do what nobody wants, though nothing is wrong with each of them."""
    answer, webhook = config.limits.answer_seconds, config.auth.webhook
    if webhook is not None and webhook.timeout_seconds >= answer:
        yield (
            f"auth.webhook.timeout_seconds {webhook.timeout_seconds:g} is not below limits.answer_seconds {answer:g}: a slow webhook is "
            "given up by the latter, and the caller is told less"
        )
    if config.ledger.backend == "postgres" and config.ledger.timeout_seconds >= answer:
        yield (
            f"ledger.timeout_seconds {config.ledger.timeout_seconds:g} is not below limits.answer_seconds {answer:g}: a database that is "
            "silent is noticed after its callers were told to come again, and each of them waits for it"
        )
    if answer >= CLIENTS_WAIT_SECONDS:
        yield (
            f"limits.answer_seconds {answer:g} is not below the {CLIENTS_WAIT_SECONDS} s that clients wait: they leave without an answer, "
            "and do not know whether they paid"
        )


def _build_parts(config: Config, unread: Collection[str]) -> None:
    """Makes the parts that connect to nothing, because some faults show only there: a ceiling in a currency without a feed,
    two headers of one name. The signing key is left alone, and so are parts with a file that cannot be read here.
    Raises ConfigError, or SigningKeyError for a file that holds no secret."""
    from livepeer_remote_signer.adapters.keys import SigningKey
    from livepeer_remote_signer.wiring.auth import open_auth, open_recipients
    from livepeer_remote_signer.wiring.chain import open_chain
    from livepeer_remote_signer.wiring.events import open_sinks
    from livepeer_remote_signer.wiring.keys import open_seal
    from livepeer_remote_signer.wiring.ledger import open_ledger
    from livepeer_remote_signer.wiring.outbound import open_outbound

    is_unread = "outbound.ca_file" in unread
    outbound = open_outbound(config.outbound.model_copy(update={"ca_file": None}) if is_unread else config.outbound)
    chain = open_chain(config, bytes(20), outbound)
    open_recipients(config, chain)
    open_ledger(config, time.time_ns)
    if not any(key.startswith("auth.") for key in unread):
        open_auth(config.auth, bytes(32), outbound)
    if not any(key.startswith("events.") for key in unread):
        open_sinks(config, outbound)
    if not any(key.startswith("state.") for key in unread):
        open_seal(config.state, SigningKey(_NO_KEY), time.time_ns)


def run_openapi(_: argparse.Namespace) -> int:
    """Prints the OpenAPI description of all routes, also of those that are off by default."""
    from livepeer_remote_signer.app import create_app
    from livepeer_remote_signer.config.loading import parse_config

    text = f"key: {{private_key: '0x{'01' * 32}'}}\nchain: {{source: static}}\nbyoc_jobs: true\nauth: {{allow_unauthenticated: true}}\n"
    app = create_app(parse_config(text, {}))
    print(json.dumps(app.openapi(), indent=2, ensure_ascii=False))
    return 0
