"""Follower: every record of some topics from a while ago on, with its place in the log, for readers that keep state.

It belongs to no group and commits nothing: each replica of a service follows everything. Records may come again after
a broker came back empty; readers tolerate repeats as always. A broker that takes us no more (BrokerRefused) ends it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner
from aiokafka.structs import TopicPartition
from msgspec import Struct
from opentelemetry.trace import SpanContext

from crosstape.common import tracing
from crosstape.common.bus.codec import UndecodableRecord
from crosstape.common.bus.connection import BusSettings, ensure_topics, is_passing, stop_consumer, wait_for_broker
from crosstape.common.bus.topics import EPOCH, Topic
from crosstape.common.bus.watch import ANSWER_SECONDS, Watch

log = structlog.get_logger(__name__)

FETCH_SECONDS = 0.25
PASSING_SECONDS = 0.01
FETCH_WAIT_MS = 10
"""aiokafka asks a broker one thing at a time, and not for partitions whose records were not taken yet: so long a record
may have to wait for the answer about others."""
MAX_RECORDS = 1_000
MAX_FETCH_BYTES = 16 * 1024 * 1024

_partition = DefaultPartitioner()

Place = tuple[str, int]
"""A topic's name and the number of one of its partitions."""


class Record(Struct, frozen=True, gc=False):
    """A decoded record and where it stands. `time_ms` is when (Unix) its writer gave it to the broker, by the writer's
    clock; `context` the span that sent it, where that is sampled."""

    topic: str
    partition: int
    offset: int
    time_ms: int
    value: Any
    context: SpanContext | None = None

    @property
    def place(self) -> Place:
        return (self.topic, self.partition)


class Arrivals(Struct, frozen=True):
    """Records in the order of their partitions. `epoch` names the log: offsets of two epochs have nothing in common.

    `undecodable` counts what was skipped (whoever stores puts such records aside). `is_caught_up` once everything that
    stood in the log when the follower was opened has been handed over. `gaps` names topics of which records before
    these were deleted before they were read.
    """

    epoch: str
    records: list[Record]
    undecodable: int
    is_caught_up: bool
    gaps: frozenset[str] = frozenset()


class Follower:
    """Use as an async context manager. `back` says how many seconds back each topic is read from.

    `starts` are the first offsets that are read of each partition: of anything before them nothing is known.
    """

    def __init__(self, settings: BusSettings, back: Mapping[Topic[Any], float]):
        self._settings = settings
        self._back = {topic.name: seconds for topic, seconds in back.items()}
        self._codecs = {topic.name: topic.codec for topic in back}
        self._ends: dict[TopicPartition, int] = {}
        self._next: dict[TopicPartition, int] = {}
        self._has_restarted = asyncio.Event()
        self.starts: dict[Place, int] = {}
        self.epoch = ""

    async def __aenter__(self) -> Follower:
        await wait_for_broker(self._settings)
        self._consumer = AIOKafkaConsumer(
            **self._settings.client_options(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=FETCH_WAIT_MS,
            fetch_max_bytes=MAX_FETCH_BYTES,
            max_partition_fetch_bytes=MAX_FETCH_BYTES // 4,
            metadata_max_age_ms=30_000,
        )
        try:
            await self._consumer.start()
            self.epoch = await self._epoch()
            await self._go_back()
            self._watch = Watch(self._settings, self._look)
        except BaseException:
            await stop_consumer(self._consumer)
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._watch.end()
        await stop_consumer(self._consumer)
        self._watch.raise_failure()

    def start_of(self, topic: Topic[Any], key: bytes) -> int:
        """The first offset that is read of the partition to which the records of `key` belong."""
        numbers = sorted(number for name, number in self.starts if name == topic.name)
        return self.starts[topic.name, _partition(key, numbers, numbers)]

    async def arrivals(self) -> AsyncGenerator[Arrivals, None]:
        """What comes, as soon as it comes, without end; empty when nothing did for a while."""
        while True:
            self._watch.raise_failure()
            while self._has_restarted.is_set():
                await self._begin_again()
            yield await self._fetch()

    async def has_passed(self, topic: Topic[Any]) -> None:
        """Return once everything that stands in `topic` now has been handed over."""
        ends, epoch = await self._ends_of(topic), self.epoch
        while any(self._next[place] < end for place, end in ends.items()):
            await asyncio.sleep(PASSING_SECONDS)
            if self.epoch != epoch:
                ends, epoch = await self._ends_of(topic), self.epoch

    async def _ends_of(self, topic: Topic[Any]) -> dict[TopicPartition, int]:
        places = [place for place in self._next if place.topic == topic.name]
        while True:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    ends: dict[TopicPartition, int] = await self._consumer.end_offsets(places)
                    return ends
            except (KafkaError, TimeoutError) as error:
                log.info("broker_away", error=type(error).__name__)
                await wait_for_broker(self._settings)

    async def _fetch(self) -> Arrivals:
        try:
            fetched = await self._consumer.getmany(timeout_ms=int(FETCH_SECONDS * 1000), max_records=MAX_RECORDS)
        except KafkaError as error:
            log.warning("fetch_failed", error=type(error).__name__, detail=str(error))
            await asyncio.sleep(FETCH_SECONDS)
            return Arrivals(self.epoch, [], 0, is_caught_up=not self._ends)
        records: list[Record] = []
        undecodable = 0
        gaps: set[str] = set()
        for place, messages in fetched.items():
            codec = self._codecs[place.topic]
            if messages[0].offset > self._next[place]:
                gaps.add(place.topic)
                self.starts[place.topic, place.partition] = messages[0].offset
            self._next[place] = messages[-1].offset + 1
            for message in messages:
                try:
                    value = codec.decode(message.value)
                except UndecodableRecord:
                    undecodable += 1
                    continue
                context = tracing.found(message.headers) if message.headers else None
                records.append(Record(place.topic, place.partition, message.offset, message.timestamp, value, context))
            if place in self._ends and messages[-1].offset + 1 >= self._ends[place]:
                del self._ends[place]
        return Arrivals(self.epoch, records, undecodable, is_caught_up=not self._ends, gaps=frozenset(gaps))

    async def _go_back(self) -> None:
        consumer = self._consumer
        consumer.subscribe(list(self._codecs))  # which finds out their partitions
        while not (places := sorted(consumer.assignment())):
            await asyncio.sleep(0.01)
        consumer.unsubscribe()
        consumer.assign(places)
        now = time.time()
        ends = await consumer.end_offsets(places)
        found = await consumer.offsets_for_times(
            {place: int((now - self._back[place.topic]) * 1000) for place in places}
        )
        for place in places:
            start = found[place].offset if found[place] is not None else ends[place]
            consumer.seek(place, start)
            self.starts[place.topic, place.partition] = self._next[place] = start
            if start < ends[place]:
                self._ends[place] = ends[place]

    async def _begin_again(self) -> None:
        """The log is another one, and all of it is new. To be done again when the broker was away meanwhile."""
        try:
            epoch = await self._epoch()
            await self._consumer.seek_to_beginning()
        except (KafkaError, OSError) as error:
            if not is_passing(error):
                raise
            log.info("broker_away", error=type(error).__name__)
            await asyncio.sleep(FETCH_SECONDS)
            await wait_for_broker(self._settings)
            return
        self._has_restarted.clear()
        self.epoch = epoch
        self.starts = dict.fromkeys(self.starts, 0)
        self._next = dict.fromkeys(self._next, 0)
        self._ends.clear()
        log.warning("log_restarted", epoch=self.epoch)

    async def _look(self) -> None:
        """Notice a log that began anew. An offset out of range would not tell when the new log has grown beyond it."""
        if await self._marked() != self.epoch:
            self._has_restarted.set()

    async def _epoch(self) -> str:
        """The log's epoch, marked by us if nobody did before. Raises KafkaError, OSError."""
        while not (marked := await self._marked()):
            await ensure_topics(self._settings)
            producer = AIOKafkaProducer(**self._settings.client_options(), acks="all")
            try:
                await producer.start()
                await producer.send_and_wait(EPOCH.name, EPOCH.codec.encode("begun"))
            finally:
                await producer.stop()
        return marked

    async def _marked(self) -> str:
        """When the first record of the topic `epoch` was written, in hex: it is never deleted, so it names the log."""
        place = TopicPartition(EPOCH.name, 0)
        found = await self._consumer.offsets_for_times({place: 0})
        return "" if found[place] is None else f"{found[place].timestamp:x}"
