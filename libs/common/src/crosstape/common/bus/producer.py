"""Producer: records onto the bus, with back-pressure, and an alarm when the broker lost what it had.

What is sent or delivered singly while a sampled span is active carries its trace in the record's headers; nothing else
has headers.

A record is held until the broker acknowledges it, and no longer: what the broker loses afterwards (a log that started
again) is reported through `on_loss`, and whoever feeds the bus repairs from the source.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, ProducerClosed
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.structs import RecordMetadata
from msgspec import Struct
from opentelemetry.trace import Span, SpanKind

from crosstape.common import tracing
from crosstape.common.bus.connection import BusSettings, is_passing, wait_for_broker
from crosstape.common.bus.topics import MAX_RECORD_BYTES, Topic
from crosstape.common.waiting import pause

log = structlog.get_logger(__name__)

Record = TypeVar("Record")

MAX_BATCH_BYTES = 256 * 1024
REQUEST_TIMEOUT_MS = 10_000
METADATA_SECONDS = 5.0
RETRY_SECONDS = 0.2
WATCH_SECONDS = 1.0


class _Sent(Struct, frozen=True, eq=False):
    """A record on its way; `taken` is done once the broker has it."""

    topic: Topic[Any]
    key: bytes
    record: Any
    taken: asyncio.Future[None]


class Producer:
    """Use as an async context manager.

    `on_loss(reason)` is called from the event loop when a log started again, and once more when the broker was
    connected anew: what was acknowledged until then may be lost. A broker that takes us no more (BrokerRefused) ends
    it: whatever is waited for then raises that.
    """

    def __init__(
        self, settings: BusSettings, *, on_loss: Callable[[str], None] | None = None, max_in_flight: int = 20_000
    ):
        self._settings = settings
        self._on_loss = on_loss or (lambda reason: None)
        self._slots = asyncio.Semaphore(max_in_flight)
        self._in_flight: set[asyncio.Future[RecordMetadata]] = set()
        self._newest: dict[tuple[str, int], int] = {}
        self._producer: AIOKafkaProducer | None = None
        self._rebuilding = asyncio.Lock()
        self._restarts = 0
        self._must_reconnect = asyncio.Event()
        self._untaken: set[_Sent] = set()
        self._refused: list[_Sent] = []
        self._failure: Exception | None = None
        self.acknowledged = 0

    async def __aenter__(self) -> Producer:
        await wait_for_broker(self._settings)
        self._producer = await self._connect()
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._producer is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})
            producer, self._producer = self._producer, None
            await producer.stop()
            self._raise_failure()

    async def _watch(self) -> None:
        try:
            await self._keep_connected()
        except Exception as failure:  # noqa: BLE001 - raised by what is waited for
            self._give_up(failure)

    def _give_up(self, failure: Exception) -> None:
        self._failure = failure
        for sent in tuple(self._untaken):
            self._release(sent)

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def _keep_connected(self) -> None:
        """See to the topics while nothing is acknowledged, and connect anew when a log started again or a send failed.

        A broker that comes back empty has none, and aiokafka waits for their leaders until the records expire. Whoever
        sends may have connected anew before us: what was refused and what may be lost is seen to at every turn.
        """
        acknowledged, restarts = 0, 0
        while True:
            await pause(self._must_reconnect, WATCH_SECONDS)
            if self._must_reconnect.is_set():
                self._must_reconnect.clear()
                await self._rebuild(self._producer)
            elif self._in_flight and self.acknowledged == acknowledged:
                await wait_for_broker(self._settings)
            if restarts != self._restarts and not self._must_reconnect.is_set():
                restarts = self._restarts
                self._on_loss("what was sent before the broker was connected anew")
            await self._send_refused()
            acknowledged = self.acknowledged

    async def _send_refused(self) -> None:
        refused, self._refused = self._refused, []
        if refused:
            log.warning("sending_again", records=len(refused), topics=sorted({r.topic.name for r in refused}))
        for sent in refused:
            await self._queue(sent)

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

    async def send(self, topic: Topic[Record], key: bytes, record: Record) -> None:
        """Queue `record`; waits while `max_in_flight` records are unacknowledged.

        What the broker did not take is sent again until it does, perhaps behind what was sent later.
        Raises MessageSizeTooLargeError for a record over MAX_RECORD_BYTES: whoever made it is wrong.
        """
        await self._slots.acquire()
        sent = _Sent(topic, key, record, asyncio.get_running_loop().create_future())
        self._untaken.add(sent)
        try:
            await self._queue(sent)
        except BaseException:
            self._release(sent)
            raise

    async def deliver(self, topic: Topic[Record], key: bytes, record: Record) -> None:
        """Return once the broker has `record`; tries again for as long as it takes.

        Raises MessageSizeTooLargeError for a record that it will never take.
        """

        async def send(producer: AIOKafkaProducer) -> None:
            await (await self._append(topic, key, record))

        await self._until_taken(topic.name, send)

    async def deliver_all(self, topic: Topic[Record], key: bytes, records: Sequence[Record]) -> None:
        """Return once the broker has all `records`, in their order; tries again for as long as it takes, and then
        repeats what it has already. Cheaper than one by one, and only for what nobody else sends under this key.

        Raises MessageSizeTooLargeError for a record that it will never take.
        """
        values = [topic.codec.encode(record) for record in records]
        if (longest := max(map(len, values), default=0)) > MAX_RECORD_BYTES:
            raise MessageSizeTooLargeError(f"a record of {longest} bytes")
        await self._until_taken(topic.name, lambda producer: self._send_batches(producer, topic.name, key, values))

    async def _until_taken(self, topic: str, send: Callable[[AIOKafkaProducer], Awaitable[None]]) -> None:
        """Repeat `send` until the broker has acknowledged it in a log that did not start again meanwhile."""
        while True:
            producer, restarts = self._producer, self._restarts
            if producer is None:
                raise RuntimeError("the producer is not open")
            try:
                await send(producer)
            except MessageSizeTooLargeError:
                raise
            except (KafkaError, OSError) as error:
                self._raise_failure()
                log.warning("delivery_failed", topic=topic, error=type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                if self._restarts == restarts:
                    return
            await self._rebuild(producer)

    async def _send_batches(self, producer: AIOKafkaProducer, topic: str, key: bytes, values: list[bytes]) -> None:
        partitions = sorted(await producer.partitions_for(topic))
        partition = DefaultPartitioner()(key, partitions, partitions)
        place = 0
        while place < len(values):
            batch = producer.create_batch()  # takes any first record, so that one over the limit must be seen before
            while place < len(values) and batch.append(key=key, value=values[place], timestamp=None) is not None:
                place += 1
            batch.close()
            future: asyncio.Future[RecordMetadata] = await producer.send_batch(batch, topic, partition=partition)
            self._in_flight.add(future)
            future.add_done_callback(self._in_flight.discard)
            future.add_done_callback(self._acknowledged)
            await future

    async def flush(self) -> None:
        """Return once the broker has every record sent so far."""
        if self._untaken:
            await asyncio.wait({sent.taken for sent in self._untaken})
        self._raise_failure()

    async def _queue(self, sent: _Sent) -> None:
        while True:
            try:
                future = await self._append(sent.topic, sent.key, sent.record)
            except MessageSizeTooLargeError:
                raise
            except (KafkaError, OSError) as error:
                self._raise_failure()
                log.warning("send_failed", topic=sent.topic.name, error=type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                future.add_done_callback(functools.partial(self._settled, sent))
                return

    def _release(self, sent: _Sent) -> None:
        if sent in self._untaken:
            self._untaken.remove(sent)
            self._slots.release()
            sent.taken.set_result(None)

    async def _append(self, topic: Topic[Record], key: bytes, record: Record) -> asyncio.Future[RecordMetadata]:
        value = topic.codec.encode(record)
        span = _span(topic.name)
        headers = [(tracing.HEADER, tracing.written(span.get_span_context()).encode())] if span else None
        while True:
            if self._rebuilding.locked():
                async with self._rebuilding:
                    pass
            self._raise_failure()
            producer = self._producer
            if producer is None:
                raise RuntimeError("the producer is not open")
            try:
                if producer.client.cluster.partitions_for_topic(topic.name) is None:
                    # Of a producer that is stopped meanwhile they never come, and it would wait for them forever.
                    async with asyncio.timeout(METADATA_SECONDS):
                        await producer.partitions_for(topic.name)
                future: asyncio.Future[RecordMetadata] = await producer.send(
                    topic.name, value=value, key=key, headers=headers
                )
            except ProducerClosed:  # whoever stopped it may have been cancelled before there was another
                await self._rebuild(producer)
            except MessageSizeTooLargeError:
                raise
            except (KafkaError, OSError):
                await self._rebuild(producer)
                raise
            else:
                self._in_flight.add(future)
                future.add_done_callback(self._in_flight.discard)
                future.add_done_callback(self._acknowledged)
                if span:
                    future.add_done_callback(functools.partial(_end, span))
                return future

    def _settled(self, sent: _Sent, future: asyncio.Future[RecordMetadata]) -> None:
        if not future.cancelled() and future.exception() is None:
            self._release(sent)
            return
        self._refused.append(sent)
        self._must_reconnect.set()  # of an idempotent producer the broker takes nothing more after a gap

    def _acknowledged(self, future: asyncio.Future[RecordMetadata]) -> None:
        """A partition's acknowledgements come in the order of its offsets, unless its log started again."""
        if future.cancelled() or future.exception() is not None:
            return
        metadata = future.result()
        self.acknowledged += 1
        place = (metadata.topic, metadata.partition)
        if metadata.offset <= self._newest.get(place, -1):
            self._newest.clear()
            self._restarts += 1
            self._must_reconnect.set()
            self._on_loss(f"the log of {metadata.topic} started again")
        self._newest[place] = metadata.offset

    async def _rebuild(self, broken: AIOKafkaProducer | None) -> None:
        """Wait for the broker and connect anew: an idempotent producer cannot go on after some errors.

        The old one stops first, so that nothing it still held can land behind what the new one sends.
        """
        async with self._rebuilding:
            if self._producer is not broken or broken is None:
                return
            await broken.stop()
            while self._producer is broken:
                try:
                    await wait_for_broker(self._settings)
                    fresh = await self._connect()
                except Exception as error:
                    if not (isinstance(error, KafkaError | OSError) and is_passing(error)):
                        self._give_up(error)
                        raise
                    await asyncio.sleep(RETRY_SECONDS)
                    continue
                if self._producer is broken:
                    self._producer = fresh
                    self._must_reconnect.clear()
                else:
                    await fresh.stop()


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
