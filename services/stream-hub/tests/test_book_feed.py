"""Views of books for many sockets: what one of them is too slow for is neither made for it nor kept from the others."""

from __future__ import annotations

import json
import time
from importlib import import_module
from types import SimpleNamespace

import pytest

from crosstape.common.market.book import BookStale
from crosstape.stream_hub import book_feed
from crosstape.stream_hub.book_feed import BACKLOG_BYTES, BookFeed, Target, show_together
from crosstape.stream_hub.encoding import Encoding
from crosstape.stream_hub.fanout import Outbox
from crosstape.stream_hub.live_book import FRESH_SECONDS
from crosstape.stream_hub.market import MarketState, RingSize

h = import_module("services.stream-hub.tests.harness")


class Socket:
    """One that has `behind` bytes still to write, and keeps its messages in `told`."""

    def __init__(self) -> None:
        self.encoding = Encoding()
        self.behind = 0
        self.told: list[dict] = []

    def backlog(self) -> int:
        return self.behind

    def write_now(self, data: bytes) -> None:
        start = data.index(b"{")
        self.told.append(json.loads(data[start:]))

    write = write_now


class Desk:
    """The book of a market, read by two sockets; `clock` is what the feed thinks the time is."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = time.time()
        self.views = 0
        self.market = market_of("binance")
        self.outbox = Outbox()
        view = book_feed.view

        def counted(*asked):
            self.views += 1
            return view(*asked)

        monkeypatch.setattr(book_feed, "time", SimpleNamespace(time=lambda: self.clock))
        monkeypatch.setattr(book_feed, "view", counted)
        self.feed = BookFeed(
            self.outbox, [Target(self.market, None)], is_consolidated=False, depth=5, interval=0.001, head={}
        )
        self.slow, self.other = Socket(), Socket()
        for socket in (self.slow, self.other):
            self.feed.join(socket)
        self.outbox.flush()
        self.views = 0

    def step(self) -> None:
        """An interval goes by."""
        if self.feed._timer is not None:
            self.feed._timer.cancel()
            self.feed._send()
        self.outbox.flush()


def market_of(exchange: str) -> MarketState:
    market = MarketState(exchange, "BTC-USDT", Outbox(), RingSize(10, 300.0), 0.0)
    market.book.apply(h.snapshot(exchange, "BTC-USDT", [("1", "1")], [("2", "1")]), 1, int(time.time() * 1000))
    return market


async def test_a_book_that_fell_silent_is_told_to_all_although_one_of_them_lags(monkeypatch):
    desk = Desk(monkeypatch)
    desk.slow.behind = BACKLOG_BYTES + 1
    desk.feed.changed()
    desk.step()
    desk.clock += FRESH_SECONDS + 1
    desk.slow.behind = 0
    desk.step()
    desk.feed.changed()
    desk.step()
    for socket in (desk.slow, desk.other):
        assert [one["reason"] for one in socket.told if one["type"] == "book_stale"] == ["silent"]
    desk.feed.close()


async def test_a_book_is_looked_at_for_those_alone_who_can_take_it(monkeypatch):
    desk = Desk(monkeypatch)
    desk.slow.behind = desk.other.behind = BACKLOG_BYTES + 1
    for _ in range(20):
        desk.feed.changed()
        desk.step()
    assert (desk.views, len(desk.other.told)) == (0, 1)
    desk.other.behind = 0
    desk.step()
    assert (desk.views, len(desk.other.told), len(desk.slow.told)) == (1, 2, 1)
    desk.slow.behind = 0
    desk.step()
    assert len(desk.slow.told) == 2
    assert desk.feed._timer is None


def test_books_together_are_of_the_time_of_those_that_are_shown():
    ahead, shown = market_of("okx"), market_of("binance")
    ahead.book.time += 3_600_000_000_000
    ahead.book.apply(BookStale("okx", "BTC-USDT", "disconnected", ahead.book.time), 2, int(time.time() * 1000))
    together = show_together([Target(ahead, None), Target(shown, None)], 5, time.time())
    assert [venue.reason for venue in together.venues] == ["disconnected", None]
    assert together.time == shown.book.time
