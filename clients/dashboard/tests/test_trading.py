"""What the trading page asks of the platform and sends to it, how often, and under which id."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import cast

import pytest
from msgspec.structs import replace

from clients.dashboard.tests.samples import bar, order
from crosstape.client import (
    Bar,
    Client,
    ConnectionFailed,
    CrosstapeError,
    Order,
    OrderAccepted,
    OrderSummary,
    TwapOrder,
    ValidationFailed,
)
from crosstape.dashboard import market as market_module
from crosstape.dashboard import signed_in
from crosstape.dashboard import trading as trading_module
from crosstape.dashboard.intervals import DAY
from crosstape.dashboard.market import Market, MarketFeed
from crosstape.dashboard.order_view import Ticket
from crosstape.dashboard.pages import trade
from crosstape.dashboard.trading import RECENT_ORDERS, TradingFeed

OWN = Market("binance", "BTC-USDT", "1m")


class Platform:
    """What the feeds ask of a Client. `asked` are the orders that were read, in order."""

    def __init__(self, orders: Sequence[Order] = (), day: Bar | None = None) -> None:
        self._orders = list(reversed(orders))
        self.day = day
        self.days_asked = 0
        self.asked: list[str] = []
        self.sent: list[TwapOrder] = []
        self.trouble: CrosstapeError | None = None

    def orders(self, username: str, limit: int) -> list[OrderSummary]:
        assert limit == RECENT_ORDERS, "no more than are shown"
        own = [one for one in self._orders if one.username.casefold() == username.casefold()]
        return [
            OrderSummary(
                order_id=one.order_id,
                username=one.username,
                symbol=one.symbol,
                duration=one.duration,
                interval=one.interval,
                order_status=one.status,
                status=one.status,
            )
            for one in own[:limit]
        ]

    def order(self, order_id: str) -> Order:
        self.asked.append(order_id)
        return next(one for one in self._orders if one.order_id == order_id)

    def submit_twap(self, order: TwapOrder) -> OrderAccepted:
        self.sent.append(order)
        if self.trouble:
            raise self.trouble
        return OrderAccepted("TWAP order accepted", order.order_id or "")

    def ohlcv(self, exchange: str, symbol: str, *, interval: str, limit: int) -> SimpleNamespace:
        assert (exchange, symbol, interval, limit) == (OWN.exchange, OWN.symbol, "1d", 1)
        self.days_asked += 1
        return SimpleNamespace(all=lambda: [self.day] if self.day else [])

    def feed(self, username: str = "alice") -> TradingFeed:
        return TradingFeed(cast(Client, self), username)


def numbered(count: int, username: str = "alice") -> list[Order]:
    """Open orders, the oldest first."""
    began = dt.datetime(2026, 1, 1)  # noqa: DTZ001  # as the orders' times are
    return [
        replace(order(1), order_id=f"{username}-{at}", username=username, created_at=began + dt.timedelta(seconds=at))
        for at in range(count)
    ]


def names(orders: Sequence[Order]) -> list[str]:
    return [one.order_id for one in orders]


def test_an_admin_is_shown_their_own_orders_and_nobody_elses() -> None:
    own = numbered(2)
    feed = Platform([own[0], own[1], *numbered(1_100, "bob")]).feed("Alice")
    assert names(feed.orders()) == ["alice-1", "alice-0"]


def test_only_orders_that_are_shown_are_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trading_module, "REFRESH_SECONDS", 0.0)
    platform = Platform(numbered(100))
    feed = platform.feed()
    feed.orders()
    feed.add("alice-3")  # an older one, of which the stream told
    shown = [f"alice-{at}" for at in range(99, 99 - RECENT_ORDERS, -1)]
    assert names(feed.orders()) == shown
    platform.asked.clear()
    assert names(feed.orders()) == shown
    assert sorted(platform.asked) == sorted(shown)


def test_the_days_bar_is_read_once_in_a_while_and_yesterdays_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 20_000 * DAY + 60
    monkeypatch.setattr(market_module, "time", SimpleNamespace(time=lambda: now, monotonic=time.monotonic))
    platform = Platform(day=bar(20_000 * DAY))
    feed = MarketFeed(cast(Client, platform), OWN)
    assert [feed.today(), feed.today()] == [platform.day, platform.day]
    assert platform.days_asked == 1
    now += DAY
    assert feed.today() is None


def test_a_ticket_sent_again_after_no_answer_is_the_same_order(monkeypatch: pytest.MonkeyPatch) -> None:
    platform, told = Platform(), list[str]()
    feeds = SimpleNamespace(account=SimpleNamespace(client=platform), trading=platform.feed())
    monkeypatch.setattr(signed_in, "feeds", lambda: feeds)
    monkeypatch.setattr(trade, "st", SimpleNamespace(session_state={}, error=told.append, success=told.append))
    ticket = Ticket("BTC-USD", "binance", "buy", "1", "60000", 60, 5)
    other = Ticket("BTC-USD", "binance", "sell", "1", "60000", 60, 5)
    for trouble, sent in (
        (ConnectionFailed("time was over"), ticket),
        (ValidationFailed("VALIDATION_ERROR", "limit_price is wrong", status=422), ticket),
        (None, ticket),
        (None, ticket),
        (ConnectionFailed("time was over"), ticket),
        (None, other),
    ):
        platform.trouble = trouble
        trade._submit(sent)
    first, again, accepted, second, third, fourth = [order.order_id for order in platform.sent]
    assert first == again == accepted
    assert len({accepted, second, third, fourth}) == 4
    assert "may have been accepted" in told[0] and "never makes a second order" in told[0]
    assert told[1] == "limit_price is wrong."
