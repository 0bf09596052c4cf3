"""Consumer: batches of decoded records by size or age, and a commit that comes last.

Offsets are committed only when the caller says that a batch took effect, so after a crash records come again: every
handler must tolerate repeats.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError, RebalanceInProgressError
from aiokafka.structs import TopicPartition
from msgspec import Struct
from opentelemetry.trace import SpanContext

from crosstape.common import tracing
from crosstape.common.bus.codec import UndecodableRecord
from crosstape.common.bus.connection import BusSettings, stop_consumer, wait_for_broker
from crosstape.common.bus.topics import EPOCH, DeadLetter, Topic
from crosstape.common.bus.watch import ANSWER_SECONDS, Watch

log = structlog.get_logger(__name__)

FETCH_WAIT_MS = 500
MAX_FETCH_BYTES = 16 * 1024 * 1024
MAX_DEAD_LETTER_BYTES = 256 * 1024


class Batch(Struct, frozen=True):
    """Records of each topic in arrival order, those that could not be decoded, and where the next ones start.

    `oldest_ms` is the broker's timestamp of the oldest record (0 when there is none): now minus it is the lag.
    `contexts` are the spans that sent what is sampled of them. One that `is_full` left records on the bus, perhaps.
    """

    records: dict[str, list[Any]]
    dead_letters: list[DeadLetter]
    positions: dict[TopicPartition, int]
    oldest_ms: int
    contexts: Sequence[SpanContext] = ()
    is_full: bool = False

    def __len__(self) -> int:
        return sum(map(len, self.records.values())) + len(self.dead_letters)


class Share(Struct, frozen=True):
    """Which of a topic's partitions are ours (`numbers`), of how many (`of`)."""

    of: int
    numbers: Sequence[int]


class _Assignments(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    def __init__(self, on_assigned: Callable[[], None]):
        self._on_assigned = on_assigned

    async def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:
        """What is in hand takes effect, its commit fails, the next owner reads it again: harmless."""

    async def on_partitions_assigned(self, assigned: list[TopicPartition]) -> None:
        self._on_assigned()


class Consumer:
    """Use as an async context manager. A broker that takes us no more (BrokerRefused) ends it.

    `on_assigned` is called whenever the group has shared the partitions out anew: what this process remembers of any of
    them may be out of date, as another may have owned it meanwhile.

    `member` names the only process that ever has this place in the group: started again after a crash it goes on at
    once, and not when the broker has missed the one before it for long enough.
    """

    def __init__(
        self,
        settings: BusSettings,
        topics: list[Topic[Any]],
        *,
        group: str,
        member: str | None = None,
        on_assigned: Callable[[], None] = lambda: None,
    ):
        self._settings = settings
        self._topics: Mapping[str, Topic[Any]] = {topic.name: topic for topic in topics}
        self._group = group
        self._member = member
        self._on_assigned = on_assigned
        self._consumer: AIOKafkaConsumer | None = None
        self._watch: Watch | None = None
        self._fetching: asyncio.Task[dict[TopicPartition, list[Any]]] | None = None

    async def __aenter__(self) -> Consumer:
        await wait_for_broker(self._settings)
        self._consumer = AIOKafkaConsumer(
            **self._settings.client_options(),
            group_id=self._group,
            group_instance_id=self._member,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=FETCH_WAIT_MS,
            fetch_max_bytes=MAX_FETCH_BYTES,
            max_partition_fetch_bytes=MAX_FETCH_BYTES // 4,
            session_timeout_ms=6_000,
            heartbeat_interval_ms=1_000,
            max_poll_interval_ms=120_000,
            metadata_max_age_ms=5_000,
        )
        try:
            await self._consumer.start()
            self._consumer.subscribe(list(self._topics), listener=_Assignments(self._on_assigned))
            self._watch = Watch(self._settings, partial(self._consumer.end_offsets, [TopicPartition(EPOCH.name, 0)]))
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._watch is not None:
            await self._watch.end()
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)
        if self._consumer is not None:
            consumer, self._consumer = self._consumer, None
            await stop_consumer(consumer)
        if self._watch is not None:
            self._watch.raise_failure()

    @property
    def is_assigned(self) -> bool:
        """Whether the group has given this consumer partitions."""
        return self._consumer is not None and bool(self._consumer.assignment())

    def share(self, topic: Topic[Any]) -> Share:
        """What the group has given this consumer of `topic`."""
        if self._consumer is None:
            return Share(1, ())
        numbers = sorted(place.partition for place in self._consumer.assignment() if place.topic == topic.name)
        return Share(len(self._consumer.partitions_for_topic(topic.name) or ()) or topic.partitions, numbers)

    async def batches(
        self, *, max_records: int, max_age: float, weigh: Callable[[Any], int] = lambda record: 1
    ) -> AsyncIterator[Batch]:
        """Batches without end: a batch is handed over when its records weigh `max_records`, or `max_age` seconds
        after the one before. An empty batch comes when nothing did, so that the caller's clockwork goes on."""
        while self._consumer is not None:
            yield await self._collect(max_records, max_age, weigh)

    async def _collect(self, max_records: int, max_age: float, weigh: Callable[[Any], int]) -> Batch:
        consumer = self._consumer
        if consumer is None or self._watch is None:
            raise RuntimeError("the consumer is not open")
        self._watch.raise_failure()
        records: dict[str, list[Any]] = {name: [] for name in self._topics}
        dead_letters: list[DeadLetter] = []
        positions: dict[TopicPartition, int] = {}
        contexts: list[SpanContext] = []
        oldest = 0
        weight = 0
        deadline = time.monotonic() + max_age
        while weight < max_records and (left := deadline - time.monotonic()) > 0:
            fetched = await self._fetch(consumer, left)
            for place, messages in fetched.items():
                codec = self._topics[place.topic].codec
                for message in messages:
                    oldest = min(oldest or message.timestamp, message.timestamp)
                    try:
                        record = codec.decode(message.value)
                    except UndecodableRecord as error:
                        dead_letters.append(_dead_letter(message, str(error)))
                        weight += 1
                        continue
                    records[place.topic].append(record)
                    weight += weigh(record)
                    if message.headers and (context := tracing.found(message.headers)) is not None:
                        contexts.append(context)
                positions[place] = messages[-1].offset + 1
        return Batch(records, dead_letters, positions, oldest, contexts, is_full=weight >= max_records)

    async def _fetch(self, consumer: AIOKafkaConsumer, seconds: float) -> dict[TopicPartition, list[Any]]:
        """What came within `seconds`. While the group shares its partitions out anew aiokafka waits for the end of
        that, for ever where the broker takes us no more: it goes on in a task, which the next call waits for."""
        if self._fetching is None:
            fetch = consumer.getmany(timeout_ms=max(1, int(seconds * 1000)), max_records=2_000)
            self._fetching = asyncio.create_task(fetch)
        done, _ = await asyncio.wait({self._fetching}, timeout=seconds)
        if not done:
            return {}
        fetching, self._fetching = self._fetching, None
        try:
            return fetching.result()
        except KafkaError as error:
            log.warning("fetch_failed", error=type(error).__name__, detail=str(error))
            await asyncio.sleep(min(seconds, 0.2))
            return {}

    async def commit(self, batch: Batch) -> None:
        """Mark `batch` as done. When the group has moved on, its records come again to the next owner."""
        if self._consumer is None or not batch.positions:
            return
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._consumer.commit(batch.positions)
        except (CommitFailedError, IllegalStateError, RebalanceInProgressError) as error:
            log.info("commit_superseded", error=type(error).__name__)
        except (KafkaError, TimeoutError) as error:
            log.warning("commit_failed", error=type(error).__name__, detail=str(error))
            await wait_for_broker(self._settings)


def _dead_letter(message: Any, reason: str) -> DeadLetter:
    return DeadLetter(
        message.topic,
        message.partition,
        message.offset,
        (message.key or b"").decode("utf-8", "replace"),
        reason,
        bytes(message.value or b"")[:MAX_DEAD_LETTER_BYTES],
    )
