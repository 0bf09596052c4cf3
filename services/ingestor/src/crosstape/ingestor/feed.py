"""The one socket loop: connect, subscribe, keep alive, notice silence, back off. It knows sockets, not exchanges."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import Protocol

import structlog
from picows import WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect
from prometheus_client import Counter, Gauge

from crosstape.exchanges.dialect import FeedError, MalformedFrame, Subscription

log = structlog.get_logger(__name__)

BASE_DELAY, LONGEST_DELAY = 0.2, 30.0
STEADY_SECONDS = 5.0
"""A connection that lived this long was a good one: the next back-off starts from the bottom."""

MAX_FRAME_BYTES = 64 * 1024 * 1024
"""Coinbase sends a whole book, tens of thousands of levels, in one frame."""

CONNECT_TIMEOUT = 10.0
SAMPLE_CHARACTERS = 300
LONGEST_STEP = 1.0
"""Seconds between looks at a socket: whether frames came is asked then, as a clock and a metric a frame cost as much
as its decoding."""

_TEXT = WSMsgType.TEXT

FRAMES = Counter("crosstape_ingestor_frames_total", "Frames received", ["exchange"])
MALFORMED = Counter("crosstape_ingestor_malformed_frames_total", "Frames skipped as malformed", ["exchange", "kind"])
CONNECTS = Counter("crosstape_ingestor_connects_total", "Connections opened", ["exchange"])
CONNECTED = Gauge("crosstape_ingestor_connected_sockets", "Sockets open now", ["exchange"])


class FeedHandler(Protocol):
    """What a feed tells. All calls come from the event loop and must not block; times are ns of our clock."""

    def on_connected(self, now: int) -> None: ...

    def on_disconnected(self, now: int) -> None: ...

    def on_frame(self, payload: memoryview | bytearray, time_received: int) -> None:
        """Read one frame, valid during the call. MalformedFrame skips it, FeedError ends the connection."""
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
        self._stall_after = stall_seconds or subscription.stall_after
        self._transport: WSTransport | None = None
        self._is_paused = False
        self._malformed_kinds: set[str] = set()
        self._frames = FRAMES.labels(exchange)
        self._uncounted = 0
        self._on_frame = handler.on_frame
        self._heard = 0.0

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
        listener = _Listener(self._received, self._refused)
        transport, _ = await ws_connect(
            lambda: listener,
            self._url,
            websocket_handshake_timeout=CONNECT_TIMEOUT,
            max_frame_size=MAX_FRAME_BYTES,
            disconnect_on_exception=False,
        )
        self._transport = transport
        CONNECTS.labels(self._exchange).inc()
        CONNECTED.labels(self._exchange).inc()
        self._heard = time.monotonic()
        try:
            for message in self._subscription.messages:
                transport.send(WSMsgType.TEXT, message)
            self._handler.on_connected(time.time_ns())
            if self._is_paused:
                self.pause(True)
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(self._watch(transport))
                await transport.wait_disconnected()
                watching.cancel()
        finally:
            self._transport = None
            self._count_frames()
            CONNECTED.labels(self._exchange).dec()
            transport.disconnect(graceful=False)
            self._handler.on_disconnected(time.time_ns())

    async def _watch(self, transport: WSTransport) -> None:
        """Send the exchange's pings, and leave a socket that has gone silent."""
        ping, interval = self._subscription.ping, min(self._subscription.ping_interval, self._stall_after / 3)
        step = min(interval, self._stall_after / 4, LONGEST_STEP)
        pinged = time.monotonic()
        while True:
            await asyncio.sleep(step)
            now = time.monotonic()
            if ping is not None and now - pinged >= interval:
                transport.send(WSMsgType.TEXT, ping)
                pinged = now
            if self._count_frames():
                self._heard = now
            elif now - self._heard > self._stall_after and not self._is_paused:
                self.reconnect(f"silent for {self._stall_after:.0f} s")
                return

    def _count_frames(self) -> int:
        count, self._uncounted = self._uncounted, 0
        self._frames.inc(count)
        return count

    def _received(self, payload: memoryview | bytearray) -> None:
        self._uncounted += 1
        try:
            self._on_frame(payload, time.time_ns())
        except MalformedFrame as error:
            self._skip(error, payload)
        except FeedError as error:
            self.reconnect(str(error))

    def _refused(self, error: Exception) -> None:
        self.reconnect(f"{type(error).__name__}: {error}")

    def _skip(self, error: MalformedFrame, payload: memoryview | bytearray) -> None:
        MALFORMED.labels(self._exchange, error.kind).inc()
        if error.kind not in self._malformed_kinds:
            self._malformed_kinds.add(error.kind)
            sample = bytes(payload[:SAMPLE_CHARACTERS]).decode("utf-8", "replace")
            log.warning("malformed_frame", exchange=self._exchange, kind=error.kind, error=str(error), sample=sample)


def backoff(failures: int, chance: float) -> float:
    """Seconds to wait after `failures` in a row: exponential with full jitter (`chance` in [0, 1)), capped."""
    return chance * min(LONGEST_DELAY, BASE_DELAY * 2.0 ** min(failures, 16))


class _Listener(WSListener):
    """Joins fragments and hands over whole messages, straight from the socket's memory where there are none."""

    def __init__(self, received: Callable[[memoryview | bytearray], None], refused: Callable[[Exception], None]):
        super().__init__()
        self._received = received
        self._refused = refused
        self._fragments = bytearray()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        kind = frame.msg_type
        if kind == _TEXT and frame.fin and not self._fragments:
            self._received(frame.get_payload_as_memoryview())
        elif kind == WSMsgType.CLOSE:
            transport.disconnect()
        elif kind in (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION):
            if frame.fin and not self._fragments:
                self._received(frame.get_payload_as_memoryview())
                return
            self._fragments += frame.get_payload_as_memoryview()
            if len(self._fragments) > MAX_FRAME_BYTES:
                self._refused(ValueError("a fragmented message is larger than any frame may be"))
            elif frame.fin:
                message, self._fragments = self._fragments, bytearray()
                self._received(message)
