"""Binance's adapter on one sample of each message, written after github.com/binance/binance-spot-api-docs
(web-socket-streams.md, rest-api.md) and developers.binance.com/docs/derivatives/usds-margined-futures, 2026-11-24."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstape.common.market.book import BookUpdate
from crosstape.common.market.instrument import Instrument, Kind
from crosstape.common.market.trade import TakerSide, Trade
from crosstape.exchanges.binance import Binance
from crosstape.exchanges.dialect import Channel, FeedError, HistoryPage, HistoryQuery, Kline, MalformedFrame, Rejected

DIALECT = Binance()
SPOT = Instrument("binance", "BNBBTC", "BNB", "BTC")
PERPETUAL = Instrument("binance", "BTCUSDT", "BTC", "USDT", Kind.PERPETUAL)
RECEIVED = 1_672_515_782_200_000_000

TRADE = (
    '{"stream":"bnbbtc@trade","data":{"e":"trade","E":1672515782137,"s":"BNBBTC","t":12345,"p":"0.00100000",'
    '"q":"100.10","T":1672515782136,"m":%s,"M":true}}'
)
PERPETUAL_TRADE = (
    '{"stream":"btcusdt@trade","data":{"e":"trade","E":1672515782137,"T":1672515782136,"s":"BTCUSDT","t":5,'
    '"p":"16541.1","q":"0.002","X":"%s","m":true}}'
)
DEPTH = (
    '{"stream":"bnbbtc@depth@100ms","data":{"e":"depthUpdate","E":1672515782136,"s":"BNBBTC","U":157,"u":160,'
    '"b":[["0.0024","10"]],"a":[["0.0026","0.000"]]}}'
)


def socket(instrument):
    (subscription,) = DIALECT.subscriptions([instrument], frozenset(Channel))
    return subscription


def decode(text, instrument=SPOT):
    return list(socket(instrument).decode(text.encode(), RECEIVED))


@pytest.mark.parametrize(("buyer_is_maker", "side"), [("true", TakerSide.SELL), ("false", TakerSide.BUY)])
def test_a_trade_keeps_its_digits_and_the_taker_is_opposite_the_maker(buyer_is_maker, side):
    assert decode(TRADE % buyer_is_maker) == [
        Trade("binance", "BNB-BTC", 12345, 1_672_515_782_136_000_000, "0.00100000", "100.10", side, RECEIVED)
    ]


def test_a_perpetual_trade_of_the_order_book_is_kept_and_an_insurance_fund_trade_is_not():
    assert [t.symbol for t in decode(PERPETUAL_TRADE % "MARKET", PERPETUAL)] == ["BTC-USDT.P"]
    assert decode(PERPETUAL_TRADE % "INSURANCE_FUND", PERPETUAL) == []


def test_a_wrong_trade_of_the_order_book_is_malformed_and_not_taken_for_an_insurance_fund_trade():
    wrong = (PERPETUAL_TRADE % "MARKET").replace('"m":true', '"m":1').replace('"m":false', '"m":0')
    with pytest.raises(MalformedFrame):
        decode(wrong, PERPETUAL)


@pytest.mark.parametrize("channel", Channel)
def test_a_socket_of_one_channel_reads_that_one_alone(channel):
    (subscription,) = DIALECT.subscriptions([SPOT], frozenset((channel,)))
    trade, depth = (TRADE % "true").encode(), DEPTH.encode()
    own, other = (trade, depth) if channel is Channel.TRADES else (depth, trade)
    assert list(subscription.decode(own, RECEIVED)) == decode(own.decode())
    assert subscription.decode(b'{"result":null,"id":1}', RECEIVED) == ()
    with pytest.raises(MalformedFrame):
        subscription.decode(other, RECEIVED)


def test_a_depth_update_carries_its_sequence_numbers():
    (update,) = decode(DEPTH)
    assert (update.first_id, update.last_id, update.previous_id, update.is_snapshot) == (157, 160, None, False)
    assert (update.bids, update.asks) == ([("0.0024", "10")], [("0.0026", "0.000")])


def test_an_acknowledgement_says_nothing_and_a_refusal_or_shutdown_ends_the_stream():
    assert decode('{"result":null,"id":1}') == []
    with pytest.raises(FeedError, match="Invalid request"):
        decode('{"error":{"code":2,"msg":"Invalid request"},"id":3}')
    with pytest.raises(FeedError, match="shutting down"):
        decode('{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1770123456789}}')


def test_a_frame_that_is_neither_data_nor_an_answer_is_malformed():
    with pytest.raises(MalformedFrame):
        decode("{}")


def test_subscriptions_have_the_streams_in_the_address_and_one_kind_a_socket():
    sockets = DIALECT.subscriptions([PERPETUAL, SPOT], frozenset(Channel))
    assert [(s.address, s.path, s.messages) for s in sockets] == [
        ("spot.stream", "/stream?streams=bnbbtc@depth@100ms/bnbbtc@trade", ()),
        ("perpetual.stream", "/public/stream?streams=btcusdt@depth@100ms/btcusdt@trade", ()),
    ]


def test_many_markets_are_spread_over_sockets_and_none_is_left_out():
    many = [Instrument("binance", f"A{i}USDT", f"A{i}", "USDT") for i in range(120)]
    sockets = DIALECT.subscriptions(many, frozenset((Channel.TRADES,)))
    assert [i for s in sockets for i in s.instruments] == many
    assert all(s.path.count("@trade") == len(s.instruments) <= 50 for s in sockets)


@pytest.mark.parametrize("instrument", [SPOT, PERPETUAL])
def test_sockets_that_may_say_nothing_for_minutes_are_pinged(instrument):
    assert {DIALECT.subscriptions([instrument], frozenset((channel,)))[0].ping for channel in Channel} == {b""}


def market(symbol, status="TRADING", more='"isSpotTradingAllowed":true'):
    return (
        f'{{"symbol":"{symbol}","status":"{status}","baseAsset":"BTC","quoteAsset":"USDT",{more},"filters":['
        '{"filterType":"PRICE_FILTER","tickSize":"0.01000000"},{"filterType":"LOT_SIZE","stepSize":"0.00001000"}]}'
    )


def test_the_market_list_leaves_out_halted_markets_and_dated_futures():
    spot = [market("BTCUSDT"), market("OLD", "BREAK"), market("NO", more='"isSpotTradingAllowed":false')]
    perpetual = [
        market("BTCUSDT", more='"contractType":"PERPETUAL"'),
        market("BTCUSDT_261225", more='"contractType":"CURRENT_QUARTER"'),
    ]
    bodies = [f'{{"symbols":[{",".join(symbols)}]}}'.encode() for symbols in (spot, perpetual)]
    assert DIALECT.decode_markets(bodies) == [
        Instrument("binance", "BTCUSDT", "BTC", "USDT", Kind.SPOT, "0.01", "0.00001"),
        Instrument("binance", "BTCUSDT", "BTC", "USDT", Kind.PERPETUAL, "0.01", "0.00001"),
    ]


def test_a_snapshot_of_as_many_levels_as_were_asked_for_knows_no_further():
    bids = ",".join(f'["{2_000 - number}","1"]' for number in range(1_000))
    body = f'{{"lastUpdateId":7,"bids":[{bids}],"asks":[["2001","1"]]}}'.encode()
    snapshot = DIALECT.decode_book_snapshot(SPOT, body, RECEIVED)
    assert (snapshot.bid_horizon, snapshot.ask_horizon) == ("1001", None)


def test_a_snapshot_tells_its_update_id_and_on_usd_m_its_time():
    body = b'{"lastUpdateId":1027024,"bids":[["4.00000000","431.00000000"]],"asks":[["4.00000200","12.00000000"]]}'
    snapshot = DIALECT.decode_book_snapshot(SPOT, body, RECEIVED)
    assert (snapshot.is_snapshot, snapshot.last_id, snapshot.time) == (True, 1027024, RECEIVED)
    timed = DIALECT.decode_book_snapshot(PERPETUAL, body[:-1] + b',"E":1589436922972,"T":1589436922959}', RECEIVED)
    assert timed.time == 1_589_436_922_972_000_000


def test_an_error_body_is_a_rejection_that_says_whether_to_ask_again():
    with pytest.raises(Rejected, match="Invalid symbol") as invalid:
        DIALECT.decode_klines(SPOT, b'{"code":-1121,"msg":"Invalid symbol."}')
    with pytest.raises(Rejected) as busy:
        DIALECT.decode_klines(SPOT, b'{"code":-1003,"msg":"Too many requests."}')
    assert (invalid.value.is_transient, busy.value.is_transient) == (False, True)


def test_candles_are_the_first_six_columns():
    body = (
        b'[[1499040000000,"0.01634790","0.80000000","0.01575800","0.01577100","148976.11427815",1499644799999,'
        b'"2434.19055334",308,"1756.87402397","28.46694368","0"]]'
    )
    assert DIALECT.decode_klines(SPOT, body) == [
        Kline(1499040000000, "0.01634790", "0.80000000", "0.01575800", "0.01577100", "148976.11427815")
    ]


def test_history_without_an_id_looks_up_the_first_id_of_the_time():
    query = HistoryQuery(SPOT, None, None, 1_500_000_000_000_000_000, 1_500_000_001_000_000_000)
    request = DIALECT.history(query)
    assert (request.path, request.params["startTime"]) == ("/api/v3/aggTrades", "1500000000000")
    page = DIALECT.decode_history(query, b'[{"a":26129,"p":"0.01","q":"4.7","f":27781,"l":27784}]', RECEIVED)
    assert (page.trades, page.cursor) == ([], "27781")
    assert DIALECT.decode_history(query, b"[]", RECEIVED) == HistoryPage([], None, reaches_back=True)


def newest(first, last):
    rows = (f'{{"id":{i},"price":"1","qty":"1","time":{i},"isBuyerMaker":true}}' for i in range(first, last + 1))
    return f"[{','.join(rows)}]".encode()


@pytest.mark.parametrize(
    ("first", "last", "reaches_back"), [(500, 510, True), (499, 510, False), (505, 601, True), (505, None, True)]
)
def test_perpetuals_have_their_newest_trades_only(first, last, reaches_back):
    query = HistoryQuery(PERPETUAL, first, last, 0, 1 << 62)
    request = DIALECT.history(query)
    assert (request.address, request.path, request.params["limit"]) == ("perpetual.rest", "/fapi/v1/trades", "1000")
    page = DIALECT.decode_history(query, newest(500, 600), RECEIVED)
    assert (len(page.trades), page.cursor, page.reaches_back) == (101, None, reaches_back)


def spot_update(first, last):
    return BookUpdate("binance", "BNB-BTC", False, [], [], 0, 0, first, last)


@given(last=st.integers(1, 10**9), before=st.integers(0, 5), length=st.integers(1, 9))
def test_a_spot_update_follows_unless_ids_are_missing_and_is_skipped_when_contained(last, before, length):
    first = max(last + 1 - before, 0)
    update = spot_update(first, first + length - 1)
    assert DIALECT.continues(last, update) is (None if update.last_id <= last else True)
    assert DIALECT.continues(last, spot_update(last + 2, last + 2 + length)) is False
    assert DIALECT.continues(None, update) is False


@given(last=st.integers(100, 10**9), skip=st.integers(1, 99))
def test_a_usd_m_update_must_name_the_book_or_an_older_one_as_its_predecessor(last, skip):
    def update(previous):
        return BookUpdate("binance", "BTC-USDT.P", False, [], [], 0, 0, last + 200, last + 300, previous)

    assert DIALECT.continues(last, update(last)) is True
    assert DIALECT.continues(last, update(last - skip)) is True
    assert DIALECT.continues(last, update(last + skip)) is False
