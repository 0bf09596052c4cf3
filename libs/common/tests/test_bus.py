"""The bus against a real broker: nothing acknowledged is lost, nothing uncommitted is forgotten, no outage is fatal."""

import asyncio
import os
import random
import signal
import statistics
import time
import uuid
from collections.abc import Callable
from typing import Any

import psutil
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import InvalidReplicationFactorError, KafkaTimeoutError, RecordTooLargeError

from crosstape.common.bus.connection import BusSettings, ensure_topics, wait_for_broker
from crosstape.common.bus.consumer import FETCH_WAIT_MS, Batch, Consumer, Share
from crosstape.common.bus.producer import Producer
from crosstape.common.bus.refusal import BrokerRefused
from crosstape.common.bus.topics import (
    ALL_TOPICS,
    BARS,
    BOOKS,
    DEAD_LETTERS,
    LEDGER,
    MAX_RECORD_BYTES,
    TRADES,
    DeadLetter,
    Topic,
    market_key,
)
from crosstape.common.market.bar import Interval, fold_bars
from crosstape.common.market.book import BookStale, BookUpdate
from crosstape.common.market.ledger import Coverage, Gap, GapState
from crosstape.common.market.trade import Source, batch_trades
from crosstape.common.testing.builders import make_trade
from tests.engines.plugin import Broker

pytestmark = pytest.mark.integration

PATIENCE = 60.0
KEY = market_key("binance", "BTC-USDT")


def bus(broker: Broker) -> BusSettings:
    return BusSettings(broker.bootstrap)


async def new_topic(broker: Broker, **configs: str) -> Topic[str]:
    """A topic of this test alone, with one partition."""
    topic: Topic[str] = Topic(f"test-{uuid.uuid4().hex}", str, 1)
    await wait_for_broker(bus(broker))
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic.name, num_partitions=1, replication_factor=1, topic_configs=configs)])
    await admin.close()
    return topic


async def hang(broker: Broker) -> None:
    """Stop the broker's process; return when every thread of it really stands."""
    os.kill(broker.engine.pid, signal.SIGSTOP)
    process = psutil.Process(broker.engine.pid)
    await until(lambda: all(psutil.Process(t.id).status() == psutil.STATUS_STOPPED for t in process.threads()))


async def until(condition: Callable[[], bool], seconds: float = PATIENCE) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def read(consumer: Consumer, enough: Callable[[list[Any], list[DeadLetter]], bool]) -> list[Batch]:
    """Batches until their records and dead letters are `enough`."""
    batches: list[Batch] = []
    records: list[Any] = []
    dead_letters: list[DeadLetter] = []
    async with asyncio.timeout(PATIENCE):
        async for batch in consumer.batches(max_records=1_000, max_age=0.05):
            batches.append(batch)
            for found in batch.records.values():
                records += found
            dead_letters += batch.dead_letters
            if enough(records, dead_letters):
                break
    return batches


async def read_records(consumer: Consumer, count: int) -> list[Any]:
    batches = await read(consumer, lambda records, _: len(records) >= count)
    return [record for batch in batches for found in batch.records.values() for record in found]


async def test_a_record_of_every_topic_arrives_as_it_was_sent(broker: Broker) -> None:
    exchange = uuid.uuid4().hex
    trade = make_trade(1, exchange=exchange)
    text_trade = make_trade("a3f1", exchange=exchange)
    sent: dict[Topic[Any], list[Any]] = {
        TRADES: [batch_trades([trade, text_trade], Source.STREAM)],
        BOOKS: [
            BookUpdate(exchange, "BTC-USDT", True, [("1", "2")], [], 1, 2, 3),
            BookStale(exchange, "BTC-USDT", "gap", 3),
        ],
        LEDGER: [
            Gap(exchange, "BTC-USDT", 1, 2, 3, 4, "sequence", GapState.OPEN, 0, 5),
            Coverage(exchange, "BTC-USDT", 1, 2),
        ],
        BARS: [fold_bars([trade], Interval.M1)],
        DEAD_LETTERS: [DeadLetter(exchange, 0, 1, "key", "reason", b"\xff\x00")],
    }

    def ours(record: Any) -> bool:
        first = record[0] if isinstance(record, list) else record
        return exchange in (getattr(first, "exchange", None), getattr(first, "topic", None))

    async with Producer(bus(broker)) as producer, Consumer(bus(broker), list(sent), group=exchange) as consumer:
        for topic, records in sent.items():
            for record in records:
                await producer.send(topic, market_key(exchange, "BTC-USDT"), record)
        batches = await read(consumer, lambda records, _: sum(map(ours, records)) == sum(map(len, sent.values())))
        assert consumer.is_assigned
    for topic, records in sent.items():
        assert [r for batch in batches for r in batch.records[topic.name] if ours(r)] == records
    assert any(batch.oldest_ms > 0 for batch in batches)


async def test_a_batch_that_was_not_committed_comes_again_to_the_next_consumer(broker: Broker) -> None:
    topic, group = await new_topic(broker), uuid.uuid4().hex
    async with Producer(bus(broker)) as producer:
        for text in ("a", "b"):
            await producer.deliver(topic, KEY, text)
        async with Consumer(bus(broker), [topic], group=group) as crashes:
            assert await read_records(crashes, 2) == ["a", "b"]
        async with Consumer(bus(broker), [topic], group=group) as commits:
            for batch in await read(commits, lambda records, _: len(records) == 2):
                await commits.commit(batch)
        await producer.deliver(topic, KEY, "c")
        async with Consumer(bus(broker), [topic], group=group) as goes_on:
            assert await read_records(goes_on, 1) == ["c"]


async def test_each_of_a_group_knows_its_share_of_a_topic_and_is_told_when_it_changes(broker: Broker) -> None:
    everything, group = Share(TRADES.partitions, [*range(TRADES.partitions)]), uuid.uuid4().hex
    half = TRADES.partitions // 2
    told: list[Share] = []  # the last counts: a broker that has just made a topic may not know its partitions yet
    async with Consumer(
        bus(broker), [TRADES], group=group, on_assigned=lambda: told.append(consumer.share(TRADES))
    ) as consumer:
        await until(lambda: told[-1:] == [everything])
        async with Consumer(bus(broker), [TRADES], group=group) as other:
            await until(lambda: len(told[-1].numbers) == half and len(other.share(TRADES).numbers) == half)
            await until(lambda: sorted([*told[-1].numbers, *other.share(TRADES).numbers]) == everything.numbers)
        await until(lambda: told[-1] == everything)
    assert consumer.share(TRADES).numbers == ()


async def test_a_record_is_soon_with_a_reader_who_waits(broker: Broker) -> None:
    topic = await new_topic(broker)
    took: list[float] = []
    async with Producer(bus(broker)) as producer, Consumer(bus(broker), [topic], group=topic.name) as consumer:
        reading = consumer.batches(max_records=1, max_age=PATIENCE)
        for n in range(50):
            began = time.perf_counter()
            await producer.send(topic, KEY, str(n))
            batch = await anext(reading)
            took.append(time.perf_counter() - began)
            assert batch.records[topic.name] == [str(n)]
    # Were anything waited for, the quickest would be late too; most of them are, where others keep the machine busy.
    assert statistics.quantiles(took, n=10)[0] < FETCH_WAIT_MS / 1000 / 5


async def test_an_undecodable_record_becomes_a_dead_letter_and_the_rest_goes_on(broker: Broker) -> None:
    topic = await new_topic(broker)
    newer = bytes([9]) + topic.codec.encode("x")[1:]
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap) as raw:
        for value in (topic.codec.encode("a"), b"\x01\xff", newer, b"", topic.codec.encode("b")):
            await raw.send_and_wait(topic.name, value, key=b"k\xff")
    async with Consumer(bus(broker), [topic], group=uuid.uuid4().hex) as consumer:
        batches = await read(consumer, lambda records, dead: len(records) == 2 and len(dead) == 3)
    assert [record for batch in batches for record in batch.records[topic.name]] == ["a", "b"]
    letters = [letter for batch in batches for letter in batch.dead_letters]
    assert [(d.topic, d.partition, d.offset, d.key, d.value) for d in letters] == [
        (topic.name, 0, 1, "k\ufffd", b"\x01\xff"),
        (topic.name, 0, 2, "k\ufffd", newer),
        (topic.name, 0, 3, "k\ufffd", b""),
    ]
    assert "version 9" in letters[1].reason
    assert all(letter.reason for letter in letters)


async def test_dead_letters_fill_a_batch_as_records_do(broker: Broker) -> None:
    topic = await new_topic(broker)
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap) as raw:
        for _ in range(20):
            await raw.send_and_wait(topic.name, b"\x00")
    async with Consumer(bus(broker), [topic], group=uuid.uuid4().hex) as consumer, asyncio.timeout(PATIENCE):
        async for batch in consumer.batches(max_records=10, max_age=2 * PATIENCE):
            assert len(batch) == len(batch.dead_letters) >= 10
            assert batch.oldest_ms > 0
            break


async def test_an_empty_batch_comes_when_nothing_did(broker: Broker) -> None:
    topic = await new_topic(broker)
    async with Consumer(bus(broker), [topic], group=uuid.uuid4().hex) as consumer, asyncio.timeout(PATIENCE):
        async for batch in consumer.batches(max_records=10, max_age=0.05):
            assert (len(batch), batch.positions, batch.oldest_ms) == (0, {}, 0)
            await consumer.commit(batch)
            break


async def test_a_close_with_records_in_flight_loses_none_and_keeps_their_order(broker: Broker) -> None:
    topic = await new_topic(broker)
    texts = [str(n) for n in range(3_000)]
    async with Producer(bus(broker)) as producer:
        for text in texts:
            await producer.send(topic, KEY, text)
    async with Consumer(bus(broker), [topic], group=uuid.uuid4().hex) as consumer:
        assert await read_records(consumer, len(texts)) == texts


async def test_flush_returns_once_all_is_acknowledged_however_many_call_it(broker: Broker) -> None:
    topic = await new_topic(broker)
    async with Producer(bus(broker), max_in_flight=50) as producer, asyncio.timeout(PATIENCE):
        await producer.flush()
        for n in range(200):
            await producer.send(topic, KEY, str(n))
        await asyncio.gather(*(producer.flush() for _ in range(5)))
        assert producer.acknowledged == 200


async def test_all_that_is_delivered_together_arrives_in_order(broker: Broker) -> None:
    topic = await new_topic(broker)
    texts = [f"{number} {'x' * 500}" for number in range(2_000)]  # more than fits into one batch
    async with Producer(bus(broker)) as producer, Consumer(bus(broker), [topic], group=uuid.uuid4().hex) as consumer:
        await producer.deliver_all(topic, KEY, texts)
        await producer.deliver_all(topic, KEY, [])
        await producer.deliver(topic, KEY, "last")
        batches = await read(consumer, lambda records, _: "last" in records)
        with pytest.raises(RecordTooLargeError):
            await producer.deliver_all(topic, KEY, ["fits", "x" * MAX_RECORD_BYTES])
    assert [text for batch in batches for text in batch.records[topic.name]] == [*texts, "last"]


async def test_a_record_over_the_limit_is_its_makers_fault_and_costs_nobody_else(broker: Broker) -> None:
    topic = await new_topic(broker)
    losses: list[str] = []
    async with Producer(bus(broker), on_loss=losses.append, max_in_flight=1) as producer:
        for send in (producer.send, producer.send, producer.deliver):
            with pytest.raises(RecordTooLargeError):
                await send(topic, KEY, "x" * (MAX_RECORD_BYTES + 1))
        await producer.send(topic, KEY, "small")
        await producer.flush()
    assert (producer.acknowledged, losses) == (1, [])


@pytest.mark.parametrize("way", ["send", "deliver", "deliver_all"])
async def test_what_is_too_large_for_its_topic_never_counts_as_taken(broker: Broker, way: str) -> None:
    topic = await new_topic(broker, **{"max.message.bytes": "1000"})
    text = "".join(map(chr, random.Random(1).choices(range(0x100, 0x2000), k=5_000)))
    with pytest.raises(BrokerRefused, match=f"{topic.name}: set its max.message.bytes"):
        async with Producer(bus(broker)) as producer, asyncio.timeout(PATIENCE):
            if way == "send":
                await producer.send(topic, KEY, text)
            elif way == "deliver":
                await producer.deliver(topic, KEY, text)
            else:
                await producer.deliver_all(topic, KEY, [text])
            await producer.flush()
            raise AssertionError("it was taken")
    assert producer.acknowledged == 0


async def test_a_full_book_of_many_levels_passes(broker: Broker) -> None:
    exchange = uuid.uuid4().hex
    levels = [(f"{n}.{n * 7919 % 100_000:05d}", f"0.{n * 104_729 % 10**8:08d}") for n in range(60_000)]
    book = BookUpdate(exchange, "BTC-USD", True, levels, levels, 0, 0)
    assert len(BOOKS.codec.encode(book)) > 2_000_000
    async with Producer(bus(broker)) as producer, Consumer(bus(broker), [BOOKS], group=exchange) as consumer:
        await producer.deliver(BOOKS, market_key(exchange, "BTC-USD"), book)
        batches = await read(consumer, lambda records, _: any(record.exchange == exchange for record in records))
    assert [r for b in batches for r in b.records["books"] if r.exchange == exchange] == [book]


async def test_topics_can_be_ensured_by_many_at_once(empty_broker: Broker) -> None:
    await asyncio.gather(*(ensure_topics(bus(empty_broker)) for _ in range(4)))
    wanted = {topic.name: topic.partitions for topic in ALL_TOPICS}
    partitions: dict[str, int] = {}
    admin = AIOKafkaAdminClient(bootstrap_servers=empty_broker.bootstrap)
    await admin.start()
    try:
        async with asyncio.timeout(PATIENCE):
            while partitions.keys() != wanted.keys() or 0 in partitions.values():  # it makes them, then knows of them
                described = await admin.describe_topics([*wanted])
                partitions = {one["topic"]: len(one["partitions"]) for one in described}
    finally:
        await admin.close()
    assert partitions == wanted


async def test_a_broker_with_too_few_nodes_for_the_replicas_is_told_by_the_setting(empty_broker: Broker) -> None:
    with pytest.raises(
        InvalidReplicationFactorError, match=r"3 replicas of the topic \S+: .*CROSSTAPE_TOPIC_REPLICATION"
    ):
        await ensure_topics(BusSettings(empty_broker.bootstrap, replication=3))


async def test_while_the_broker_hangs_send_waits_and_afterwards_nothing_is_lost(broker: Broker) -> None:
    topic = await new_topic(broker)
    texts = [str(n) for n in range(100)]
    losses: list[str] = []
    queued = 0
    async with Producer(bus(broker), on_loss=losses.append, max_in_flight=10) as producer:
        await producer.deliver(topic, KEY, "first")

        async def send_all() -> None:
            nonlocal queued
            for text in texts:
                await producer.send(topic, KEY, text)
                queued += 1

        await hang(broker)
        try:
            sending = asyncio.create_task(send_all())
            await until(lambda: queued == 10)
            with pytest.raises(TimeoutError):
                await until(lambda: queued > 10, seconds=1)
        finally:
            os.kill(broker.engine.pid, signal.SIGCONT)
        async with asyncio.timeout(PATIENCE):
            await sending
            await producer.flush()
        async with Consumer(bus(broker), [topic], group=topic.name) as consumer:
            assert await read_records(consumer, 101) == ["first", *texts]
    assert losses == []


async def test_what_the_broker_did_not_take_is_sent_again(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    topic = await new_topic(broker)
    texts = [str(n) for n in range(20)]
    losses: list[str] = []
    send, refusals = AIOKafkaProducer.send, iter(range(5))

    async def refuse_some(producer: AIOKafkaProducer, *args: Any, **kwargs: Any) -> asyncio.Future[Any]:
        if next(refusals, None) is None:
            return await send(producer, *args, **kwargs)
        refused = asyncio.get_running_loop().create_future()
        refused.set_exception(KafkaTimeoutError())
        return refused

    monkeypatch.setattr(AIOKafkaProducer, "send", refuse_some)
    async with Producer(bus(broker), on_loss=losses.append) as producer, asyncio.timeout(PATIENCE):
        for text in texts:
            await producer.send(topic, KEY, text)
        await producer.flush()
        assert producer.acknowledged == len(texts)
    async with Consumer(bus(broker), [topic], group=uuid.uuid4().hex) as consumer:
        assert set(await read_records(consumer, len(texts))) == set(texts)
    assert losses == []


async def test_a_broker_that_comes_back_empty_is_reported_and_producer_and_consumer_go_on(
    module_broker: Broker,
) -> None:
    losses: list[str] = []
    ledger = [Coverage("binance", f"S{n}", 0, 1) for n in range(30)]
    async with (
        Producer(bus(module_broker), on_loss=losses.append) as producer,
        Consumer(bus(module_broker), [LEDGER], group=uuid.uuid4().hex) as consumer,
    ):
        for event in ledger[:20]:
            await producer.deliver(LEDGER, KEY, event)
        for batch in await read(consumer, lambda records, _: len(records) == 20):
            await consumer.commit(batch)
        module_broker.kill()
        delivering = asyncio.create_task(producer.deliver(LEDGER, KEY, ledger[20]))
        await module_broker.restart_empty()
        async with asyncio.timeout(PATIENCE):
            await delivering
            for event in ledger[21:]:
                await producer.deliver(LEDGER, KEY, event)
        assert losses[0] == "the log of ledger started again"
        batches = await read(consumer, lambda records, _: ledger[29] in records)
        records = [record for batch in batches for record in batch.records["ledger"]]
        assert list(dict.fromkeys(map(repr, records))) == list(map(repr, ledger[20:]))


async def test_many_senders_survive_a_broker_that_comes_back_empty(module_broker: Broker) -> None:
    losses: list[str] = []
    async with Producer(bus(module_broker), on_loss=losses.append, max_in_flight=100) as producer:
        stop = asyncio.Event()

        async def send_steadily(name: str) -> None:
            n = 0
            while not stop.is_set():
                n += 1
                await producer.send(LEDGER, KEY, Coverage("binance", name, n, n + 1))
                await asyncio.sleep(0.005)

        async with asyncio.TaskGroup() as group:
            for n in range(20):
                group.create_task(send_steadily(f"S{n}"))
            await until(lambda: producer.acknowledged > 100)
            module_broker.kill()
            await module_broker.restart_empty()
            sent = producer.acknowledged
            await until(lambda: producer.acknowledged > sent + 1_000)
            stop.set()
        assert losses
        assert len(losses) < 10


async def test_an_idempotent_producer_keeps_order_and_repeats_nothing_over_a_crash(module_broker: Broker) -> None:
    losses: list[str] = []
    async with Producer(bus(module_broker), on_loss=losses.append) as producer:
        await producer.deliver(LEDGER, KEY, Coverage("binance", "first", 0, 1))
        module_broker.kill()
        sending = [
            asyncio.create_task(producer.send(LEDGER, KEY, Coverage("binance", "BTC-USDT", n, n + 1)))
            for n in range(50)
        ]
        await module_broker.restart()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*sending)
            await producer.flush()
            await producer.deliver(LEDGER, KEY, Coverage("binance", "last", 0, 1))
        async with Consumer(bus(module_broker), [LEDGER], group=uuid.uuid4().hex) as consumer:
            batches = await read(consumer, lambda records, _: records[-1:] == [Coverage("binance", "last", 0, 1)])
    numbers = [r.start for b in batches for r in b.records["ledger"] if r.symbol == "BTC-USDT"]
    assert set(numbers) == set(range(50))
    assert numbers == sorted(set(numbers))
    assert losses == []
