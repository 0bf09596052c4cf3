"""The socket loop: back-off, what it takes for a dead socket, and what a hostile server cannot end."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server

from crosstape.common.market.instrument import Instrument
from crosstape.exchanges import dialect_of
from crosstape.exchanges.dialect import Channel, FeedError, MarketRefused, RateLimit, Subscription
from crosstape.exchanges.rate_limit import TokenBucket
from crosstape.ingestor import feed
from crosstape.ingestor.feed import LONGEST_DELAY, Feed, backoff

RESERVED = b"\x83\x00"
"""An empty frame of an opcode that no protocol has."""

TRADES, BOOKS = Channel.TRADES, Channel.BOOK


@pytest.fixture(autouse=True)
def haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "BASE_DELAY", 0.01)
    monkeypatch.setattr(feed, "PING_SECONDS", 0.02)


@given(st.integers(0, 1_000), st.floats(0, 1, exclude_max=True))
def test_back_off_stays_within_its_bounds_for_any_number_of_failures(failures: int, chance: float) -> None:
    assert 0 <= backoff(failures, chance) < LONGEST_DELAY


@given(st.integers(0, 10))
def test_back_off_doubles_until_its_cap(failures: int) -> None:
    assert backoff(failures, 0.5) == min(LONGEST_DELAY, feed.BASE_DELAY * 2**failures) / 2


class Server(WSListener):
    """Sends `greeting` as it is to whoever connects, and then answers pings alone, if it `answers`: those of text with
    `pong`. `texts` is how many came."""

    def __init__(self, greeting: bytes = b"", *, answers: bool = True):
        super().__init__()
        self._greeting = greeting
        self._answers = answers
        self.connections = 0
        self.pings = 0
        self.transport: WSTransport
        self.texts = 0

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.connections += 1
        self.transport = transport
        transport.underlying_transport.write(self._greeting)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.PING:
            self.pings += 1
            if self._answers:
                transport.send_pong(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.TEXT:
            self.texts += 1
            if frame.get_payload_as_bytes() == b"ping":
                self.pings += 1
                if self._answers:
                    transport.send(WSMsgType.TEXT, b"pong")


class Reader:
    """A handler that keeps what it is sent, and is told of a refusal by each frame that says so; an answer to a ping
    tells it nothing. `was_connected` is whether it knew of its connection at each frame."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.was_connected: list[bool] = []
        self.is_connected = False
        self.feed: Feed

    def on_connected(self, now: int) -> None:
        self.is_connected = True

    def on_disconnected(self, now: int) -> None:
        self.is_connected = False

    def on_frame(self, payload: bytes, time_received: int) -> Sequence[bytes]:
        self.frames.append(payload)
        self.was_connected.append(self.is_connected)
        if payload == b"refused":
            raise MarketRefused("delisted", "OLD-USD")
        if payload == b"ending":
            raise FeedError("the service restarts")
        return () if payload == b"pong" else (payload,)


@asynccontextmanager
async def feeding(
    server: Server,
    ping: bytes | None = None,
    stall_after: float = 60.0,
    messages: tuple[bytes, ...] = (),
    *,
    channel: Channel = TRADES,
) -> AsyncIterator[Reader]:
    """A feed of `server` that runs meanwhile, and has not ended when it is over; gives its handler, which has it."""
    reader = Reader()
    listening = await ws_create_server(lambda request: server, "127.0.0.1", 0, enable_auto_pong=False)
    url = f"ws://127.0.0.1:{listening.sockets[0].getsockname()[1]}/"
    channels = frozenset((channel,))
    subscription = Subscription("stream", "", messages, (), channels, lambda frame, time: (), ping, stall_after)
    reader.feed = Feed("x", subscription, url, reader)
    running = asyncio.create_task(reader.feed.run())
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


class Looks:
    """A clock (s) that each look at the socket makes go on, however long the machine took for it."""

    time_ns = staticmethod(time.time_ns)

    def __init__(self) -> None:
        self._now = 0.0

    def monotonic(self) -> float:
        self._now += 0.025
        return self._now


ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
PUBLISHED = b"\x81\x05trade"


@pytest.mark.parametrize("is_open", [False, True])
async def test_a_connection_that_opens_when_its_feed_has_been_ended_is_left_unread(*, is_open: bool) -> None:
    """Also one that is open, of which the feed was not told yet."""
    left, is_asked, is_ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        is_asked.set()
        if not is_open:
            await is_ended.wait()
        key = next(
            line.split(b": ")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key")
        )
        proof = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())  # RFC 6455, 1.3
        writer.write(ACCEPTED + proof + b"\r\n\r\n" + PUBLISHED)
        with suppress(ConnectionError):
            await reader.read()
        left.set()
        writer.close()

    class Ending(Reader):
        def on_frame(self, payload: bytes, time_received: int) -> Sequence[bytes]:
            running.cancel()
            return super().on_frame(payload, time_received)

    handler = Ending()
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    subscription = Subscription("stream", "", (), (), frozenset((TRADES,)), lambda frame, time: ())
    running = asyncio.create_task(Feed("x", subscription, url, handler).run())
    async with asyncio.timeout(20), server:
        await is_asked.wait()
        if not is_open:
            running.cancel()
        await asyncio.wait((running,))
        is_ended.set()
        await left.wait()
    assert handler.frames == ([b"trade"] if is_open else [])
    assert handler.was_connected == ([True] if is_open else [])
    assert not handler.is_connected


async def test_a_frame_that_breaks_the_protocol_ends_its_connection_and_not_the_feed() -> None:
    server = Server(RESERVED)
    async with feeding(server):
        await until(lambda: server.connections > 1)


@pytest.mark.parametrize("ping", [b"", b"ping"])
async def test_a_quiet_socket_that_answers_pings_is_kept(ping: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "STUCK_SECONDS", 0.1)
    monkeypatch.setattr(feed, "LONGEST_STEP", 0.001)
    monkeypatch.setattr(feed, "time", Looks())
    server, frames = Server(), feed.FRAMES.labels("x")._value.get()
    async with feeding(server, ping, stall_after=0.4):
        await until(lambda: server.pings > 25)  # in more than the time after which silence is death
        assert server.connections == 1
    counted = feed.FRAMES.labels("x")._value.get() - frames
    assert counted == 0 if ping == b"" else counted > 0, "a PONG is no frame of the feed"


@pytest.mark.parametrize("ping", [b"", b"ping"])
async def test_a_socket_of_books_that_does_nothing_but_answer_pings_is_left(
    ping: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "STUCK_SECONDS", 0.2)
    server = Server()
    async with feeding(server, ping, channel=BOOKS):
        await until(lambda: server.connections > 1)


def test_a_book_of_okx_that_stands_still_is_told_of_before_its_socket_is_taken_for_stuck() -> None:
    markets = [Instrument("okx", "BTC-USDT", "BTC", "USDT")]
    (subscription,) = dialect_of("okx").subscriptions(markets, frozenset((BOOKS,)))
    standing_still = b'{"asks":[],"bids":[],"ts":"1","checksum":0,"seqId":5,"prevSeqId":5}'
    frame = b'{"arg":{"channel":"books","instId":"BTC-USDT"},"action":"update","data":[%b]}' % standing_still
    assert subscription.decode(frame, 1)
    assert feed.STUCK_SECONDS >= 1.25 * 60, "it comes after around 60 s"


async def test_an_answer_to_a_ping_shows_that_a_socket_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "HEARD_SECONDS", 0.1)
    server = Server()
    async with feeding(server, b"", channel=BOOKS) as reader:
        await until(lambda: server.pings > 20)  # in more than the time in which nothing else was said
        await until(lambda: reader.feed.is_heard)
        assert server.connections == 1


async def test_a_socket_is_heard_by_what_it_says_while_it_is_read_and_not_by_its_connection() -> None:
    server = Server(answers=False)
    async with feeding(server, b"") as reader:
        await until(lambda: server.pings > 1)
        assert not reader.feed.is_heard
        server.transport.send(WSMsgType.TEXT, b"data")
        await until(lambda: reader.feed.is_heard)
        reader.feed.pause(True)
        assert not reader.feed.is_heard


async def test_only_a_socket_of_books_is_left_when_it_was_not_read_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    async def not_read(channel: Channel) -> int:
        server = Server(b"\x81\x04data")
        async with feeding(server, b"", channel=channel) as reader:
            await until(lambda: reader.feed.is_heard)
            reader.feed.pause(True)
            server.transport.send(WSMsgType.TEXT, b"of the past")
            reader.feed.pause(False)
            await until(lambda: len(reader.frames) > 1)
            return server.connections if reader.frames[1] == b"of the past" else 0

    assert [await not_read(TRADES), await not_read(BOOKS)] == [1, 1]
    monkeypatch.setattr(feed, "BACKLOG_SECONDS", 0.0)
    assert [await not_read(TRADES), await not_read(BOOKS)] == [1, 0]


class Noted(TokenBucket):
    """Notes when (s) something was taken."""

    def __init__(self, limit: RateLimit):
        super().__init__(limit)
        self.taken: list[float] = []

    def take(self, weight: int, now: float) -> float:
        wait = super().take(weight, now)
        if not wait:
            self.taken.append(now)
        return wait


async def test_subscribing_to_much_keeps_to_a_pace_that_all_sockets_share(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = Noted(RateLimit(weight=20, seconds=0.5))
    monkeypatch.setattr(feed, "SUBSCRIBING", bucket)
    servers = Server(), Server()
    async with feeding(servers[0], messages=(b"{}",) * 5), feeding(servers[1], messages=(b"{}",) * 5):
        await until(lambda: all(server.texts == 5 for server in servers))
    assert len(bucket.taken) == 10
    assert bucket.taken[-1] - bucket.taken[0] > 0.2, "eight that wait, thirty-six a second"


@pytest.mark.parametrize("ping", [None, b""])
async def test_a_socket_that_says_nothing_and_answers_nothing_is_left(ping: bytes | None) -> None:
    server = Server(answers=False)
    async with feeding(server, ping, stall_after=0.2):
        await until(lambda: server.connections > 1)


async def test_a_connection_that_ends_what_it_sends_with_its_first_frame_is_left() -> None:
    server = Server(b"\x81\x06ending")
    async with feeding(server):
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
