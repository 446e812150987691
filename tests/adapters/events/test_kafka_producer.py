"""Which kind of producer sends, how often one is started, and what is given to it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import aiokafka.errors as kafka_errors
import pytest

from livepeer_remote_signer.adapters.events import kafka
from livepeer_remote_signer.adapters.events.kafka import KafkaSink, partition_of
from livepeer_remote_signer.adapters.events.sink import SinkError, SinkRefused
from tests.adapters.events.making import make_event


class Batch:
    """Has room for two records."""

    def __init__(self) -> None:
        self.values: list[bytes] = []

    def append(self, *, timestamp: int, key: bytes, value: bytes) -> object | None:
        assert timestamp > 0
        assert key.decode() in value.decode()
        if len(self.values) == 2:
            return None
        self.values.append(value)
        return object()


class Producer:
    """Takes batches, or refuses one of these values' batches."""

    def __init__(self) -> None:
        self.sent: dict[int, list[list[bytes]]] = {}
        self.refuses: dict[bytes, Exception] = {}
        self.closed: list[str] = []
        self.hangs = False
        self._sender = self.client = SimpleNamespace(close=self._close)

    async def partitions_for(self, topic: str) -> set[int]:
        return {0, 1}

    def create_batch(self) -> Batch:
        return Batch()

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> asyncio.Future[None]:
        delivery = asyncio.get_running_loop().create_future()
        if fault := next((self.refuses[value] for value in batch.values if value in self.refuses), None):
            delivery.set_exception(fault)
        else:
            self.sent.setdefault(partition, []).append(batch.values)
            delivery.set_result(None)
        return delivery

    async def stop(self) -> None:
        self.closed.append("stopped")
        if self.hangs:
            await asyncio.Event().wait()

    async def _close(self) -> None:
        self.closed.append("closed")


class Starting:
    """Takes the place of connecting: notes whether an idempotent producer was wanted, and refuses as it is told to."""

    def __init__(self) -> None:
        self.wanted: list[bool] = []
        self.refuses: dict[bool, Exception] = {}
        self.producer = Producer()

    async def __call__(self, is_idempotent: bool) -> Any:
        self.wanted.append(is_idempotent)
        if is_idempotent in self.refuses:
            raise self.refuses[is_idempotent]
        return self.producer


@pytest.fixture
def starting(monkeypatch: pytest.MonkeyPatch) -> Starting:
    one = Starting()
    monkeypatch.setattr(KafkaSink, "_start", lambda _, is_idempotent: one(is_idempotent))
    return one


async def test_one_producer_serves_until_it_is_discarded(starting: Starting) -> None:
    sink = KafkaSink(["127.0.0.1:1"], "events")
    assert [await sink.look(), await sink.look()] == [2, 2]
    assert starting.wanted == [True]
    await sink.aclose()
    await sink.look()
    assert starting.wanted == [True, True]


async def test_where_no_idempotent_producer_is_taken_an_ordinary_one_sends_from_then_on(
    starting: Starting, caplog: pytest.LogCaptureFixture
) -> None:
    starting.refuses[True] = kafka_errors.ClusterAuthorizationFailedError()
    sink = KafkaSink(["127.0.0.1:1"], "events")
    assert await sink.look() == 2
    assert "the brokers take no idempotent producer (ClusterAuthorizationFailedError)" in caplog.text
    await sink.aclose()
    assert await sink.look() == 2
    assert starting.wanted == [True, False, False], "it is not tried again each time"


async def test_where_an_ordinary_producer_is_not_taken_either_the_better_one_is_still_wanted(starting: Starting) -> None:
    refused = kafka_errors.ClusterAuthorizationFailedError()
    starting.refuses = {True: refused, False: refused}
    sink = KafkaSink(["127.0.0.1:1"], "events")
    for _ in range(2):
        with pytest.raises(SinkError, match="this user may not use the cluster"):
            await sink.look()
    assert starting.wanted == [True, False, True, False]
    starting.refuses = {}
    assert await sink.look() == 2
    assert starting.wanted[4:] == [True]


async def test_an_ordinary_producer_that_is_refused_later_is_asked_for_once(starting: Starting) -> None:
    starting.refuses[True] = kafka_errors.UnsupportedVersionError()
    sink = KafkaSink(["127.0.0.1:1"], "events")
    await sink.look()
    await sink.aclose()
    starting.refuses[False] = kafka_errors.ClusterAuthorizationFailedError()
    with pytest.raises(SinkError):
        await sink.look()
    assert starting.wanted == [True, False, False]


def events_by_partition(count: int) -> dict[int, list[bytes]]:
    """So many events of one session in each of two partitions."""
    names = {partition_of(f"session-{n}".encode(), 2): f"session-{n}" for n in range(20)}
    return {partition: [make_event(name, number) for number in range(count)] for partition, name in sorted(names.items())}


async def test_each_partition_gets_its_events_once_in_their_order_a_batch_at_a_time(starting: Starting) -> None:
    events = events_by_partition(5)
    await KafkaSink(["127.0.0.1:1"], "events").publish([event for of_both in zip(*events.values(), strict=True) for event in of_both])
    assert starting.producer.sent == {partition: [of[:2], of[2:4], of[4:]] for partition, of in events.items()}


async def test_behind_a_batch_that_is_not_taken_nothing_is_sent_and_a_record_that_is_refused_is_told_first(starting: Starting) -> None:
    events = events_by_partition(5)
    starting.producer.refuses = {events[0][0]: kafka_errors.NotEnoughReplicasError(), events[1][0]: kafka_errors.MessageSizeTooLargeError()}
    sink = KafkaSink(["127.0.0.1:1"], "events")
    with pytest.raises(SinkRefused, match="larger than the topic allows") as refused:
        await sink.publish([*events[0], *events[1]])
    assert not refused.value.is_certain, "which of them is too large is not known"
    assert starting.producer.sent == {}
    assert starting.producer.closed == ["stopped"], "the next batch begins anew"
    with pytest.raises(SinkRefused) as refused:
        await sink.publish(events[1][:1])
    assert refused.value.is_certain
    with pytest.raises(SinkError, match="too few replicas are in sync"):
        await sink.publish(events[0])
    assert starting.producer.sent == {}


async def test_a_producer_that_does_not_stop_is_closed_with_what_it_could_not_send(
    starting: Starting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kafka, "STOP_SECONDS", 0.01)
    starting.producer.hangs = True
    sink = KafkaSink(["127.0.0.1:1"], "events")
    await sink.look()
    await sink.aclose()
    assert starting.producer.closed == ["stopped", "closed", "closed"]


async def test_without_a_user_nobody_is_asked_for_a_login(monkeypatch: pytest.MonkeyPatch, starting: Starting) -> None:
    async def login(*_: object, **__: object) -> None:
        raise AssertionError("a login was tried")

    monkeypatch.setattr(kafka, "create_conn", login)
    starting.refuses = {True: kafka_errors.KafkaConnectionError()}
    sink = KafkaSink(["127.0.0.1:1"], "events")
    assert sink._security == {"security_protocol": "PLAINTEXT"}
    with pytest.raises(SinkError, match="no broker could be connected to"):
        await sink.look()
    starting.refuses = {True: kafka_errors.TopicAuthorizationFailedError()}
    with pytest.raises(SinkError, match="this user may not write to the topic"):
        await KafkaSink(["127.0.0.1:1"], "events", username="u", password="p").look()
