"""The socket loop: back-off, what it takes for a dead socket, and what a hostile server cannot end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

from crosstape.exchanges.dialect import Channel, MarketRefused, RateLimit, Subscription
from crosstape.exchanges.rate_limit import TokenBucket
from crosstape.ingestor import feed
from crosstape.ingestor.feed import BASE_DELAY, LONGEST_DELAY, Feed, backoff

RESERVED = b"\x83\x00"
"""An empty frame of an opcode that no protocol has."""


@given(st.integers(0, 1_000), st.floats(0, 1, exclude_max=True))
def test_back_off_stays_within_its_bounds_for_any_number_of_failures(failures: int, chance: float) -> None:
    assert 0 <= backoff(failures, chance) < LONGEST_DELAY


@given(st.integers(0, 10))
def test_back_off_doubles_until_its_cap(failures: int) -> None:
    assert backoff(failures, 0.5) == min(LONGEST_DELAY, BASE_DELAY * 2**failures) / 2


class Server(WSListener):
    """Sends `greeting` as it is to whoever connects, and then answers pings alone, if it `answers`. `texts` is when (s)
    texts came."""

    def __init__(self, greeting: bytes = b"", *, answers: bool = True):
        super().__init__()
        self._greeting = greeting
        self._answers = answers
        self.connections = 0
        self.pings = 0
        self.texts: list[float] = []

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.connections += 1
        transport.underlying_transport.write(self._greeting)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.PING:
            self.pings += 1
            if self._answers:
                transport.send_pong(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.TEXT:
            self.texts.append(time.monotonic())


class Reader:
    """A handler that keeps what it is sent, and is told of a refusal by each frame that says so."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []

    def on_connected(self, now: int) -> None: ...

    def on_disconnected(self, now: int) -> None: ...

    def on_frame(self, payload: bytes, time_received: int) -> None:
        self.frames.append(payload)
        if payload == b"refused":
            raise MarketRefused("delisted", "OLD-USD")


@asynccontextmanager
async def feeding(
    server: Server, ping: bytes | None = None, stall_after: float = 60.0, messages: tuple[bytes, ...] = ()
) -> AsyncIterator[Reader]:
    """A feed of `server` that runs meanwhile, and has not ended when it is over; gives its handler."""
    reader = Reader()
    listening = await ws_create_server(lambda request: server, "127.0.0.1", 0, enable_auto_pong=False)
    url = f"ws://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
    channels = frozenset((Channel.TRADES,))
    subscription = Subscription(
        "stream", "", messages, (), channels, lambda frame, time: (), ping, stall_after=stall_after
    )
    running = asyncio.create_task(Feed("x", subscription, url, reader).run())
    try:
        yield reader
        assert not running.done()
    finally:
        running.cancel()
        await asyncio.wait((running,))
        listening.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_frame_that_breaks_the_protocol_ends_its_connection_and_not_the_feed() -> None:
    server = Server(RESERVED)
    async with feeding(server):
        await until(lambda: server.connections > 1)


async def test_a_quiet_socket_that_answers_pings_is_kept() -> None:
    server, frames = Server(), feed.FRAMES.labels("x")._value.get()
    async with feeding(server, b"", stall_after=1.0):
        await until(lambda: server.pings > 6)  # three in the time after which silence is death
        assert server.connections == 1
    assert feed.FRAMES.labels("x")._value.get() == frames, "an answer to a ping is no frame of the feed"


async def test_subscribing_to_much_keeps_to_a_pace_that_all_sockets_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "SUBSCRIBING", TokenBucket(RateLimit(weight=20, seconds=1.0)))
    servers = Server(), Server()
    async with feeding(servers[0], messages=(b"{}",) * 5), feeding(servers[1], messages=(b"{}",) * 5):
        await until(lambda: all(len(server.texts) == 5 for server in servers))
    sent = sorted(servers[0].texts + servers[1].texts)
    assert sent[-1] - sent[0] > 0.3, "eight that wait, eighteen a second"


@pytest.mark.parametrize("ping", [None, b""])
async def test_a_socket_that_says_nothing_and_answers_nothing_is_left(ping: bytes | None) -> None:
    server = Server(answers=False)
    async with feeding(server, ping, stall_after=0.2):
        await until(lambda: server.connections > 1)


async def test_a_market_that_is_refused_is_named_and_ends_nothing_of_the_others() -> None:
    server = Server(b"\x81\x07refused\x81\x04data")
    with structlog.testing.capture_logs() as lines:
        async with feeding(server) as reader:
            await until(lambda: len(reader.frames) == 2)
    assert reader.frames == [b"refused", b"data"]
    assert [(line["event"], line["symbol"]) for line in lines] == [("market_refused", "OLD-USD")]


async def test_a_market_that_was_refused_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "ASK_AGAIN_SECONDS", 0.0)
    server = Server(b"\x81\x07refused")
    async with feeding(server):
        await until(lambda: server.connections > 1)
