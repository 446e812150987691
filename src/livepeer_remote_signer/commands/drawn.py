"""`drawn`: what the chain has paid of the tickets that were signed, and tickets that this ledger never signed."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from livepeer_remote_signer.commands.ledger import time_text, with_ledger
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.core.protocol.eip191 import checksum_address
from livepeer_remote_signer.core.rules.funding import format_eth
from livepeer_remote_signer.core.rules.luck import Luck, Outstanding, outstanding, weigh

if TYPE_CHECKING:
    from livepeer_remote_signer.adapters.ledger.redeemed import RedeemedRow
    from livepeer_remote_signer.adapters.ledger.running import RunningLedger

MOST_SHOWN = 100


def add_parsers(subparsers: Any) -> None:
    """Adds the command."""
    drawn = subparsers.add_parser(
        "drawn",
        help="redeemed tickets, and those that this ledger never signed",
        description="Shows how many redeemed tickets of the sender the signer has found on the chain, and names those that this ledger "
        "never signed: then somebody else signs with the sender's key.",
    )
    drawn.add_argument("--config", required=True, metavar="FILE", help="the YAML configuration")
    drawn.add_argument("--json", action="store_true", help="as one JSON object")
    drawn.add_argument("--acknowledge", action="store_true", help="end the alarm: what was found so far is told no more")
    drawn.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Prints them; 1 where there are tickets that this ledger never signed."""

    async def show(ledger: RunningLedger, config: Config) -> int:
        counts = await ledger.store.count_redeemed(None)
        strange = [row for verdict in ("foreign", "suspected") for row in await ledger.store.with_verdict(None, verdict, MOST_SHOWN)]
        if arguments.acknowledge:
            ended = await ledger.store.acknowledge_redeemed()
            print(f"acknowledged: {ended} tickets")
            return 0
        lines, drawn = await ledger.store.draws_since(0), await ledger.store.drawn_since(None, 0)
        luck, open_tickets = weigh(lines, drawn), outstanding(lines, drawn)
        if arguments.json:
            found = {"redeemed": dict(counts), "not_signed_here": [describe(row) for row in strange]}
            print(
                json.dumps(
                    {
                        **found,
                        "draws": [describe_luck(one) for one in luck],
                        "outstanding": {
                            "tickets": open_tickets.tickets,
                            "worst_wei": str(open_tickets.worst_wei),
                            "safe_wei": str(open_tickets.safe_wei),
                        },
                    },
                    indent=2,
                )
            )
        else:
            _print(counts, strange)
            _print_luck(luck, open_tickets)
        return 1 if counts.get("foreign") else 0

    return with_ledger(arguments, show)


def _print(counts: Any, strange: list[RedeemedRow]) -> None:
    for verdict, meaning in (
        ("ours", "signed by this ledger"),
        ("unjudged", "not judged: before this ledger kept what it signs, or other signers"),
        ("suspected", "not signed here, by one endpoint's word"),
        ("foreign", "NOT SIGNED HERE: somebody else signs with the sender's key"),
    ):
        print(f"{counts.get(verdict, 0):>8} {meaning}")
    for row in strange:
        print(
            f"{row.verdict}: {time_text(row.found_ms)} transaction {row.transaction}, block {row.block}, creation round {row.round}, "
            f"{format_eth(row.face_value_wei)} to {checksum_address(row.recipient)}",
            file=sys.stderr,
        )


def _print_luck(luck: list[Luck], open_tickets: Outstanding) -> None:
    for one in luck:
        who = checksum_address(one.recipient) if one.recipient else "all recipients, newest rounds"
        print(
            f"{who}: {one.tickets} tickets, expected {format_eth(one.expected_wei)}, drawn {format_eth(one.drawn_wei)} by {one.winners} "
            f"winners; fair tickets draw so much or more with a chance of {one.chance:.2g}"
        )
    print(
        f"can still be redeemed: {open_tickets.tickets} tickets; all of them take {format_eth(open_tickets.worst_wei)}, but for 1 case "
        f"in 100 no more than {format_eth(open_tickets.safe_wei)}"
    )


def describe_outstanding(tickets: Outstanding) -> dict[str, Any]:
    """What can still be redeemed as JSON, amounts in wei."""
    return {"tickets": tickets.tickets, "worst_wei": str(tickets.worst_wei), "safe_wei": str(tickets.safe_wei)}


def describe_luck(one: Luck) -> dict[str, Any]:
    """A recipient's draw as JSON, amounts in wei; without a recipient all together."""
    return {
        "recipient": checksum_address(one.recipient) if one.recipient else None,
        "tickets": one.tickets,
        "expected_wei": str(one.expected_wei),
        "winners": one.winners,
        "drawn_wei": str(one.drawn_wei),
        "chance": one.chance,
    }


def describe(row: RedeemedRow) -> dict[str, Any]:
    """A ticket as JSON, amounts in wei."""
    return {
        "verdict": row.verdict,
        "found": time_text(row.found_ms),
        "ticket_hash": "0x" + row.ticket.hex(),
        "transaction": row.transaction,
        "block": row.block,
        "sender": checksum_address(row.sender),
        "recipient": checksum_address(row.recipient),
        "creation_round": row.round,
        "sender_nonce": str(row.nonce),
        "face_value_wei": str(row.face_value_wei),
        "paid_wei": str(row.paid_wei),
    }
