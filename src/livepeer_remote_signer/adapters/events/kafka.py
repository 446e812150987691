"""Events to a Kafka topic: acknowledged by all in-sync replicas, written once for each attempt that succeeds.

The record's key is the event's id, as consumers expect. Kafka would spread a session over all partitions by such a key, and
order only holds within a partition; so the partition is chosen here, by a hash of the session. While the number of
partitions stays the same, a session's events are in order: a partition's records go out batch after batch, each when the one
before it is acknowledged, and after any failure a fresh producer sends all of them again from their start.

Brokers that know no idempotent producers, or do not allow them, get an ordinary one: nothing is lost by it, but more
events are there twice after a failure.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka import errors as kafka_errors
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import KafkaError
from aiokafka.producer.message_accumulator import BatchBuilder

from livepeer_remote_signer.adapters.events.sink import SinkError, SinkRefused
from livepeer_remote_signer.core.rules.events import event_id, event_session, event_time_ms

REQUEST_TIMEOUT_MS = 10_000
DELIVERY_SECONDS = 20.0
"""An idempotent producer tries for ever by itself; after this long the batch is begun anew, and counted as failed."""

START_SECONDS = 8.0
STOP_SECONDS = 2.0
LOGIN_SECONDS = 2.0
"""For asking one broker why nobody could be connected to."""

BATCH_BYTES = 256 * 1024
"""Of one partition's batch of records, which a broker takes or refuses as a whole. Brokers take four times as much unless told."""

METADATA_MAX_AGE_MS = 60_000

_TOO_LARGE = (kafka_errors.MessageSizeTooLargeError, kafka_errors.RecordListTooLargeError)
_REFUSES_RECORD = (*_TOO_LARGE, kafka_errors.InvalidTimestampError, kafka_errors.PolicyViolationError, kafka_errors.UnknownError)
"""The broker's word on what was sent; `UnknownError` are also words that the client does not know, such as INVALID_RECORD."""

_NO_IDEMPOTENCE = (
    kafka_errors.IncompatibleBrokerVersion,
    kafka_errors.UnsupportedVersionError,
    kafka_errors.ClusterAuthorizationFailedError,
    kafka_errors.TransactionalIdAuthorizationFailed,
    kafka_errors.UnknownError,
)

_REFUSED_LOGIN = (kafka_errors.AuthenticationFailedError, kafka_errors.SaslAuthenticationFailed)
_LOGIN = (*_REFUSED_LOGIN, kafka_errors.UnsupportedSaslMechanismError, kafka_errors.IllegalSaslStateError)

_WORDS: Sequence[tuple[type[Exception], str]] = (
    (kafka_errors.KafkaConnectionError, "no broker could be connected to; the line of aiokafka before this one says why"),
    (kafka_errors.TopicAuthorizationFailedError, "this user may not write to the topic"),
    (kafka_errors.ClusterAuthorizationFailedError, "this user may not use the cluster"),
    (kafka_errors.UnknownTopicOrPartitionError, "there is no such topic, or no partition of it has a leader"),
    (kafka_errors.InvalidTopicError, "the topic's name is not valid"),
    (kafka_errors.MessageSizeTooLargeError, "the record is larger than the topic allows (max.message.bytes)"),
    (kafka_errors.RecordListTooLargeError, "the records are larger than the broker allows"),
    (kafka_errors.NotEnoughReplicasError, "too few replicas are in sync"),
    (kafka_errors.UnsupportedSaslMechanismError, "the brokers do not take SASL PLAIN"),
    (kafka_errors.IllegalSaslStateError, "the brokers want another kind of login"),
    *((kind, "the brokers refuse the login") for kind in _REFUSED_LOGIN),
    (TimeoutError, "the brokers did not answer in time"),
)

_log = logging.getLogger(__name__)


class KafkaSink:
    """One topic of one cluster. `username` and `password` mean SASL PLAIN, as go-livepeer's flags do."""

    kind = "kafka"

    def __init__(
        self,
        brokers: Sequence[str],
        topic: str,
        *,
        username: str | None = None,
        password: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.name = f"kafka:{topic}"
        self._brokers = list(brokers)
        self._topic = topic
        self._security: dict[str, Any] = {}
        if tls is not None:
            self._security["ssl_context"] = tls
        if username is not None:
            self._security.update(sasl_mechanism="PLAIN", sasl_plain_username=username, sasl_plain_password=password)
        self._security["security_protocol"] = f"{'SASL_' if username is not None else ''}{'SSL' if tls is not None else 'PLAINTEXT'}"
        self._is_idempotent = True
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
            said = f"Kafka topic {self._topic} did not take a batch: {await self._why(error)}"
            if isinstance(error, _REFUSES_RECORD):
                raise SinkRefused(said, is_certain=isinstance(error, _TOO_LARGE) and len(events) == 1) from None
            raise SinkError(said) from None

    async def _send(self, events: Sequence[bytes]) -> None:
        """To each partition one batch of records at a time: what follows a batch is not written before that batch is."""
        producer = await self._started()
        partitions = sorted(await producer.partitions_for(self._topic))
        waiting: dict[int, deque[bytes]] = {}
        for event in events:
            partition = partitions[partition_of(event_session(event), len(partitions))]
            waiting.setdefault(partition, deque()).append(event)
        while waiting:
            deliveries = []
            for partition, queue in waiting.items():
                batch = producer.create_batch()
                while queue and _has_taken(batch, queue[0]):
                    queue.popleft()
                deliveries.append(await producer.send_batch(batch, self._topic, partition=partition))
            failures = [
                outcome for outcome in await asyncio.gather(*deliveries, return_exceptions=True) if isinstance(outcome, BaseException)
            ]
            if failures:
                raise next((failure for failure in failures if isinstance(failure, _REFUSES_RECORD)), failures[0])
            waiting = {partition: queue for partition, queue in waiting.items() if queue}

    async def look(self) -> int:
        """Connects, and sends nothing: the partitions of the topic. Raises SinkError."""
        try:
            async with asyncio.timeout(DELIVERY_SECONDS):
                return len(await (await self._started()).partitions_for(self._topic))
        except (KafkaError, OSError, TimeoutError) as error:
            raise SinkError(f"Kafka topic {self._topic} cannot be written: {await self._why(error)}") from None

    async def _why(self, error: Exception) -> str:
        """In words. That no broker could be connected to is also what the client makes of a login that is refused: so one is asked."""
        if isinstance(error, kafka_errors.KafkaConnectionError) and "sasl_mechanism" in self._security:
            for host, port, _ in collect_hosts(self._brokers):
                try:
                    async with asyncio.timeout(LOGIN_SECONDS):
                        connection = await create_conn(host, port, request_timeout_ms=int(LOGIN_SECONDS * 1000), **self._security)
                except _LOGIN as refused:
                    return _reason(refused)
                except (KafkaError, OSError, TimeoutError):
                    continue
                connection.close()
        return _reason(error)

    async def aclose(self) -> None:
        """Ends the connections; nothing is buffered between two calls of `publish`."""
        await self._discard()

    async def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            try:
                self._producer = await self._start(self._is_idempotent)
            except (*_NO_IDEMPOTENCE, _StartTimeout) as error:
                if not self._is_idempotent:
                    raise
                self._producer = await self._start(False)
                self._is_idempotent = False
                _log.warning(
                    "Kafka topic %s: the brokers take no idempotent producer (%s), so an ordinary one sends: after a failure more events "
                    "are there twice; allow IdempotentWrite on the cluster, or let consumers tell events by their ids",
                    self._topic,
                    type(error).__name__,
                )
        return self._producer

    async def _start(self, is_idempotent: bool) -> AIOKafkaProducer:
        """A connected producer. Raises _StartTimeout where brokers are there but give no producer id."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self._brokers,
            client_id="livepeer-remote-signer",
            acks="all",
            enable_idempotence=is_idempotent,
            max_batch_size=BATCH_BYTES,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            metadata_max_age_ms=METADATA_MAX_AGE_MS,
            **self._security,
        )
        try:
            async with asyncio.timeout(START_SECONDS):
                await producer.start()
        except TimeoutError:
            is_reached = bool(producer.client.cluster.brokers())
            await producer.stop()
            raise _StartTimeout if is_reached else kafka_errors.KafkaConnectionError from None
        except BaseException:
            await producer.stop()
            raise
        return producer

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


class _StartTimeout(TimeoutError):
    """Brokers were found, and none of them made the producer ready."""


def _has_taken(batch: BatchBuilder, event: bytes) -> bool:
    """Adds an event to a batch, unless it is full; the first event always has room."""
    return batch.append(timestamp=event_time_ms(event), key=event_id(event).encode(), value=event) is not None


def _reason(error: Exception) -> str:
    """What is wrong, in words that hold no address."""
    return next((words for kind, words in _WORDS if isinstance(error, kind)), type(error).__name__)
