"""Follower over a client whose broker the test plays: a log that loses records or begins anew while the broker
comes and goes."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError, KafkaTimeoutError, TopicAuthorizationFailedError
from aiokafka.structs import OffsetAndTimestamp, TopicPartition

from crosstape.common.bus import follower as follower_module
from crosstape.common.bus import watch as watch_module
from crosstape.common.bus.connection import BusSettings
from crosstape.common.bus.follower import Follower
from crosstape.common.bus.topics import Topic

TEXTS: Topic[str] = Topic("texts", str, 1)
PLACE = TopicPartition(TEXTS.name, 0)
OLD, NEW = "1", "2"


def meet(errors: list[Exception | None]) -> None:
    """Raise the next of `errors`, if there is one."""
    if errors and (error := errors.pop(0)) is not None:
        raise error


class Client:
    """aiokafka's consumer of one partition. `when_asked` and `when_sought` are what comes next of questions for times
    and of ways back to the beginning: an error, or None for the answer."""

    def __init__(self) -> None:
        self.log = ["first", "second"]
        self.began = int(OLD, 16)
        self.position = 0
        self.when_asked: list[Exception | None] = []
        self.when_sought: list[Exception | None] = []

    async def offsets_for_times(self, times: dict[TopicPartition, int]) -> dict[TopicPartition, OffsetAndTimestamp]:
        meet(self.when_asked)
        return {place: OffsetAndTimestamp(0, self.began) for place in times}

    async def seek_to_beginning(self) -> None:
        meet(self.when_sought)
        self.position = 0

    async def getmany(self, **limits: int) -> dict[TopicPartition, list[Any]]:
        await asyncio.sleep(0)
        texts, start = self.log[self.position :], self.position
        self.position = len(self.log)
        messages = [
            SimpleNamespace(offset=start + n, timestamp=0, headers=(), value=TEXTS.codec.encode(text))
            for n, text in enumerate(texts)
        ]
        return {PLACE: messages} if messages else {}

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def subscribe(self, topics: list[str]) -> None: ...

    def unsubscribe(self) -> None: ...

    def assign(self, places: list[TopicPartition]) -> None: ...

    def assignment(self) -> set[TopicPartition]:
        return {PLACE}

    async def end_offsets(self, places: list[TopicPartition]) -> dict[TopicPartition, int]:
        return {place: len(self.log) for place in places}

    def seek(self, place: TopicPartition, offset: int) -> None:
        self.position = offset


class Waits:
    """How often the broker was waited for."""

    count = 0

    async def wait(self, settings: BusSettings) -> None:
        self.count += 1


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Waits:
    waits = Waits()
    for module in (follower_module, watch_module):
        monkeypatch.setattr(module, "wait_for_broker", waits.wait)
    return waits


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    client = Client()
    monkeypatch.setattr(follower_module, "AIOKafkaConsumer", lambda **options: client)
    monkeypatch.setattr(watch_module, "WATCH_SECONDS", 0.01)
    monkeypatch.setattr(follower_module, "FETCH_SECONDS", 0.0)
    return client


async def read_until(follower: Follower, wanted: str) -> list[tuple[str, str]]:
    """Epochs and texts up to the one that is wanted."""
    found: list[tuple[str, str]] = []
    async with asyncio.timeout(10):
        async for arrivals in follower.arrivals():
            found += [(arrivals.epoch, record.value) for record in arrivals.records]
            if any(text == wanted for _, text in found):
                break
    return found


def begin_anew(client: Client) -> None:
    client.began = int(NEW, 16)
    client.log = ["new"]


async def test_of_what_lies_before_lost_records_nothing_is_known_either(client: Client, waits: Waits) -> None:
    async with Follower(BusSettings("nowhere:1"), {TEXTS: 60.0}) as follower:
        await read_until(follower, client.log[-1])
        assert follower.start_of(TEXTS, b"any") == 0
        client.log += ["deleted", "deleted too", "third"]
        client.position = 4
        await read_until(follower, "third")
        assert follower.start_of(TEXTS, b"any") == 4


@pytest.mark.parametrize(
    ("when_asked", "when_sought"),
    [([None, KafkaConnectionError(), TimeoutError()], []), ([], [KafkaTimeoutError()])],  # None: it is noticed
    ids=["epoch", "beginning"],
)
async def test_a_log_that_began_anew_is_read_once_the_broker_that_went_away_again_is_back(
    client: Client, waits: Waits, when_asked: list[Exception | None], when_sought: list[Exception | None]
) -> None:
    async with Follower(BusSettings("nowhere:1"), {TEXTS: 60.0}) as follower:
        await read_until(follower, client.log[-1])
        begin_anew(client)
        client.when_asked, client.when_sought = list(when_asked), list(when_sought)
        assert await read_until(follower, "new") == [(NEW, "new")]
        assert waits.count > 1


async def test_what_waiting_cannot_mend_ends_the_follower(client: Client, waits: Waits) -> None:
    async with Follower(BusSettings("nowhere:1"), {TEXTS: 60.0}) as follower:
        await read_until(follower, client.log[-1])
        begin_anew(client)
        client.when_sought = [TopicAuthorizationFailedError()]
        with pytest.raises(TopicAuthorizationFailedError):
            await read_until(follower, "new")
