"""Events as CloudEvents 1.0 batches over HTTP.

Source: the CloudEvents specification's JSON batch format. Each event keeps its id; `data` is the `data` of section 12's
record; `partitionkey` is the session, within which events are in order. A batch that is sent again carries the same
`Idempotency-Key`. No redirect is followed: the request holds a secret.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

import httpx

from livepeer_remote_signer.adapters.events.sink import SinkError, SinkRefused
from livepeer_remote_signer.adapters.outbound import Outbound
from livepeer_remote_signer.adapters.outbound.reasons import connection_reason
from livepeer_remote_signer.adapters.outbound.retry_after import parse_retry_after
from livepeer_remote_signer.core.rules.events import event_data, event_id, event_session, event_time_ms, event_type

CONTENT_TYPE = "application/cloudevents-batch+json; charset=utf-8"
EVENT_SOURCE = "/livepeer-remote-signer"
MAX_RETRY_AFTER_SECONDS = 3600.0
"""What the forwarder shortens further: it knows its longest pause."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CONTENT_TOO_LARGE = 413
_REFUSES_CONTENT = frozenset((400, _CONTENT_TOO_LARGE, 422))
"""The receiver's word on what was sent. Others (401, 404, 415, 5xx) tell of the receiver."""


class HttpSink:
    """Posts batches to one URL. A 2xx says that all of a batch is safe there."""

    kind = "http"

    def __init__(self, url: str, *, secret: str | None = None, timeout_seconds: float = 10.0, outbound: Outbound | None = None) -> None:
        try:
            self._url = httpx.URL(url)
        except httpx.InvalidURL:
            raise ValueError("events: the http sink's url is not a URL") from None
        if self._url.scheme not in ("http", "https") or not self._url.host:
            raise ValueError("events: the http sink's url must be an http or https URL with a host")
        self.name = f"http:{self._url.host}:{blake2b(url.encode(), digest_size=6).hexdigest()}"
        self._timeout_seconds = timeout_seconds
        headers = {"content-type": CONTENT_TYPE}
        if secret is not None:
            headers["authorization"] = f"Bearer {secret}"
        self._client = (outbound or Outbound()).open_httpx(headers=headers, timeout=timeout_seconds, follow_redirects=False)

    def __repr__(self) -> str:
        return f"HttpSink(host={self._url.host})"

    async def start(self) -> None:
        """Connects with the first batch: a receiver that is away keeps nobody from paying."""

    async def publish(self, events: Sequence[bytes]) -> None:
        """Posts a batch in one request."""
        status, retry_after = await self._post(events)
        if 200 <= status < 300:
            return
        said = f"the events receiver {self._url.host} answered HTTP {status}, not 2xx"
        if status in _REFUSES_CONTENT:
            raise SinkRefused(said, is_certain=status == _CONTENT_TOO_LARGE and len(events) == 1)
        raise SinkError(said, retry_after)

    async def aclose(self) -> None:
        """Closes the kept connections."""
        await self._client.aclose()

    async def _post(self, events: Sequence[bytes]) -> tuple[int, float | None]:
        body = b"[" + b",".join(cloud_event(event) for event in events) + b"]"
        headers = {"idempotency-key": batch_key(events)}
        try:
            async with asyncio.timeout(self._timeout_seconds):
                async with self._client.stream("POST", self._url, content=body, headers=headers) as response:
                    later = response.headers.get("retry-after", "")
                    return response.status_code, parse_retry_after(later, time.time(), MAX_RETRY_AFTER_SECONDS)
        except (TimeoutError, httpx.TimeoutException):
            raise SinkError(f"the events receiver {self._url.host} did not answer within {self._timeout_seconds:g} s") from None
        except httpx.HTTPError as error:
            raise SinkError(f"the events receiver {self._url.host} could not be reached: {connection_reason(error)}") from None


def cloud_event(event: bytes) -> bytes:
    """One event of a batch, JSON."""
    time = (_EPOCH + timedelta(milliseconds=event_time_ms(event))).isoformat(timespec="milliseconds").removesuffix("+00:00")
    return (
        b'{"specversion":"1.0","id":"%b","source":"%b","type":"%b","time":"%bZ","partitionkey":"%b",'
        b'"datacontenttype":"application/json","data":%b}'
    ) % (
        event_id(event).encode(),
        EVENT_SOURCE.encode(),
        event_type(event),
        time.encode(),
        event_session(event),
        event_data(event),
    )


def batch_key(events: Sequence[bytes]) -> str:
    """The same for the same events in the same order."""
    digest = blake2b(digest_size=16)
    for event in events:
        digest.update(event_id(event).encode())
    return digest.hexdigest()
