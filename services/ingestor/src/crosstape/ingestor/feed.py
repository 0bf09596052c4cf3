"""The one socket loop: connect, subscribe, keep alive, notice silence, back off. It knows sockets, not exchanges."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable
from typing import Protocol

import structlog
from picows import WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect
from prometheus_client import Counter, Gauge

from crosstape.exchanges.dialect import FeedError, MalformedFrame, MarketRefused, RateLimit, Subscription
from crosstape.exchanges.rate_limit import TokenBucket

log = structlog.get_logger(__name__)

BASE_DELAY, LONGEST_DELAY = 0.2, 30.0
STEADY_SECONDS = 5.0
"""A connection that lived this long was a good one: the next back-off starts from the bottom."""

MAX_FRAME_BYTES = 64 * 1024 * 1024
"""Coinbase sends a whole book, tens of thousands of levels, in one frame."""

CONNECT_TIMEOUT = 10.0
READ_BYTES = 64 * 1024
"""What one read of a socket takes at most, at first: hundreds of trades of a busy one."""

ASK_AGAIN_SECONDS = 3_600.0
"""A market that was refused is asked for again after so long, on a new connection."""

SUBSCRIBING = TokenBucket(RateLimit(weight=100, seconds=1.0))
"""What all sockets of a process may send to subscribe: exchanges count it by address, and Coinbase allows this much
(docs.cdp.coinbase.com/exchange/websocket-feed/rate-limits)."""

SAMPLE_CHARACTERS = 300
LONGEST_STEP = 1.0
"""Seconds between looks at a socket: whether frames came is asked then, as a clock and a metric a frame cost as much
as its decoding."""

_TEXT, _now = WSMsgType.TEXT, time.time_ns

FRAMES = Counter("crosstape_ingestor_frames_total", "Frames received", ["exchange"])
MALFORMED = Counter("crosstape_ingestor_malformed_frames_total", "Frames skipped as malformed", ["exchange", "kind"])
REFUSED = Counter("crosstape_ingestor_refused_markets_total", "Refusals to send a market", ["exchange"])
CONNECTS = Counter("crosstape_ingestor_connects_total", "Connections opened", ["exchange"])
CONNECTED = Gauge("crosstape_ingestor_connected_sockets", "Sockets open now", ["exchange"])


class FeedHandler(Protocol):
    """What a feed tells. All calls come from the event loop and must not block; times are ns of our clock."""

    def on_connected(self, now: int) -> None: ...

    def on_disconnected(self, now: int) -> None: ...

    def on_frame(self, payload: bytes, time_received: int) -> None:
        """Read one frame. MalformedFrame and MarketRefused skip it, FeedError ends the connection."""
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
        self._transport: WSTransport | None = None
        self._is_paused = False
        self._malformed_kinds: set[str] = set()
        self._frames = FRAMES.labels(exchange)
        self._heard = 0.0
        self._ask_again = math.inf

    @property
    def is_connected(self) -> bool:
        return self._transport is not None

    def pause(self, is_paused: bool) -> None:
        """Stop or go on reading the socket: back-pressure to the exchange instead of memory of ours."""
        self._is_paused = is_paused
        if self._transport is not None:
            reading = self._transport.underlying_transport
            reading.pause_reading() if is_paused else reading.resume_reading()
        self._heard = time.monotonic()

    def reconnect(self, reason: str) -> None:
        """Leave the connection; the loop opens a new one."""
        if self._transport is not None:
            log.warning("feed_reconnecting", exchange=self._exchange, url=self._url, reason=reason)
            self._transport.disconnect(graceful=False)

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
        listener = _Listener(self._handler, self._skip, self._go_without, self.reconnect)
        transport, _ = await ws_connect(
            lambda: listener,
            self._url,
            websocket_handshake_timeout=CONNECT_TIMEOUT,
            max_frame_size=MAX_FRAME_BYTES,
            read_buffer_init_size=READ_BYTES,
            disconnect_on_exception=False,
        )
        self._transport = transport
        CONNECTS.labels(self._exchange).inc()
        CONNECTED.labels(self._exchange).inc()
        self._heard = time.monotonic()
        try:
            self._handler.on_connected(time.time_ns())
            if self._is_paused:
                self.pause(True)
            await self._subscribe(transport)
            await self._watch(transport, listener)
        finally:
            self._transport = None
            self._frames.inc(listener.take_counts()[0])
            CONNECTED.labels(self._exchange).dec()
            transport.disconnect(graceful=False)
            self._handler.on_disconnected(time.time_ns())

    async def _subscribe(self, transport: WSTransport) -> None:
        for message in self._subscription.messages:
            await asyncio.sleep(SUBSCRIBING.reserve(1, time.monotonic()))
            if transport.is_disconnected:
                return
            transport.send(WSMsgType.TEXT, message)

    async def _watch(self, transport: WSTransport, listener: _Listener) -> None:
        """Send the exchange's pings, and leave a socket that has gone silent, until it is closed.

        Raises WSError when it was closed for what it said.
        """
        ping, interval = self._subscription.ping, min(self._subscription.ping_interval, self.stall_after / 3)
        step = min(interval, self.stall_after / 4, LONGEST_STEP)
        pinged = time.monotonic()
        closed = asyncio.ensure_future(transport.wait_disconnected())
        while not closed.done():
            await asyncio.wait((closed,), timeout=step)
            now = time.monotonic()
            if ping is not None and now - pinged >= interval:
                transport.send(WSMsgType.TEXT if ping else WSMsgType.PING, ping)
                pinged = now
            messages, answers = listener.take_counts()
            self._frames.inc(messages)
            if messages or answers:
                self._heard = now
            elif now - self._heard > self.stall_after and not self._is_paused:
                self.reconnect(f"silent for {self.stall_after:.0f} s")
            if now > self._ask_again:
                self.reconnect("a market was refused")
        await closed

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


class _Listener(WSListener):
    """Hands the socket's messages over, as one call each: another one would cost a tenth of a trade's way."""

    __slots__ = ("_answers", "_fragments", "_go_without", "_messages", "_on_frame", "_refuse", "_skip")

    def __init__(
        self,
        handler: FeedHandler,
        skip: Callable[[MalformedFrame, bytes], None],
        go_without: Callable[[MarketRefused], None],
        refuse: Callable[[str], None],
    ):
        super().__init__()
        self._on_frame = handler.on_frame
        self._skip = skip
        self._go_without = go_without
        self._refuse = refuse
        self._fragments = bytearray()
        self._messages = self._answers = 0

    def take_counts(self) -> tuple[int, int]:
        """How many messages, and how many answers to our pings, came since it was last asked."""
        counts = self._messages, self._answers
        self._messages = self._answers = 0
        return counts

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == _TEXT and frame.fin and not self._fragments:
            payload = frame.get_payload_as_bytes()
        elif not (payload := self._joined(transport, frame)):
            return
        self._messages += 1
        try:
            self._on_frame(payload, _now())
        except MalformedFrame as error:
            self._skip(error, payload)
        except MarketRefused as error:
            self._go_without(error)
        except FeedError as error:
            self._refuse(str(error))

    def _joined(self, transport: WSTransport, frame: WSFrame) -> bytes:
        """The message that `frame` ends; empty while it goes on, and for frames that are of none."""
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()
        elif frame.msg_type == WSMsgType.PONG:
            self._answers += 1
        elif frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION):
            self._fragments += frame.get_payload_as_bytes()
            if len(self._fragments) > MAX_FRAME_BYTES:
                self._refuse("a fragmented message is larger than any frame may be")
            elif frame.fin:
                message, self._fragments = bytes(self._fragments), bytearray()
                return message
        return b""
