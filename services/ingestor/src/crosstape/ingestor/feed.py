"""The one socket loop: connect, subscribe, keep alive, notice silence, back off. It knows sockets, not exchanges."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Sequence
from typing import Protocol

import structlog
from picows import WSError, WSMsgType, WSTransport, ws_connect
from prometheus_client import Counter, Gauge

from crosstape.exchanges.dialect import Channel, MalformedFrame, MarketRefused, RateLimit, Subscription
from crosstape.exchanges.rate_limit import TokenBucket
from crosstape.ingestor.listener import MAX_FRAME_BYTES, Listener

log = structlog.get_logger(__name__)

BASE_DELAY, LONGEST_DELAY = 0.2, 30.0
STEADY_SECONDS = 5.0
"""A connection that lived this long was a good one: the next back-off starts from the bottom."""

CONNECT_TIMEOUT = 10.0
READ_BYTES = 64 * 1024
"""What one read of a socket takes at most, at first: hundreds of trades of a busy one."""

HEARD_SECONDS = 10.0
"""So long the last message or answer to a ping vouches for a socket, of which nothing else tells that it is dead."""
PING_SECONDS = 3.0

STUCK_SECONDS = 90.0
"""So long a socket of books may tell of none: of one that stands still OKX tells after around 60 s (its docs, "Sequence
ID"). Answers and heartbeats prove the connection, not the stream, and no audit would find what a stuck stream left out
of a book, as one finds trades."""
BACKLOG_SECONDS = 2.0
"""A socket of books that was not read for longer is left: what it holds is of the past, and would be told as new."""

ASK_AGAIN_SECONDS = 3_600.0
"""A market that was refused is asked for again after so long, on a new connection."""

SUBSCRIBING = TokenBucket(RateLimit(weight=100, seconds=1.0))
"""What all sockets of a process may send to subscribe: exchanges count it by address, and Coinbase allows this much
(docs.cdp.coinbase.com/exchange/websocket-feed/rate-limits)."""

SAMPLE_CHARACTERS = 300
LONGEST_STEP = 1.0
"""Seconds between looks at a socket: whether frames came is asked then, as a clock and a metric a frame cost as much
as its decoding."""

FRAMES = Counter("crosstape_ingestor_frames_total", "Frames received", ["exchange"])
MALFORMED = Counter("crosstape_ingestor_malformed_frames_total", "Frames skipped as malformed", ["exchange", "kind"])
REFUSED = Counter("crosstape_ingestor_refused_markets_total", "Refusals to send a market", ["exchange"])
CONNECTS = Counter("crosstape_ingestor_connects_total", "Connections opened", ["exchange"])
CONNECTED = Gauge("crosstape_ingestor_connected_sockets", "Sockets open now", ["exchange"])


class FeedHandler(Protocol):
    """What a feed tells. All calls come from the event loop and must not block; times are ns of our clock."""

    def on_connected(self, now: int) -> None: ...

    def on_disconnected(self, now: int) -> None: ...

    def on_frame(self, payload: bytes, time_received: int) -> Sequence[object]:
        """Read one frame, and return what it told: nothing, where it only shows that the connection lives.
        MalformedFrame and MarketRefused skip it, FeedError ends the connection."""
        ...


class Feed:
    """Keeps one subscription alive until cancelled."""

    def __init__(
        self, exchange: str, subscription: Subscription, url: str, handler: FeedHandler, *, stall_seconds: float = 0.0
    ):
        self._exchange = exchange
        self._subscription = subscription
        self._url = url
        self._handler = handler
        self.stall_after = stall_seconds or subscription.stall_after
        self._has_books = Channel.BOOK in subscription.channels
        self._transport: WSTransport | None = None
        self._is_paused = False
        self._malformed_kinds: set[str] = set()
        self._frames = FRAMES.labels(exchange)
        self._heard = self._told = -math.inf
        self._changed = -math.inf  # when it was connected, paused or read again
        self._ask_again = math.inf

    @property
    def is_connected(self) -> bool:
        return self._transport is not None

    @property
    def is_heard(self) -> bool:
        """Whether the socket is read, and said or answered something a moment ago: only then what was heard holds."""
        return self.is_connected and not self._is_paused and time.monotonic() - self._heard <= HEARD_SECONDS

    def pause(self, is_paused: bool) -> None:
        """Stop or go on reading the socket: back-pressure to the exchange instead of memory of ours."""
        since, self._changed = self._changed, time.monotonic()
        self._is_paused = is_paused
        if self._has_books and not is_paused and self._changed - since > BACKLOG_SECONDS:
            self.reconnect("it was not read")
        elif self._transport is not None:
            reading = self._transport.underlying_transport
            reading.pause_reading() if is_paused else reading.resume_reading()

    def reconnect(self, reason: str) -> None:
        """Leave the connection; the loop opens a new one."""
        if self._transport is not None:
            self._leave(self._transport, reason)

    def _leave(self, transport: WSTransport, reason: str) -> None:
        log.warning("feed_reconnecting", exchange=self._exchange, url=self._url, reason=reason)
        transport.disconnect(graceful=False)

    async def run(self) -> None:
        """Connect again and again until cancelled."""
        failures = 0
        while True:
            started = time.monotonic()
            try:
                await self._connection()
            except (OSError, WSError, TimeoutError) as error:
                log.warning(
                    "feed_unreachable", exchange=self._exchange, url=self._url, error=str(error) or type(error).__name__
                )
            failures = 0 if time.monotonic() - started > STEADY_SECONDS else failures + 1
            await asyncio.sleep(backoff(failures, random.random()))

    async def _connection(self) -> None:
        self._ask_again = math.inf
        listener = Listener(self._handler.on_frame, self._opened, self._skip, self._go_without, self._leave)
        try:
            transport, _ = await ws_connect(
                lambda: listener,
                self._url,
                websocket_handshake_timeout=CONNECT_TIMEOUT,
                max_frame_size=MAX_FRAME_BYTES,
                read_buffer_init_size=READ_BYTES,
                disconnect_on_exception=False,
            )
            await self._subscribe(transport)
            await self._watch(transport, listener)
        finally:
            listener.abandon()  # picows goes on opening it, if it is not open yet
            self._close(listener)

    def _opened(self, transport: WSTransport) -> None:
        self._transport = transport
        CONNECTS.labels(self._exchange).inc()
        CONNECTED.labels(self._exchange).inc()
        self._changed, self._heard = time.monotonic(), -math.inf
        self._handler.on_connected(time.time_ns())
        if self._is_paused:
            self.pause(True)

    def _close(self, listener: Listener) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            self._frames.inc(listener.take_counts()[0])
            CONNECTED.labels(self._exchange).dec()
            transport.disconnect(graceful=False)
            self._handler.on_disconnected(time.time_ns())

    async def _subscribe(self, transport: WSTransport) -> None:
        for message in self._subscription.messages:
            while wait := SUBSCRIBING.take(1, time.monotonic()):
                await asyncio.sleep(wait)
            if transport.is_disconnected:
                return
            transport.send(WSMsgType.TEXT, message)

    async def _watch(self, transport: WSTransport, listener: Listener) -> None:
        """Send the exchange's pings, and leave a socket that has gone silent or is stuck, until it is closed.

        Raises WSError when it was closed for what it said.
        """
        ping, interval = self._subscription.ping, min(PING_SECONDS, self.stall_after / 3)
        step = min(interval, self.stall_after / 4, LONGEST_STEP)
        pinged = time.monotonic()
        closed = asyncio.ensure_future(transport.wait_disconnected())
        while not closed.done():
            await asyncio.wait((closed,), timeout=step)
            now = time.monotonic()
            if ping is not None and now - pinged >= interval:
                transport.send(WSMsgType.TEXT if ping else WSMsgType.PING, ping)
                pinged = now
            messages, notices, answers = listener.take_counts()
            self._frames.inc(messages)
            if messages or answers:
                self._heard = now
            if messages > notices:
                self._told = now
            if not self._is_paused:
                self._look_after(now)
            if now > self._ask_again:
                self.reconnect("a market was refused")
        await closed

    def _look_after(self, now: float) -> None:
        if now - max(self._heard, self._changed) > self.stall_after:
            self.reconnect(f"silent for {self.stall_after:.0f} s")
        elif self._has_books and now - max(self._told, self._changed) > STUCK_SECONDS:
            self.reconnect(f"told of no book for {STUCK_SECONDS:.0f} s")

    def _skip(self, error: MalformedFrame, payload: bytes) -> None:
        MALFORMED.labels(self._exchange, error.kind).inc()
        if error.kind not in self._malformed_kinds:
            self._malformed_kinds.add(error.kind)
            sample = payload[:SAMPLE_CHARACTERS].decode("utf-8", "replace")
            log.warning("malformed_frame", exchange=self._exchange, kind=error.kind, error=str(error), sample=sample)

    def _go_without(self, refused: MarketRefused) -> None:
        self._ask_again = time.monotonic() + ASK_AGAIN_SECONDS
        REFUSED.labels(self._exchange).inc()
        log.warning("market_refused", exchange=self._exchange, symbol=refused.symbol, error=str(refused))


def backoff(failures: int, chance: float) -> float:
    """Seconds to wait after `failures` in a row: exponential with full jitter (`chance` in [0, 1)), capped."""
    return chance * min(LONGEST_DELAY, BASE_DELAY * 2.0 ** min(failures, 16))
