"""No frame, whatever is in it, makes a reader raise anything but what `Decode` names, or take long."""

from __future__ import annotations

import contextlib
import re
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstape.common.market.instrument import Instrument, Kind
from crosstape.exchanges import DIALECTS
from crosstape.exchanges.answers import set_apart
from crosstape.exchanges.dialect import Channel, FeedError, HistoryQuery, MalformedFrame, MarketRefused, Rejected
from crosstape.exchanges.recorded import bybit_v2, coinbase_advanced, kraken_v1


def instruments(exchange):
    spot = Instrument(exchange, "BTCUSDT", "BTC", "USDT", stream_symbol="BTC/USDT" if exchange == "kraken" else "")
    perpetual = Instrument(exchange, "BTCUSDT", "BTC", "USDT", Kind.PERPETUAL)
    return [spot, perpetual] if exchange in ("binance", "bybit") else [spot]


READERS = [
    pytest.param(
        subscription.decode, id=f"{exchange}{subscription.path[:12]}-{'+'.join(sorted(subscription.channels))}"
    )
    for exchange, dialect in DIALECTS.items()
    for channels in (frozenset((Channel.TRADES,)), frozenset((Channel.BOOK,)))
    for subscription in dialect.subscriptions(instruments(exchange), channels)
]
READERS += [
    pytest.param(kraken_v1.decode, id="kraken-v1"),
    pytest.param(bybit_v2.decode, id="bybit-v2"),
    pytest.param(coinbase_advanced.decode, id="coinbase-advanced"),
]

WHOLE = {
    "binance": b'{"stream":"btcusdt@trade","data":{"e":"trade","s":"BTCUSDT","t":1,"p":"1","q":"1","T":1,"m":true}}',
    "kraken": b'{"channel":"trade","type":"update","data":[{"symbol":"BTC/USDT","side":"buy","price":1.0,"qty":1.0,'
    b'"ord_type":"limit","trade_id":1,"timestamp":"2023-09-25T07:49:37.708706Z"}]}',
    "coinbasepro": b'{"type":"match","trade_id":1,"side":"buy","size":"1","price":"1","product_id":"BTCUSDT",'
    b'"time":"2014-11-07T08:19:27.028459Z"}',
    "okx": b'{"arg":{"channel":"trades-all","instId":"BTCUSDT"},"data":[{"instId":"BTCUSDT","tradeId":"1","px":"1",'
    b'"sz":"1","side":"buy","ts":"1"}]}',
    "bybit": b'{"topic":"publicTrade.BTCUSDT","type":"snapshot","ts":1,"data":[{"T":1,"s":"BTCUSDT","S":"Buy","v":"1",'
    b'"p":"1","i":"1"}]}',
}

DEEP = b"[" * 100_000
HOSTILE = {
    "empty": b"",
    "garbage": b"\x00\x01garbage",
    "invalid UTF-8": b'{"stream":"\xff\xfe"}',
    "null": b"null",
    "number": b"1e400",
    "NaN": b"NaN",
    "text": b'"text"',
    "array": b"[]",
    "nothing known": b'{"x":1}',
    "deep": DEEP,
    "deep in an unknown field": b'{"x":' + DEEP,
    "deep in a known field": b'{"data":' + DEEP,
    "deep objects": b'{"data":' * 100_000,
    "lone surrogate": b'{"type":"\\ud800","topic":"\\ud800","channel":"\\ud800","event":"\\ud800"}',
    "long text": b'{"type":"' + b"x" * 1_000_000 + b'"}',
}


@pytest.mark.parametrize("decode", READERS)
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_frame_is_malformed_and_soon_done(decode, name):
    began = time.thread_time()  # however busy the machine is
    with pytest.raises(MalformedFrame):
        decode(HOSTILE[name], 0)
    assert time.thread_time() - began < 1


def trades_reader(exchange):
    return next(
        s.decode
        for s in DIALECTS[exchange].subscriptions(instruments(exchange), frozenset(Channel))
        if Channel.TRADES in s.channels
    )


@pytest.mark.parametrize("exchange", WHOLE)
def test_a_frame_cut_anywhere_is_malformed_and_the_next_whole_one_is_read(exchange):
    decode, frame = trades_reader(exchange), WHOLE[exchange]
    for length in range(len(frame)):
        with pytest.raises(MalformedFrame):
            decode(frame[:length], 0)
    assert len(decode(frame, 0)) == 1


@pytest.mark.parametrize("exchange", WHOLE)
def test_an_unknown_symbol_is_malformed_and_told_apart(exchange):
    frame = WHOLE[exchange].replace(b"BTCUSDT", b"XXX").replace(b"BTC/USDT", b"XXX")
    with pytest.raises(MalformedFrame) as error:
        trades_reader(exchange)(frame, 0)
    assert error.value.kind == "symbol"


@pytest.mark.parametrize("exchange", WHOLE)
@pytest.mark.parametrize(
    "wrong", [b"null", b"{}", b"[1]", b"-1", b"1.5", b"99999999999999999999999999", b'"-1"', b'"x"', b'""']
)
def test_one_value_of_a_wrong_type_or_size_is_malformed_or_harmless(exchange, wrong):
    decode, frame = trades_reader(exchange), WHOLE[exchange]
    values = list(re.finditer(rb'(?<=:)("[^"]*"|[\d.]+|true)(?=[,}])', frame))
    assert len(values) >= 7
    for value in values:
        changed = frame[: value.start()] + wrong + frame[value.end() :]
        with contextlib.suppress(MalformedFrame):
            for trade in set_apart(decode(changed, 0))[0]:
                assert 0 < trade.time < 2**63
                assert isinstance(trade.trade_id, str) or 0 <= trade.trade_id < 2**63


SOMETHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["trade", "book", "update", "1"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "stream",
                    "data",
                    "e",
                    "s",
                    "p",
                    "q",
                    "T",
                    "channel",
                    "type",
                    "symbol",
                    "arg",
                    "topic",
                    "ts",
                    "event",
                    "a",
                    "b",
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(frame=st.binary(max_size=200) | SOMETHING.map(msgspec.json.encode))
def test_no_bytes_and_no_json_raise_anything_else(frame):
    for reader in READERS:
        (decode,) = reader.values
        with contextlib.suppress(MalformedFrame, MarketRefused, FeedError):
            decode(frame, 0)


MARKETS = {
    "binance": ('{"symbols":[%s]}', '{"symbol":"A","status":"TRADING","baseAsset":"A","quoteAsset":"B","filters":[]}'),
    "kraken": (
        '{"error":[],"result":{"0":%s}}',
        '{"altname":"AB","wsname":"A/B","pair_decimals":1,"lot_decimals":1}',
    ),
    "coinbasepro": (
        "[%s]",
        '{"id":"A-B","base_currency":"A","quote_currency":"B","quote_increment":"","base_increment":"","status":"online"}',
    ),
    "okx": (
        '{"code":"0","data":[%s]}',
        '{"instId":"A-B","state":"live","tickSz":"1","lotSz":"1","baseCcy":"A","quoteCcy":"B"}',
    ),
    "bybit": (
        '{"retCode":0,"result":{"list":[%s]}}',
        '{"symbol":"AB","baseCoin":"A","quoteCoin":"B","status":"Trading","priceFilter":{},"lotSizeFilter":{}}',
    ),
}


@pytest.mark.parametrize("exchange", DIALECTS)
def test_a_market_of_which_hardly_anything_is_told_keeps_no_other_out_of_the_list(exchange, caplog):
    dialect, (answer, row) = DIALECTS[exchange], MARKETS[exchange]

    def listed(*rows):
        joined = ",".join(f'"{n}":{one}' for n, one in enumerate(rows)).removeprefix('"0":')
        body = answer % (joined if exchange == "kraken" else ",".join(rows))
        return [instrument.symbol for instrument in dialect.decode_markets([body.encode()] * len(dialect.markets()))]

    assert listed("{}", row, row, '{"state":"preopen"}')[0] == "A-B"
    assert f"{exchange}: 2 of 4 listed markets cannot be read: Object missing required field" in caplog.text
    with pytest.raises(MalformedFrame):
        listed("{}", row, '{"state":"preopen"}')


@pytest.mark.parametrize("exchange", DIALECTS)
@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"\xff", b"null", b"[1]", b'{"a":1}', DEEP, b'[["1"]]', b'{"result":' + DEEP]
)
def test_no_answer_of_rest_raises_anything_but_malformed_and_rejected(exchange, body):
    dialect = DIALECTS[exchange]
    instrument = Instrument(exchange, "BTCUSDT", "BTC", "USDT")
    query = HistoryQuery(instrument, 1, 2, 0, 1)
    for read in (
        lambda: dialect.decode_markets([body] * len(dialect.markets())),
        lambda: dialect.decode_history(query, body, 0),
        lambda: dialect.decode_book_snapshot(instrument, body, 0),
        lambda: dialect.decode_klines(instrument, body),
    ):
        with pytest.raises((MalformedFrame, Rejected)):
            read()
