"""What is shown of books, trades, orders and minutes, and what a person is told."""

from __future__ import annotations

import datetime as dt
import re
from decimal import Decimal
from typing import Literal

import pytest
from msgspec.structs import replace

from clients.dashboard.tests.samples import NOON, bar, order
from crosstape.client import (
    Book,
    ConnectionFailed,
    ConsolidatedBook,
    ExchangeLevel,
    Level,
    Minute,
    OrderAccepted,
    RateLimited,
    StaleVenue,
    StreamClosed,
    SymbolNotFound,
    Unauthenticated,
)
from crosstape.client.orders import OrderProgress
from crosstape.dashboard import book_view, minutes, order_view, tape_view
from crosstape.dashboard.follower import Link
from crosstape.dashboard.intervals import DAY
from crosstape.dashboard.market import Market, MarketState
from crosstape.dashboard.order_view import ALL_EXCHANGES, Ticket
from crosstape.dashboard.symbols import consolidated, ordered, preferred
from crosstape.dashboard.trading import BookState
from crosstape.dashboard.words import SIGNED_OUT, compact, places_of, plain, sentence, span

D = Decimal


def book(*, bid: str = "99.5", ask: str = "100.5") -> Book:
    return Book(
        exchange="kraken",
        symbol="BTC-USD",
        bids=(Level(D(bid), D(1)), Level(D(bid) - 1, D(3))),
        asks=(Level(D(ask), D(2)),),
        timestamp=D(1),
        sequence=7,
    )


def everywhere(*, stale: tuple[StaleVenue, ...] = (), exchange: str = "okx") -> ConsolidatedBook:
    return ConsolidatedBook(
        symbol="BTC-USD",
        bids=(ExchangeLevel(D(100), D(1), exchange),),
        asks=(ExchangeLevel(D(99), D(1), "binance"),),
        timestamp=D(1),
        sequence=1,
        crossed=True,
        stale=stale,
    )


def shown(
    of: Book | ConsolidatedBook | None, reason: str = "", state: Literal["live", "disconnected"] = "live"
) -> BookState:
    return BookState(Link(state), "book", of, reason, received=100.0)


def test_depth_is_cumulated_on_one_scale_for_both_sides() -> None:
    bids, asks = book_view.sides(book())
    assert [(row.total, row.share) for row in bids] == [(D(1), 0.25), (D(4), 1.0)]
    assert [(row.total, row.share) for row in asks] == [(D(2), 0.5)]


def test_spread_is_told_in_basis_points_and_a_crossed_book_as_crossed() -> None:
    gap = book_view.spread(book())
    assert gap is not None and (gap.points, gap.bps, gap.name) == (D("1.0"), D(100), "spread")
    crossed = book_view.spread(everywhere())
    assert crossed is not None and crossed.name == "crossed"
    assert book_view.spread(Book(exchange="x", symbol="y", bids=(), asks=(), timestamp=D(1), sequence=1)) is None


def test_a_stale_book_is_told_and_so_are_the_exchanges_left_out() -> None:
    assert book_view.notice(shown(book()), now=101.0) == ""
    assert "Nothing was heard of this book for 1 min" in book_view.notice(shown(book()), now=160.0)
    assert "Not connected" in book_view.notice(shown(book(), state="disconnected"), now=101.0)
    assert "no right book at the moment: checksum" in book_view.notice(shown(None, "checksum"), now=101.0)
    left_out = StaleVenue(exchange="okx", symbol="BTC-USDT", reason="sequence", age_ms=5)
    assert "okx (sequence)" in book_view.notice(shown(everywhere(stale=(left_out,))), now=101.0)


def test_what_comes_from_outside_cannot_become_markup() -> None:
    assert "<script>" not in book_view.ladder(everywhere(exchange="<script>"))


def test_the_depth_chart_steps_outwards_from_the_best_prices() -> None:
    sides = re.findall(r"polygon\((.+?)\)", book_view.depth_chart(book()))
    assert sides[0].startswith("50.00% 100.00%") and sides[0].endswith("0.00% 100%")
    assert sides[1] == "100.00% 100.00%,100.00% 53.00%,100.00% 100%"


def test_the_depth_chart_of_a_crossed_book_shows_all_of_both_sides() -> None:
    drawn = book_view.depth_chart(book(bid="102", ask="101.5"))
    sides = re.findall(r"polygon\((.+?)\)", drawn)
    assert [side.split()[0] for side in sides] == ["100.00%", "50.00%"]
    assert "from 101 to 102" in drawn


@pytest.mark.parametrize("typed", ["", "abc", "0", "-1", "+1", "NaN", "Infinity", "1e", "1e5", "1_0", ".", "١"])
def test_only_positive_numbers_are_quantities(typed: str) -> None:
    assert order_view.number(typed) is None


def test_a_ticket_keeps_every_digit_and_says_what_it_will_do() -> None:
    ticket = Ticket("BTC-USD", ALL_EXCHANGES, "buy", "0.123456789012345678", "60 000.10", 60, 5)
    assert ticket.problems() == []
    made = ticket.order("twap_1")
    assert (made.total_quantity, made.limit_price, made.exchange) == (D("0.123456789012345678"), D("60000.10"), None)
    assert made.order_id == "twap_1"
    assert ticket.summary().startswith("13 slices of about 0.0095, one every 5 s, over 1 min; at most 60,000.1 each")


def test_a_wrong_ticket_is_explained_and_not_sent() -> None:
    ticket = Ticket("BTC-USD", "okx", "sell", "", "x", 5, 60)
    assert len(ticket.problems()) == 3
    with pytest.raises(ValueError, match="Quantity"):
        ticket.order("twap_1")


@pytest.mark.parametrize(("quantity", "limit_price"), [("0,25", "59000.5"), ("0.25", "59.000,50"), ("1,250", "60,000")])
def test_a_comma_is_never_taken_for_a_decimal_or_a_thousands_mark(quantity: str, limit_price: str) -> None:
    ticket = Ticket("BTC-USD", "okx", "buy", quantity, limit_price, 60, 5)
    told = ticket.problems()
    assert len(told) == sum("," in typed for typed in (quantity, limit_price))
    assert all("write a point for decimals and no commas" in problem for problem in told)
    with pytest.raises(ValueError, match="no commas"):
        ticket.order("twap_1")


def test_the_limit_from_the_book_trades_at_once_in_the_books_own_places() -> None:
    gap = book_view.spread(book(bid="99.52", ask="100.57"))
    assert gap is not None
    assert (order_view.marketable("buy", gap), order_view.marketable("sell", gap)) == (D("100.67"), D("99.42"))


def test_an_orders_card_tells_fills_and_the_time_left() -> None:
    one = order(1, 2)
    assert one.created_at is not None
    card = order_view.card(one, one.created_at + dt.timedelta(seconds=150))
    assert 'data-fills="2"' in card and "7 min 30 s left" in card and "left:25.0%" in card


def test_an_orders_card_tells_the_day_and_the_zone_of_an_order_that_is_over() -> None:
    card = order_view.card(order(1, closed=60), dt.datetime(2026, 1, 1))  # noqa: DTZ001
    assert "<time>2024-10-04 12:00:00 UTC</time>" in card


def test_an_orders_card_tells_its_warnings_its_fees_and_the_fills_that_were_left_out() -> None:
    one = replace(order(1, 2), warnings=("limit_price protects <little>.",), fees=D("1.25"), executions_left_out=7)
    card = order_view.card(one, dt.datetime(2026, 1, 1))  # noqa: DTZ001  # as the order's times are
    assert "limit_price protects &lt;little&gt;." in card and "1.25" in card and 'data-fills="9"' in card


def test_an_orders_card_tells_why_slices_got_too_little() -> None:
    progress = OrderProgress(
        filled=D("0.5"), slices=6, slices_run=6, slices_missed=0, slices_short={"price_beyond_limit": 3}
    )
    card = order_view.card(replace(order(1, 2), progress=progress), dt.datetime(2026, 1, 1))  # noqa: DTZ001
    assert "Slices that got too little: 3, price beyond limit." in card


def test_a_receipt_says_what_is_probably_not_meant_and_in_which_currency_the_limit_counts() -> None:
    quotes = {"binance": "USDT", "gemini": "GUSD", "okx": "USDT"}
    accepted = OrderAccepted("accepted", "a", warnings=("It protects little.",), quote_aliases=quotes)
    assert order_view.remarks(accepted) == [
        "It protects little.",
        "On binance, okx the limit price is in USDT.",
        "On gemini the limit price is in GUSD.",
    ]


def test_the_days_change_and_volume_are_those_of_the_days_own_bar_whatever_is_loaded() -> None:
    market = Market("binance", "BTC-USDT", "1w")
    week = bar(NOON - 3 * DAY, "7000", close="11")
    shown = MarketState(market, Link("live"), (week,), 1, D(1), ())
    today = replace(bar(NOON - 12 * 3_600, "250", close="10.9"), open=D(10))
    figures = tape_view.headline(shown, today, None)
    assert "+10.00 %" in figures and "250.00" in figures
    assert "7,000" not in figures
    assert tape_view.headline(shown, None, None).count("–") == 3


@pytest.mark.parametrize(("shown", "name"), [(book(), "Spread (kraken)"), (everywhere(), "Spread (all exchanges)")])
def test_the_headlines_spread_names_the_book_that_it_is_of(shown: Book | ConsolidatedBook, name: str) -> None:
    state = MarketState(Market("kraken", "BTC-USD", "1m"), Link("live"), (), 1, None, ())
    assert f"<dt>{name}</dt>" in tape_view.headline(state, None, book_view.spread(shown))


def minute(
    number: int, status: Literal["complete", "repaired", "gap", "quiet", "unknown"], cause: str | None = None
) -> Minute:
    return Minute(number * 60, status, cause, 10, None, None)


def test_alike_minutes_of_an_hour_are_one_cell_and_a_new_hour_starts_a_row() -> None:
    found = minutes.runs(
        [minute(58, "complete"), minute(59, "complete"), minute(60, "complete"), minute(61, "gap", "skip")]
    )
    assert [(run.start // 60, run.end // 60, run.status, run.trades) for run in found] == [
        (58, 60, "complete", 20),
        (60, 61, "complete", 10),
        (61, 62, "gap", 10),
    ]


def test_the_map_says_when_what_and_why() -> None:
    drawn = minutes.heat_map([minute(61, "gap", "skip & more"), minute(62, "gap", "skip & more")])
    assert "01 Jan 01:01–01:03 UTC: gap, skip &amp; more, 20 trades" in drawn
    assert "grid-column:2/span 2" in drawn and "<span>01 Jan 01h UTC</span>" in drawn


def test_completeness_counts_judged_minutes_only_and_lists_what_lacked() -> None:
    seen = [
        minute(1, "complete"),
        minute(2, "gap", "skip"),
        minute(3, "repaired", "skip"),
        minute(4, "unknown"),
        minute(5, "quiet"),
    ]
    assert minutes.completeness(seen) == 0.75
    assert minutes.completeness([minute(4, "unknown")]) is None
    assert [found["State"] for found in minutes.incidents(seen)] == ["repaired", "gap"]
    assert minutes.counts(seen) == {"complete": 1, "repaired": 1, "gap": 1, "quiet": 1, "unknown": 1}


def test_symbols_begin_with_the_known_ones_and_follow_to_another_exchange() -> None:
    assert ordered(["AAVE-USDT", "ETH-USDT", "BTC-EUR", "BTC-USDT"]) == ["BTC-USDT", "ETH-USDT", "AAVE-USDT", "BTC-EUR"]
    assert preferred(["ETH-USD", "BTC-USD"], "BTC-USDT") == "BTC-USD"
    assert (consolidated("BTC-USDT"), consolidated("ETH-BTC"), consolidated("BTC-USDT.P")) == (
        "BTC-USD",
        "ETH-BTC",
        "BTC-USD.P",
    )


def test_errors_are_sentences_that_say_what_to_do() -> None:
    assert "Try again in a few seconds" in sentence(ConnectionFailed("No answer from http://127.0.0.1:1: refused"))
    assert sentence(RateLimited("RATE_LIMITED", "slow", retry_after=3)) == "Too many requests: wait 3 s and try again."
    assert (
        sentence(Unauthenticated("UNAUTHENTICATED", "no"))
        == sentence(StreamClosed(4401, "UNAUTHENTICATED", "no"))
        == SIGNED_OUT
    )
    unknown = SymbolNotFound("SYMBOL_NOT_FOUND", "No such market", details={"suggestions": ["BTC-USD"]})
    assert sentence(unknown) == "No such market. Did you mean BTC-USD?"


def test_numbers_are_written_as_traders_read_them() -> None:
    assert (plain(D("1234567.50")), plain(D(-3), 2), plain(D("0.5"), 1, signed=True), plain(None)) == (
        "1,234,567.5",
        "−3.00",
        "+0.5",
        "–",
    )
    assert [compact(D(n)) for n in ("0E-18", "0.00002", "0.00421", "12.346", "1234", "250000", "1234567")] == [
        "0.0000",
        "0.00002",
        "0.0042",
        "12.35",
        "1,234",
        "250.0k",
        "1.2M",
    ]
    assert (places_of(D("1.50"), D(60_000)), places_of(D(60_000)), span(3_725), span(0)) == (1, 0, "1 h 2 min", "0 s")
