"""`events`: sends kept billing events once more, for consumers that lost some, and decides on those that a sink refused."""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from typing import TYPE_CHECKING, Any

from livepeer_remote_signer.commands.ledger import no_ledger_text, time_text
from livepeer_remote_signer.commands.serve import read_config
from livepeer_remote_signer.config.loading import ConfigError
from livepeer_remote_signer.config.models import Config
from livepeer_remote_signer.core.errors import LedgerUnavailable
from livepeer_remote_signer.core.protocol.timestamps import parse_rfc3339_ns
from livepeer_remote_signer.core.rules.events import ParkedEvent, event_id

if TYPE_CHECKING:
    from livepeer_remote_signer.adapters.events.sink import Sink
    from livepeer_remote_signer.adapters.ledger.outbox import LedgerOutbox

BATCH_EVENTS = 500
_DURATION = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_DURATION_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_NS_PER_MS = 1_000_000


def add_parsers(subparsers: Any) -> None:
    """Adds `events` and what it can do."""
    events = subparsers.add_parser("events", help="send billing events again; those that a sink refused")
    commands = events.add_subparsers(dest="events_command", required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", required=True, metavar="FILE", help="the YAML configuration")
    common.add_argument("--sink", type=int, metavar="N", help="only the sink at this place in events.sinks, counted from 0")
    replay = commands.add_parser(
        "replay",
        parents=[common],
        help="send kept events once more, sent or not",
        description="Sends the events of payments made since a time to the configured sinks, in order, under the ids they had. "
        "Events are kept for ledger.retention_seconds. The signer may run meanwhile.",
    )
    replay.add_argument("--since", required=True, metavar="WHEN", help="a time such as 2026-04-07T20:00:00Z, or a duration such as 90m")
    replay.set_defaults(run=run_replay)
    parked = commands.add_parser(
        "parked",
        parents=[common],
        help="list the events that a sink refused, with its reason",
        description="Lists the events that a sink refused while it took others. They are kept until they are sent or dropped.",
    )
    parked.set_defaults(run=run_parked)
    retry = commands.add_parser(
        "retry",
        parents=[common],
        help="send parked events to the sink that refused them",
        description="Sends parked events once more, now and from here; those that are taken are parked no more.",
    )
    retry.add_argument("ids", nargs="*", metavar="ID", help="ids as `events parked` shows them")
    retry.add_argument("--all", action="store_true", help="all that are parked")
    retry.set_defaults(run=run_retry)
    drop = commands.add_parser(
        "drop",
        parents=[common],
        help="forget parked events: they will never be sent",
        description="Forgets parked events. Whoever bills from the sink that refused them never learns of these payments.",
    )
    drop.add_argument("ids", nargs="+", metavar="ID", help="ids as `events parked` shows them")
    drop.set_defaults(run=run_drop)


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
    """Sends kept events. 1 when the ledger or a sink failed, or refused some: what was sent until then stays sent."""
    try:
        since_ms = parse_since(arguments.since, time.time_ns() // _NS_PER_MS)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2

    async def work(outbox: LedgerOutbox, sinks: Sequence[Sink]) -> int:
        return max([await _replay(outbox, sink, since_ms) for sink in sinks])

    return _with_outbox(arguments, work)


def run_parked(arguments: argparse.Namespace) -> int:
    """Lists what is parked."""

    async def work(outbox: LedgerOutbox, sinks: Sequence[Sink]) -> int:
        count = 0
        async for event in _parked(outbox, _names(arguments, sinks)):
            count += 1
            print(f"{event.id}  {time_text(event.parked_ms)}  {event.sink}  {event.reason}")
        print(f"{count} parked" if count else "nothing is parked")
        return 0

    return _with_outbox(arguments, work)


def run_retry(arguments: argparse.Namespace) -> int:
    """Sends what is parked. 1 when something is refused again, or is not parked."""
    if bool(arguments.ids) == arguments.all:
        print("error: name the events by their ids, or take --all", file=sys.stderr)
        return 2

    async def work(outbox: LedgerOutbox, sinks: Sequence[Sink]) -> int:
        found = await _find(outbox, arguments.ids, _names(arguments, sinks))
        outcomes = [await _retry_all(outbox, [event for event in found if event.sink == sink.name], sink) for sink in sinks]
        outcomes += [_tell_unknown(event) for event in found if event.sink not in {sink.name for sink in sinks}]
        return int(_tell_missing(arguments.ids, found) or not all(outcomes))

    return _with_outbox(arguments, work)


def run_drop(arguments: argparse.Namespace) -> int:
    """Forgets what is parked. 1 when something is not parked."""

    async def work(outbox: LedgerOutbox, sinks: Sequence[Sink]) -> int:
        found = await _find(outbox, arguments.ids, _names(arguments, sinks))
        for event in found:
            await outbox.unpark(event)
            print(f"{event.id}  {event.sink}  dropped")
        return int(_tell_missing(arguments.ids, found))

    return _with_outbox(arguments, work)


def _with_outbox(arguments: argparse.Namespace, work: Callable[[LedgerOutbox, Sequence[Sink]], Awaitable[int]]) -> int:
    """Opens the configured ledger and sinks for `work`, whose exit status it returns; 1 for what fails, 2 for the configuration."""
    config = read_config(arguments.config)
    if config is None:
        return 2
    from livepeer_remote_signer.adapters.ledger.store import NoLedger

    try:
        return asyncio.run(_opened(config, arguments.sink, work))
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except NoLedger:
        print(f"error: {no_ledger_text(config)}", file=sys.stderr)
        return 1
    except LedgerUnavailable as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


async def _opened(config: Config, only: int | None, work: Callable[[LedgerOutbox, Sequence[Sink]], Awaitable[int]]) -> int:
    from livepeer_remote_signer.adapters.keys import SigningKeyError
    from livepeer_remote_signer.wiring.events import open_sinks
    from livepeer_remote_signer.wiring.ledger import open_ledger
    from livepeer_remote_signer.wiring.outbound import open_outbound

    ledger = open_ledger(config, time.time_ns, may_create=False)
    if ledger is None or ledger.outbox is None:
        raise ConfigError("there are no kept events: that needs a ledger (ledger.backend sqlite or postgres) and one of events.sinks")
    try:
        sinks = open_sinks(config, open_outbound(config.outbound))
    except SigningKeyError as error:
        raise ConfigError(str(error)) from None
    try:
        if only is not None:
            if not 0 <= only < len(sinks):
                raise ConfigError(f"--sink {only}: events.sinks has {len(sinks)}, counted from 0")
            sinks = [sinks[only]]
        await ledger.store.open()
        try:
            return await work(ledger.outbox, sinks)
        finally:
            await ledger.store.close()
    finally:
        for sink in sinks:
            await sink.aclose()


async def _replay(outbox: LedgerOutbox, sink: Sink, since_ms: int) -> int:
    """Sends all kept events since then; 1 when the sink refuses some, or is away: that keeps none from the others."""
    from livepeer_remote_signer.adapters.events.publisher import publish_acceptable
    from livepeer_remote_signer.adapters.events.sink import SinkError

    sent = refused = after_id = 0
    while rows := await outbox.since(since_ms, after_id, BATCH_EVENTS):
        try:
            left = await publish_acceptable(sink, [row.payload for row in rows])
        except SinkError as error:
            print(f"error: {error}", file=sys.stderr)
            print(f"{sink.name}: {sent} events, then it failed")
            return 1
        for payload, reason in left:
            print(f"{event_id(payload)}  {sink.name}  refused: {reason}", file=sys.stderr)
        sent += len(rows) - len(left)
        refused += len(left)
        after_id = rows[-1].id
    print(f"{sink.name}: {sent} events" + (f", {refused} refused" if refused else ""))
    return int(refused > 0)


async def _retry_all(outbox: LedgerOutbox, events: Sequence[ParkedEvent], sink: Sink) -> bool:
    """Whether one sink takes all its parked events; one that is away keeps none from another."""
    from livepeer_remote_signer.adapters.events.sink import SinkError

    try:
        return all([await _retry(outbox, event, sink) for event in events])
    except SinkError as error:
        print(f"error: {error}", file=sys.stderr)
        return False


def _tell_unknown(event: ParkedEvent) -> bool:
    print(f"{event.id}  {event.sink}  is not sent: this sink is not configured", file=sys.stderr)
    return False


async def _retry(outbox: LedgerOutbox, event: ParkedEvent, sink: Sink) -> bool:
    from livepeer_remote_signer.adapters.events.publisher import publish_acceptable

    if refused := await publish_acceptable(sink, [event.payload]):
        print(f"{event.id}  {event.sink}  refused again: {refused[0][1]}", file=sys.stderr)
        return False
    await outbox.unpark(event)
    print(f"{event.id}  {event.sink}  sent")
    return True


async def _parked(outbox: LedgerOutbox, names: Collection[str] | None) -> AsyncIterator[ParkedEvent]:
    """What is parked, by id; with `names` only for these sinks."""
    after = ("", "")
    while events := await outbox.parked(BATCH_EVENTS, after):
        for event in events:
            if names is None or event.sink in names:
                yield event
        after = events[-1].id, events[-1].sink


async def _find(outbox: LedgerOutbox, ids: Sequence[str], names: Collection[str] | None) -> list[ParkedEvent]:
    """The parked events of these ids, without ids all."""
    return [event async for event in _parked(outbox, names) if not ids or event.id in ids]


def _names(arguments: argparse.Namespace, sinks: Sequence[Sink]) -> Collection[str] | None:
    """With --sink that one alone; else every sink, also those that are configured no more."""
    return None if arguments.sink is None else {sink.name for sink in sinks}


def _tell_missing(ids: Sequence[str], found: Sequence[ParkedEvent]) -> bool:
    """Names the ids that are not parked. Whether there are any."""
    missing = set(ids) - {event.id for event in found}
    for id in sorted(missing):
        print(f"{id}  is not parked", file=sys.stderr)
    return bool(missing)
