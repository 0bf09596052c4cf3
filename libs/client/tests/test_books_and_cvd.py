"""Books with their checksums, /ws, and /ws/v1/cvd."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from crosstape.client import (
    AsyncClient,
    BarClose,
    BookEvent,
    BookStale,
    ConsolidatedBookEvent,
    CvdSnapshot,
    CvdTick,
    Disconnected,
    Refused,
    StreamClosed,
    WrongBook,
    feed,
)
from libs.client.tests.scripted_hub import PATIENCE, Message, ScriptedHub, Socket
from libs.client.tests.scripted_platform import Answer, ScriptedPlatform
from libs.client.tests.test_stream import BAR, TRADE

BOOK = (
    b'{"type":"book","exchange":"okx","symbol":"ETH-USDT","bids":[[2620.60,0.00100000],[2620.5,7]],'
    b'"asks":[[2620.7,1e-7]],"checksum":%d,"timestamp":1.5,"sequence":9,"offset":9%s}'
)
CHECKED = zlib.crc32(b"2620.6:0.001:2620.7:0.0000001:2620.5:7")
EVERYWHERE = (
    b'{"type":"book","channel":"book:*:ETH-USD","exchange":"*","symbol":"ETH-USD","bids":[[2620.6,1,"okx"]],'
    b'"asks":[[2620.5,2,"binance"]],"checksum":%d,"timestamp":1.5,"sequence":9,"offset":9,"crossed":true,'
    b'"venues":[{"exchange":"okx","symbol":"ETH-USDT","quote_alias":"USDT","age_ms":12,"sequence":9}],'
    b'"stale":[{"exchange":"kraken","symbol":"ETH-USD","reason":"silent","age_ms":60000}]}'
)
EVERYWHERE_CHECKED = zlib.crc32(b"2620.6:1:okx:2620.5:2:binance")


@pytest_asyncio.fixture
async def books(platform: ScriptedPlatform) -> ScriptedHub:
    """/ws of seed 1: an acknowledgement, then the book."""
    hub = ScriptedHub(platform, "/ws")

    def acknowledge(socket: Socket, message: Message) -> list[Message]:
        return [{"message": f"Subscribed to {message['exchange']} {message['symbol']}"}]

    hub.on_message = acknowledge
    return hub


@pytest_asyncio.fixture
async def cvd(platform: ScriptedPlatform) -> AsyncIterator[ScriptedHub]:
    yield ScriptedHub(platform, "/ws/v1/cvd/okx/BTC-USDT")


async def take(feed: Any, count: int) -> list[Any]:
    async with asyncio.timeout(PATIENCE):
        return [await anext(feed) for _ in range(count)]


async def test_a_book_is_shown_if_its_checksum_is_right(books: ScriptedHub, client: AsyncClient) -> None:
    async with client.books() as feed:
        await feed.subscribe("okx", "ETH-USDT", depth=10)
        await books.until(lambda: bool(books.sockets[0].heard))
        await books.open[0].send(BOOK % (CHECKED, b""))
        await books.open[0].send(BOOK % (CHECKED + 1, b""))
        await books.open[0].send(EVERYWHERE % EVERYWHERE_CHECKED)
        await books.open[0].send({"type": "book_stale", "exchange": "okx", "symbol": "ETH-USDT", "reason": "silent"})
        right, wrong, everywhere, stale = await take(feed, 4)
    assert isinstance(right, BookEvent)
    assert right.channel == "book:okx:ETH-USDT"
    assert str(right.book.bids[0].price) == "2620.60"
    assert wrong == WrongBook(channel="book:okx:ETH-USDT", offset=9)
    assert isinstance(everywhere, ConsolidatedBookEvent)
    assert everywhere.book.crossed
    assert everywhere.book.bids[0].exchange == "okx"
    assert everywhere.book.venues[0].quote_alias == "USDT"
    assert everywhere.book.stale[0].reason == "silent"
    assert stale == BookStale(channel="book:okx:ETH-USDT", exchange="okx", symbol="ETH-USDT", reason="silent")
    assert books.sockets[0].heard == [{"action": "subscribe", "exchange": "okx", "symbol": "ETH-USDT", "depth": 10}]


async def test_books_come_back_after_a_lost_connection(books: ScriptedHub, client: AsyncClient) -> None:
    async with client.books() as feed:
        await feed.subscribe("okx", "ETH-USDT")
        await feed.subscribe("kraken", "XBT/USD")
        await feed.unsubscribe("okx", "ETH-USDT")
        await books.until(lambda: len(books.sockets[0].heard) == 3)
        books.sockets[0].cut()
        [lost] = await take(feed, 1)
        assert isinstance(lost, Disconnected)
        await books.until(lambda: len(books.sockets) == 2 and bool(books.sockets[1].heard))
        assert books.sockets[1].heard == [{"action": "subscribe", "exchange": "kraken", "symbol": "XBT/USD"}]


async def test_a_refused_book_is_named(books: ScriptedHub, client: AsyncClient, monkeypatch: Any) -> None:
    monkeypatch.setattr(feed, "ASK_AGAIN_SECONDS", 0.01)
    usual = books.on_message
    errors = {"NO": ["SYMBOL_NOT_FOUND"], "FULL": ["CONFLICT"], "LATER": ["SERVICE_UNAVAILABLE"]}

    def answer(socket: Socket, message: Message) -> list[Message] | None:
        codes = errors.get(message["symbol"])
        if not codes:
            return usual(socket, message)
        return [{**message, "type": "error", "error_code": codes.pop(), "message": "no"}]

    books.on_message = answer
    async with client.books() as opened:
        await opened.subscribe("okx", "FINE")
        await opened.subscribe("okx", "NO")
        await opened.subscribe("okx", "FULL")
        await opened.subscribe("okx", "LATER")
        assert [(event.channel, event.will_retry) for event in await take(opened, 3) if isinstance(event, Refused)] == [
            ("book:okx:NO", False),
            ("book:okx:FULL", False),
            ("book:okx:LATER", True),
        ]
        await books.until(lambda: [heard["symbol"] for heard in books.sockets[0].heard][4:] == ["LATER"])


async def test_more_books_than_a_new_connection_may_ask_for_at_once_are_asked_for_little_by_little(
    books: ScriptedHub, client: AsyncClient, monkeypatch: Any
) -> None:
    monkeypatch.setattr(feed, "ASK_AGAIN_SECONDS", 0.01)
    usual, is_busy, followed = books.on_message, True, []

    def answer(socket: Socket, message: Message) -> list[Message] | None:
        """A server that takes fifty, and more of them only later."""
        if is_busy and len(socket.heard) > 50:
            return [{**message, "type": "error", "error_code": "RATE_LIMITED", "message": "slowly"}]
        followed.append(message["symbol"])
        return usual(socket, message)

    books.on_message = answer
    symbols = [f"N{number}" for number in range(100)]
    async with client.books() as opened:
        for symbol in symbols:
            await opened.subscribe("okx", symbol)
        refused = await take(opened, 50)
        assert [event.channel for event in refused] == [f"book:okx:{symbol}" for symbol in symbols[50:]]
        assert followed == symbols[:50]
        is_busy = False
        await books.until(lambda: len(followed) == 100)
        assert set(followed) == set(symbols)
        books.sockets[0].cut()
        await books.until(lambda: len(books.sockets) == 2 and len(books.sockets[1].heard) == 100)
        assert {heard["symbol"] for heard in books.sockets[1].heard} == set(symbols)


async def test_an_address_that_asks_for_what_there_cannot_be_is_given_up(cvd: ScriptedHub, client: AsyncClient) -> None:
    cvd.on_connect = lambda socket: 1008
    async with client.cvd("okx", "BTC-USDT", interval="5m") as opened:
        with pytest.raises(StreamClosed) as caught:
            await take(opened, 1)
    assert (caught.value.code, caught.value.error_code) == (1008, "VALIDATION_ERROR")


async def test_books_over_rest_have_the_same_shape(platform: ScriptedPlatform, client: AsyncClient) -> None:
    platform.on("GET /api/v1/book/okx/ETH-USDT", Answer(raw=BOOK % (CHECKED, b"")))
    platform.on("GET /api/v1/book/consolidated/ETH-USD", Answer(raw=EVERYWHERE % EVERYWHERE_CHECKED))
    assert (await client.book("okx", "ETH-USDT", depth=5)).checksum == CHECKED
    assert (await client.consolidated_book("ETH-USD")).asks[0].exchange == "binance"
    assert platform.targets()[0] == "/api/v1/book/okx/ETH-USDT?depth=5"


async def test_cvd_begins_anew_with_every_connection(cvd: ScriptedHub, client: AsyncClient) -> None:
    snapshot = {"type": "snapshot", "exchange": "okx", "symbol": "BTC-USDT", "cvd": -1.5, "bar": BAR, "offset": 5}
    snapshot |= {"epoch": "e1", "interval": "5m", "anchor": "connect"}
    tick = TRADE | {"type": "tick", "volume_delta": -0.25, "cvd": -1.75, "offset": 6}
    async with client.cvd("okx", "BTC-USDT", interval="5m", anchor="connect") as opened:
        await cvd.until(lambda: bool(cvd.open))
        for message in (
            snapshot,
            tick,
            {"type": "bar_close", "channel": "bars:okx:BTC-USDT:5m", "offset": 7, "bar": BAR},
        ):
            await cvd.open[0].send(message)
        first, second, close = await take(opened, 3)
        assert isinstance(first, CvdSnapshot)
        assert isinstance(second, CvdTick)
        assert first.cvd is not None
        assert second.cvd == first.cvd + second.volume_delta
        assert isinstance(close, BarClose)
        await cvd.close(1012)
        await cvd.until(lambda: len(cvd.sockets) == 2)
        await cvd.open[0].send(snapshot | {"cvd": None, "bar": None})
        lost, again = await take(opened, 2)
        assert isinstance(lost, Disconnected)
        assert isinstance(again, CvdSnapshot)
        assert again.cvd is None
    assert dict(cvd.sockets[0].request.query) == {"interval": "5m", "anchor": "connect"}
