"""cryptofeed as a user runs it: its own Feed objects and message handlers, a callback that takes what they make.

Symbols are set from the input's instruments instead of the exchange's REST; checksums are off, its default, unless
asked for. What a socket would add (`websockets`) is not in here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace

from cryptofeed.defines import L2_BOOK, TRADES
from cryptofeed.exchanges import OKX, Binance, BinanceFutures, Bybit, Coinbase, Kraken
from cryptofeed.feed import Feed
from cryptofeed.symbols import Symbols

from bench.inputs import Input
from crosstape.common.market.instrument import Instrument, Kind
from crosstape.exchanges.dialect import Channel

_FEEDS: dict[tuple[str, Kind], type[Feed]] = {
    ("binance", Kind.SPOT): Binance,
    ("binance", Kind.PERPETUAL): BinanceFutures,
    ("coinbasepro", Kind.SPOT): Coinbase,
    ("okx", Kind.SPOT): OKX,
    ("bybit", Kind.SPOT): Bybit,
    ("bybit", Kind.PERPETUAL): Bybit,
    ("kraken", Kind.SPOT): Kraken,
}


def runner(source: Input, *, verifies: bool = False, depth: int = 0) -> Callable[[], int]:
    """A fresh feed, then a call that runs all frames through it; it returns how many values the callback got.

    With `depth` the callback reads that many of the best levels of every book it gets.
    """
    taken = 0

    async def callback(value: object, timestamp: float) -> None:
        nonlocal taken
        taken += 1
        if depth:
            sides = value.book  # type: ignore[attr-defined]
            for side in (sides.bids, sides.asks):
                [side.index(place) for place in range(min(depth, len(side)))]

    feed = _feed(source, callback, verifies)
    connection = SimpleNamespace(address=source.url, uuid="bench", subscription={})
    if source.snapshot:
        asyncio.run(_snapshot(feed, source))
        taken = 0

    async def everything() -> None:
        handle, now = feed.message_handler, time.time
        for frame in source.cryptofeed:
            await handle(frame, connection, now())

    def run() -> int:
        asyncio.run(everything())
        return taken

    return run


def handler(source: Input, taken: Callable[[], None]) -> Callable[[str | bytes], Awaitable[None]]:
    """A fresh feed's message handler for one frame; `taken` is called for every value it makes."""

    async def callback(value: object, timestamp: float) -> None:
        taken()

    feed = _feed(source, callback, False)
    connection = SimpleNamespace(address=source.url, uuid="bench", subscription={})

    async def handle(frame: str | bytes) -> None:
        await feed.message_handler(frame, connection, time.time())

    return handle


def _feed(source: Input, callback: object, verifies: bool) -> Feed:
    kind = _FEEDS[source.dialect.exchange, source.instruments[0].kind]
    symbols = {_standard(i): _native(i) for i in source.instruments}
    info = {
        "instrument_type": {_standard(i): "spot" if i.kind is Kind.SPOT else "perpetual" for i in source.instruments}
    }
    Symbols.set(kind.id, symbols, info)
    channel = TRADES if source.channel is Channel.TRADES else L2_BOOK
    return kind(symbols=list(symbols), channels=[channel], callbacks={channel: callback}, checksum_validation=verifies)


def _standard(instrument: Instrument) -> str:
    suffix = "-PERP" if instrument.kind is Kind.PERPETUAL else ""
    return f"{instrument.base}-{instrument.quote}{suffix}"


def _native(instrument: Instrument) -> str:
    if instrument.exchange == "bybit" and instrument.kind is Kind.SPOT:
        return f"{instrument.base}/{instrument.quote}"
    if instrument.exchange == "kraken":
        return f"{instrument.base}/{instrument.quote}".replace("BTC", "XBT")
    return instrument.exchange_symbol


async def _snapshot(feed: Feed, source: Input) -> None:
    """The book that REST would answer, through its own code."""

    async def read(address: str) -> str:
        return source.snapshot

    feed.http_conn = SimpleNamespace(read=read)
    await feed._snapshot(source.instruments[0].exchange_symbol)
