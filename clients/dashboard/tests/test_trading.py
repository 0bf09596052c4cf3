"""What the trading page asks of the platform and sends to it, how often, and under which id."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Sequence
from decimal import Decimal
from types import SimpleNamespace
from typing import cast

import pytest
from msgspec.structs import replace

from clients.dashboard.tests.samples import NOON, bar, order
from crosstape.client import (
    Bar,
    BlockingFeed,
    BookStale,
    Client,
    ConnectionFailed,
    ConsolidatedBook,
    ConsolidatedBookEvent,
    CrosstapeError,
    Gap,
    Order,
    OrderAccepted,
    OrderEvent,
    OrderNotFound,
    OrderSummary,
    Subscribed,
    TwapOrder,
    Unavailable,
    ValidationFailed,
)
from crosstape.dashboard import market as market_module
from crosstape.dashboard import signed_in
from crosstape.dashboard import trading as trading_module
from crosstape.dashboard.follower import Follower
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
        self.missing: set[str] = set()
        self.sent: list[TwapOrder] = []
        self.trouble: CrosstapeError | None = None
        self.meanwhile: Callable[[str], None] = lambda order_id: None

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

    def order(self, order_id: str, *, username: str) -> Order:
        self.asked.append(order_id)
        self.meanwhile(order_id)
        if order_id in self.missing:
            raise OrderNotFound("ORDER_NOT_FOUND", f"You have no order {order_id}.", status=404)
        own = [one for one in self._orders if one.username.casefold() == username.casefold()]
        return next(one for one in own if one.order_id == order_id)

    def submit_twap(self, order: TwapOrder) -> OrderAccepted:
        self.sent.append(order)
        if self.trouble:
            raise self.trouble
        return OrderAccepted("TWAP order accepted", order.order_id or "", warnings=("It protects little.",))

    def ohlcv(self, exchange: str, symbol: str, *, interval: str, limit: int) -> SimpleNamespace:
        assert (exchange, symbol, interval, limit) == (OWN.exchange, OWN.symbol, "1d", 1)
        self.days_asked += 1
        return SimpleNamespace(all=lambda: [self.day] if self.day else [])

    def feed(self, username: str = "alice") -> TradingFeed:
        return TradingFeed(cast(Client, self), username)


class Told(list[str]):
    """A feed that tells this and is over."""

    def __enter__(self) -> Told:
        return self

    def __exit__(self, *_: object) -> None:
        pass


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


def test_an_open_order_is_read_again_when_something_happened_to_it_and_else_seldom() -> None:
    platform = Platform(numbered(2))
    feed = platform.feed()
    feed.orders()
    platform.asked.clear()
    assert [names(feed.orders()) for _ in range(5)] == [["alice-1", "alice-0"]] * 5
    assert platform.asked == []
    feed.add("alice-0")
    feed.orders()
    assert platform.asked == ["alice-0"]


def test_what_happens_to_an_order_while_it_is_read_has_it_read_again() -> None:
    platform = Platform(numbered(1))
    feed = platform.feed()
    platform.meanwhile = feed.add
    feed.orders()
    platform.meanwhile = lambda order_id: None
    assert [names(feed.orders()) for _ in range(2)] == [["alice-0"]] * 2
    assert platform.asked == ["alice-0"] * 2


def test_a_change_is_not_forgotten_when_the_platform_does_not_answer() -> None:
    platform = Platform(numbered(1))
    feed = platform.feed()
    feed.orders()

    def fail(order_id: str) -> None:
        raise ConnectionFailed("time was over")

    platform.meanwhile = fail
    feed.add("alice-0")
    with pytest.raises(ConnectionFailed):
        feed.orders()
    platform.meanwhile = lambda order_id: None
    feed.orders()
    assert platform.asked == ["alice-0"] * 3


def test_an_order_that_cannot_be_read_keeps_no_other_from_being_shown() -> None:
    platform = Platform(numbered(3))
    platform.missing = {"alice-1"}
    feed = platform.feed()
    assert names(feed.orders()) == ["alice-2", "alice-0"]
    platform.asked.clear()
    feed.orders()
    assert platform.asked == []


@pytest.mark.parametrize("event", [Gap(channel="orders", after=1), Subscribed(channel="orders")])
def test_an_order_placed_elsewhere_while_the_stream_was_away_is_shown(event: Gap | Subscribed) -> None:
    platform = Platform(numbered(1))
    feed = platform.feed()
    feed.orders()
    platform._orders = list(reversed(numbered(2)))
    assert names(feed.orders()) == ["alice-0"]
    feed._take(event)
    assert names(feed.orders()) == ["alice-1", "alice-0"]


def test_when_orders_are_looked_for_again_those_that_are_over_are_not_read_again() -> None:
    platform = Platform([*(replace(one, status="closed") for one in numbered(3)), *numbered(4)[3:]])
    feed = platform.feed()
    assert names(feed.orders()) == ["alice-3", "alice-2", "alice-1", "alice-0"]
    platform.asked.clear()
    feed._take(Subscribed(channel="orders"))
    feed.orders()
    assert platform.asked == ["alice-3"]


def test_of_orders_that_are_over_nothing_is_kept_but_those_that_are_shown() -> None:
    platform = Platform(numbered(100))
    feed = platform.feed()
    feed.orders()
    for order_id in ("alice-3", "alice-4"):
        feed.add(order_id)
    feed.orders()
    feed._take(
        OrderEvent(event="closed", order_id="alice-3", number=7, timestamp=Decimal(1), channel="orders", offset=1)
    )
    assert feed._passed == {"alice-4"}
    assert feed._read_at.keys() == set(names(feed.known_orders()))


def test_what_is_told_late_of_the_market_before_is_not_shown_as_the_book_of_this_one() -> None:
    feed = Platform().feed()
    feed.follow_book("*", "ETH-USD")
    for channel in ("book:*:BTC-USD", "book:*:ETH-USD", "book:*:BTC-USD"):
        feed._take(ConsolidatedBookEvent(channel=channel, offset=1, book=cast(ConsolidatedBook, channel)))
    feed._take(BookStale(channel="book:*:BTC-USD", exchange="*", symbol="BTC-USD", reason="silent"))
    assert str(feed.book().book) == "book:*:ETH-USD"
    assert not feed.book().reason


def test_older_bars_that_could_not_be_had_are_asked_for_again() -> None:
    older = [bar(NOON - 60)]
    answers: list[CrosstapeError | list[Bar]] = [Unavailable("SERVICE_UNAVAILABLE", "soon"), older]

    def ohlcv(*_: str, interval: str, end: int, limit: int) -> SimpleNamespace:
        answer = answers.pop(0)
        if isinstance(answer, CrosstapeError):
            raise answer
        return SimpleNamespace(all=lambda: answer)

    feed = MarketFeed(cast(Client, SimpleNamespace(ohlcv=ohlcv)), OWN)
    feed._series.begin([], bar(NOON, status="provisional"), NOON)
    with pytest.raises(Unavailable):
        feed.load_older(NOON)
    feed.load_older(NOON)
    assert [one.timestamp for one in feed.state().bars] == [NOON - 60, NOON]


def test_after_a_connection_that_told_something_the_pauses_begin_anew() -> None:
    follower: Follower[str] = Follower("test", lambda: cast(BlockingFeed[str], Told(["something"])), lambda event: None)
    follower._failures = 4
    follower._follow()
    assert follower._failures == 0


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
    platform, told, warned = Platform(), list[str](), list[str]()
    feeds = SimpleNamespace(account=SimpleNamespace(client=platform), trading=platform.feed())
    monkeypatch.setattr(signed_in, "feeds", lambda: feeds)
    monkeypatch.setattr(
        trade, "st", SimpleNamespace(session_state={}, error=told.append, success=told.append, warning=warned.append)
    )
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
    assert warned == ["It protects little."] * 3, "of each order that was accepted"
