"""(B) Socket to Trade object: the ingestor's Feed against an aiohttp client with the very same decode.

A blocking server in another process sends real trade frames as fast as the socket takes them. The rate counts from the
first trade to the last, wall time, on uvloop, as the ingestor runs. aiohttp gets bytes (`decode_text=False`), its
fastest way. "picows alone" is the limit: the same socket library and decode with nothing of the Feed around it.
cryptofeed is its handler in the plain loop over `websockets` that its ConnectionHandler is.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect
from websockets.asyncio.client import connect

from bench import peer_cryptofeed
from bench.frame_server import serving
from bench.inputs import Input, trade_inputs
from bench.measure import OURS, Row, compare, take_turns
from crosstape.exchanges.dialect import Event, Subscription
from crosstape.ingestor.feed import Feed

ROUNDS = 5
FRAMES = 200_000

Client = Callable[[str, int], Awaitable[float]]


class Stopwatch:
    """Counts from the first trade to the last one wanted."""

    def __init__(self, wanted: int):
        self._wanted = wanted
        self._started = 0.0
        self._done: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._left = wanted

    def add(self, trades: int) -> bool:
        """Some trades are objects now; whether these were the last ones."""
        left = self._left
        if left == self._wanted:
            self._started = time.perf_counter()
        self._left = left = left - trades
        if left > 0:
            return False
        if not self._done.done():
            self._done.set_result((self._wanted - 1) / (time.perf_counter() - self._started))
        return True

    async def rate(self) -> float:
        """Trades per second, once all have come."""
        return await self._done


def measure() -> list[Row]:
    """Trades per second through each client."""
    source = next(trade_inputs())()
    repeats = max(1, FRAMES // len(source.ours))
    (subscription,) = source.dialect.subscriptions(source.instruments, frozenset((source.channel,)))
    wanted = repeats * len(source.ours)
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(source.ours, repeats, Path(folder)) as url,
        tempfile.TemporaryDirectory() as other,
        serving([f.encode() for f in source.cryptofeed], repeats, Path(other)) as converted,
    ):
        measured = take_turns(
            {
                OURS: lambda: uvloop.run(_feed(url, wanted, subscription)),
                "aiohttp, same decode": lambda: uvloop.run(_aiohttp(url, wanted, subscription)),
                "picows alone, same decode": lambda: uvloop.run(_picows(url, wanted, subscription)),
                "cryptofeed": lambda: uvloop.run(_cryptofeed(converted, wanted, source)),
            },
            ROUNDS,
        )
    what = "socket → Trade, binance spot trades"
    return [
        compare(what, measured, "aiohttp, same decode", least=2),
        compare(what, measured, "cryptofeed"),
        compare(what, measured, "picows alone, same decode"),
    ]


async def _feed(url: str, wanted: int, subscription: Subscription) -> float:
    watch, decode = Stopwatch(wanted), subscription.decode

    def on_frame(payload: bytes, time_received: int) -> Sequence[Event]:
        events = decode(payload, time_received)
        watch.add(len(events))
        return events

    handler: Any = SimpleNamespace(on_connected=lambda now: None, on_disconnected=lambda now: None, on_frame=on_frame)
    running = asyncio.create_task(Feed("binance", subscription, url, handler).run())
    try:
        return await watch.rate()
    finally:
        running.cancel()


async def _aiohttp(url: str, wanted: int, subscription: Subscription) -> float:
    watch, decode, now = Stopwatch(wanted), subscription.decode, time.time_ns
    async with aiohttp.ClientSession() as session, session.ws_connect(url, decode_text=False) as socket:
        async for message in socket:
            if watch.add(len(decode(message.data, now()))):
                break
    return await watch.rate()


async def _picows(url: str, wanted: int, subscription: Subscription) -> float:
    watch, decode, now = Stopwatch(wanted), subscription.decode, time.time_ns

    class Listener(WSListener):
        """Nothing but the decode."""

        def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
            if frame.msg_type == WSMsgType.TEXT:
                watch.add(len(decode(frame.get_payload_as_bytes(), now())))

    transport, _ = await ws_connect(Listener, url)
    try:
        return await watch.rate()
    finally:
        transport.disconnect()


async def _cryptofeed(url: str, wanted: int, source: Input) -> float:
    watch = Stopwatch(wanted)
    is_last = False

    def taken() -> None:
        nonlocal is_last
        is_last = watch.add(1)

    handle = peer_cryptofeed.handler(source, taken)
    async with connect(url, compression=None) as socket:
        async for message in socket:
            await handle(message)
            if is_last:
                break
    return await watch.rate()
