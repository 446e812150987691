"""Events, sinks and meters for tests of the forwarding."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Sequence

from msgspec.structs import replace

from livepeer_remote_signer.adapters.events.sink import SinkError
from livepeer_remote_signer.core.rules.events import EventSource, encode_event
from tests.plans import plan_payment

PLAN = plan_payment()
SOURCE = EventSource(bytes(20), "test")


def make_event(session: str = "session-0", sequence_number: int = 0) -> bytes:
    """An event of this step of this session, with an id of its own."""
    state = replace(PLAN.state, state_id=session, sequence_number=sequence_number)
    return encode_event(replace(PLAN, state=state), SOURCE, os.urandom(16).hex())


class ListSink:
    """Takes events into a list, and refuses as often as it is told to."""

    kind = "file"

    def __init__(self, name: str = "list", refusals: int = 0) -> None:
        self.name = name
        self.refusals = refusals
        self.taken: list[bytes] = []
        self.batches: list[list[bytes]] = []
        self.is_closed = False

    async def start(self) -> None:
        """Nothing to make ready."""

    async def publish(self, events: Sequence[bytes]) -> None:
        """Takes all of a batch, or none."""
        await asyncio.sleep(0)
        self.batches.append(list(events))
        if self.refusals:
            self.refusals -= 1
            raise SinkError("not now", 0.01)
        self.taken += events

    async def aclose(self) -> None:
        """Notes it."""
        self.is_closed = True


class CountingMeter:
    """Counts what the forwarder reports."""

    def __init__(self) -> None:
        self.sent_events: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()

    def sent(self, kind: str, events: int) -> None:
        """A batch was taken."""
        self.sent_events[kind] += events

    def send_failed(self, kind: str) -> None:
        """A batch was not taken."""
        self.failures[kind] += 1
