"""Events to a Kafka topic: acknowledged by all in-sync replicas, written once for each attempt that succeeds.

The record's key is the event's id, as consumers expect. Kafka would spread a session over all partitions by such a key, and
order only holds within a partition; so the partition is chosen here, by a hash of the session. While the number of
partitions stays the same, a session's events are in order. An idempotent producer refuses to write a later batch of a
partition when an earlier one failed, and after any failure a fresh producer sends the whole batch again from its start.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from livepeer_remote_signer.adapters.events.sink import SinkError
from livepeer_remote_signer.core.rules.events import event_id, event_session, event_time_ms

REQUEST_TIMEOUT_MS = 10_000
DELIVERY_SECONDS = 20.0
"""An idempotent producer tries for ever by itself; after this long the batch is begun anew, and counted as failed."""

STOP_SECONDS = 2.0
METADATA_MAX_AGE_MS = 60_000


class KafkaSink:
    """One topic of one cluster. `username` and `password` mean SASL PLAIN, as go-livepeer's flags do."""

    kind = "kafka"

    def __init__(
        self, brokers: Sequence[str], topic: str, *, username: str | None = None, password: str | None = None, tls: bool = False
    ) -> None:
        self.name = f"kafka:{topic}"
        self._brokers = list(brokers)
        self._topic = topic
        self._security: dict[str, Any] = {}
        if tls:
            self._security["ssl_context"] = ssl.create_default_context()
        if username is not None:
            self._security.update(sasl_mechanism="PLAIN", sasl_plain_username=username, sasl_plain_password=password)
        self._security["security_protocol"] = f"{'SASL_' if username is not None else ''}{'SSL' if tls else 'PLAINTEXT'}"
        self._producer: AIOKafkaProducer | None = None

    def __repr__(self) -> str:
        return f"KafkaSink(topic={self._topic})"

    async def start(self) -> None:
        """Connects with the first batch: a receiver that is away keeps nobody from paying."""

    async def publish(self, events: Sequence[bytes]) -> None:
        """Sends a batch and waits until all in-sync replicas have it."""
        try:
            async with asyncio.timeout(DELIVERY_SECONDS):
                await self._send(events)
        except (KafkaError, OSError, TimeoutError) as error:
            await self._discard()
            raise SinkError(f"Kafka topic {self._topic} did not take a batch: {type(error).__name__}") from None

    async def _send(self, events: Sequence[bytes]) -> None:
        producer = await self._started()
        partitions = sorted(await producer.partitions_for(self._topic))
        deliveries = [
            await producer.send(
                self._topic,
                value=event,
                key=event_id(event).encode(),
                partition=partitions[partition_of(event_session(event), len(partitions))],
                timestamp_ms=event_time_ms(event),
            )
            for event in events
        ]
        for outcome in await asyncio.gather(*deliveries, return_exceptions=True):
            if isinstance(outcome, BaseException):
                raise outcome

    async def aclose(self) -> None:
        """Ends the connections; nothing is buffered between two calls of `publish`."""
        await self._discard()

    async def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(
                bootstrap_servers=self._brokers,
                client_id="livepeer-remote-signer",
                acks="all",
                enable_idempotence=True,
                request_timeout_ms=REQUEST_TIMEOUT_MS,
                metadata_max_age_ms=METADATA_MAX_AGE_MS,
                **self._security,
            )
            try:
                await producer.start()
            except BaseException:
                await producer.stop()
                raise
            self._producer = producer
        return self._producer

    async def _discard(self) -> None:
        producer, self._producer = self._producer, None
        if producer is None:
            return
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await producer.stop()
        except (KafkaError, OSError, TimeoutError):
            await producer._sender.close()  # stop() waits for what could not be sent: it is sent by another producer
            await producer.client.close()


def partition_of(session: bytes, partitions: int) -> int:
    """The same partition for every event of a session, in any process."""
    return int.from_bytes(blake2b(session, digest_size=8).digest(), "big") % partitions
