"""`usage` and `statement`: what was paid, from the ledger: by day, auth id and orchestrator, and a month of one auth id."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from livepeer_remote_signer.commands.ledger import with_controls
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.core.errors import BadField
from livepeer_remote_signer.core.rules.usage import columns_of, csv_text, describe_query, names_of, parse_usage_query

if TYPE_CHECKING:
    from livepeer_remote_signer.adapters.ledger.controls import Controls

_NAMES = ("auth_id", "orchestrator", "from", "to", "group")


def add_parsers(subparsers: Any) -> None:
    """Adds this module's commands."""
    usage = subparsers.add_parser(
        "usage",
        help="show what was paid by day, auth id and orchestrator",
        description="Prints what all signers on this ledger have paid, exact to the wei, from the first of the month to today unless told "
        "otherwise. Days are those of UTC.",
    )
    usage.add_argument("--config", required=True, metavar="FILE", help="the YAML configuration")
    usage.add_argument("--auth-id", dest="auth_id", metavar="ID", help="of this auth id alone")
    usage.add_argument("--orchestrator", metavar="0x...", help="paid to this orchestrator alone")
    usage.add_argument("--from", dest="from", metavar="YYYY-MM-DD", help="the first day")
    usage.add_argument("--to", dest="to", metavar="YYYY-MM-DD", help="the last day")
    usage.add_argument("--group", metavar="NAMES", help="what is told apart: day, auth_id, orchestrator, with commas; auth_id by default")
    usage.add_argument("--format", choices=("text", "csv", "json"), default="text", help="how it is printed")
    usage.set_defaults(run=run_usage)
    statement = subparsers.add_parser(
        "statement",
        help="print what an auth id paid in a month",
        description="Prints a month of one auth id: payments, sessions, tickets, expected value and fee, exact to the wei, as a page that "
        "prints, a table or JSON.",
    )
    statement.add_argument("--config", required=True, metavar="FILE", help="the YAML configuration")
    statement.add_argument("--auth-id", dest="auth_id", required=True, metavar="ID", help='whose; "" for payments without an auth id')
    statement.add_argument("--month", required=True, metavar="YYYY-MM", help="the month, in UTC")
    statement.add_argument("--format", choices=("json", "csv", "html"), default="json", help="how it is printed")
    statement.set_defaults(run=run_statement)


def run_statement(arguments: argparse.Namespace) -> int:
    """Prints a statement; 2 for a month that is none."""

    async def show(controls: Controls, _: Config) -> int:
        try:
            made = await controls.statement(arguments.auth_id, arguments.month)
        except BadField as error:
            print(error.message, file=sys.stderr)
            return 2
        if arguments.format == "json":
            print(json.dumps(made.describe(), indent=2))
        else:
            sys.stdout.write(made.csv() if arguments.format == "csv" else made.html())
        return 0

    return with_controls(arguments, show)


def run_usage(arguments: argparse.Namespace) -> int:
    """Prints all rows; 2 for a question that cannot be answered."""

    async def show(controls: Controls, _: Config) -> int:
        try:
            query = parse_usage_query({name: value for name in _NAMES if (value := getattr(arguments, name))}, controls.today())
        except BadField as error:
            print(error.message, file=sys.stderr)
            return 2
        rows: list[dict[str, Any]] = []
        while page := await controls.daily(query):
            rows += [row.describe() for row in page]
            query = query._replace(after=names_of(page[-1], query.group))
        if arguments.format == "csv":
            sys.stdout.write(csv_text(columns_of(query), rows))
        elif arguments.format == "json":
            print(json.dumps({**describe_query(query), "rows": rows}, indent=2))
        else:
            _print_rows(rows)
        return 0

    return with_controls(arguments, show)


def _print_rows(rows: list[dict[str, Any]]) -> None:
    if not rows:
        print("nothing was paid in these days")
    for row in rows:
        names = [row.get("day"), repr(row["auth_id"]) if "auth_id" in row else None, row.get("orchestrator")]
        usd = f", {row['fee_usd']} USD" if row["fee_usd"] is not None else ""
        print(
            f"{' '.join(name for name in names if name is not None)}: {row['payments']} payments of {row['sessions']} new sessions, "
            f"{row['tickets']} tickets, EV {row['total_ev_wei']} wei, fee {row['fee_wei']} wei{usd}, {row['seconds']} s"
        )
