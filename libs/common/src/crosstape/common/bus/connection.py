"""How to reach the broker, and the one place that creates topics."""

from __future__ import annotations

import asyncio

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, KafkaTimeoutError, NodeNotReadyError, TopicAlreadyExistsError, for_code
from msgspec import Struct

from crosstape.common.bus.topics import ALL_TOPICS, MAX_RECORD_BYTES

log = structlog.get_logger(__name__)


class BusSettings(Struct, frozen=True):
    """`bootstrap` is host:port[,host:port]. `replication` is the replica count of topics that we create."""

    bootstrap: str
    replication: int = 1


_KEPT = {"retention.ms": "-1", "retention.bytes": "-1"}


async def ensure_topics(settings: BusSettings) -> None:
    """Create what is missing of the platform's topics; harmless when several processes do it at once.

    Raises KafkaConnectionError when the broker is out of reach.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.bootstrap, request_timeout_ms=10_000)
    try:
        await admin.start()
        existing = set(await admin.list_topics())
        missing = [
            NewTopic(
                topic.name,
                num_partitions=topic.partitions,
                replication_factor=settings.replication,
                topic_configs={"max.message.bytes": str(MAX_RECORD_BYTES), **(_KEPT if topic.is_kept else {})},
            )
            for topic in ALL_TOPICS
            if topic.name not in existing
        ]
        if not missing:
            return
        response = await admin.create_topics(missing)
        for name, code, *_ in response.topic_errors:
            if code and for_code(code) is not TopicAlreadyExistsError:
                raise for_code(code)(f"topic {name} could not be created")
    finally:
        await admin.close()


def is_passing(error: KafkaError | OSError) -> bool:
    """Whether trying again later can help: the broker is away, starting, or slow."""
    return isinstance(error, OSError | KafkaTimeoutError | NodeNotReadyError) or bool(error.retriable)


async def wait_for_broker(settings: BusSettings, *, first_delay: float = 0.1, longest_delay: float = 2.0) -> None:
    """Return once the topics exist; retries for as long as the broker is out of reach, logging the first failure."""
    delay = first_delay
    while True:
        try:
            await ensure_topics(settings)
        except (KafkaError, OSError) as error:
            if not is_passing(error):
                raise
            if delay == first_delay:
                log.warning("broker_unreachable", bootstrap=settings.bootstrap, error=str(error))
            await asyncio.sleep(delay)
            delay = min(delay * 2, longest_delay)
        else:
            return
