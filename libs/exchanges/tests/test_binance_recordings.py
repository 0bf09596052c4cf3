"""Binance's adapter over what Binance really sent, 2024-08-08."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import lru_cache

import msgspec
import pytest

from crosstape.common.market.bar import Interval, fold_bars
from crosstape.common.market.book import BookUpdate, OrderBook
from crosstape.common.market.instrument import Instrument, Kind
from crosstape.common.market.trade import Trade
from crosstape.exchanges.binance import Binance
from crosstape.exchanges.dialect import Channel

price = lru_cache(maxsize=None)(float)


class Ticker(msgspec.Struct):
    """Best prices in force at update id `u`."""

    u: int
    b: str
    B: str
    a: str
    A: str


class TickerFrame(msgspec.Struct):
    """A frame of `@bookTicker`."""

    data: Ticker


SPOT = "binance/spot-btcusdt-20240808"
DIALECT = Binance()
BOTH = frozenset(Channel)


def events(lines, instrument):
    """Every event of a recording's trade and depth frames; its snapshot is a frame that REST answered."""
    (subscription,) = DIALECT.subscriptions([instrument], BOTH)
    for line in lines:
        if line.frame.startswith('{"lastUpdateId"'):
            yield DIALECT.decode_book_snapshot(instrument, line.body, line.t)
        elif "@trade" in line.frame or "@depth" in line.frame:
            yield from subscription.decode(line.body, line.t)


def test_trades_of_the_recording_fold_into_the_bars_of_the_truth(recording, truth: Callable, spot: Instrument):
    trades = [e for e in events(recording(SPOT), spot) if isinstance(e, Trade)]
    assert [t.trade_id for t in trades] == list(range(3735683259, 3735693016))
    bars = fold_bars(trades, Interval.M1)
    assert [
        {
            "symbol": "BTCUSDT",
            "minute_utc_s": str(b.open_time),
            "open": b.open,
            "high": b.high,
            "low": b.low,
            "close": b.close,
            "volume": b.volume,
            "volume_delta": b.volume_delta,
            "trades": str(b.trades),
        }
        for b in bars
    ] == truth("binance-spot-btcusdt-20240808")
    assert {b.volume_unknown for b in bars} == {"0"}


def kept_books(updates):
    """The book after each applied update, by the dialect's sequence rule."""
    book, last_id, early = OrderBook(), None, []
    for update in updates:
        if last_id is None and not update.is_snapshot:
            early.append(update)
            continue
        for candidate in [update, *early]:
            follows = DIALECT.continues(last_id, candidate)
            assert follows is not False
            if follows:
                book.apply(candidate)
                last_id = candidate.last_id
                yield book, last_id
        early = []


def test_snapshot_and_diffs_end_in_the_book_of_the_truth(recording, truth, spot: Instrument):
    updates = [e for e in events(recording(SPOT), spot) if isinstance(e, BookUpdate)]
    *_, (book, _) = kept_books(updates)
    bids, asks = book.top(50)
    wanted = truth("binance-spot-btcusdt-20240808-book")
    for side, levels in (("bid", bids), ("ask", asks)):
        rows = [(Decimal(r["price"]), Decimal(r["quantity"])) for r in wanted if r["side"] == side]
        assert [(Decimal(p), Decimal(q)) for p, q in levels] == rows


@pytest.mark.parametrize(
    ("name", "base", "kind"),
    [(SPOT, "BTC", Kind.SPOT), ("binance/usdm-ethusdt-20240808", "ETH", Kind.PERPETUAL)],
)
def test_best_prices_equal_the_book_ticker_of_the_same_update_id(recording, name, base, kind):
    lines = recording(name)
    decoder = msgspec.json.Decoder(TickerFrame)
    tickers = {t.u: t for t in (decoder.decode(x.frame).data for x in lines if "@bookTicker" in x.frame)}
    instrument = Instrument("binance", f"{base}USDT", base, "USDT", kind)
    updates = [e for e in events(lines, instrument) if isinstance(e, BookUpdate)]
    compared = 0
    for book, last_id in kept_books(updates):
        if ticker := tickers.get(last_id):
            bid, ask = max(book.bids, key=price), min(book.asks, key=price)
            assert (bid, book.bids[bid], ask, book.asks[ask]) == (ticker.b, ticker.B, ticker.a, ticker.A)
            compared += 1
    assert compared > 50


def test_every_diff_left_out_is_noticed_at_once(recording, spot: Instrument, perpetual: Instrument):
    for name, instrument in ((SPOT, spot), ("binance/usdm-ethusdt-20240808", perpetual)):
        updates = [e for e in events(recording(name), instrument) if isinstance(e, BookUpdate) and not e.is_snapshot]
        for before, after in zip(updates, updates[2:], strict=False):
            assert DIALECT.continues(before.last_id, after) is False
