"""/ws: the first seed's stream of books, over real sockets."""

from __future__ import annotations

import asyncio
import time
import zlib
from importlib import import_module
from types import SimpleNamespace

import pytest

from crosstape.common.market.book import BookStale
from crosstape.stream_hub import book_feed
from crosstape.stream_hub.live_book import FRESH_SECONDS

h = import_module("services.stream-hub.tests.harness")

pytestmark = pytest.mark.integration

BIDS, ASKS = [("60000.10", "1.50"), ("60000.0", "2")], [("60000.2", "0.5"), ("60001", "4")]


async def test_seed_example_is_answered_to_the_letter(platform):
    platform.book(h.snapshot("kraken", "BTC-USD", BIDS, ASKS, None))
    async with platform.client("/ws") as socket:
        await h.say(socket, action="subscribe", exchange="kraken", symbol="BTC-USD")
        assert await h.hear(socket) == {"message": "Subscribed to kraken BTC-USD"}
        book = await h.hear_text(socket)
        assert (book["type"], book["exchange"], book["symbol"]) == ("book", "kraken", "BTC-USD")
        assert book["bids"] == [["60000.1", "1.5"], ["60000", "2"]]
        assert book["asks"] == [["60000.2", "0.5"], ["60001", "4"]]
        assert {"timestamp", "sequence"} <= set(book)


async def test_checksum_can_be_computed_from_the_message(platform):
    platform.book(h.snapshot("kraken", "BTC-USD", BIDS, ASKS[:1], None))
    async with platform.client("/ws") as socket:
        await h.say(socket, action="subscribe", exchange="kraken", symbol="BTC-USD")
        await h.hear(socket)
        book = await h.hear_text(socket)
        assert int(book["checksum"]) == zlib.crc32(b"60000.1:1.5:60000.2:0.5:60000:2")


async def test_alias_of_the_quote_is_said_and_the_asked_spelling_kept(platform):
    platform.book(h.snapshot("binance", "BTC-USDT", BIDS, ASKS))
    async with platform.client("/ws") as socket:
        await h.say(socket, action="subscribe", exchange="BINANCE", symbol="btc-usd")
        answer = await h.hear(socket)
        assert answer == {"message": "Subscribed to BINANCE btc-usd", "quote_alias": "USDT"}
        book = await h.hear(socket)
        assert (book["symbol"], book["canonical"], book["quote_alias"]) == ("btc-usd", "BTC-USDT", "USDT")


async def test_updates_within_the_interval_are_one_message_with_the_newest_state(platform):
    platform.book(h.snapshot("binance", "BTC-USDT", BIDS, ASKS))
    async with platform.client("/ws") as socket:
        await h.say(socket, action="subscribe", exchange="binance", symbol="BTC-USDT", interval_ms=100)
        await h.hear(socket)
        await h.hear(socket)
        began = time.monotonic()
        for number in range(2, 60):
            platform.book(h.update("binance", "BTC-USDT", [("60000.10", str(number))], [], number))
            await asyncio.sleep(0.001)
        books = await h.hear_until(socket, lambda book: book["bids"][0][1] == 59)
        assert len(books) <= 1 + (time.monotonic() - began) / 0.1


async def test_messages_over_the_rate_are_refused_in_their_place_and_by_name(platform, monkeypatch):
    monkeypatch.setattr("crosstape.stream_hub.inbox.MESSAGES_PER_SECOND", 1e-6)
    async with platform.client("/ws") as socket:
        names = [f"N{number}" for number in range(70)]
        for name in names:
            await h.say(socket, action="subscribe", exchange="binance", symbol=name)
        answers = [await h.hear(socket) for _ in names]
        assert [(answer["action"], answer["exchange"], answer["symbol"]) for answer in answers] == [
            ("subscribe", "binance", name) for name in names
        ]
        codes = [answer["error_code"] for answer in answers]
        assert codes == ["SYMBOL_NOT_FOUND"] * 60 + ["RATE_LIMITED"] * 10


async def test_a_socket_has_so_many_books_and_no_more(platform, monkeypatch):
    monkeypatch.setattr("crosstape.stream_hub.books_session.MOST_CHANNELS", 1)
    async with platform.client("/ws") as socket:
        await h.say(socket, action="subscribe", exchange="binance", symbol="BTC-USDT")
        await h.say(socket, action="subscribe", exchange="binance", symbol="ETH-USDT")
        *_, refused = await h.hear_until(socket, lambda told: told.get("type") == "error")
        assert (refused["error_code"], refused["symbol"]) == ("CONFLICT", "ETH-USDT")


async def test_the_books_of_a_socket_have_so_many_levels_a_second_and_no_more(platform, monkeypatch):
    monkeypatch.setattr("crosstape.stream_hub.book_terms.MOST_LEVELS", 100_000)

    async def ask(exchange, interval_ms, depth=1000):
        await h.say(
            socket, action="subscribe", exchange=exchange, symbol="BTC-USD", depth=depth, interval_ms=interval_ms
        )
        return (await h.hear_until(socket, lambda told: "message" in told))[-1]

    async with platform.client("/ws") as socket:
        assert "type" not in await ask("*", 50)  # of four exchanges
        assert "type" not in await ask("kraken", 50)
        refused = await ask("okx", 60_000, depth=1)
        assert (refused["error_code"], refused["exchange"]) == ("CONFLICT", "okx")
        assert "type" not in await ask("*", 51)  # in place of the first
        assert "type" not in await ask("okx", 60_000, depth=1)


async def test_subscribing_to_a_book_otherwise_leaves_nobody_looking_at_it_as_before(platform):
    platform.book(h.snapshot("binance", "BTC-USDT", BIDS, ASKS))
    async with platform.client("/ws") as socket:
        for depth in (1, 2, 3):
            await h.say(socket, action="subscribe", exchange="binance", symbol="BTC-USDT", depth=depth)
            await h.hear(socket)
            await h.hear(socket)
        assert len(platform.hub.market("binance", "BTC-USDT").book_listeners) == 1


async def test_lost_update_makes_the_book_stale_until_the_next_snapshot(platform):
    platform.book(h.snapshot("binance", "BTC-USDT", BIDS, ASKS, 10))
    async with platform.client("/ws") as socket:
        await h.say(socket, action="subscribe", exchange="binance", symbol="BTC-USDT", interval_ms=50)
        await h.hear(socket)
        await h.hear(socket)
        platform.book(h.update("binance", "BTC-USDT", [("60000.10", "9")], [], 12))
        stale = await h.hear(socket)
        assert (stale["type"], stale["reason"]) == ("book_stale", "sequence")
        platform.book(h.update("binance", "BTC-USDT", [("60000.10", "8")], [], 13))
        assert await h.silence(socket)
        platform.book(h.snapshot("binance", "BTC-USDT", [("59000", "1")], ASKS, 20))
        assert (await h.hear(socket))["bids"] == [[59000, 1]]


async def test_crossed_book_of_one_exchange_is_not_shown(platform):
    platform.book(h.snapshot("binance", "BTC-USDT", [("60002", "1")], ASKS))
    async with platform.client("/ws") as socket:
        await h.say(socket, action="subscribe", exchange="binance", symbol="BTC-USDT", interval_ms=50)
        await h.hear(socket)
        stale = await h.hear(socket)
        assert (stale["type"], stale["reason"]) == ("book_stale", "crossed")


async def test_consolidated_book_may_cross_and_names_venues_aliases_and_who_is_left_out(platform):
    platform.book(h.snapshot("binance", "BTC-USDT", [("60000", "1")], [("60001", "1")]))
    platform.book(h.snapshot("kraken", "BTC-USD", [("60002", "2")], [("60003", "2")], None))
    platform.book(h.snapshot("okx", "BTC-USDT", [("60000", "3")], [("60001", "3")]))
    platform.book(BookStale("okx", "BTC-USDT", "disconnected", 0))
    async with platform.client("/ws") as socket:
        await h.say(socket, action="subscribe", exchange="*", symbol="BTC-USD")
        answer = await h.hear(socket)
        assert answer == {"message": "Subscribed to * BTC-USD", "quote_aliases": {"binance": "USDT", "okx": "USDT"}}
        book = await h.hear(socket)
        assert book["bids"] == [[60002, 2, "kraken"], [60000, 1, "binance"]]
        assert book["asks"] == [[60001, 1, "binance"], [60003, 2, "kraken"]]
        assert book["crossed"] is True
        assert {venue["exchange"]: venue.get("quote_alias") for venue in book["venues"]} == {
            "binance": "USDT",
            "kraken": None,
        }
        assert [(venue["exchange"], venue["reason"]) for venue in book["stale"]] == [("okx", "disconnected")]


async def test_silent_feed_is_stale_and_left_out_of_the_consolidated_book(platform, monkeypatch):
    now = time.time()
    monkeypatch.setattr(book_feed, "time", SimpleNamespace(time=lambda: now))
    platform.book(h.snapshot("binance", "BTC-USDT", BIDS, ASKS))
    platform.book(h.snapshot("okx", "BTC-USDT", BIDS, ASKS), age=FRESH_SECONDS / 2)
    async with platform.client("/ws") as socket:
        await h.say(socket, action="subscribe", exchange="*", symbol="BTC-USDT", interval_ms=50)
        await h.hear(socket)
        assert [venue["exchange"] for venue in (await h.hear(socket))["venues"]] == ["binance", "okx"]
        now += FRESH_SECONDS * 3 / 4
        platform.hub.sweep(now)
        book = await h.hear_until(socket, lambda book: book["stale"])
        assert [venue["exchange"] for venue in book[-1]["venues"]] == ["binance"]
        assert [(venue["exchange"], venue["reason"]) for venue in book[-1]["stale"]] == [("okx", "silent")]


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ("nonsense", "VALIDATION_ERROR"),
        ("[1]", "VALIDATION_ERROR"),
        ('{"action":"dance"}', "VALIDATION_ERROR"),
        ('{"action":"subscribe"}', "VALIDATION_ERROR"),
        ('{"action":"subscribe","exchange":"kraken","symbol":"BTC-USD","depth":1001}', "VALIDATION_ERROR"),
        ('{"action":"subscribe","exchange":"kraken","symbol":"BTC-USD","depth":true}', "VALIDATION_ERROR"),
        ('{"action":"subscribe","exchange":"mtgox","symbol":"BTC-USD"}', "EXCHANGE_NOT_FOUND"),
        ('{"action":"subscribe","exchange":"kraken","symbol":"DOGE-USD"}', "SYMBOL_NOT_FOUND"),
        ('{"action":"subscribe","exchange":"*","symbol":"DOGE-USD"}', "SYMBOL_NOT_FOUND"),
        ('{"action":"unsubscribe","exchange":"kraken","symbol":"BTC-USD"}', "VALIDATION_ERROR"),
        ("[" * 50_000, "VALIDATION_ERROR"),
        ('"\\ud800"', "VALIDATION_ERROR"),
    ],
)
async def test_what_is_wrong_is_answered_and_the_socket_stays_open(platform, sent, code):
    async with platform.client("/ws") as socket:
        await socket.send(sent)
        answer = await h.hear(socket)
        assert (answer["type"], answer["error_code"]) == ("error", code)
        assert answer["message"]
        await h.say(socket, action="ping")
        assert await h.hear(socket) == {"type": "pong"}


async def test_list_and_unsubscribe(platform):
    platform.book(h.snapshot("kraken", "BTC-USD", BIDS, ASKS, None))
    async with platform.client("/ws") as socket:
        await h.say(socket, action="subscribe", exchange="kraken", symbol="XBT/USD", depth=1)
        await h.hear(socket)
        assert len((await h.hear(socket))["bids"]) == 1
        await h.say(socket, action="list")
        told = (await h.hear(socket))["subscriptions"]
        assert told == [
            {"exchange": "kraken", "symbol": "XBT/USD", "canonical": "BTC-USD", "depth": 1, "interval_ms": 100}
        ]
        await h.say(socket, action="unsubscribe", exchange="kraken", symbol="BTC-USD")
        assert await h.hear(socket) == {"message": "Unsubscribed from kraken BTC-USD"}
        platform.book(h.snapshot("kraken", "BTC-USD", ASKS, [("70000", "1")], None))
        assert await h.silence(socket)
        assert not platform.hub.market("kraken", "BTC-USD").book_listeners


async def test_market_without_a_book_is_told_to_be_stale(platform):
    async with platform.client("/ws") as socket:
        await h.say(socket, action="subscribe", exchange="binance", symbol="ETHUSDT")
        await h.hear(socket)
        told = await h.hear(socket)
        assert (told["type"], told["reason"]) == ("book_stale", "no snapshot yet")
