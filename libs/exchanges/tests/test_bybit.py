"""Bybit's adapter on one sample of each message, written after bybit-exchange.github.io/docs/v5, 2026-11-24."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstape.common.market.book import BookUpdate
from crosstape.common.market.instrument import Instrument, Kind
from crosstape.common.market.trade import TakerSide, Trade
from crosstape.exchanges.bybit import Bybit
from crosstape.exchanges.dialect import Channel, FeedError, HistoryQuery, Kline, Rejected

DIALECT = Bybit()
SPOT = Instrument("bybit", "BTCUSDT", "BTC", "USDT")
PERPETUAL = Instrument("bybit", "BTCUSDT", "BTC", "USDT", Kind.PERPETUAL)
RECEIVED = 1_672_304_487_000_000_000
UUID = "20f43950-d8dd-5b31-9112-a178eb6023af"


def trade(side="Buy", trade_id=UUID):
    return (
        f'{{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1672304486868,"data":[{{"T":1672304486865,'
        f'"s":"BTCUSDT","S":"{side}","v":"0.001","p":"16578.50","L":"PlusTick","i":"{trade_id}","BT":false}}]}}'
    )


def book(kind, number):
    return (
        f'{{"topic":"orderbook.200.BTCUSDT","type":"{kind}","ts":1687940967466,"data":{{"s":"BTCUSDT",'
        f'"b":[["30247.20","30.028"]],"a":[["30248.70","0"]],"u":{number},"seq":7961638724}},"cts":1687940967464}}'
    )


def socket(instrument=PERPETUAL):
    (subscription,) = DIALECT.subscriptions([instrument], frozenset(Channel))
    return subscription


def decode(text, instrument=PERPETUAL):
    return list(socket(instrument).decode(text.encode(), RECEIVED))


@pytest.mark.parametrize(("side", "taker"), [("Buy", TakerSide.BUY), ("Sell", TakerSide.SELL)])
def test_a_trade_keeps_its_digits_and_the_takers_side(side, taker):
    assert decode(trade(side)) == [
        Trade("bybit", "BTC-USDT.P", UUID, 1_672_304_486_865_000_000, "16578.50", "0.001", taker, RECEIVED)
    ]


def test_a_spot_trade_id_is_a_number():
    assert [(t.symbol, t.trade_id) for t in decode(trade(trade_id="2290000001189048101"), SPOT)] == [
        ("BTC-USDT", 2290000001189048101)
    ]


@pytest.mark.parametrize("instrument", [SPOT, PERPETUAL])
@pytest.mark.parametrize(
    ("text", "kept"),
    [("7", 7), (UUID, UUID), ("007", "007"), ("9223372036854775807", 2**63 - 1), (f"{2**63}", f"{2**63}")],
)
def test_an_id_of_the_other_kind_is_kept_too_in_its_one_form(instrument, text, kept):
    assert [t.trade_id for t in decode(trade(trade_id=text), instrument)] == [kept]


def test_a_book_frame_carries_its_number():
    (snapshot,) = decode(book("snapshot", 18521288))
    (update,) = decode(book("delta", 18521289))
    assert (snapshot.is_snapshot, snapshot.last_id) == (True, 18521288)
    assert (update.is_snapshot, update.last_id, update.asks) == (False, 18521289, [("30248.70", "0")])


def test_acknowledgements_and_pongs_say_nothing():
    assert decode('{"success":true,"ret_msg":"subscribe","conn_id":"2324d924","req_id":"","op":"subscribe"}') == []
    assert decode('{"success":true,"ret_msg":"pong","conn_id":"0970e817","op":"ping"}') == []
    assert decode('{"op":"pong","args":["1675418560633"],"conn_id":"cfcb4ocsvfriu23r3er0"}') == []


def test_a_refused_subscription_ends_the_stream_with_the_exchanges_words():
    with pytest.raises(FeedError, match="Invalid symbol"):
        decode('{"success":false,"ret_msg":"Invalid symbol :[publicTrade.X]","conn_id":"a","op":"subscribe"}')


def test_spot_and_perpetual_sockets_have_their_own_paths_and_a_message_for_each_topic():
    many = [Instrument("bybit", f"A{i}USDT", f"A{i}", "USDT") for i in range(12)]
    spot, perpetual = DIALECT.subscriptions([*many, PERPETUAL], frozenset(Channel))
    assert [(s.address, s.path) for s in (spot, perpetual)] == [
        ("spot.stream", "/v5/public/spot"),
        ("perpetual.stream", "/v5/public/linear"),
    ]
    asked = [topic for m in spot.messages for topic in msgspec.json.decode(m)["args"]]
    assert len(asked) == len(set(asked)) == len(spot.messages) == 24


@given(last=st.integers(1, 10**9), skip=st.integers(1, 9))
def test_an_update_follows_only_the_number_before_it(last, skip):
    def update(number, *, is_snapshot=False):
        return BookUpdate("bybit", "BTC-USDT", is_snapshot, [], [], 0, 0, last_id=number)

    assert DIALECT.continues(last, update(last + 1)) is True
    assert DIALECT.continues(last, update(last + 1 + skip)) is False
    assert DIALECT.continues(last, update(last)) is None
    assert DIALECT.continues(last, update(1, is_snapshot=True)) is True
    assert DIALECT.continues(None, update(last)) is False


def test_the_market_list_leaves_out_dated_futures():
    spot = (
        b'{"retCode":0,"retMsg":"OK","result":{"category":"spot","list":[{"symbol":"BTCUSDT","baseCoin":"BTC",'
        b'"quoteCoin":"USDT","status":"Trading","lotSizeFilter":{"basePrecision":"0.000001"},'
        b'"priceFilter":{"tickSize":"0.01"}}]}}'
    )
    contract = (
        b'{"symbol":"%b","contractType":"%b","status":"Trading","baseCoin":"BTC","quoteCoin":"USDT",'
        b'"priceFilter":{"tickSize":"0.10"},"lotSizeFilter":{"qtyStep":"0.001"}}'
    )
    contracts = [contract % (b"BTCUSDT", b"LinearPerpetual"), contract % (b"BTCUSDT-26DEC26", b"LinearFutures")]
    linear = b'{"retCode":0,"retMsg":"OK","result":{"list":[%b],"nextPageCursor":""}}' % b",".join(contracts)
    assert DIALECT.decode_markets([spot, linear]) == [
        msgspec.structs.replace(SPOT, tick_size="0.01", lot_size="0.000001"),
        msgspec.structs.replace(PERPETUAL, tick_size="0.1", lot_size="0.001"),
    ]


def test_a_market_list_of_more_than_a_page_is_said_not_to_be_whole(caplog):
    body = b'{"retCode":0,"result":{"list":[],"nextPageCursor":%b}}'
    DIALECT.decode_markets([body % b"null", body % b'""'])
    assert not caplog.text
    DIALECT.decode_markets([body % b'""', body % b'"first%3DA%26last%3DB"'])
    assert "bybit: it lists more than the 0 perpetual markets that are read" in caplog.text


def test_history_is_complete_only_where_the_newest_trades_reach_back_far_enough():
    body = (
        b'{"retCode":0,"retMsg":"OK","result":{"category":"spot","list":[{"execId":"2100000000007764263",'
        b'"symbol":"BTCUSDT","price":"16618.49","size":"0.00012","side":"Buy","time":"1672052955758"}]}}'
    )
    instant = 1_672_052_955_758_000_000
    reached = DIALECT.decode_history(HistoryQuery(SPOT, None, None, instant + 1, instant + 9), body, RECEIVED)
    short = DIALECT.decode_history(HistoryQuery(SPOT, None, None, instant, instant + 9), body, RECEIVED)
    assert [(t.trade_id, t.side) for t in reached.trades] == [(2100000000007764263, TakerSide.BUY)]
    assert (reached.reaches_back, short.reaches_back, reached.cursor) == (True, False, None)


def test_candles_come_newest_first_and_leave_oldest_first():
    rows = (
        b'["1670608860000","17071","17073","17027","17055.5","268611","15.74"],'
        b'["1670608800000","17072","17073","17027","17071","0","0"]'
    )
    body = b'{"retCode":0,"retMsg":"OK","result":{"symbol":"BTCUSDT","category":"linear","list":[%b]}}' % rows
    assert DIALECT.decode_klines(PERPETUAL, body) == [
        Kline(1670608800000, "17072", "17073", "17027", "17071", "0"),
        Kline(1670608860000, "17071", "17073", "17027", "17055.5", "268611"),
    ]


def test_an_error_body_is_a_rejection_that_says_whether_to_ask_again():
    with pytest.raises(Rejected, match="Not supported symbols") as unknown:
        DIALECT.decode_klines(SPOT, b'{"retCode":10001,"retMsg":"Not supported symbols","result":{}}')
    with pytest.raises(Rejected) as busy:
        DIALECT.decode_klines(SPOT, b'{"retCode":10006,"retMsg":"Too many visits!","result":{}}')
    assert (unknown.value.is_transient, busy.value.is_transient) == (False, True)
