"""`suspend`, `resume` and `ledger`: the operator's hands on the ledger, also while the service runs."""

from __future__ import annotations

import argparse
import asyncio
import getpass
import os
import shlex
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from livepeer_remote_signer.commands.places import ledger_fault
from livepeer_remote_signer.commands.proof import export_to, verify
from livepeer_remote_signer.commands.serve import read_config
from livepeer_remote_signer.config.loading import ConfigError
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.core.errors import LedgerUnavailable, SignerError
from livepeer_remote_signer.core.rules.audit import author_of_command
from livepeer_remote_signer.core.rules.policy import NAMESPACES

if TYPE_CHECKING:
    from livepeer_remote_signer.adapters.ledger.controls import Controls
    from livepeer_remote_signer.adapters.ledger.running import RunningLedger


def add_parsers(subparsers: Any) -> None:
    """Adds this module's commands."""
    for name, verb, run in (("suspend", "refuse", run_suspend), ("resume", "allow", run_resume)):
        command = subparsers.add_parser(
            name,
            help=f"{verb} the payments of one auth id, or all",
            description=f"Has every running signer on this ledger {verb} payments, within a second.",
        )
        command.add_argument("--config", required=True, metavar="FILE", help="the YAML configuration")
        who = command.add_mutually_exclusive_group(required=True)
        who.add_argument("--auth-id", metavar="ID", help="payments of this auth id")
        who.add_argument("--all", action="store_true", help="all payments")
        command.set_defaults(run=run)
    ledger = subparsers.add_parser("ledger", help="look after the ledger's file")
    commands = ledger.add_subparsers(dest="ledger_command", required=True, metavar="COMMAND")
    compact = commands.add_parser(
        "compact",
        help="make a SQLite ledger as small as its rows",
        description="Writes the ledger's file anew, without what was forgotten. The signer must be stopped. A file that was made by an "
        "older release gives pages back by itself from then on.",
    )
    compact.add_argument("--config", required=True, metavar="FILE", help="the YAML configuration")
    compact.set_defaults(run=run_compact)
    backup = commands.add_parser(
        "backup",
        help="copy a SQLite ledger while the signer goes on",
        description="Copies the ledger's file, whole and checked, to a new one. For PostgreSQL it prints the line that does it there.",
    )
    backup.add_argument("--config", required=True, metavar="FILE", help="the YAML configuration")
    backup.add_argument("--to", required=True, type=Path, metavar="FILE", help="the file to make; it must not be there")
    backup.set_defaults(run=run_backup)
    export = commands.add_parser(
        "export",
        help="write the payments with their digests to a file",
        description="Writes the payments of closed minutes that the ledger still has, with the chain of digests over them: with such files "
        "statements can be proven after the ledger has forgotten the payments.",
    )
    export.add_argument("--config", required=True, metavar="FILE", help="the YAML configuration")
    export.add_argument("--to", required=True, type=Path, metavar="FILE", help="the file to make; it must not be there")
    export.set_defaults(run=run_export)
    verify = commands.add_parser(
        "verify",
        help="check the chain of digests, exports, and a statement",
        description="Checks that the ledger's chain of digests holds for the payments that it has, or that exports have. With "
        "--auth-id and --month it proves that auth id's statement, or says what is missing.",
    )
    verify.add_argument("--config", required=True, metavar="FILE", help="the YAML configuration")
    verify.add_argument("--export", action="append", type=Path, default=[], metavar="FILE", help="an export; repeated: several")
    verify.add_argument("--auth-id", metavar="ID", help="prove the statement of this auth id")
    verify.add_argument("--month", default="", metavar="YYYY-MM", help="for this month")
    verify.set_defaults(run=run_verify)


def run_suspend(arguments: argparse.Namespace) -> int:
    """Sets a kill switch."""

    async def suspend(controls: Controls, _: Config) -> int:
        await controls.suspend(arguments.auth_id, author())
        print(f"suspended: {_who(arguments)}")
        who = arguments.auth_id
        if who is not None and not await controls.paying([who, *(f"{namespace}{who}" for namespace in NAMESPACES)]):
            print(f"note: this ledger remembers no payment of {who!r}: is the name right? `budgets` shows who pays", file=sys.stderr)
        return 0

    return with_controls(arguments, suspend)


def run_resume(arguments: argparse.Namespace) -> int:
    """Takes a kill switch back; 1 when it was not set."""

    async def resume(controls: Controls, _: Config) -> int:
        if not await controls.resume(arguments.auth_id, author()):
            print(f"was not suspended: {_who(arguments)}", file=sys.stderr)
            return 1
        print(f"resumed: {_who(arguments)}")
        left = await controls.switches()
        if arguments.auth_id is not None and any(switch.auth_id is None for switch in left):
            print("note: all payments are still suspended (resume --all)", file=sys.stderr)
        return 0

    return with_controls(arguments, resume)


def run_compact(arguments: argparse.Namespace) -> int:
    """Compacts the file; 1 when that cannot be done now, 2 where there is no file to compact."""
    config = read_config(arguments.config)
    if config is None:
        return 2
    if config.ledger.backend != "sqlite" or config.ledger.path is None:
        print(f"{arguments.config}: only a ledger in SQLite is compacted: PostgreSQL's own vacuum does it there", file=sys.stderr)
        return 2
    from livepeer_remote_signer.adapters.ledger.compacting import compact

    path = config.ledger.path

    def work() -> str:
        before, after = compact(path)
        return f"compacted: {before / 1e6:.1f} MB before, {after / 1e6:.1f} MB now"

    return _on_file(config, work, "the ledger cannot be compacted")


def run_backup(arguments: argparse.Namespace) -> int:
    """Makes the copy; 1 when it cannot be made, 2 where there is no ledger to copy."""
    config = read_config(arguments.config)
    if config is None:
        return 2
    if config.ledger.backend == "postgres":
        print(f"pg_dump --format=custom --table='lrs_*' --file={shlex.quote(str(arguments.to))} \"$LEDGER_URL\"")
        print("LEDGER_URL: what ledger.url says", file=sys.stderr)
        return 0
    if config.ledger.backend != "sqlite" or config.ledger.path is None:
        print(f"{arguments.config}: no ledger is configured", file=sys.stderr)
        return 2
    from livepeer_remote_signer.adapters.ledger.backup import back_up

    path = config.ledger.path
    return _on_file(config, lambda: f"backed up: {back_up(path, arguments.to) / 1e6:.1f} MB in {arguments.to}", "no backup was made")


def run_export(arguments: argparse.Namespace) -> int:
    """Makes the export; 1 when it cannot be made."""
    return with_controls(arguments, lambda controls, _: export_to(controls, arguments.to))


def run_verify(arguments: argparse.Namespace) -> int:
    """Checks; 1 when something does not agree."""
    return with_controls(arguments, lambda controls, _: verify(controls, arguments.export, arguments.auth_id, arguments.month))


def _on_file(config: Config, work: Callable[[], str], failed: str) -> int:
    """Prints what the work on the ledger's file tells. 1 when it could not be done, after `failed` and why."""
    from livepeer_remote_signer.adapters.ledger.store import NoLedger

    try:
        print(work())
    except NoLedger:
        print(no_ledger_text(config), file=sys.stderr)
        return 1
    except LedgerUnavailable as error:
        print(f"{failed}: {error}", file=sys.stderr)
        return 1
    return 0


def author() -> str:
    """Who gives this command, for the audit log."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # in a container users may have no name, and a kill switch must work all the same
        user = f"user {os.getuid()}"
    return author_of_command(user, socket.gethostname())


def with_controls(arguments: argparse.Namespace, work: Callable[[Controls, Config], Awaitable[int]]) -> int:
    """`with_ledger` for what needs no more than its controls."""
    return with_ledger(arguments, lambda ledger, config: work(ledger.controls, config))


def with_ledger(arguments: argparse.Namespace, work: Callable[[RunningLedger, Config], Awaitable[int]]) -> int:
    """Runs `work` on the opened ledger of `arguments.config`. 1 when it cannot do it or refuses, 2 for a configuration without a ledger."""
    config = read_config(arguments.config)
    if config is None:
        return 2
    from livepeer_remote_signer.adapters.ledger.store import NoLedger  # the service's imports take half a second
    from livepeer_remote_signer.wiring.ledger import open_ledger

    path = config.ledger.path
    if config.ledger.backend == "sqlite" and path is not None and path.is_file() and (fault := ledger_fault(path)):
        print(f"the ledger cannot be used: {fault}", file=sys.stderr)
        return 1

    async def run() -> int:
        parts = open_ledger(config, time.time_ns, may_create=False)
        if parts is None:
            raise ConfigError("there is no ledger: set ledger.backend to sqlite or postgres")
        await parts.store.open()
        try:
            await parts.users.follow()
            return await work(parts, config)
        finally:
            await parts.store.close()

    try:
        return asyncio.run(run())
    except ConfigError as error:
        print(f"{arguments.config}: {error}", file=sys.stderr)
        return 2
    except NoLedger:
        print(no_ledger_text(config), file=sys.stderr)
        return 1
    except LedgerUnavailable as error:
        print(f"the ledger cannot be used: {error}", file=sys.stderr)
        return 1
    except SignerError as error:
        print(f"error: {error.message}" + (f"; {error.hint}" if error.hint else ""), file=sys.stderr)
        return 1


def no_ledger_text(config: Config) -> str:
    """What to say where a command found nothing to work on."""
    return f"there is no ledger at {config.ledger.path}: is ledger.path right, seen from this folder and this host?"


def _who(arguments: argparse.Namespace) -> str:
    return "all payments" if arguments.auth_id is None else f"auth id {arguments.auth_id!r}"


def time_text(unix_ms: int) -> str:
    """A time, to the second, UTC."""
    return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
