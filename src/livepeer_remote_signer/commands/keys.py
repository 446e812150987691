"""The commands `keys create`, `keys list` and `keys revoke`: who has an API key for this signer."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from livepeer_remote_signer.commands.serve import positive
from livepeer_remote_signer.config.loading import ConfigError, load_config
from livepeer_remote_signer.core.rules.api_keys import MAX_NAME_CHARACTERS, ROUTES, KeyRecord, KeysFileError

_DURATION = re.compile(r"([1-9][0-9]{0,5})([smhdw])")
_DURATION_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def add_parsers(subparsers: Any) -> None:
    """Adds `keys` and what it can do to the command line's subparsers."""
    keys = subparsers.add_parser("keys", help="create, list and revoke API keys")
    keys.set_defaults(run=run)
    commands = keys.add_subparsers(dest="keys_command", required=True, metavar="COMMAND")
    create = commands.add_parser("create", help="make a key; it is printed once and kept nowhere")
    _add_place(create)
    create.add_argument("--name", required=True, help="whose key it is, for people")
    create.add_argument("--auth-id", help='the auth id its payments are made under (default: "key:" and its id)')
    create.add_argument("--route", action="append", default=[], choices=ROUTES, help="open this route only; may be given several times")
    create.add_argument("--expires", metavar="WHEN", help="30d, 12h or a date such as 2030-01-31 (UTC); default: never")
    create.add_argument("--requests-per-minute", type=positive, metavar="N", help="refuse more calls than this, per process")
    listing = commands.add_parser("list", help="show all keys, without anything secret")
    _add_place(listing)
    listing.add_argument("--json", action="store_true", help="as JSON")
    revoke = commands.add_parser("revoke", help="stop a key; running signers follow within a second")
    _add_place(revoke)
    revoke.add_argument("id", help="the key's id: the 16 hex digits after lrs_")


def _add_place(parser: argparse.ArgumentParser) -> None:
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--config", type=Path, help="the configuration file that names auth.api_keys_file")
    place.add_argument("--file", type=Path, help="the keys file itself")


def run(args: argparse.Namespace) -> int:
    """Runs one of the commands. Returns the process's exit status: 0 done, 1 failed, 2 when the arguments cannot be followed."""
    from livepeer_remote_signer.adapters.auth.api_keys import read_keys, revoke_key, with_path  # not needed to run any other command

    now = int(time.time())
    try:
        path = _place(args)
        if args.keys_command == "create":
            _create(path, args, now)
        elif args.keys_command == "list":
            _list(read_keys(path), args.json, now)
        else:
            record = revoke_key(path, _key_id(args.id), now)
            print(f"revoked {record.id} ({record.name})")
    except (ConfigError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeysFileError as error:
        print(f"error: {with_path(error, path)}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: the keys file cannot be written: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _place(args: argparse.Namespace) -> Path:
    if args.file is not None:
        return Path(args.file)
    path = load_config(args.config).auth.api_keys_file
    if path is None:
        raise ConfigError(f"{args.config} names no auth.api_keys_file")
    return path


def _key_id(text: str) -> str:
    """The id, also where a whole key was given."""
    return text.split("_")[1] if text.startswith("lrs_") else text


def _create(path: Path, args: argparse.Namespace, now: int) -> None:
    from livepeer_remote_signer.adapters.auth.api_keys import create_key

    name = args.name.strip()
    if not name or len(name) > MAX_NAME_CHARACTERS or not name.isprintable():
        raise ValueError(f"--name must be printable text of at most {MAX_NAME_CHARACTERS} characters")
    key, record = create_key(
        path,
        name=name,
        auth_id=args.auth_id,
        now=now,
        expires=_expiry(args.expires, now) if args.expires else None,
        routes=tuple(dict.fromkeys(args.route)),
        requests_per_minute=args.requests_per_minute,
    )
    print(f"key {record.id} for auth id {record.auth_id!r}; it is shown only now:", file=sys.stderr)
    print(key)


def _expiry(text: str, now: int) -> int:
    """Unix seconds of `30d` or of an ISO date or time, which is UTC unless it says otherwise. ValueError for others."""
    if match := _DURATION.fullmatch(text):
        return now + int(match[1]) * _DURATION_SECONDS[match[2]]
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"--expires {text!r} is neither a duration such as 30d nor a date such as 2030-01-31") from None
    seconds = int((when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp())
    if seconds <= now:
        raise ValueError(f"--expires {text!r} is in the past")
    return seconds


def _state_of(record: KeyRecord, now: int) -> str:
    if record.revoked is not None:
        return f"revoked {_day(record.revoked)}"
    if record.expires is None:
        return "active"
    return f"expired {_day(record.expires)}" if now >= record.expires else f"active until {_day(record.expires)}"


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%MZ")


def _list(records: list[KeyRecord], as_json: bool, now: int) -> None:
    if as_json:
        rows = [
            {
                "id": record.id,
                "name": record.name,
                "auth_id": record.auth_id,
                "state": _state_of(record, now),
                "routes": list(record.routes or ROUTES),
                "requests_per_minute": record.requests_per_minute,
            }
            for record in records
        ]
        print(json.dumps(rows, indent=2))
        return
    for record in records:
        routes = ",".join(record.routes) or "all routes"
        limit = f"{record.requests_per_minute}/min" if record.requests_per_minute else "no rate limit"
        print(f"{record.id}  {_state_of(record, now):<30}  {record.auth_id}  {record.name}  {routes}  {limit}")
