"""The `simulate` command (`make demo`): the whole service against simulated counterparts, over real HTTP and gRPC on loopback."""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import Any

MIN_PAYMENTS = 20


def add_parsers(subparsers: Any) -> None:
    """Adds this module's command."""
    parser = subparsers.add_parser(
        "simulate",
        help="see the signer work: a simulated gateway pays a simulated orchestrator",
        description="Starts the signer with a throw-away key and static chain data on loopback, and pays a simulated orchestrator "
        "through it for some minutes of accelerated time. Exits 1 when anything is not as it should be.",
    )
    parser.set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    """Tells the story and prints it."""
    started = time.monotonic()
    from livepeer_remote_signer.simulate.report import head, row, summary  # with all it needs, so that other commands start fast

    for text in head():
        print(text, flush=True)
    from livepeer_remote_signer.simulate.stage import Stage, play  # a second's imports, after the first words

    story = asyncio.run(play(Stage(), lambda line: print(row(line), flush=True))).story
    for text in summary(story):
        print(text)
    if story.payments < MIN_PAYMENTS:
        print(f"Only {story.payments} payments; {MIN_PAYMENTS} are the least that prove anything.")
        return 1
    print(f"Took {time.monotonic() - started:.1f} s of real time.")
    return 1 if story.off else 0
