"""Billing events on a real Kafka 4 broker: all of them, once or more, in order for each session, also through outages."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import defaultdict
from pathlib import Path
from typing import Any, Literal

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from livepeer_remote_signer.adapters.events.forwarder import Forwarder
from livepeer_remote_signer.adapters.events.kafka import KafkaSink, partition_of
from livepeer_remote_signer.adapters.events.outbox import MemoryOutbox
from livepeer_remote_signer.adapters.events.sink import SinkError
from livepeer_remote_signer.adapters.ledger.outbox import LedgerOutbox
from livepeer_remote_signer.core.rules.events import event_id
from tests.adapters.events.making import CountingMeter, make_event
from tests.ledgers import Session, opened
from tests.operate.kafka.broker import KafkaNode
from tests.operate.kafka.old_broker import old_broker
from tests.served import served

pytestmark = [
    pytest.mark.operate,
    pytest.mark.timeout(600),
    # aiokafka forgets a connection that it was opening when it was told to stop; the collector closes it, and says so
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]


async def until_nothing_is_pending(outbox: LedgerOutbox, seconds: float = 60) -> None:
    """Waits until every event was sent or parked."""
    async with asyncio.timeout(seconds):
        while await outbox.unsent(1):  # noqa: ASYNC110 - the table has no event to wait for
            await asyncio.sleep(0.05)


async def consume(kafka: KafkaNode, topic: str, count: int, seconds: float = 60) -> list[Any]:
    """At least `count` records of a topic from its beginning, and what else comes within a moment."""
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=kafka.address, auto_offset_reset="earliest", enable_auto_commit=False)
    await consumer.start()
    records: list[Any] = []
    give_up = time.monotonic() + seconds
    try:
        while True:
            batch = await consumer.getmany(timeout_ms=1000)
            records += [record for part in batch.values() for record in part]
            if not batch and len(records) >= count:
                return records
            assert time.monotonic() < give_up, f"{len(records)} of {count} records"
    finally:
        await consumer.stop()


def in_order(records: list[Any]) -> dict[str, list[int]]:
    """Sequence numbers by session, in the order of their first appearance."""
    seen: dict[str, list[int]] = defaultdict(list)
    for record in records:
        data = json.loads(record.value)["data"]
        if data["sequence_number"] not in seen[data["session_id"]]:
            seen[data["session_id"]].append(data["sequence_number"])
    return seen


async def test_the_key_is_the_events_id_and_a_session_keeps_to_one_partition(kafka: KafkaNode) -> None:
    sink = KafkaSink([kafka.address], "keys")
    events = [make_event(f"session-{n % 10}", n // 10) for n in range(200)]
    await sink.publish(events)
    await sink.aclose()
    records = await consume(kafka, "keys", 200)
    assert sorted(record.value for record in records) == sorted(events)
    partitions = defaultdict(set)
    for record in records:
        value = json.loads(record.value)
        assert record.key.decode() == value["id"]
        assert record.timestamp == int(value["timestamp"])
        partitions[value["data"]["session_id"]].add(record.partition)
    assert all(len(used) == 1 for used in partitions.values())
    assert len(set().union(*partitions.values())) > 1, "sessions are spread"
    assert all(numbers == list(range(20)) for numbers in in_order(records).values())


async def test_a_broker_that_is_killed_and_comes_back_gets_every_event_in_order(kafka: KafkaNode) -> None:
    outbox, meter = MemoryOutbox(["kafka:outage"], limit=100_000), CountingMeter()
    sink = KafkaSink([kafka.address], "outage")
    forwarder = Forwarder(outbox, [sink], meter)
    forwarder.start()
    made = 0

    async def make(count: int) -> None:
        nonlocal made
        for _ in range(count):
            outbox.publish(make_event(f"session-{made % 7}", made // 7))
            made += 1
            await asyncio.sleep(0.001)

    await make(500)
    await asyncio.to_thread(kafka.stop, kill=True)
    await make(500)
    async with asyncio.timeout(60):  # a broker that is back at once is only waited for: that is no failure
        while not meter.failures["kafka"]:  # noqa: ASYNC110 - the meter has no event to wait for
            await asyncio.sleep(0.05)
    await asyncio.to_thread(kafka.start)
    await make(500)
    await forwarder.stop(60)
    assert outbox.backlog.pending == 0
    records = await consume(kafka, "outage", made)
    seen = in_order(records)
    assert sum(len(numbers) for numbers in seen.values()) == made, "none is missing"
    for session, numbers in seen.items():
        assert numbers == sorted(numbers), f"{session} is out of order"


async def test_a_record_that_is_too_large_for_its_topic_is_parked_and_the_others_arrive_in_order(kafka: KafkaNode, tmp_path: Path) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.address)
    await admin.start()
    await admin.create_topics([NewTopic("small", 4, 1, topic_configs={"max.message.bytes": "4000"})])
    await admin.close()
    events = [make_event(f"session-{n % 7}", n // 7) for n in range(60)]
    large = [make_event("session-" + "x" * 6000), make_event("session-3" + "y" * 2_000_000)]
    meter, sink = CountingMeter(), KafkaSink([kafka.address], "small")
    async with opened(tmp_path / "ledger", sinks=(sink.name,)) as (ledger,):
        for event in (*events[:20], large[0], *events[20:40], large[1], *events[40:]):
            await ledger.pay(Session().next(event=event))
        forwarder = Forwarder(ledger.outbox, [sink], meter)
        forwarder.start()
        await until_nothing_is_pending(ledger.outbox)
        await forwarder.stop(30)
        parked = await ledger.outbox.parked(10)
        assert {event.id for event in parked} == {event_id(event) for event in large}
        assert {event.reason for event in parked} == {
            "Kafka topic small did not take a batch: the record is larger than the topic allows (max.message.bytes)"
        }
    records = await consume(kafka, "small", 60)
    assert {record.value for record in records} == set(events)
    assert all(numbers == sorted(numbers) for numbers in in_order(records).values())


@pytest.mark.parametrize("way", ["denies", "hangs up"])
async def test_where_nobody_gets_a_producer_id_an_ordinary_producer_sends(
    kafka: KafkaNode, way: Literal["denies", "hangs up"], caplog: pytest.LogCaptureFixture
) -> None:
    topic = "ordinary-" + way.replace(" ", "-")
    events = [make_event(f"session-{n % 5}", n // 5) for n in range(100)]
    async with old_broker(kafka, way) as address:
        sink = KafkaSink([address], topic)
        with caplog.at_level(logging.WARNING):
            for start in range(0, 100, 20):
                await sink.publish(events[start : start + 20])
                if start == 40:
                    await sink._discard()  # as after a failure
        await sink.aclose()
    assert caplog.text.count("the brokers take no idempotent producer") == 1, "said once"
    records = await consume(kafka, topic, 100)
    assert in_order(records) == {f"session-{n}": list(range(20)) for n in range(5)}


async def test_nobody_there_is_an_error_without_secrets() -> None:
    sink = KafkaSink(["127.0.0.1:1"], "t", username="user", password="planted-password")
    with pytest.raises(SinkError) as failed:
        await sink.publish([make_event()])
    await sink.aclose()
    assert "planted" not in str(failed.value) + repr(sink) + sink.name


def test_a_running_signer_sends_its_payments_to_kafka(kafka: KafkaNode, tmp_path: Path) -> None:
    sinks = {"events": {"sinks": [{"type": "kafka", "brokers": [kafka.address], "topic": "payments"}]}}
    with served(tmp_path, ledger={"backend": "sqlite", "path": str(tmp_path / "ledger")}, **sinks) as signer:
        paid = [signer.pay() for _ in range(5)]
        records = asyncio.run(consume(kafka, "payments", 5))
        signer.end()
    ids = {json.loads(record.value)["data"]["request_id"] for record in records}
    assert ids == {answer.headers["x-request-id"] for answer in paid}


def test_a_session_has_the_same_partition_in_every_process() -> None:
    assert [partition_of(b"session-%d" % n, 4) for n in range(8)] == [3, 0, 1, 0, 0, 3, 0, 2]
