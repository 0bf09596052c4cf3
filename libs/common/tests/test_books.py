"""The kept book, under random histories."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstape.common.market.book import BookUpdate, Level, OrderBook

prices = st.integers(1, 60).map(lambda ticks: f"{ticks / 10:.2f}")
quantities = st.sampled_from(
    ["0", "0.", "0.0", "0.00000000", f"0.{'0' * 18}", "1", "2.5", "10.0", "0.1", "0.01", "0.10", f"0.{'0' * 17}1"]
)
sides = st.lists(st.tuples(prices, quantities), max_size=12)
updates = st.builds(
    lambda snapshot, bids, asks: BookUpdate("okx", "BTC-USDT", snapshot, bids, asks, 0, 0),
    st.sampled_from([False, False, False, True]),
    sides,
    sides,
)


def expected(history: list[BookUpdate]) -> tuple[dict[str, str], dict[str, str]]:
    bids: dict[str, str] = {}
    asks: dict[str, str] = {}
    for update in history:
        if update.is_snapshot:
            bids, asks = {}, {}
        bids |= dict(update.bids)
        asks |= dict(update.asks)
    return tuple({p: q for p, q in side.items() if Decimal(q)} for side in (bids, asks))  # type: ignore[return-value]


def by_price(side: dict[str, str]) -> list[Level]:
    return sorted(side.items(), key=lambda level: Decimal(level[0]))


@given(st.lists(updates, max_size=15), st.integers(0, 30))
def test_after_every_update_the_book_holds_the_newest_positive_quantity_of_each_price_best_first(
    history: list[BookUpdate], depth: int
) -> None:
    book = OrderBook()
    for count, update in enumerate(history, 1):
        book.apply(update)
        bids, asks = expected(history[:count])
        assert (book.bids, book.asks) == (bids, asks)
        assert book.top(depth) == (by_price(bids)[::-1][:depth], by_price(asks)[:depth])


@given(st.lists(updates, max_size=5), updates)
def test_a_snapshot_forgets_what_was_before(history: list[BookUpdate], update: BookUpdate) -> None:
    snapshot = BookUpdate("okx", "BTC-USDT", True, update.bids, update.asks, 0, 0)
    fresh, old = OrderBook(), OrderBook()
    for earlier in history:
        old.apply(earlier)
    fresh.apply(snapshot)
    old.apply(snapshot)
    assert (old.bids, old.asks) == (fresh.bids, fresh.asks)


@given(st.lists(updates, max_size=8), st.integers(1, 20))
def test_truncating_keeps_the_best(history: list[BookUpdate], depth: int) -> None:
    book = OrderBook()
    for update in history:
        book.apply(update)
    best = book.top(depth)
    book.truncate(depth)
    assert book.top(1_000) == best


@pytest.mark.parametrize(
    ("bid", "ask", "crossed"), [("1.0", "1.1", False), ("1.1", "1.1", True), ("1.2", "1.1", True), ("9", "10", False)]
)
def test_a_book_is_crossed_when_its_bid_reaches_its_ask(bid: str, ask: str, crossed: bool) -> None:
    book = OrderBook()
    assert not book.is_crossed()
    book.apply(BookUpdate("okx", "BTC-USDT", True, [(bid, "1")], [], 0, 0))
    assert not book.is_crossed()
    book.apply(BookUpdate("okx", "BTC-USDT", False, [], [(ask, "1")], 0, 0))
    assert book.is_crossed() == crossed


@given(st.integers(1, 10**15 - 2), st.integers(0, 18))
def test_neighbouring_prices_of_15_significant_digits_never_share_a_float(digits: int, scale: int) -> None:
    assert float(f"{digits}E-{scale}") < float(f"{digits + 1}E-{scale}")


def test_only_prices_of_more_digits_than_any_market_quotes_can_share_a_float() -> None:
    assert float("99999.99999999") < float("100000.00000000")
    assert float("123456.123456781") < float("123456.123456782")
    assert float("123456.123456789012341") == float("123456.123456789012342")


@given(sides, sides, prices, prices, st.lists(updates.filter(lambda update: not update.is_snapshot), max_size=8))
def test_what_lies_beyond_a_snapshots_horizon_is_not_shown_and_nothing_else_is_left_out(
    bids: list[Level], asks: list[Level], bid_horizon: str, ask_horizon: str, changes: list[BookUpdate]
) -> None:
    snapshot = BookUpdate("okx", "BTC-USDT", True, bids, asks, 0, 0, bid_horizon=bid_horizon, ask_horizon=ask_horizon)
    book = OrderBook()
    for count, update in enumerate((snapshot, *changes), 1):
        book.apply(update)
        all_bids, all_asks = expected([snapshot, *changes][:count])
        known_bids = {p: q for p, q in all_bids.items() if Decimal(p) >= Decimal(bid_horizon)}
        known_asks = {p: q for p, q in all_asks.items() if Decimal(p) <= Decimal(ask_horizon)}
        assert book.top(100) == (by_price(known_bids)[::-1], by_price(known_asks))
        assert (book.bids, book.asks) == (known_bids, known_asks)
        assert book.horizons(100) == (bid_horizon, ask_horizon)
        assert book.knows(len(known_bids), len(known_asks))
        assert not book.knows(len(known_bids) + 1, 0)
        assert not book.knows(0, len(known_asks) + 1)
        for price in {bid_horizon, ask_horizon, "0.10", "6.00", *known_bids, *known_asks}:
            assert book.lacks_bid(price) == (price not in known_bids and Decimal(price) >= Decimal(bid_horizon))
            assert book.lacks_ask(price) == (price not in known_asks and Decimal(price) <= Decimal(ask_horizon))


@given(st.lists(updates, min_size=1, max_size=8), st.integers(1, 20))
def test_the_best_levels_and_their_horizon_make_the_same_book_as_far_as_it_is_known(
    history: list[BookUpdate], depth: int
) -> None:
    whole, cut = OrderBook(), OrderBook()
    whole.apply(history[0])
    bids, asks = whole.top(depth)
    bid_horizon, ask_horizon = whole.horizons(depth)
    cut.apply(BookUpdate("okx", "BTC-USDT", True, bids, asks, 0, 0, bid_horizon=bid_horizon, ask_horizon=ask_horizon))
    for update in history:
        whole.apply(update)
        cut.apply(update)
        for mine, theirs in zip(cut.top(100), whole.top(100), strict=True):
            assert mine == theirs[: len(mine)]
        is_whole = [horizon is None or update.is_snapshot for horizon in (bid_horizon, ask_horizon)]
        bid_horizon, ask_horizon = (None, None) if update.is_snapshot else (bid_horizon, ask_horizon)
        assert all(m == t for m, t, w in zip(cut.top(100), whole.top(100), is_whole, strict=True) if w)


def test_a_book_whose_horizon_is_none_knows_all_there_is() -> None:
    book = OrderBook()
    book.apply(BookUpdate("okx", "BTC-USDT", True, [("1", "1")], [], 0, 0))
    assert book.knows(1_000, 1_000)
    assert book.horizons(1) == (None, None)
    assert book.lacks_bid("0.5") and not book.lacks_bid("1")
