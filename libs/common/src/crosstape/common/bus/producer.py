"""Producer: records onto the bus, with back-pressure, and an alarm when the broker lost what it had.

A record is held until the broker acknowledges it, and no longer: what the broker loses afterwards (a log that started
again) is reported through `on_loss`, and whoever feeds the bus repairs from the source.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, RecordTooLargeError
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.structs import RecordMetadata
from msgspec import Struct

from crosstape.common.bus.connection import BusSettings, wait_for_broker
from crosstape.common.bus.sending import RETRY_SECONDS, SendingClient, never_taken, partitions_of
from crosstape.common.bus.topics import MAX_RECORD_BYTES, Topic
from crosstape.common.bus.watch import WATCH_SECONDS
from crosstape.common.waiting import pause

log = structlog.get_logger(__name__)

Record = TypeVar("Record")


class _Sent(Struct, frozen=True, eq=False):
    """A record on its way; `taken` is done once the broker has it."""

    topic: Topic[Any]
    key: bytes
    record: Any
    taken: asyncio.Future[None]


class Producer:
    """Use as an async context manager.

    `on_loss(reason)` is called from the event loop when a log started again, and once more when the broker was
    connected anew: what was acknowledged until then may be lost. A broker that takes us no more, or a topic that will
    never take our records (BrokerRefused), ends it: whatever is waited for then raises that.
    """

    def __init__(
        self, settings: BusSettings, *, on_loss: Callable[[str], None] | None = None, max_in_flight: int = 20_000
    ):
        self._settings = settings
        self._on_loss = on_loss or (lambda reason: None)
        self._client = SendingClient(settings, self._on_loss, self._release_all)
        self._slots = asyncio.Semaphore(max_in_flight)
        self._untaken: set[_Sent] = set()
        self._refused: list[_Sent] = []

    async def __aenter__(self) -> Producer:
        await self._client.open()
        self._watching = asyncio.create_task(self._watch())
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._watching.cancel()
        await asyncio.wait({self._watching})
        await self._client.close()

    @property
    def acknowledged(self) -> int:
        """How many records the broker has taken."""
        return self._client.acknowledged

    async def _watch(self) -> None:
        try:
            await self._keep_connected()
        except Exception as failure:  # noqa: BLE001 - raised by what is waited for
            self._client.give_up(failure)

    async def _keep_connected(self) -> None:
        """See to the topics while nothing is acknowledged, and connect anew when a log started again or a send failed.

        A broker that comes back empty has none, and aiokafka waits for their leaders until the records expire. Whoever
        sends may have connected anew before us: what was refused and what may be lost is seen to at every turn.
        """
        client = self._client
        acknowledged, restarts = 0, 0
        while True:
            await pause(client.must_reconnect, WATCH_SECONDS)
            if client.must_reconnect.is_set():
                client.must_reconnect.clear()
                await client.reconnect()
            elif client.is_waiting and client.acknowledged == acknowledged:
                await wait_for_broker(self._settings)
            if restarts != client.restarts and not client.must_reconnect.is_set():
                restarts = client.restarts
                self._on_loss("what was sent before the broker was connected anew")
            await self._send_refused()
            acknowledged = client.acknowledged

    async def _send_refused(self) -> None:
        if self._refused:  # perhaps by every client that is connected anew
            await asyncio.sleep(RETRY_SECONDS)
        refused, self._refused = self._refused, []
        if refused:
            log.warning("sending_again", records=len(refused), topics=sorted({r.topic.name for r in refused}))
        for sent in refused:
            await self._queue(sent)

    async def send(self, topic: Topic[Record], key: bytes, record: Record) -> None:
        """Queue `record`; waits while `max_in_flight` records are unacknowledged.

        What the broker did not take is sent again until it does, perhaps behind what was sent later. Raises
        RecordTooLargeError for a record over MAX_RECORD_BYTES: whoever made it is wrong.
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

        Raises RecordTooLargeError for a record over MAX_RECORD_BYTES, BrokerRefused.
        """

        async def send(producer: AIOKafkaProducer) -> None:
            await self._client.taken(await self._client.append(topic, key, record))

        await self._client.until_taken(topic.name, send)

    async def deliver_all(self, topic: Topic[Record], key: bytes, records: Sequence[Record]) -> None:
        """Return once the broker has all `records`, in their order; tries again for as long as it takes, and then
        repeats what it has already. Cheaper than one by one, and only for what nobody else sends under this key.

        Raises RecordTooLargeError for a record over MAX_RECORD_BYTES, BrokerRefused.
        """
        values = [topic.codec.encode(record) for record in records]
        if (longest := max(map(len, values), default=0)) > MAX_RECORD_BYTES:
            raise RecordTooLargeError(f"a record of {longest} bytes")
        await self._client.until_taken(
            topic.name, lambda producer: self._send_batches(producer, topic.name, key, values)
        )

    async def _send_batches(self, producer: AIOKafkaProducer, topic: str, key: bytes, values: list[bytes]) -> None:
        partitions = await partitions_of(producer, topic)
        partition = DefaultPartitioner()(key, partitions, partitions)
        place = 0
        while place < len(values):
            batch = producer.create_batch()  # takes any first record, so that one over the limit must be seen before
            while place < len(values) and batch.append(key=key, value=values[place], timestamp=None) is not None:
                place += 1
            batch.close()
            future: asyncio.Future[RecordMetadata] = await producer.send_batch(batch, topic, partition=partition)
            self._client.watch(future)
            await self._client.taken(future)

    async def flush(self) -> None:
        """Return once the broker has every record sent so far."""
        if self._untaken:
            await asyncio.wait({sent.taken for sent in self._untaken})
        self._client.raise_failure()

    async def _queue(self, sent: _Sent) -> None:
        while True:
            try:
                future = await self._client.append(sent.topic, sent.key, sent.record)
            except RecordTooLargeError:
                raise
            except (KafkaError, OSError) as error:
                self._client.raise_failure()
                log.warning("send_failed", topic=sent.topic.name, error=type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                future.add_done_callback(functools.partial(self._settled, sent))
                return

    def _settled(self, sent: _Sent, future: asyncio.Future[RecordMetadata]) -> None:
        error = asyncio.CancelledError() if future.cancelled() else future.exception()
        if error is None:
            self._release(sent)
            return
        if (refused := never_taken(sent.topic.name, error)) is not None:
            self._client.give_up(refused)
        else:
            self._refused.append(sent)
        self._client.must_reconnect.set()  # of an idempotent producer the broker takes nothing more after a gap

    def _release(self, sent: _Sent) -> None:
        if sent in self._untaken:
            self._untaken.remove(sent)
            self._slots.release()
            sent.taken.set_result(None)

    def _release_all(self) -> None:
        for sent in tuple(self._untaken):
            self._release(sent)
