"""Waiting for a broker that the test plays."""

from __future__ import annotations

import pytest
import structlog
from aiokafka.errors import InvalidReplicationFactorError, KafkaConnectionError, TopicAuthorizationFailedError

from crosstape.common.bus import connection
from crosstape.common.bus.connection import BusSettings, wait_for_broker


class Broker:
    """Fails as it is told to, and then has the topics."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)

    async def ensure(self, settings: BusSettings) -> None:
        if self.failures:
            raise self.failures.pop(0)

    async def obstacle(self, **options: object) -> str:
        return ""


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "FIRST_DELAY_SECONDS", 0.0)


async def waited_for(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was logged until the topics were there."""
    monkeypatch.setattr(connection, "ensure_topics", broker.ensure)
    monkeypatch.setattr(connection, "obstacle", broker.obstacle)
    with structlog.testing.capture_logs() as lines:
        await wait_for_broker(BusSettings("nowhere:1", replication=3))
    return [line["error"] for line in lines]


async def test_a_cluster_that_is_still_starting_is_waited_for_and_what_it_lacks_is_told_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    few = "cannot keep 3 replicas"
    away, forming = [KafkaConnectionError("is away")] * 2, [InvalidReplicationFactorError(few)] * 2
    told = await waited_for(Broker(*away, *forming), monkeypatch)
    assert [("is away" in error, few in error) for error in told] == [(True, False), (False, True)]


async def test_a_broker_that_does_not_take_us_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker(TopicAuthorizationFailedError(), KafkaConnectionError())
    with pytest.raises(TopicAuthorizationFailedError):
        await waited_for(broker, monkeypatch)
    assert len(broker.failures) == 1
