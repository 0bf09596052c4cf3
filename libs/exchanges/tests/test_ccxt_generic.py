"""The ccxt adapter over a client that answers as ccxt does; ccxt itself stays unimported until an exchange opens."""

from __future__ import annotations

import subprocess
import sys

import pytest

from crosstape.common.errors import ExchangeError, ExchangeNotFound
from crosstape.common.market.bar import Interval
from crosstape.common.market.instrument import Instrument, Kind
from crosstape.common.market.trade import TakerSide, Trade
from crosstape.exchanges import ccxt_generic
from crosstape.exchanges.ccxt_generic import CcxtExchange, Unanswerable, open_exchange
from crosstape.exchanges.dialect import FeedError, HistoryQuery, Kline, Klines, MalformedFrame

SECOND = 1_000_000_000

SPOT = Instrument(
    "gate",
    "BTC_USDT",
    "BTC",
    "USDT",
    tick_size="0.1",
    lot_size="0.00001",
    stream_symbol="BTC/USDT",
    aliases=("BTC/USDT",),
)


def market(symbol, **changed):
    base = {
        "id": symbol.split(":")[0].replace("/", "_"),
        "symbol": symbol,
        "base": "BTC",
        "quote": "USDT",
        "active": True,
        "spot": ":" not in symbol,
        "swap": ":" in symbol,
        "linear": ":" in symbol,
        "contractSize": "0.0001" if ":" in symbol else None,
        "precision": {"price": "0.1", "amount": "1e-05"},
    }
    return base | changed


class Client:
    """What is used of a ccxt exchange."""

    def __init__(self, trades=(), candles=()):
        self.precisionMode = 4
        self.timeframes = {"1m": "1", "1h": "60", "5s": "5"}
        self.trades, self.candles = list(trades), list(candles)
        self.is_closed = False

    async def load_markets(self, reload):
        listed = [
            market("BTC/USDT"),
            market("BTC/USDT:USDT"),
            market("OLD/USDT", active=False),
            market("BTC/USD:BTC", linear=False),
            market("LONG/USDT", base="X" * 60),
            market("A\u200bB/USDT", base="A\u200bB"),
        ]
        return {m["symbol"]: m for m in listed}

    async def watch_trades(self, symbol):
        if not self.trades:
            raise ConnectionError("closed")
        return [self.trades.pop(0)]

    async def fetch_trades(self, symbol, since, limit):
        return self.trades

    async def fetch_ohlcv(self, symbol, timeframe, since, limit):
        return [row for row in self.candles if row[0] >= since][:2]

    async def close(self):
        self.is_closed = True


def trade(**changed):
    return {"id": "5", "timestamp": 1_700_000_000_123, "price": "37000.10", "amount": "0.5", "side": "buy"} | changed


async def test_markets_are_spot_and_linear_swaps_that_can_be_asked_for_with_ccxts_symbol_for_the_socket():
    spot, swap = await CcxtExchange("gate", Client()).markets()
    assert spot == SPOT
    assert (swap.symbol, swap.kind, swap.stream_symbol) == ("BTC-USDT.P", Kind.PERPETUAL, "BTC/USDT:USDT")


@pytest.mark.parametrize("precision", [{"price": "x"}, {"amount": "1e99"}])
async def test_a_market_list_that_cannot_be_read_is_the_exchange_s_error(precision, monkeypatch):
    async def load_markets(client, reload):
        return {"BTC/USDT": market("BTC/USDT", precision=precision)}

    monkeypatch.setattr(Client, "load_markets", load_markets)
    with pytest.raises(ExchangeError, match="gate sent markets"):
        await CcxtExchange("gate", Client()).markets()


@pytest.mark.parametrize(
    ("side", "taker"), [("buy", TakerSide.BUY), ("sell", TakerSide.SELL), (None, TakerSide.UNKNOWN)]
)
async def test_trades_keep_their_digits_and_a_side_only_where_it_is_told(side, taker):
    exchange = CcxtExchange("gate", Client([trade(side=side)]), now=lambda: 9)
    (seen,) = await anext(exchange.watch_trades(SPOT))
    assert seen == Trade("gate", "BTC-USDT", 5, 1_700_000_000_123_000_000, "37000.10", "0.5", taker, 9)


async def test_a_swaps_contracts_are_counted_in_base():
    exchange = CcxtExchange("gate", Client([trade(amount="3")]))
    _, swap = await exchange.markets()
    assert [t.quantity for t in (await history(exchange, swap)).trades] == ["0.0003"]


async def test_a_stream_that_ends_is_a_feed_error():
    with pytest.raises(FeedError, match="ConnectionError"):
        await anext(CcxtExchange("gate", Client()).watch_trades(SPOT))


@pytest.mark.parametrize("wrong", [{"id": None}, {"timestamp": None}, {"timestamp": 1_700_000_000_123_000}])
async def test_a_trade_that_cannot_be_named_is_malformed(wrong):
    exchange = CcxtExchange("gate", Client([trade(**wrong), trade(**wrong)]))
    with pytest.raises(MalformedFrame):
        await anext(exchange.watch_trades(SPOT))
    with pytest.raises(ExchangeError):
        await history(exchange, SPOT)


@pytest.mark.parametrize(
    "wrong", [{"price": None}, {"price": "NaN"}, {"price": "0"}, {"amount": "-1"}, {"price": "1e1000000"}]
)
async def test_a_trade_that_no_tape_can_hold_is_set_apart_and_keeps_no_other_out(wrong):
    exchange = CcxtExchange("gate", Client([trade(id="4"), trade(**wrong), trade(id="6")]))
    for instrument in await exchange.markets():
        held = await history(exchange, instrument)
        assert [t.trade_id for t in held.trades] == [4, 6]
        assert [t.trade_id for t in held.refused] == [5]
    seen = [t.trade_id async for trades in taken(exchange.watch_trades(SPOT), 3) for t in trades]
    assert seen == [4, 5, 6], "who watches tells the ledger"


async def history(exchange, instrument, start=0):
    """The one page that answers for the time from `start` (s) on."""
    query = HistoryQuery(instrument, None, None, start * SECOND, 2**62)
    [page] = [page async for page in exchange.trade_history(query)]
    return page


async def taken(values, count):
    for _ in range(count):
        yield await anext(values)


class History:
    """A client whose exchange gives `page` trades from a time on, or its newest ones, also `always`, of which ccxt
    then drops the older ones. Trade `n` is of second `n`, but for those that `left_out` says."""

    def __init__(self, page, always=False, left_out=()):
        self.page, self.always = page, always
        self.rows = [trade(id=str(n), timestamp=n * 1_000) for n in range(1, 1_001) if n not in left_out]

    async def fetch_trades(self, symbol, since, limit):
        if since is None or self.always:
            return [row for row in self.rows[-self.page :] if since is None or row["timestamp"] >= since]
        return [row for row in self.rows if row["timestamp"] >= since][: self.page]


@pytest.mark.parametrize(
    ("client", "start", "first"),
    [
        pytest.param(History(200), 900, 900, id="the newest ones reach back"),
        pytest.param(History(200), 500, 500, id="pages from an older time meet the newest ones"),
        pytest.param(History(200, always=True), 500, 801, id="whatever is asked, the newest ones are answered"),
        pytest.param(History(200, left_out=range(300, 501)), 400, 501, id="none shows that none is left out"),
    ],
)
async def test_trades_since_a_time_reach_as_far_as_pages_join_and_a_trade_before_it_proves(client, start, first):
    page = await history(CcxtExchange("gate", client), SPOT, start)
    assert page.reaches_back == (first == start)
    ids = [t.trade_id for t in page.trades]
    assert sorted(i for i in ids if i >= first) == list(range(first, 1_001))
    assert len(ids) == len(set(ids))
    if not page.reaches_back:
        assert min(t.time for t in page.trades) == first * SECOND


async def test_pages_between_which_trades_may_lack_are_not_joined():
    client = History(200)
    client.rows[400:600] = [trade(id=str(n), timestamp=500_000) for n in range(401, 601)]  # more than a page at once
    page = await history(CcxtExchange("gate", client), SPOT, 300)
    assert (min(t.time for t in page.trades), page.reaches_back) == (801 * SECOND, False)


async def test_a_long_past_is_answered_in_pieces_of_which_each_says_how_far_it_goes(monkeypatch):
    monkeypatch.setattr(ccxt_generic, "MOST_TRADES", 300)
    client, start, seen = History(100), 100, set()
    exchange = CcxtExchange("gate", client, now=lambda: 1_000 * SECOND)
    pieces = 0
    while start < 1_000:
        page = await history(exchange, SPOT, start)
        assert page.reaches_back
        assert len(page.trades) <= 500, "a piece, its last page and the newest one"
        assert page.until > start * SECOND
        seen |= {t.trade_id for t in page.trades if start * SECOND <= t.time <= page.until}
        start, pieces = page.until // SECOND, pieces + 1
    assert seen == set(range(100, 1_001))
    assert pieces > 2


@pytest.mark.parametrize(("ago", "reaches_back"), [(3_000, True), (4_000, False)])
async def test_newest_trades_that_are_none_say_that_nobody_traded_for_an_hour(ago, reaches_back):
    now = 1_700_000_000
    page = await history(CcxtExchange("bitstamp", Client(), now=lambda: now * SECOND), SPOT, now - ago)
    assert (page.trades, page.reaches_back) == ([], reaches_back)


class BadRequest(Exception):
    """ccxt's, by its name."""


@pytest.mark.parametrize(("error", "is_final"), [(BadRequest("since"), True), (TimeoutError(), False)])
async def test_an_error_says_whether_asking_again_could_help(error, is_final):
    async def fails(symbol, since, limit):
        raise error

    client = Client()
    client.fetch_trades = fails
    with pytest.raises(ExchangeError) as raised:
        await history(CcxtExchange("gate", client), SPOT)
    assert isinstance(raised.value, Unanswerable) is is_final


async def test_candles_are_paged_until_the_range_is_covered():
    rows = [[t * 60_000, "1", "2", "1", "2", "0"] for t in range(10)]
    exchange = CcxtExchange("gate", Client(candles=rows))
    assert exchange.intervals() == [Interval.M1, Interval.H1]
    klines = [Kline(t * 60_000, "1", "2", "1", "2", "0") for t in range(1, 8)]
    assert await exchange.klines(SPOT, Interval.M1, 60_000, 480_000) == Klines(klines, 60_000)


async def test_a_number_that_ccxt_wrote_with_an_exponent_is_written_plainly():
    exchange = CcxtExchange("gate", Client([trade(price="1e-07")]))
    assert [t.price for t in (await history(exchange, SPOT)).trades] == ["0.0000001"]


@pytest.mark.integration
def test_native_dialects_and_the_adapters_module_do_not_import_ccxt():
    code = "import sys, crosstape.exchanges, crosstape.exchanges.ccxt_generic; sys.exit('ccxt' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


async def test_a_real_ccxt_exchange_opens_with_numbers_as_text():
    exchange = open_exchange("gate")
    try:
        parsed = exchange._client.parse_trade(
            {
                "id": "1",
                "create_time_ms": "1634673259378.394000",
                "side": "sell",
                "amount": "0.00010",
                "price": "61000.50",
            }
        )
        exchange._client.fetch_trades = lambda *_: answered([parsed])
        (seen,) = (await history(exchange, SPOT)).trades
        assert (seen.price, seen.quantity, seen.side) == ("61000.50", "0.0001", TakerSide.SELL)
    finally:
        await exchange.close()
    with pytest.raises(ExchangeNotFound):
        open_exchange("no such exchange")


async def answered(value):
    return value
