"""Kraken's adapter on one sample of each message, written after docs.kraken.com/exchange/api-reference/
spot-websocket-v2, docs.kraken.com/api-reference/market-data and docs.kraken.com/exchange/guides/websockets/
book-checksum-v2, whose worked example of the checksum is used as it is (2026-11-24)."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstape.common.market.book import OrderBook
from crosstape.common.market.instrument import Instrument
from crosstape.common.market.trade import TakerSide, Trade
from crosstape.exchanges.dialect import Channel, FeedError, HistoryQuery, Kline, MalformedFrame, Rejected
from crosstape.exchanges.kraken import Kraken

DIALECT = Kraken()
BITCOIN = Instrument("kraken", "XBTUSD", "BTC", "USD", stream_symbol="BTC/USD", aliases=("XBT/USD", "XXBTZUSD"))
RECEIVED = 1_696_613_755_500_000_000

ASKS = (
    "45285.2 0.00100000,45286.4 1.54571953,45286.6 1.54571109,45289.6 1.54560911,45290.2 0.15890660,"
    "45291.8 1.54553491,45294.7 0.04454749,45296.1 0.35380000,45297.5 0.09945542,45299.5 0.18772827"
)
BIDS = (
    "45283.5 0.10000000,45283.4 1.54582015,45282.1 0.10000000,45281.0 0.10000000,45280.3 1.54592586,"
    "45279.0 0.07990000,45277.6 0.03310103,45277.5 0.30000000,45277.3 1.54602737,45276.6 0.15445238"
)
DOCUMENTED_CHECKSUM = 3310070434


def levels(text):
    return ",".join('{{"price":{},"qty":{}}}'.format(*level.split()) for level in text.split(",") if level)


def book_frame(kind, bids, asks, checksum):
    return (
        f'{{"channel":"book","type":"{kind}","data":[{{"symbol":"BTC/USD","bids":[{levels(bids)}],'
        f'"asks":[{levels(asks)}],"checksum":{checksum},"timestamp":"2023-10-06T17:35:55.440295Z"}}]}}'
    )


def trade_frame(side="buy", price="26969.90", quantity="0.00010000"):
    return (
        f'{{"channel":"trade","type":"update","data":[{{"symbol":"BTC/USD","side":"{side}","price":{price},'
        f'"qty":{quantity},"ord_type":"limit","trade_id":4665906,"timestamp":"2023-09-25T07:49:37.708706Z"}}]}}'
    )


def socket():
    (subscription,) = DIALECT.subscriptions([BITCOIN], frozenset(Channel))
    return subscription


def decode(text):
    return list(socket().decode(text.encode(), RECEIVED))


@pytest.mark.parametrize(("side", "taker"), [("buy", TakerSide.BUY), ("sell", TakerSide.SELL)])
def test_a_trade_keeps_the_digits_of_its_json_numbers(side, taker):
    assert decode(trade_frame(side)) == [
        Trade("kraken", "BTC-USD", 4665906, 1_695_628_177_708_706_000, "26969.90", "0.00010000", taker, RECEIVED)
    ]


def test_a_number_with_exponent_is_written_plainly():
    (trade,) = decode(trade_frame(price="2.69E+4", quantity="1e-8"))
    assert (trade.price, trade.quantity) == ("26900", "0.00000001")


@pytest.mark.parametrize("price", ["-1.0", '"NaN"', "1e1000000", "null", "[1]", '"1.0"'])
def test_a_price_that_is_no_plain_number_is_malformed(price):
    with pytest.raises(MalformedFrame):
        decode(trade_frame(price=price))


def test_heartbeat_status_and_acknowledgements_say_nothing():
    assert decode('{"channel":"heartbeat"}') == []
    assert decode('{"channel":"status","type":"update","data":[{"system":"online","api_version":"v2"}]}') == []
    assert decode('{"method":"subscribe","result":{"channel":"trade","symbol":"BTC/USD"},"success":true}') == []
    assert decode('{"method":"pong","time_in":"2023-09-25T09:05:00.1Z","time_out":"2023-09-25T09:05:00.2Z"}') == []


def test_a_refused_subscription_ends_the_stream_with_the_exchanges_words():
    with pytest.raises(FeedError, match="Currency pair not supported"):
        decode('{"error":"Currency pair not supported X/Y","method":"subscribe","success":false,"symbol":"X/Y"}')


def documented_book():
    (snapshot,) = decode(book_frame("snapshot", BIDS, ASKS, DOCUMENTED_CHECKSUM))
    book = OrderBook()
    book.apply(snapshot)
    return book, snapshot


def test_the_documentations_book_has_the_documentations_checksum():
    book, snapshot = documented_book()
    assert snapshot.is_snapshot
    assert DIALECT.verify(book, snapshot)


@given(st.data())
def test_one_changed_digit_in_the_ten_best_levels_is_noticed(data):
    book, snapshot = documented_book()
    side = data.draw(st.sampled_from([book.bids, book.asks]))
    price = data.draw(st.sampled_from(sorted(side)))
    quantity = side[price]
    place = data.draw(st.sampled_from([i for i, digit in enumerate(quantity) if digit.isdigit()]))
    digit = data.draw(st.sampled_from([d for d in "0123456789" if d != quantity[place]]))
    side[price] = quantity[:place] + digit + quantity[place + 1 :]
    assert not DIALECT.verify(book, snapshot)


def test_verifying_cuts_the_book_to_the_subscribed_depth():
    book, snapshot = documented_book()
    book.bids |= {f"{n}.5": "1.0" for n in range(2_000)}
    assert DIALECT.verify(book, snapshot)
    assert len(book.bids) == 1_000
    assert "45283.5" in book.bids


def test_subscriptions_use_the_names_of_version_2():
    subscription = socket()
    assert (subscription.address, subscription.path) == ("stream", "/v2")
    assert [msgspec.json.decode(m)["params"] for m in subscription.messages] == [
        {"channel": "book", "symbol": ["BTC/USD"], "depth": 1000, "snapshot": True},
        {"channel": "trade", "symbol": ["BTC/USD"], "snapshot": False},
    ]


def test_the_market_list_gives_usual_names_and_every_spelling():
    body = (
        b'{"error":[],"result":{"XXBTZUSD":{"altname":"XBTUSD","wsname":"XBT/USD","aclass_base":"currency",'
        b'"pair_decimals":1,"lot_decimals":8,"tick_size":"0.1","status":"online"},'
        b'"XDGUSD":{"altname":"XDGUSD","wsname":"XDG/USD","aclass_base":"currency","pair_decimals":7,"lot_decimals":8,'
        b'"status":"online"},'
        b'"XETHXXBT.d":{"altname":"ETHXBT.d","aclass_base":"currency","pair_decimals":5,"lot_decimals":8},'
        b'"OLDUSD":{"altname":"OLDUSD","wsname":"OLD/USD","pair_decimals":1,"lot_decimals":8,"status":"cancel_only"}}}'
    )
    bitcoin, doge = DIALECT.decode_markets([body])
    assert bitcoin == msgspec.structs.replace(BITCOIN, tick_size="0.1", lot_size="0.00000001")
    assert (doge.symbol, doge.stream_symbol, doge.aliases, doge.tick_size) == (
        "DOGE-USD",
        "DOGE/USD",
        ("XDG/USD",),
        "0.0000001",
    )


def test_history_is_never_asked_for_before_the_beginning_of_time():
    assert DIALECT.history(HistoryQuery(BITCOIN, 1, 2, 0, 1)).params["since"] == "0"


def test_history_cuts_times_to_the_microseconds_that_the_socket_tells_too():
    body = (
        b'{"error":[],"result":{"XXBTZUSD":[["30243.40000","0.34507674",1688669597.8277369,"b","m","",61044952],'
        b'["30243.30000","0.00376960",1688669598.2804112,"s","l","",61044953]],"last":"1688671969993150842"}}'
    )
    page = DIALECT.decode_history(HistoryQuery(BITCOIN, 61044952, 61044953, 0, 1), body, RECEIVED)
    assert [(t.trade_id, t.time, t.price, t.side) for t in page.trades] == [
        (61044952, 1_688_669_597_827_736_000, "30243.40000", TakerSide.BUY),
        (61044953, 1_688_669_598_280_411_000, "30243.30000", TakerSide.SELL),
    ]
    assert page.reaches_back


def test_candles_are_read_with_volume_and_without_average():
    body = (
        b'{"error":[],"result":{"XXBTZUSD":[[1688671200,"30306.1","30306.2","30305.7","30305.7","30306.1",'
        b'"3.39243896",23]],"last":1688672160}}'
    )
    assert DIALECT.decode_klines(BITCOIN, body) == [
        Kline(1688671200000, "30306.1", "30306.2", "30305.7", "30305.7", "3.39243896")
    ]


def test_an_error_body_is_a_rejection_that_says_whether_to_ask_again():
    with pytest.raises(Rejected, match="Unknown asset pair") as unknown:
        DIALECT.decode_klines(BITCOIN, b'{"error":["EQuery:Unknown asset pair"]}')
    with pytest.raises(Rejected) as busy:
        DIALECT.decode_klines(BITCOIN, b'{"error":["EGeneral:Too many requests"]}')
    assert (unknown.value.is_transient, busy.value.is_transient) == (False, True)
