"""(C) Trade object to the bus: the ingestor's Publisher against one JSON message a trade through aiokafka's `send()`.

Same broker (Apache Kafka, on this machine and so on the same cores), same topic, all acknowledged at the end.
Crosstape: trades handed to the Publisher as a socket's callback does, decimals checked, columnar MessagePack batches,
zstd. The peer is what cryptofeed's Kafka backend and most projects do, at its fastest: orjson, no awaiting of single
acknowledgements, large batches, 5 ms of linger; without compression and with zstd (aiokafka's lz4 is its
level 9, far slower). "batches, prebuilt" is the limit: the same batches encoded beforehand, through a bare `send()`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

import orjson
import uvloop
from aiokafka import AIOKafkaProducer

from bench.broker import broker
from bench.measure import OURS, Row, compare, take_turns
from crosstape.common.bus.connection import BusSettings
from crosstape.common.bus.producer import Producer
from crosstape.common.bus.sending import MAX_BATCH_BYTES
from crosstape.common.bus.topics import MAX_RECORD_BYTES, TRADES, market_key
from crosstape.common.market.trade import Source, TakerSide, Trade, batch_trades
from crosstape.ingestor.publish import MAX_BATCH, Publisher

ROUNDS = 5
TRADES_SENT = 200_000
MARKETS = 10
PER_TICK = 2_000
"""Trades that a callback of the socket makes before the loop goes on: one full read of a busy socket."""


def measure() -> list[Row]:
    """Trades per second from objects to acknowledged."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_measure())


async def _measure() -> list[Row]:
    trades = _trades()
    async with broker() as settings:
        loop = asyncio.get_running_loop()

        def run(work: Callable[[], object]) -> float:
            return asyncio.run_coroutine_threadsafe(work(), loop).result()  # type: ignore[arg-type]

        contenders = {
            OURS: lambda: run(lambda: _publisher(settings, trades)),
            "aiokafka send(), JSON": lambda: run(lambda: _json(settings, trades, None)),
            "aiokafka send(), JSON, zstd": lambda: run(lambda: _json(settings, trades, "zstd")),
            "aiokafka send(), batches, prebuilt": lambda: run(lambda: _prebuilt(settings, trades)),
        }
        measured = await asyncio.to_thread(take_turns, contenders, ROUNDS)
    what = "trade → bus"
    return [
        compare(what, measured, "aiokafka send(), JSON", least=10),
        compare(what, measured, "aiokafka send(), JSON, zstd", least=10),
        compare(what, measured, "aiokafka send(), batches, prebuilt"),
    ]


def _trades() -> list[Trade]:
    start = 1_763_000_000_000_000_000
    return [
        Trade(
            "binance",
            f"S{n % MARKETS}-USDT",
            3_735_000_000 + n // MARKETS,
            start + n * 20_000,
            f"{61837 + n % 97}.{n % 100:02d}",
            f"0.{n % 99_999 + 1:05d}",
            TakerSide.BUY if n % 3 else TakerSide.SELL,
            start + n * 20_000 + 1_000_000,
        )
        for n in range(TRADES_SENT)
    ]


async def _publisher(settings: BusSettings, trades: Sequence[Trade]) -> float:
    may_read = asyncio.Event()
    may_read.set()

    def on_pressure(is_pressed: bool) -> None:
        may_read.clear() if is_pressed else may_read.set()

    lost: list[str] = []
    async with Producer(settings, on_loss=lost.append) as producer:
        publisher = Publisher("binance", producer, on_pressure)
        running = asyncio.create_task(publisher.run())
        started = time.perf_counter()
        for start in range(0, len(trades), PER_TICK):
            for trade in trades[start : start + PER_TICK]:
                publisher.trade(trade)
            await asyncio.sleep(0)
            await may_read.wait()
        await publisher.drain()
        seconds = time.perf_counter() - started
        running.cancel()
        if lost:
            raise RuntimeError(f"the broker may have lost records: {lost}")
    return len(trades) / seconds


def _producer(settings: BusSettings, compression: str | None) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap,
        acks="all",
        linger_ms=5,
        max_batch_size=MAX_BATCH_BYTES,
        max_request_size=MAX_RECORD_BYTES,
        compression_type=compression,
    )


async def _json(settings: BusSettings, trades: Sequence[Trade], compression: str | None) -> float:
    async with _producer(settings, compression) as producer:
        keys = {trade.symbol: market_key(trade.exchange, trade.symbol) for trade in trades}
        started = time.perf_counter()
        for trade in trades:
            message = {
                "exchange": trade.exchange,
                "symbol": trade.symbol,
                "id": trade.trade_id,
                "timestamp": trade.time,
                "price": trade.price,
                "amount": trade.quantity,
                "side": "buy" if trade.side > 0 else "sell",
                "receipt_timestamp": trade.time_received,
            }
            await producer.send(TRADES.name, orjson.dumps(message), key=keys[trade.symbol])
        await producer.flush()
        return len(trades) / (time.perf_counter() - started)


async def _prebuilt(settings: BusSettings, trades: Sequence[Trade]) -> float:
    by_market: dict[str, list[Trade]] = {}
    for trade in trades:
        by_market.setdefault(trade.symbol, []).append(trade)
    records = [
        (
            market_key("binance", symbol),
            TRADES.codec.encode(batch_trades(rows[start : start + MAX_BATCH], Source.STREAM)),
        )
        for symbol, rows in by_market.items()
        for start in range(0, len(rows), MAX_BATCH)
    ]
    async with _producer(settings, "zstd") as producer:
        started = time.perf_counter()
        for key, value in records:
            await producer.send(TRADES.name, value, key=key)
        await producer.flush()
        return len(trades) / (time.perf_counter() - started)
