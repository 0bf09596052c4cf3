"""How to reach the broker, and the one place that creates topics."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidReplicationFactorError,
    KafkaError,
    KafkaTimeoutError,
    NodeNotReadyError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)
from msgspec import Struct

from crosstape.common.bus.lost_connection import tell_as_kafka_error
from crosstape.common.bus.refusal import BrokerRefused, obstacle
from crosstape.common.bus.security import Sasl, Tls, client_options
from crosstape.common.bus.topics import ALL_TOPICS, MAX_RECORD_BYTES

log = structlog.get_logger(__name__)

FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 2.0

tell_as_kafka_error()


class BusSettings(Struct, frozen=True):
    """`bootstrap` is host:port[,host:port]. `replication` is the replica count of topics that we create. Without `tls`
    the broker is spoken to in the clear, without `sasl` as nobody."""

    bootstrap: str
    replication: int = 1
    tls: Tls | None = None
    sasl: Sasl | None = None

    def client_options(self) -> dict[str, Any]:
        """What each of aiokafka's clients needs to reach the broker. Raises ValueError when a file is of no use."""
        return client_options(self.bootstrap, self.tls, self.sasl)


_KEPT = {"retention.ms": "-1", "retention.bytes": "-1"}


async def ensure_topics(settings: BusSettings) -> None:
    """Create what is missing of the platform's topics; harmless when several processes do it at once.

    Raises KafkaConnectionError when the broker is out of reach, InvalidReplicationFactorError when it has too few nodes
    for the replicas (perhaps not yet), BrokerRefused when it does not let us create topics.
    """
    admin = AIOKafkaAdminClient(**settings.client_options(), request_timeout_ms=10_000)
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
            kind = for_code(code)
            if kind in (TopicAuthorizationFailedError, ClusterAuthorizationFailedError):
                raise BrokerRefused(f"the Kafka broker does not let us create the topic {name}: allow it, or create it")
            if kind is InvalidReplicationFactorError:
                raise InvalidReplicationFactorError(
                    f"the Kafka broker cannot keep {settings.replication} replicas of the topic {name}: unless it is "
                    "still starting, check CROSSTAPE_TOPIC_REPLICATION"
                )
            if code and kind is not TopicAlreadyExistsError:
                raise kind(f"topic {name} could not be created")
    finally:
        await admin.close()


def is_passing(error: KafkaError | OSError) -> bool:
    """Whether trying again later can help: the broker is away, starting, or slow. Of a cluster that is starting the
    first node knows itself alone."""
    if isinstance(error, OSError | KafkaTimeoutError | NodeNotReadyError | InvalidReplicationFactorError):
        return True
    return bool(error.retriable)


async def wait_for_broker(settings: BusSettings) -> None:
    """Return once the topics exist; retries for as long as the broker is out of reach, logging the first failure of
    each kind in a row.

    Raises BrokerRefused when trying again cannot help.
    """
    delay = FIRST_DELAY_SECONDS
    said: type[Exception] | None = None
    while True:
        try:
            await ensure_topics(settings)
        except (KafkaError, OSError) as error:
            if not is_passing(error):
                raise
            reason = await obstacle(**settings.client_options())
            if said is not type(error):
                said = type(error)
                log.warning("broker_unreachable", bootstrap=settings.bootstrap, error=reason or str(error))
            await asyncio.sleep(delay)
            delay = min(delay * 2, LONGEST_DELAY_SECONDS)
        else:
            return


async def stop_consumer(consumer: AIOKafkaConsumer) -> None:
    """Stop `consumer` and nothing else: while the broker is away, aiokafka cancels its own fetches and thereby whoever
    stops it, whose real failure a task group would then not see."""
    stopping = asyncio.create_task(consumer.stop())
    try:
        await asyncio.wait({stopping})
    finally:
        stopping.cancel()
    if stopping.cancelled():
        await consumer._client.close()
    else:
        stopping.result()
