"""The client with which records leave, connected anew whenever it cannot go on, and what the broker says to it.

What is sent singly while a sampled span is active carries its trace in the record's headers; nothing else has headers.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    InvalidTimestampError,
    InvalidTopicError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    ProducerClosed,
    RecordListTooLargeError,
    RecordTooLargeError,
    TopicAuthorizationFailedError,
)
from aiokafka.structs import RecordMetadata
from opentelemetry.trace import Span, SpanKind

from crosstape.common import tracing
from crosstape.common.bus.connection import BusSettings, is_passing, wait_for_broker
from crosstape.common.bus.refusal import BrokerRefused
from crosstape.common.bus.topics import MAX_RECORD_BYTES, Topic

log = structlog.get_logger(__name__)

Record = TypeVar("Record")

MAX_BATCH_BYTES = 256 * 1024
REQUEST_TIMEOUT_MS = 10_000
METADATA_SECONDS = 5.0
RETRY_SECONDS = 0.2


class SendingClient:
    """Open it, and close it when done.

    `must_reconnect` is set once a log started again (which `on_loss(reason)` tells, and `restarts` counts); whoever
    sees it calls `reconnect`, as a failing `append` does by itself. What waiting cannot mend is told to `on_failure`,
    and raised from then on. `acknowledged` counts what the broker has taken.
    """

    def __init__(self, settings: BusSettings, on_loss: Callable[[str], None], on_failure: Callable[[], None]):
        self._settings = settings
        self._on_loss = on_loss
        self._on_failure = on_failure
        self._in_flight: set[asyncio.Future[RecordMetadata]] = set()
        self._newest: dict[tuple[str, int], int] = {}
        self._producer: AIOKafkaProducer | None = None
        self._reconnecting = asyncio.Lock()
        self._failure: Exception | None = None
        self.must_reconnect = asyncio.Event()
        self.restarts = 0
        self.acknowledged = 0

    async def open(self) -> None:
        """Wait for the broker and connect. Raises BrokerRefused when waiting cannot help."""
        self._given_up: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        await wait_for_broker(self._settings)
        self._producer = await self._connect()

    async def close(self) -> None:
        """Send what is under way, unless `give_up` was told of a failure: raise that."""
        if self._producer is not None:
            producer, self._producer = self._producer, None
            if self._failure is None:
                await producer.stop()
            else:
                await self._end(producer, patience=0.0)
            self.raise_failure()

    @property
    def is_waiting(self) -> bool:
        """Whether anything is not acknowledged."""
        return bool(self._in_flight)

    @property
    def producer(self) -> AIOKafkaProducer:
        """aiokafka's, until the next time of connecting anew. Raises RuntimeError when it is not open."""
        if self._producer is None:
            raise RuntimeError("the producer is not open")
        return self._producer

    def give_up(self, failure: Exception) -> None:
        """Raise `failure` to whoever sends from now on, or waits."""
        self._failure = failure
        if not self._given_up.done():
            self._given_up.set_result(None)
        self._on_failure()

    def raise_failure(self) -> None:
        """Raise what `give_up` was told."""
        if self._failure is not None:
            raise self._failure

    async def append(self, topic: Topic[Record], key: bytes, record: Record) -> asyncio.Future[RecordMetadata]:
        """Queue `record` once there is a connection; the result is done when the broker has acknowledged it.

        Raises KafkaError or OSError when it must be tried again, RecordTooLargeError for one over MAX_RECORD_BYTES.
        """
        value = topic.codec.encode(record)
        span = _span(topic.name)
        headers = [(tracing.HEADER, tracing.written(span.get_span_context()).encode())] if span else None
        while True:
            if self._reconnecting.locked():
                async with self._reconnecting:
                    pass
            self.raise_failure()
            producer = self.producer
            try:
                if producer.client.cluster.partitions_for_topic(topic.name) is None:
                    await partitions_of(producer, topic.name)
                future: asyncio.Future[RecordMetadata] = await producer.send(
                    topic.name, value=value, key=key, headers=headers
                )
            except ProducerClosed:  # whoever stopped it may have been cancelled before there was another
                await self.reconnect(producer)
            except MessageSizeTooLargeError as error:  # said by aiokafka: the broker has not seen it
                raise RecordTooLargeError(f"a record of {len(value)} bytes") from error
            except (KafkaError, OSError):
                await self.reconnect(producer)
                raise
            else:
                self.watch(future)
                if span:
                    future.add_done_callback(functools.partial(_end, span))
                return future

    async def until_taken(self, topic: str, send: Callable[[AIOKafkaProducer], Awaitable[None]]) -> None:
        """Repeat `send` until the broker has acknowledged it in a log that did not start again meanwhile.

        Raises BrokerRefused when the topic will never take it, RecordTooLargeError when `send` does.
        """
        while True:
            producer, restarts = self.producer, self.restarts
            try:
                await send(producer)
            except RecordTooLargeError:
                raise
            except (KafkaError, OSError) as error:
                if (refused := never_taken(topic, error)) is not None:
                    self.give_up(refused)
                self.raise_failure()
                log.warning("delivery_failed", topic=topic, error=type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                if self.restarts == restarts:
                    return
            await self.reconnect(producer)

    async def taken(self, future: asyncio.Future[RecordMetadata]) -> None:
        """Return once the broker has acknowledged what was queued. Raises why it did not, or what `give_up` was told
        meanwhile."""
        await asyncio.wait({future, self._given_up}, return_when=asyncio.FIRST_COMPLETED)
        if not future.done():
            self.raise_failure()
        future.result()

    def watch(self, future: asyncio.Future[RecordMetadata]) -> None:
        """Count what is under way until it is acknowledged, and see by its place whether the log started again."""
        self._in_flight.add(future)
        future.add_done_callback(self._in_flight.discard)
        future.add_done_callback(self._acknowledged)

    async def reconnect(self, broken: AIOKafkaProducer | None = None) -> None:
        """Wait for the broker and connect anew, unless `broken` (the present one) was replaced meanwhile: an
        idempotent producer cannot go on after some errors.

        The old one ends before the new one connects, so that nothing it still held can land behind what that sends.
        """
        broken = broken or self._producer
        async with self._reconnecting:
            if self._producer is not broken or broken is None:
                return
            while self._producer is broken:
                try:
                    await wait_for_broker(self._settings)
                    await self._end(broken, patience=REQUEST_TIMEOUT_MS / 1000)
                    fresh = await self._connect()
                except Exception as error:
                    if not (isinstance(error, KafkaError | OSError) and is_passing(error)):
                        self.give_up(error)
                        raise
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                if self._producer is broken:
                    self._producer = fresh
                    self.must_reconnect.clear()
                else:
                    await fresh.stop()

    async def _end(self, producer: AIOKafkaProducer, patience: float) -> None:
        """End `producer`, and fail what the broker has not taken after `patience` seconds: aiokafka's own way to stop
        one waits for as long as a broker is away or refuses us."""
        if not producer._closed:
            try:
                async with asyncio.timeout(patience):
                    await producer._message_accumulator.close()  # it takes no more, and waits for what it has
            except TimeoutError:
                log.warning("records_not_taken", records=len(self._in_flight))
            producer._closed = True
        sender = producer._sender.sender_task
        sender.cancel()
        await asyncio.wait({sender})
        await producer.client.close()
        for future in tuple(self._in_flight):
            if not future.done():
                future.set_exception(KafkaTimeoutError())

    async def _connect(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            **self._settings.client_options(),
            acks="all",
            enable_idempotence=True,
            linger_ms=0,  # what comes while a request is under way is the next batch
            max_batch_size=MAX_BATCH_BYTES,
            max_request_size=MAX_RECORD_BYTES,
            compression_type="zstd",  # aiokafka's lz4 is level 9: seven times slower, and larger
            request_timeout_ms=REQUEST_TIMEOUT_MS,
            metadata_max_age_ms=30_000,
        )
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        return producer

    def _acknowledged(self, future: asyncio.Future[RecordMetadata]) -> None:
        """A partition's acknowledgements come in the order of its offsets, unless its log started again."""
        if future.cancelled() or future.exception() is not None:
            return
        metadata = future.result()
        self.acknowledged += 1
        place = (metadata.topic, metadata.partition)
        if metadata.offset <= self._newest.get(place, -1):
            self._newest.clear()
            self.restarts += 1
            self.must_reconnect.set()
            self._on_loss(f"the log of {metadata.topic} started again")
        self._newest[place] = metadata.offset


async def partitions_of(producer: AIOKafkaProducer, topic: str) -> list[int]:
    """The numbers of the partitions of `topic`. Raises TimeoutError: of a producer that is stopped meanwhile they never
    come, and it would wait for them for ever."""
    async with asyncio.timeout(METADATA_SECONDS):
        return sorted(await producer.partitions_for(topic))


def never_taken(topic: str, error: BaseException) -> BrokerRefused | None:
    """What a broker's refusal of records means that is final as long as nobody changes a setting, for an operator;
    None for any other, after which they are sent again.

    A broker judges a batch as a whole: a topic whose limit is small refuses records of any size once it is busy.
    """
    match error:
        case TopicAuthorizationFailedError():
            return BrokerRefused(f"the Kafka broker does not let us write to the topic {topic}: allow it")
        case MessageSizeTooLargeError() | RecordListTooLargeError():
            return BrokerRefused(
                f"our records are too large for the topic {topic}: set its max.message.bytes to {MAX_RECORD_BYTES}"
            )
        case InvalidTimestampError():
            return BrokerRefused(
                f"the topic {topic} does not take our time: check the clock here, and its message.timestamp settings"
            )
        case InvalidTopicError() | PolicyViolationError():
            reason = type(error).__name__
            return BrokerRefused(
                f"the Kafka broker takes no records of the topic {topic} ({reason}): check its settings"
            )
    return None


def _span(topic: str) -> Span | None:
    """From now to the acknowledgement, where what is being done is sampled. A send that fails at once has none."""
    if (parent := tracing.active()) is None:
        return None
    attributes = {
        "messaging.system": "kafka",
        "messaging.destination.name": topic,
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
    }
    return tracing.start(f"send {topic}", kind=SpanKind.PRODUCER, parent=parent, attributes=attributes)


def _end(span: Span, future: asyncio.Future[RecordMetadata]) -> None:
    if future.cancelled():
        tracing.failed(span, "CancelledError")
    elif (error := future.exception()) is not None:
        tracing.failed(span, type(error).__name__)
    else:
        span.set_attribute("messaging.destination.partition.id", str(future.result().partition))
        span.set_attribute("messaging.kafka.offset", future.result().offset)
    span.end()
