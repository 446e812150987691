"""A request's name, and beside it what became known of the request: for metrics, logs and the billing event.

The name is ours, 128 random bits as 32 hex digits, because consumers of events deduplicate on it. Where nobody watches, a
plain string does as well: every use of the rest asks with `trail_of` first.
"""

from __future__ import annotations

from livepeer_remote_signer.core.rules.payment import OpenedSession


class RequestId(str):
    """The name, and the trail. `client_id` is the caller's own name for the request; `started` is a monotonic time in seconds."""

    __slots__ = ("client_id", "marks", "session", "started")

    client_id: str
    started: float
    session: OpenedSession | None
    marks: list[tuple[str, float, float]]
    """Where time was spent: (phase, start, end)."""

    @classmethod
    def begin(cls, name: str, client_id: str, started: float) -> RequestId:
        """A request of which nothing is known yet."""
        self = cls(name)
        self.client_id = client_id
        self.started = started
        self.session = None
        self.marks = []
        return self


def trail_of(request_id: str) -> RequestId | None:
    """The trail behind a request's name, if somebody watches."""
    return request_id if isinstance(request_id, RequestId) else None
