"""The commands `keys create`, `keys list` and `keys revoke`: who has an API key for this signer, in a file or in the ledger."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from livepeer_remote_signer.commands.ledger import author, with_controls
from livepeer_remote_signer.commands.serve import positive, read_config
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.core.rules.api_keys import ROUTES, KeysFileError
from livepeer_remote_signer.core.rules.audit import admin_request_key
from livepeer_remote_signer.core.rules.new_keys import (
    MAX_KEYS_AT_ONCE,
    MadeKey,
    NewKey,
    StoredKey,
    day_text,
    describe_key,
    key_id_of,
    numbered,
    parse_expiry,
    state_of,
)

if TYPE_CHECKING:
    from livepeer_remote_signer.adapters.ledger.controls import Controls

_PAGE = 1000


def add_parsers(subparsers: Any) -> None:
    """Adds `keys` and what it can do to the command line's subparsers."""
    keys = subparsers.add_parser("keys", help="create, list and revoke API keys")
    keys.set_defaults(run=run)
    commands = keys.add_subparsers(dest="keys_command", required=True, metavar="COMMAND")
    create = commands.add_parser("create", help="make keys; they are printed once and kept nowhere")
    _add_place(create)
    create.add_argument("--name", required=True, help="whose key it is, for people; of several each gets a number")
    create.add_argument("--auth-id", help='the auth id its payments are made under (default: "key:" and its id)')
    create.add_argument("--count", type=positive, default=1, metavar="N", help=f"make so many, at most {MAX_KEYS_AT_ONCE}")
    create.add_argument("--route", action="append", default=[], choices=ROUTES, help="open this route only; may be given several times")
    create.add_argument("--expires", metavar="WHEN", help="30d, 12h or a date such as 2030-01-31 (UTC); default: never")
    create.add_argument("--requests-per-minute", type=positive, metavar="N", help="refuse more calls than this, per process")
    create.add_argument("--idempotency-key", default="", metavar="KEY", help="in the ledger: the same key again makes no more keys")
    create.add_argument("--json", action="store_true", help="as JSON, with ids and auth ids")
    listing = commands.add_parser("list", help="show all keys, without anything secret")
    _add_place(listing)
    listing.add_argument("--json", action="store_true", help="as JSON")
    revoke = commands.add_parser("revoke", help="stop keys; running signers follow within a second")
    _add_place(revoke)
    revoke.add_argument("id", nargs="+", help="a key's id: the 16 hex digits after lrs_")


def _add_place(parser: argparse.ArgumentParser) -> None:
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument(
        "--config", type=Path, help="the configuration, which says where keys are kept: auth.api_keys_in_ledger, auth.api_keys_file"
    )
    place.add_argument("--file", type=Path, help="the keys file itself")


def run(args: argparse.Namespace) -> int:
    """Runs one of the commands. Returns the process's exit status: 0 done, 1 failed, 2 when the arguments cannot be followed."""
    from livepeer_remote_signer.adapters.auth.api_keys import with_path  # not needed to run any other command

    path = args.file
    try:
        wanted = _wanted(args) if args.keys_command == "create" else []
        if path is None:
            config = read_config(args.config)
            if config is None:
                return 2
            if config.auth.api_keys_in_ledger:
                return _run_in_ledger(args, wanted)
            path = config.auth.api_keys_file
            if path is None:
                raise ValueError(f"{args.config} names neither auth.api_keys_in_ledger nor auth.api_keys_file")
        return _run_in_file(args, Path(path), wanted)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeysFileError as error:
        print(f"error: {with_path(error, path)}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: the keys file cannot be written: {error.strerror}", file=sys.stderr)
        return 1


def _wanted(args: argparse.Namespace) -> list[NewKey]:
    """The keys to make. ValueError for terms that no key may have."""
    now = int(time.time())
    if args.count > MAX_KEYS_AT_ONCE:
        raise ValueError(f"--count {args.count} is more than the {MAX_KEYS_AT_ONCE} that are made at once")
    try:
        ends = parse_expiry(args.expires, now) if args.expires else None
        routes = tuple(dict.fromkeys(args.route))
        return numbered(NewKey(args.name.strip(), args.auth_id, ends, routes, args.requests_per_minute), args.count)
    except ValueError as error:
        is_option = str(error).startswith(("name ", "expires "))
        raise ValueError(f"--{error}" if is_option else str(error)) from None


def _run_in_file(args: argparse.Namespace, path: Path, wanted: Sequence[NewKey]) -> int:
    from livepeer_remote_signer.adapters.auth.api_keys import create_keys, read_keys, revoke_keys

    now = int(time.time())
    if args.keys_command == "create":
        if args.idempotency_key:
            raise ValueError("--idempotency-key needs keys in the ledger: set auth.api_keys_in_ledger")
        _print_made([MadeKey(record.id, record.auth_id, record.name, text) for text, record in create_keys(path, wanted, now)], args.json)
    elif args.keys_command == "list":
        _print_keys([StoredKey(record, None) for record in read_keys(path)], args.json, now)
    else:
        for record in revoke_keys(path, [key_id_of(text) for text in args.id], now):
            print(f"revoked {record.id} ({record.name})")
    return 0


def _run_in_ledger(args: argparse.Namespace, wanted: Sequence[NewKey]) -> int:
    async def work(controls: Controls, _: Config) -> int:
        users = controls.users
        if args.keys_command == "create":
            asked = repr((args.name, args.auth_id, args.count, args.route, args.expires, args.requests_per_minute)).encode()
            request = users.request(author(), admin_request_key(args.idempotency_key.encode()), sha256(asked).digest())
            _print_made(await users.create_keys(wanted, request), args.json)
            return 0
        if args.keys_command == "list":
            found = page = await users.keys("", _PAGE)
            while len(page) == _PAGE:
                page = await users.keys(page[-1].record.id, _PAGE)
                found += page
            _print_keys(found, args.json, int(time.time()))
            return 0
        revoked = await users.revoke_keys([key_id_of(text) for text in args.id], None, users.request(author()))
        for key_id in revoked.ids:
            print(f"revoked {key_id}")
        for key_id in revoked.unknown:
            print(f"error: the ledger has no key {key_id!r}; `keys list` shows them, and --file names a keys file", file=sys.stderr)
        return 1 if revoked.unknown else 0

    return with_controls(args, work)


def _print_made(made: Sequence[MadeKey], as_json: bool) -> None:
    """The keys alone on the standard output, so that they can be piped; what they are beside them."""
    if as_json:
        print(json.dumps([{"id": key.id, "auth_id": key.auth_id, "name": key.name, "key": key.text} for key in made], indent=2))
        return
    for key in made:
        if key.text is None:
            print(f"key {key.id} for auth id {key.auth_id!r} was made and shown before", file=sys.stderr)
        else:
            print(f"key {key.id} for auth id {key.auth_id!r}; it is shown only now:", file=sys.stderr)
            print(key.text)


def _print_keys(keys: Sequence[StoredKey], as_json: bool, now: int) -> None:
    if as_json:
        print(json.dumps([describe_key(key.record, key.used_minute, now) for key in keys], indent=2))
        return
    for record, used_minute in keys:
        routes = ",".join(record.routes) or "all routes"
        limit = f"{record.requests_per_minute}/min" if record.requests_per_minute else "no rate limit"
        used = "" if used_minute is None else f"  last used {day_text(used_minute * 60)}"
        print(f"{record.id}  {state_of(record, now):<30}  {record.auth_id}  {record.name}  {routes}  {limit}{used}")
