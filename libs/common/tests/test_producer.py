"""Producer over a client whose broker the test plays: what is refused is sent again, whoever connected anew."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidTimestampError,
    InvalidTopicError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    PolicyViolationError,
    ProducerClosed,
    RecordListTooLargeError,
    TopicAuthorizationFailedError,
    UnknownError,
)
from aiokafka.structs import RecordMetadata, TopicPartition

from crosstape.common.bus import producer as producer_module
from crosstape.common.bus import sending
from crosstape.common.bus.connection import BusSettings
from crosstape.common.bus.producer import Producer
from crosstape.common.bus.refusal import BrokerRefused
from crosstape.common.bus.topics import Topic

TEXTS: Topic[str] = Topic("texts", str, 1)
KEY = b"key"
PATIENCE = 10.0
Sending = asyncio.Future[RecordMetadata]


class TextBatch:
    """aiokafka's batch."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def append(self, *, key: bytes, value: bytes, timestamp: None) -> object:
        self.texts.append(TEXTS.codec.decode(value))
        return self

    def close(self) -> None:
        pass


class Client:
    """aiokafka's producer, whose records wait for the test's word. One that takes no more refuses those it still has,
    or waits for them if it `is_patient`; one that `hides_partitions` never tells them, as one stopped meanwhile."""

    def __init__(self, *, hides_partitions: bool = False, is_patient: bool = False) -> None:
        self.hides_partitions = hides_partitions
        self.is_patient = is_patient
        self.sent: dict[str, Sending] = {}
        self.is_stopped = self._closed = False
        self._message_accumulator = SimpleNamespace(close=self.take_no_more)
        self._sender = SimpleNamespace(sender_task=asyncio.create_task(asyncio.Event().wait()))
        self.client = SimpleNamespace(
            cluster=SimpleNamespace(partitions_for_topic=lambda topic: {0}), close=lambda: asyncio.sleep(0)
        )

    async def start(self) -> None:
        await asyncio.sleep(0)

    async def stop(self) -> None:
        await self.take_no_more()
        self._sender.sender_task.cancel()

    async def take_no_more(self) -> None:
        self.is_stopped = True
        if not self.is_patient:
            for text in self.sent:
                self.refuse(text)
        await asyncio.sleep(0)
        if self.sent:
            await asyncio.wait(self.sent.values())

    async def send(self, topic: str, *, value: bytes, **rest: Any) -> Sending:
        if self.is_stopped:
            raise ProducerClosed
        return self.sent.setdefault(TEXTS.codec.decode(value), asyncio.get_running_loop().create_future())

    async def partitions_for(self, topic: str) -> set[int]:
        if self.hides_partitions:
            await asyncio.Event().wait()
        return {0}

    def create_batch(self) -> TextBatch:
        return TextBatch()

    async def send_batch(self, batch: TextBatch, topic: str, *, partition: int) -> Sending:
        return self.sent.setdefault("".join(batch.texts), asyncio.get_running_loop().create_future())

    def refuse(self, text: str, error: KafkaError | None = None) -> None:
        if not self.sent[text].done():
            self.sent[text].set_exception(error or KafkaTimeoutError())

    def take(self, text: str, offset: int) -> None:
        place = TopicPartition(TEXTS.name, 0)
        self.sent[text].set_result(RecordMetadata(*place, place, offset, 0, 0, 0))


class Broker:
    """Whose clients are those that were made, in order; the first `hides_partitions`, or `is_patient`. Waiting for it
    returns at once, but where it is `held`, or raises `failure`."""

    def __init__(self) -> None:
        self.clients: list[Client] = []
        self.waits = 0
        self.held: dict[int, asyncio.Event] = {}
        self.failure: Exception | None = None
        self.hides_partitions = self.is_patient = False

    def connect(self, **options: Any) -> Client:
        is_first = not self.clients
        self.clients.append(
            Client(hides_partitions=self.hides_partitions and is_first, is_patient=self.is_patient and is_first)
        )
        return self.clients[-1]

    async def wait(self, settings: BusSettings) -> None:
        if self.failure is not None:
            raise self.failure
        self.waits += 1
        if (held := self.held.get(self.waits)) is not None:
            await held.wait()


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Broker:
    broker = Broker()
    monkeypatch.setattr(sending, "AIOKafkaProducer", broker.connect)
    monkeypatch.setattr(producer_module, "WATCH_SECONDS", 0.01)
    for module in (producer_module, sending):
        monkeypatch.setattr(module, "wait_for_broker", broker.wait)
        monkeypatch.setattr(module, "RETRY_SECONDS", 0.0)
    return broker


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0)


async def test_what_was_refused_while_a_delivery_connected_anew_is_sent_again(broker: Broker) -> None:
    broker.held[2] = asyncio.Event()
    async with Producer(BusSettings("nowhere:1")) as producer:
        await producer.send(TEXTS, KEY, "sent")
        await until(lambda: broker.waits == 2)  # the watcher, as nothing is acknowledged
        delivering = asyncio.create_task(producer.deliver(TEXTS, KEY, "delivered"))
        await until(lambda: "delivered" in broker.clients[0].sent)
        broker.clients[0].refuse("delivered")
        await until(lambda: len(broker.clients) == 2 and "delivered" in broker.clients[1].sent)
        broker.clients[1].take("delivered", 0)
        await delivering
        broker.held[2].set()
        await until(lambda: "sent" in broker.clients[1].sent)
        broker.clients[1].take("sent", 1)
        async with asyncio.timeout(PATIENCE):
            await producer.flush()


async def test_a_loss_is_told_once_more_when_a_delivery_connected_anew(broker: Broker) -> None:
    broker.held[2] = asyncio.Event()
    losses: list[str] = []
    async with Producer(BusSettings("nowhere:1"), on_loss=losses.append) as producer:
        for text in ("first", "again"):
            await producer.send(TEXTS, KEY, text)
        await until(lambda: broker.waits == 2)  # the watcher, as nothing is acknowledged
        delivering = asyncio.create_task(producer.deliver(TEXTS, KEY, "delivered"))
        await until(lambda: "delivered" in broker.clients[0].sent)
        broker.clients[0].take("first", 5)
        broker.clients[0].take("delivered", 0)
        await until(lambda: len(broker.clients) == 2 and "delivered" in broker.clients[1].sent)
        assert losses == ["the log of texts started again"]
        broker.clients[1].take("delivered", 1)
        await delivering
        broker.held[2].set()
        await until(lambda: len(losses) == 2)


async def test_a_log_that_started_again_is_told_also_where_a_failure_comes_first(broker: Broker) -> None:
    losses: list[str] = []
    async with Producer(BusSettings("nowhere:1"), on_loss=losses.append) as producer:
        delivering = asyncio.create_task(producer.deliver(TEXTS, KEY, "before"))
        await until(lambda: "before" in broker.clients[0].sent)
        broker.clients[0].take("before", 5)
        await delivering
        delivering = asyncio.create_task(producer.deliver(TEXTS, KEY, "after"))
        await until(lambda: "after" in broker.clients[0].sent)
        broker.clients[0].refuse("after")
        await until(lambda: len(broker.clients) == 2 and "after" in broker.clients[1].sent)
        broker.clients[1].take("after", 0)
        await until(lambda: bool(losses))
        assert losses[0] == "the log of texts started again"
        delivering.cancel()
        await asyncio.wait({delivering})


async def test_senders_go_on_when_whoever_connected_anew_was_cancelled(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producer_module, "WATCH_SECONDS", 3600.0)
    async with Producer(BusSettings("nowhere:1")) as producer:
        delivering = asyncio.create_task(producer.deliver(TEXTS, KEY, "delivered"))
        await until(lambda: "delivered" in broker.clients[0].sent)
        broker.clients[0].refuse("delivered")
        await until(lambda: broker.clients[0].is_stopped)
        delivering.cancel()
        await asyncio.wait({delivering})
        async with asyncio.timeout(PATIENCE):
            await producer.send(TEXTS, KEY, "sent")
        assert list(broker.clients[1].sent) == ["sent"]
        broker.clients[1].take("sent", 0)


async def test_what_waiting_cannot_mend_ends_every_sender(broker: Broker) -> None:
    producer = Producer(BusSettings("nowhere:1"))
    with pytest.raises(ClusterAuthorizationFailedError):
        async with producer:
            delivering = asyncio.create_task(producer.deliver(TEXTS, KEY, "delivered"))
            await until(lambda: "delivered" in broker.clients[0].sent)
            broker.failure = ClusterAuthorizationFailedError()
            broker.clients[0].refuse("delivered")
            async with asyncio.timeout(PATIENCE):
                for sending in (delivering, producer.send(TEXTS, KEY, "sent"), producer.flush()):
                    with pytest.raises(ClusterAuthorizationFailedError):
                        await sending


async def test_what_is_refused_again_and_again_is_sent_again_after_a_pause(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(producer_module, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(producer_module, "WATCH_SECONDS", 3600.0)
    async with Producer(BusSettings("nowhere:1")) as producer:
        await producer.send(TEXTS, KEY, "sent")
        for number in range(3):
            refused_at = time.monotonic()
            broker.clients[number].refuse("sent", UnknownError())
            await until(lambda after=number + 1: len(broker.clients) > after and "sent" in broker.clients[after].sent)
            assert time.monotonic() - refused_at >= 0.05
        broker.clients[3].take("sent", 0)


@pytest.mark.parametrize("is_awaited", [True, False])
@pytest.mark.parametrize(
    ("refusal", "setting"),
    [
        (TopicAuthorizationFailedError(), "allow it"),
        (MessageSizeTooLargeError(), "max.message.bytes to 8388608"),
        (RecordListTooLargeError(), "max.message.bytes to 8388608"),
        (InvalidTimestampError(), "message.timestamp"),
        (InvalidTopicError(), "InvalidTopicError"),
        (PolicyViolationError(), "PolicyViolationError"),
    ],
)
async def test_a_topic_that_will_never_take_our_records_ends_every_sender(
    broker: Broker, is_awaited: bool, refusal: KafkaError, setting: str
) -> None:
    producer = Producer(BusSettings("nowhere:1"))
    with pytest.raises(BrokerRefused, match=f"topic texts.*{setting}"):
        async with producer, asyncio.timeout(PATIENCE):
            sent = asyncio.create_task((producer.deliver if is_awaited else producer.send)(TEXTS, KEY, "sent"))
            await until(lambda: "sent" in broker.clients[0].sent)
            broker.clients[0].refuse("sent", refusal)
            if is_awaited:
                with pytest.raises(BrokerRefused):
                    await sent
            with pytest.raises(BrokerRefused):
                await producer.flush()


async def test_many_are_delivered_though_their_topic_was_asked_of_a_client_that_was_stopped(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "METADATA_SECONDS", 0.01)
    broker.hides_partitions = True
    async with Producer(BusSettings("nowhere:1")) as producer:
        delivering = asyncio.create_task(producer.deliver_all(TEXTS, KEY, ["a", "b"]))
        await until(lambda: len(broker.clients) == 2 and "ab" in broker.clients[1].sent)
        broker.clients[1].take("ab", 0)
        async with asyncio.timeout(PATIENCE):
            await delivering


@pytest.mark.parametrize("is_awaited", [True, False])
async def test_a_broker_that_refuses_us_is_told_though_records_wait_for_it(broker: Broker, is_awaited: bool) -> None:
    broker.is_patient = True
    with pytest.raises(BrokerRefused):
        async with asyncio.timeout(PATIENCE), Producer(BusSettings("nowhere:1")) as producer:
            sent = asyncio.create_task((producer.deliver if is_awaited else producer.send)(TEXTS, KEY, "sent"))
            await until(lambda: "sent" in broker.clients[0].sent)
            broker.failure = BrokerRefused("not you")
            await (sent if is_awaited else producer.flush())


async def test_connecting_anew_ends_where_the_broker_refuses_us_meanwhile(broker: Broker) -> None:
    broker.is_patient = True
    with pytest.raises(BrokerRefused):
        async with asyncio.timeout(PATIENCE), Producer(BusSettings("nowhere:1")) as producer:
            await producer.send(TEXTS, KEY, "refused for ever")
            await producer.send(TEXTS, KEY, "refused once")
            broker.failure = BrokerRefused("not you")
            broker.clients[0].refuse("refused once")
            await producer.flush()


async def test_what_the_broker_does_not_take_of_a_client_that_is_replaced_is_sent_by_the_next(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "REQUEST_TIMEOUT_MS", 10)
    broker.is_patient = True
    async with asyncio.timeout(PATIENCE), Producer(BusSettings("nowhere:1")) as producer:
        delivering = asyncio.create_task(producer.deliver(TEXTS, KEY, "delivered"))
        await producer.send(TEXTS, KEY, "never answered")
        await producer.send(TEXTS, KEY, "refused once")
        await until(lambda: "delivered" in broker.clients[0].sent)
        broker.clients[0].refuse("refused once")
        await until(lambda: len(broker.clients) == 2 and len(broker.clients[1].sent) == 3)
        for offset, text in enumerate(broker.clients[1].sent):
            broker.clients[1].take(text, offset)
        await delivering
        await producer.flush()
