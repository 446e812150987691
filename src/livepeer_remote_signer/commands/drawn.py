"""`drawn`: what the chain has paid of the tickets that were signed, and tickets that this ledger never signed."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from livepeer_remote_signer.commands.ledger import time_text, with_ledger
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.core.protocol.eip191 import checksum_address
from livepeer_remote_signer.core.rules.funding import format_eth
from livepeer_remote_signer.core.rules.luck import (
    Loss,
    Luck,
    Outstanding,
    describe_loss,
    describe_luck,
    describe_outstanding,
    losses_ahead,
    outstanding,
    weigh,
)

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

    from livepeer_remote_signer.adapters.runways import read_burn

    async def show(ledger: RunningLedger, config: Config) -> int:
        counts = await ledger.store.count_redeemed(None)
        strange = [row for verdict in ("foreign", "suspected") for row in await ledger.store.with_verdict(None, verdict, MOST_SHOWN)]
        if arguments.acknowledge:
            ended = await ledger.store.acknowledge_redeemed()
            print(f"acknowledged: {ended} tickets")
            return 0
        lines, drawn = await ledger.store.draws_since(0), await ledger.store.drawn_since(None, 0)
        luck, open_tickets = weigh(lines, drawn), outstanding(lines, drawn)
        ahead = losses_ahead(lines, drawn, await read_burn(ledger.store, time.time_ns))
        if arguments.json:
            document = {
                "redeemed": dict(counts),
                "not_signed_here": [describe(row) for row in strange],
                "draws": [describe_luck(one) for one in luck],
                "outstanding": describe_outstanding(open_tickets),
                "ahead": [describe_loss(loss) for loss in ahead],
            }
            print(json.dumps(document, indent=2))
        else:
            _print(counts, strange, names_sender=len(config.keys) > 1)
            _print_luck(luck, open_tickets, ahead)
        return 1 if counts.get("foreign") else 0

    return with_ledger(arguments, show)


def _print(counts: Any, strange: list[RedeemedRow], *, names_sender: bool) -> None:
    for verdict, meaning in (
        ("ours", "signed by this ledger"),
        ("unjudged", "not judged: before this ledger kept what it signs, or other signers"),
        ("suspected", "not signed here, by one endpoint's word"),
        ("foreign", "NOT SIGNED HERE: somebody else signs with the sender's key"),
    ):
        print(f"{counts.get(verdict, 0):>8} {meaning}")
    for row in strange:
        payer = f"{checksum_address(row.sender)} paid " if names_sender else ""
        print(
            f"{row.verdict}: {time_text(row.found_ms)} transaction {row.transaction}, block {row.block}, creation round {row.round}, "
            f"{payer}{format_eth(row.face_value_wei)} to {checksum_address(row.recipient)}",
            file=sys.stderr,
        )


def _print_luck(luck: list[Luck], open_tickets: Outstanding, ahead: list[Loss]) -> None:
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
    for loss in ahead:
        span = "hour" if loss.hours == 1 else f"{loss.hours} hours"
        print(
            f"next {span}: these and what is signed meanwhile take {format_eth(loss.worst_wei)} at worst, but for 1 case in 100 no more "
            f"than {format_eth(loss.safe_wei)}; of that what is signed meanwhile alone {format_eth(loss.new_worst_wei)} and "
            f"{format_eth(loss.new_safe_wei)}"
        )


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
