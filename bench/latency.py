"""(H) From an exchange's frame to a subscriber, through the whole demo on this machine, simulators included.

`crosstape demo` as it comes (five exchanges, 200 trades/s over all markets), one subscriber at the gateway for
twenty markets. A trade's way begins when the ingestor read its frame (`time_received`, which the record on the bus has
and which is read from there afterwards) and ends when the subscriber has its message. All clocks are this machine's.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import msgspec
import uvloop
import websockets
from msgspec import Struct

from bench.measure import Row, fact, limit, percentile
from bench.store import fresh_folder
from crosstape.common.bus.connection import BusSettings
from crosstape.common.bus.follower import Follower
from crosstape.common.bus.topics import TRADES
from crosstape.common.market.trade import Source
from tests.soak.demo import Demo

SETTLE_SECONDS, SECONDS = 20.0, 60.0
BASES = ("BTC", "ETH", "SOL", "XRP")
QUOTES = {"binance": "USDT", "kraken": "USD", "coinbasepro": "USD", "okx": "USDT", "bybit": "USDT"}

Identity = tuple[str, str, int | str]


class Heard(Struct):
    """A message of the stream; of a trade it has all of these."""

    type: str = ""
    exchange: str = ""
    symbol: str = ""
    trade_id: int | str = ""


def measure() -> list[Row]:
    """Start, wait, listen, then look up when each trade came in."""
    return uvloop.run(_measure(fresh_folder("latency")))


async def _measure(folder: Path) -> list[Row]:
    demo = Demo(folder, [])
    started = time.monotonic()
    try:
        await demo.start()
        ready = time.monotonic() - started
        await asyncio.sleep(SETTLE_SECONDS)
        heard = await _listen(demo)
        received = await _received(BusSettings(demo.run.kafka_bootstrap))
    finally:
        await demo.stop()
    delays = [(at - received[identity]) / 1e6 for identity, at in heard.items() if identity in received]
    return [
        fact("from nothing to ready, with a home of its own", ready, " s"),
        fact("trades heard a second", len(heard) / SECONDS, "/s"),
        limit("frame → subscriber, p50", percentile(delays, 50), 10),
        limit("frame → subscriber, p99", percentile(delays, 99), 50),
        fact("frame → subscriber, the longest", max(delays), " ms"),
    ]


async def _listen(demo: Demo) -> dict[Identity, int]:
    """When (ns) each trade was heard."""
    decode = msgspec.json.Decoder(Heard).decode
    channels = [f"trades:{exchange}:{base}-{quote}" for exchange, quote in QUOTES.items() for base in BASES]
    headers = {"Authorization": f"Bearer {demo.api_key}"}
    url = demo.run.gateway_url.replace("http", "ws", 1) + "/ws/v1/stream"
    heard: dict[Identity, int] = {}
    async with websockets.connect(url, additional_headers=headers, compression=None) as socket:
        await socket.send(msgspec.json.encode({"action": "subscribe", "channels": channels}).decode())
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            text = await socket.recv()
            now = time.time_ns()
            message = decode(text)
            if message.type == "trade":
                heard[message.exchange, message.symbol, message.trade_id] = now
    return heard


async def _received(settings: BusSettings) -> dict[Identity, int]:
    """When (ns) the ingestors read the frame of each trade that came over a socket."""
    received: dict[Identity, int] = {}
    async with Follower(settings, {TRADES: SETTLE_SECONDS + SECONDS}) as follower:
        async for arrivals in follower.arrivals():
            for batch in (record.value for record in arrivals.records):
                if batch.source is Source.STREAM:
                    columns = batch.columns()
                    for trade_id, at in zip(columns.trade_id, columns.time_received, strict=True):
                        received[batch.exchange, batch.symbol, trade_id] = at
            if arrivals.is_caught_up:
                return received
    return received
