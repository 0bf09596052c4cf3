"""The adapter of Coinbase Exchange on one sample of each message, written after docs.cdp.coinbase.com/exchange/
websocket-feed/channels and .../api-reference/exchange-api/rest-api/products, 2026-11-24."""

from __future__ import annotations

import msgspec
import pytest

from crosstape.common.market.book import OrderBook
from crosstape.common.market.instrument import Instrument
from crosstape.common.market.trade import TakerSide, Trade
from crosstape.exchanges.coinbasepro import CoinbasePro
from crosstape.exchanges.dialect import Channel, FeedError, HistoryQuery, Kline, Rejected

DIALECT = CoinbasePro()
BITCOIN = Instrument("coinbasepro", "BTC-USD", "BTC", "USD")
RECEIVED = 1_415_348_308_000_000_000


def match(side, kind="match"):
    return (
        f'{{"type":"{kind}","trade_id":10,"sequence":50,"maker_order_id":"ac928c66-ca53-498f-9c13-a110027a60e8",'
        f'"taker_order_id":"132fb6ae-456b-4654-b4e0-d681ac05cea1","time":"2014-11-07T08:19:27.028459Z",'
        f'"product_id":"BTC-USD","size":"5.23512","price":"400.23","side":"{side}"}}'
    )


def socket():
    (subscription,) = DIALECT.subscriptions([BITCOIN], frozenset(Channel))
    return subscription


def decode(text):
    return list(socket().decode(text.encode(), RECEIVED))


@pytest.mark.parametrize("kind", ["match", "last_match"])
@pytest.mark.parametrize(("maker", "taker"), [("sell", TakerSide.BUY), ("buy", TakerSide.SELL)])
def test_the_taker_did_the_opposite_of_the_side_on_the_wire(maker, taker, kind):
    assert decode(match(maker, kind)) == [
        Trade("coinbasepro", "BTC-USD", 10, 1_415_348_367_028_459_000, "400.23", "5.23512", taker, RECEIVED)
    ]


def test_snapshot_and_updates_agree_on_a_price_however_many_zeros_it_has():
    (snapshot,) = decode(
        '{"type":"snapshot","product_id":"BTC-USD","bids":[["22356.27","0.45054140"]],"asks":[["22357","0.57753524"]]}'
    )
    (update,) = decode(
        '{"type":"l2update","product_id":"BTC-USD","changes":[["buy","22356.270000","0.00000000"],'
        '["buy","22356.300000","1.00000000"],["sell","22357.00","2"]],"time":"2022-08-04T15:25:05.010758Z"}'
    )
    book = OrderBook()
    book.apply(snapshot)
    book.apply(update)
    assert (snapshot.is_snapshot, update.is_snapshot) == (True, False)
    assert book.top(5) == ([("22356.3", "1.00000000")], [("22357", "2")])
    assert DIALECT.continues(None, update)


def test_heartbeats_and_acknowledgements_say_nothing():
    assert decode('{"type":"heartbeat","sequence":90,"last_trade_id":20,"product_id":"BTC-USD"}') == []
    assert decode('{"type":"subscriptions","channels":[{"name":"matches","product_ids":["BTC-USD"]}]}') == []


def test_an_error_ends_the_stream_with_the_exchanges_words():
    with pytest.raises(FeedError, match="FAKE-USD is not a valid product"):
        decode('{"type":"error","message":"Failed to subscribe","reason":"FAKE-USD is not a valid product"}')


def test_the_subscription_asks_for_matches_book_and_heartbeat():
    (message,) = socket().messages
    assert msgspec.json.decode(message) == {
        "type": "subscribe",
        "product_ids": ["BTC-USD"],
        "channels": ["level2_batch", "matches", "heartbeat"],
    }


def product(name, status="online", disabled="false"):
    base, quote = name.split("-")
    return (
        f'{{"id":"{name}","base_currency":"{base}","quote_currency":"{quote}","quote_increment":"0.01000000",'
        f'"base_increment":"0.00000001","status":"{status}","trading_disabled":{disabled}}}'
    )


def test_the_market_list_leaves_out_what_cannot_be_traded():
    products = [product("BTC-USD"), product("OLD-USD", "delisted"), product("OFF-USD", disabled="true")]
    assert DIALECT.decode_markets([f"[{','.join(products)}]".encode()]) == [
        msgspec.structs.replace(BITCOIN, tick_size="0.01", lot_size="0.00000001")
    ]


def test_history_flips_the_makers_side_too():
    body = b'[{"time":"2014-11-07T22:19:28.578544Z","trade_id":74,"price":"10.00","size":"0.01","side":"buy"}]'
    page = DIALECT.decode_history(HistoryQuery(BITCOIN, 74, 74, 0, 1), body, RECEIVED)
    assert [(t.trade_id, t.side, t.price) for t in page.trades] == [(74, TakerSide.SELL, "10.00")]


def test_candles_come_newest_first_as_numbers_and_leave_oldest_first_as_their_digits():
    body = b"[[1415398768,0.32,4.2,0.35,4.20,12.3],[1415398708,0.31,4,0.32,0.35,1e-8]]"
    assert DIALECT.decode_klines(BITCOIN, body) == [
        Kline(1415398708000, "0.32", "4", "0.31", "0.35", "0.00000001"),
        Kline(1415398768000, "0.35", "4.2", "0.32", "4.20", "12.3"),
    ]


def test_an_error_body_is_a_rejection():
    with pytest.raises(Rejected, match="NotFound"):
        DIALECT.decode_history(HistoryQuery(BITCOIN, 1, 2, 0, 1), b'{"message":"NotFound"}', RECEIVED)
