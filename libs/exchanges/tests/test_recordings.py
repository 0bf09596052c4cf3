"""Every adapter but Binance's over what its exchange really sent. Values are compared, not counts of messages."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from decimal import Decimal

import msgspec
import pytest

from crosstape.common.market.book import BookUpdate, OrderBook
from crosstape.common.market.decimals import are_positive_decimals
from crosstape.common.market.instrument import Instrument, Kind
from crosstape.common.market.trade import TakerSide, Trade
from crosstape.exchanges import DIALECTS
from crosstape.exchanges.dialect import Channel
from crosstape.exchanges.kraken.book import cut_and_checksum
from crosstape.exchanges.okx.checksum import checksum as okx_checksum
from crosstape.exchanges.recorded import bybit_v2, coinbase_advanced, kraken_v1

BOTH = frozenset(Channel)
BYBIT = "more/bybit/v5_btc_eth_20260809"
RIGHT, WRONG, UNKNOWN = "right", "wrong", "cannot be told"


def frames(lines, wanted):
    """Received frames whose head matches `wanted`: recordings hold channels that nobody here subscribes to."""
    return [line for line in lines if line.dir == "in" and re.search(wanted, line.frame[:120])]


def spelled(digits, text):
    """Whether `digits` stand in the frame as a JSON value of their own, so that none was invented or lost."""
    return f'"{digits}"' in text or re.search(rf"[:\[,]{re.escape(digits)}[,\]}}]", text) is not None


@pytest.mark.parametrize("name", ["kraken/ws-v1-2021-a", "more/kraken/spot_v1_a_20210405"])
def test_kraken_v1_books_have_the_exchanges_checksum_after_every_update(recording, name):
    books, verified = defaultdict(OrderBook), 0
    for line in frames(recording(name), r'^\[\d+,\{"[ab]s?":\[\['):
        for update in kraken_v1.decode(line.body, line.t):
            book = books[update.symbol]
            book.apply(update)
            found = cut_and_checksum(book, kraken_v1.DEPTH)
            if update.checksum is not None:
                assert found == update.checksum
                verified += 1
    assert verified > 2_000


def test_kraken_v1_trades_keep_the_digits_and_have_distinct_ids(recording):
    lines = frames(recording("more/kraken/spot_v1_a_20210405"), r"^\[\d+,\[\[")
    trades = [trade for line in lines for trade in kraken_v1.decode(line.body, line.t)]
    assert len({(t.symbol, t.trade_id) for t in trades}) == len(trades) == 25
    assert (trades[0].symbol, trades[0].price, trades[0].quantity, trades[0].time, trades[0].side) == (
        "BTC-USD",
        "58721.20000",
        "0.02798644",
        1_617_666_461_465_618_000,
        TakerSide.SELL,
    )


def okx_instruments(lines):
    names = {name for line in lines if line.dir == "in" for name in re.findall(r'"instId":"([^"]+)"', line.frame[:120])}
    return [Instrument("okx", name, name, "X") for name in sorted(names)]


@pytest.mark.parametrize(
    ("name", "channel"), [("okx/ws-2022-a", "books"), ("more/okx/v5_mix_20220227", "books-l2-tbt")]
)
def test_okx_books_have_the_exchanges_checksum_after_every_update(recording, name, channel):
    lines = recording(name)
    (socket,) = DIALECTS["okx"].subscriptions(okx_instruments(lines), frozenset((Channel.BOOK,)))
    books, verified = defaultdict(OrderBook), 0
    for line in frames(lines, f'"channel":"{channel}"'):
        for update in socket.decode(line.body, line.t):
            books[update.symbol].apply(update)
            assert okx_checksum(books[update.symbol]) == update.checksum
            assert DIALECTS["okx"].verify(books[update.symbol], update)
            verified += 1
    assert verified > 100


def test_okx_trades_are_numbered_without_a_hole_and_keep_their_digits(recording):
    lines = recording("okx/ws-2022-a")
    (socket,) = DIALECTS["okx"].subscriptions(okx_instruments(lines), frozenset((Channel.TRADES,)))
    ids = defaultdict(list)
    for line in frames(lines, '"channel":"trades"'):
        for trade in socket.decode(line.body, line.t):
            ids[trade.symbol].append(trade.trade_id)
            assert spelled(trade.price, line.frame)
            assert spelled(trade.quantity, line.frame)
            assert (trade.side is TakerSide.BUY) == ('"side":"buy"' in line.frame)
    assert ids["BTC-USDT-X"] == list(range(ids["BTC-USDT-X"][0], ids["BTC-USDT-X"][-1] + 1))
    assert len(ids["BTC-USDT-X"]) == 33


def test_coinbase_takers_trade_at_the_other_sides_best_price(recording):
    lines = recording("coinbase/ws-2021-a")
    products = msgspec.json.decode(next(line.frame for line in lines if line.dir == "out"))["product_ids"]
    instruments = [Instrument("coinbasepro", name, *name.split("-")) for name in products]
    (socket,) = DIALECTS["coinbasepro"].subscriptions(instruments, BOTH)
    books, agreed, trades = defaultdict(OrderBook), Counter(), []
    for line in frames(lines, '^{"type":"(match|last_match|snapshot|l2update|subscriptions)"'):
        for event in socket.decode(line.body, line.t):
            if isinstance(event, BookUpdate):
                books[event.symbol].apply(event)
                continue
            assert not books[event.symbol].bids or not books[event.symbol].is_crossed()
            trades.append(event)
            assert spelled(event.price, line.frame)
            assert spelled(event.quantity, line.frame)
            if '"last_match"' not in line.frame[:30]:
                agreed[touched(books[event.symbol], event)] += 1
    assert len(trades) == 41
    assert agreed[WRONG] == 0
    assert agreed[RIGHT] > 10
    assert len(books) == 10


def touched(book: OrderBook, trade: Trade) -> str:
    """Which side of the book the trade's price was on: a buyer takes asks, a seller takes bids."""
    bid, ask, price = Decimal(max(book.bids, key=float)), Decimal(min(book.asks, key=float)), Decimal(trade.price)
    if bid < price < ask:
        return UNKNOWN
    took_asks = price >= ask
    return RIGHT if took_asks == (trade.side is TakerSide.BUY) else WRONG


def bybit_events(lines):
    instruments = [Instrument("bybit", f"{base}USDT", base, "USDT", kind) for base in ("BTC", "ETH") for kind in Kind]
    sockets = {s.path: s for s in DIALECTS["bybit"].subscriptions(instruments, BOTH)}
    for line in frames(lines, r'"(topic":"(publicTrade|orderbook)|op":)'):
        for event in sockets[line.src.removeprefix("wss://stream.bybit.com")].decode(line.body, line.t):
            yield event, line


def test_bybit_books_follow_by_their_number_and_do_not_cross(recording):
    dialect, books, last_ids, followed = DIALECTS["bybit"], defaultdict(OrderBook), {}, Counter()
    updates = [event for event, _ in bybit_events(recording(BYBIT)) if isinstance(event, BookUpdate)]
    for update in updates:
        assert dialect.continues(last_ids.get(update.symbol), update) is True
        books[update.symbol].apply(update)
        last_ids[update.symbol] = update.last_id
        followed[update.symbol] += 1
    assert set(followed) == {"BTC-USDT", "BTC-USDT.P", "ETH-USDT", "ETH-USDT.P"}
    assert not any(book.is_crossed() for book in books.values())
    assert all(len(side) == 200 for book in books.values() for side in (book.bids, book.asks))
    for symbol in followed:
        own = [u for u in updates if u.symbol == symbol]
        assert all(dialect.continues(a.last_id, b) is False for a, b in zip(own, own[2:], strict=False))


def test_bybit_takers_trade_through_the_book_of_the_moment(recording):
    books, agreed, trades = defaultdict(OrderBook), Counter(), []
    for event, line in bybit_events(recording(BYBIT)):
        if isinstance(event, BookUpdate):
            books[event.symbol].apply(event)
            continue
        trades.append(event)
        assert spelled(event.price, line.frame)
        assert spelled(event.quantity, line.frame)
        if books[event.symbol].bids:
            agreed[touched(books[event.symbol], event)] += 1
    assert len({(t.symbol, t.trade_id) for t in trades}) == len(trades) == 99
    assert are_positive_decimals(text for t in trades for text in (t.price, t.quantity))
    assert agreed[RIGHT] > 5 * agreed[WRONG]


def test_bybit_v2_books_never_cross_and_trades_keep_their_digits(recording):
    books, trades = defaultdict(OrderBook), 0
    for line in frames(recording("bybit/ws-26"), "^{"):
        for event in bybit_v2.decode(line.body, line.t):
            if isinstance(event, BookUpdate):
                books[event.symbol].apply(event)
                assert not books[event.symbol].is_crossed()
                assert len(books[event.symbol].bids) == 25
            else:
                trades += 1
                assert spelled(event.price, line.frame)
    assert trades == 150


def test_coinbase_advanced_takers_trade_at_the_other_sides_best_price_and_ids_have_no_hole(recording):
    books, agreed, ids = defaultdict(OrderBook), Counter(), defaultdict(list)
    lines = recording("more/coinbase/advanced_btc_eth_20260809")
    for line in frames(lines, '^{"channel":"(market_trades|l2_data|subscriptions|heartbeats)"'):
        for event in coinbase_advanced.decode(line.body, line.t):
            if isinstance(event, BookUpdate):
                books[event.symbol].apply(event)
                continue
            ids[event.symbol].append(event.trade_id)
            if books[event.symbol].bids:
                agreed[touched(books[event.symbol], event)] += 1
    assert all(seen == list(range(seen[0], seen[0] + len(seen))) for seen in ids.values())
    assert sum(map(len, ids.values())) == 279
    assert agreed[RIGHT] > 30 * max(agreed[WRONG], 1)


def test_real_market_lists_are_read_whole(recording):
    def bodies(name, *patterns):
        lines = [line for line in recording(name) if line.dir == "http"]
        return [next(line.body for line in lines if re.search(pattern, line.src)) for pattern in patterns]

    binance = DIALECTS["binance"].decode_markets(
        [*bodies("binance/http-exchangeinfo", "exchangeInfo"), b'{"symbols":[]}']
    )
    kraken = DIALECTS["kraken"].decode_markets(bodies("kraken/http", "AssetPairs"))
    coinbase = DIALECTS["coinbasepro"].decode_markets(bodies("coinbase/http", "products"))
    okx = DIALECTS["okx"].decode_markets(bodies("okx/http", "instType=SPOT", "instType=SWAP"))
    bybit = DIALECTS["bybit"].decode_markets(bodies(BYBIT, "category=spot", "category=linear"))
    for listed in (binance, kraken, coinbase, okx, bybit):
        assert len(listed) > 100
        assert len({i.symbol for i in listed}) == len(listed)
        assert all(i.tick_size and i.lot_size for i in listed)
    assert {"BTC-USD", "DOGE-USD", "ETH-BTC"} <= {i.symbol for i in kraken}
    assert {"BTC-USDT", "BTC-USDT.P"} <= {i.symbol for i in okx} & {i.symbol for i in bybit}
