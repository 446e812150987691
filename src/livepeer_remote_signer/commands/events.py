"""`events replay`: sends billing events that the ledger still keeps once more, for consumers that lost some."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import time
from typing import TYPE_CHECKING, Any

from livepeer_remote_signer.commands.ledger import no_ledger_text
from livepeer_remote_signer.commands.serve import read_config
from livepeer_remote_signer.config.loading import ConfigError
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.core.errors import LedgerUnavailable
from livepeer_remote_signer.core.protocol.timestamps import parse_rfc3339_ns

if TYPE_CHECKING:
    from livepeer_remote_signer.adapters.events.sink import Sink
    from livepeer_remote_signer.adapters.ledger.outbox import LedgerOutbox

BATCH_EVENTS = 500
_DURATION = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_DURATION_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_NS_PER_MS = 1_000_000


def add_parsers(subparsers: Any) -> None:
    """Adds `events` and what it can do."""
    events = subparsers.add_parser("events", help="send billing events again")
    commands = events.add_subparsers(dest="events_command", required=True, metavar="COMMAND")
    replay = commands.add_parser(
        "replay",
        help="send kept events once more, sent or not",
        description="Sends the events of payments made since a time to the configured sinks, in order, under the ids they had. "
        "Events are kept for ledger.retention_seconds. The signer may run meanwhile.",
    )
    replay.add_argument("--config", required=True, metavar="FILE", help="the YAML configuration")
    replay.add_argument("--since", required=True, metavar="WHEN", help="a time such as 2026-04-07T20:00:00Z, or a duration such as 90m")
    replay.add_argument("--sink", type=int, metavar="N", help="only the sink at this place in events.sinks, counted from 0")
    replay.set_defaults(run=run_replay)


def parse_since(text: str, now_ms: int) -> int:
    """Unix milliseconds of a time, or of so long ago. Raises ValueError."""
    if match := _DURATION.fullmatch(text):
        return now_ms - int(match[1]) * _DURATION_SECONDS[match[2]] * 1000
    try:
        ns = parse_rfc3339_ns(text)
    except ValueError:
        ns = None
    if ns is None:
        raise ValueError(f"--since {text!r} is neither a time such as 2026-04-07T20:00:00Z nor a duration such as 90m, 6h or 2d")
    return ns // _NS_PER_MS


def run_replay(arguments: argparse.Namespace) -> int:
    """Sends them. 1 when the ledger or a sink failed: what was sent until then stays sent."""
    config = read_config(arguments.config)
    if config is None:
        return 2
    try:
        since_ms = parse_since(arguments.since, time.time_ns() // _NS_PER_MS)
        return asyncio.run(_replay(config, since_ms, arguments.sink))
    except (ConfigError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


async def _replay(config: Config, since_ms: int, only: int | None) -> int:
    from livepeer_remote_signer.adapters.events.sink import SinkError
    from livepeer_remote_signer.adapters.keys import SigningKeyError
    from livepeer_remote_signer.adapters.ledger.store import NoLedger
    from livepeer_remote_signer.wiring.events import open_sinks
    from livepeer_remote_signer.wiring.ledger import open_ledger

    ledger = open_ledger(config, time.time_ns, may_create=False)
    if ledger is None or ledger.outbox is None:
        raise ConfigError("a replay needs a ledger (ledger.backend sqlite or postgres) and at least one of events.sinks")
    try:
        sinks = open_sinks(config)
    except SigningKeyError as error:
        raise ConfigError(str(error)) from None
    if only is not None:
        if not 0 <= only < len(sinks):
            raise ConfigError(f"--sink {only}: events.sinks has {len(sinks)}, counted from 0")
        sinks = [sinks[only]]
    try:
        await ledger.store.open()
        try:
            for sink in sinks:
                print(f"{sink.name}: {await _send(ledger.outbox, sink, since_ms)} events")
        finally:
            await ledger.store.close()
    except NoLedger:
        print(f"error: {no_ledger_text(config)}", file=sys.stderr)
        return 1
    except (LedgerUnavailable, SinkError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    finally:
        for sink in sinks:
            await sink.aclose()
    return 0


async def _send(outbox: LedgerOutbox, sink: Sink, since_ms: int) -> int:
    """Sends all kept events since then, and returns how many."""
    sent = after_id = 0
    while rows := await outbox.since(since_ms, after_id, BATCH_EVENTS):
        await sink.publish([row.payload for row in rows])
        sent += len(rows)
        after_id = rows[-1].id
    return sent
