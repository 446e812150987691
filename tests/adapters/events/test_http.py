"""The HTTP sink against a real receiver: CloudEvents batches, our secret, one key for a batch however often it is sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from livepeer_remote_signer.adapters.events.http import HttpSink, batch_key
from livepeer_remote_signer.adapters.events.publisher import publish_acceptable
from livepeer_remote_signer.adapters.events.sink import SinkError, SinkRefused
from livepeer_remote_signer.core.rules.events import event_id
from tests.adapters.events.making import make_event

SECRET = "planted-receiver-secret"


class Receiver:
    """Answers with the statuses it is told, in turn, then 202."""

    def __init__(self) -> None:
        self.statuses: list[int | str] = []
        self.batches: list[list[dict[str, Any]]] = []
        self.headers: list[dict[str, str]] = []
        self.max_events = 1000
        self.retry_after = "7"
        self.url = ""
        self.open: set[asyncio.StreamWriter] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection with any number of requests."""
        self.open.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                pairs = (line.split(":", 1) for line in head.split("\r\n")[1:] if line)
                headers = {name.lower(): value.strip() for name, value in pairs}
                body = await reader.readexactly(int(headers["content-length"]))
                status = self.take(headers, json.loads(body))
                if status == "silence":
                    await reader.read()
                    return
                extra = f"Retry-After: {self.retry_after}\r\nLocation: http://127.0.0.1:1/\r\n"
                writer.write(f"HTTP/1.1 {status} x\r\nContent-Length: 0\r\n{extra}\r\n".encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()
            self.open.discard(writer)

    def take(self, headers: dict[str, str], batch: list[dict[str, Any]]) -> int | str:
        """Notes a request and decides its status."""
        self.headers.append(headers)
        if len(batch) > self.max_events:
            return 413
        status = self.statuses.pop(0) if self.statuses else 202
        if status == 202:
            self.batches.append(batch)
        return status


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A receiver on a free port."""
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0, limit=2**24)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/ingest?key=planted-url-key"
    try:
        yield receiver
    finally:
        server.close()
        for writer in list(receiver.open):
            writer.transport.abort()
        await asyncio.sleep(0.01)


async def test_a_batch_is_cloudevents_with_our_secret() -> None:
    async with receiving() as receiver:
        sink = HttpSink(receiver.url, secret=SECRET)
        events = [make_event("session-1", n) for n in range(3)]
        await sink.publish(events)
        await sink.aclose()
        headers = receiver.headers[0]
        assert headers["content-type"] == "application/cloudevents-batch+json; charset=utf-8"
        assert headers["authorization"] == f"Bearer {SECRET}"
        assert [event["data"]["sequence_number"] for event in receiver.batches[0]] == [0, 1, 2]
        for raw, event in zip(events, receiver.batches[0], strict=True):
            record = json.loads(raw)
            assert event == {
                "specversion": "1.0",
                "id": record["id"],
                "source": "/livepeer-remote-signer",
                "type": "create_signed_ticket",
                "time": "2026-04-07T20:00:00.123Z",
                "partitionkey": "session-1",
                "datacontenttype": "application/json",
                "data": record["data"],
            }


async def test_a_batch_that_is_sent_again_has_the_same_idempotency_key() -> None:
    async with receiving() as receiver:
        receiver.statuses = [503]
        sink = HttpSink(receiver.url)
        events = [make_event(), make_event()]
        with pytest.raises(SinkError, match="answered HTTP 503") as refused:
            await sink.publish(events)
        assert refused.value.retry_after_seconds == 7
        await sink.publish(events)
        await sink.publish(events[:1])
        await sink.aclose()
        keys = [headers["idempotency-key"] for headers in receiver.headers]
        assert keys[0] == keys[1] == batch_key(events)
        assert keys[2] != keys[0]


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 403, 404, 409, 413, 415, 422, 429, 500, 503])
async def test_only_2xx_counts_as_taken(status: int) -> None:
    async with receiving() as receiver:
        receiver.statuses = [status] * 2
        sink = HttpSink(receiver.url)
        for events, is_certain in (([make_event()], status == 413), ([make_event(), make_event()], False)):
            with pytest.raises(SinkError, match="not 2xx") as failed:
                await sink.publish(events)
            refusal = failed.value
            assert isinstance(refusal, SinkRefused) == (status in (400, 413, 422)), "a word on what was sent"
            assert not isinstance(refusal, SinkRefused) or refusal.is_certain == is_certain
        await sink.aclose()
        assert len(receiver.headers) == 2, "no redirect is followed"


@pytest.mark.parametrize(("text", "seconds"), [("7", 7), ("3600", 3600), ("soon", None), ("DATE", 20)])
async def test_the_pause_that_a_receiver_asks_for_is_seconds_or_a_date(text: str, seconds: float | None) -> None:
    async with receiving() as receiver:
        receiver.statuses = [503]
        receiver.retry_after = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True) if text == "DATE" else text
        sink = HttpSink(receiver.url)
        with pytest.raises(SinkError) as failed:
            await sink.publish([make_event()])
        await sink.aclose()
        assert failed.value.retry_after_seconds == (seconds if seconds is None else pytest.approx(seconds, abs=20))


async def test_a_batch_that_is_too_large_is_halved_in_order() -> None:
    async with receiving() as receiver:
        receiver.max_events = 2
        sink = HttpSink(receiver.url)
        events = [make_event(sequence_number=n) for n in range(7)]
        assert await publish_acceptable(sink, events) == []
        await sink.aclose()
        assert [event["id"] for batch in receiver.batches for event in batch] == [event_id(event) for event in events]
        assert max(len(batch) for batch in receiver.batches) <= 2


async def test_silence_ends_after_the_time_out() -> None:
    async with receiving() as receiver:
        receiver.statuses = ["silence"]
        sink = HttpSink(receiver.url, timeout_seconds=1)
        with pytest.raises(SinkError, match=r"did not answer within 1 s"):
            await sink.publish([make_event()])
        await sink.aclose()


async def test_nobody_there_is_said_without_the_url() -> None:
    sink = HttpSink("http://127.0.0.1:1/planted-url-key", secret=SECRET)
    with pytest.raises(SinkError) as failed:
        await sink.publish([make_event()])
    await sink.aclose()
    for text in (str(failed.value), repr(sink), sink.name):
        assert "planted" not in text


@pytest.mark.parametrize("url", ["ftp://host/x", "nothing", "http://", "http://host:planted"])
def test_what_is_no_http_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="http sink's url") as refused:
        HttpSink(url)
    assert "planted" not in str(refused.value)
