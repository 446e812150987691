"""What every sink is: a place that takes events, and says so only when they are safe there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class SinkError(Exception):
    """The sink did not take a batch, or not surely: it is sent again. The message is fit for a log: no URL, no secret."""

    def __init__(self, message: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class SinkRefused(SinkError):
    """The receiver answered that it does not want what is in the batch, and would say so again.

    Where the batch is one event, `is_certain` tells that the event is at fault whatever else the receiver takes: its size.
    """

    def __init__(self, message: str, *, is_certain: bool = False) -> None:
        super().__init__(message)
        self.is_certain = is_certain


class Sink(Protocol):
    """One place that events go to."""

    @property
    def name(self) -> str:
        """Known to the outbox by this name, also after a restart. Holds no secret."""

    @property
    def kind(self) -> str:
        """`file`, `http` or `kafka`: the label of its metrics."""

    async def start(self) -> None:
        """Makes ready what must be before the first batch, so that a fault shows early. Raises SinkError."""

    async def publish(self, events: Sequence[bytes]) -> None:
        """Returns when every event is durably there, in this order for each session. Raises SinkError or SinkRefused."""

    async def aclose(self) -> None:
        """Lets go of connections."""
