"""A market that an exchange does not send, for example since it was delisted, costs no other market its stream."""

from __future__ import annotations

import msgspec
import pytest

from crosstape.common.market.instrument import Instrument
from crosstape.exchanges import DIALECTS
from crosstape.exchanges.dialect import Channel, FeedError, MarketRefused

MARKETS = {
    "kraken": [
        Instrument("kraken", "XBTUSD", "BTC", "USD", stream_symbol="BTC/USD"),
        Instrument("kraken", "OLDUSD", "OLD", "USD", stream_symbol="OLD/USD"),
    ],
    "coinbasepro": [
        Instrument("coinbasepro", "BTC-USD", "BTC", "USD"),
        Instrument("coinbasepro", "OLD-USD", "OLD", "USD"),
    ],
    "okx": [Instrument("okx", "BTC-USD", "BTC", "USD"), Instrument("okx", "OLD-USD", "OLD", "USD")],
    "bybit": [Instrument("bybit", "BTCUSD", "BTC", "USD"), Instrument("bybit", "OLDUSD", "OLD", "USD")],
}
REFUSALS = [
    ("kraken", '{"error":"Currency pair not supported","method":"subscribe","success":false,"symbol":"%s/USD"}'),
    ("coinbasepro", '{"type":"error","message":"Failed to subscribe","reason":"%s-USD is not a valid product"}'),
    ("okx", '{"event":"error","code":"60018","msg":"channel:trades-all,instId:%s-USD doesn\'t exist","connId":"a"}'),
    ("bybit", '{"success":false,"ret_msg":"error:handler not found,topic:publicTrade.%sUSD","op":"subscribe"}'),
    ("bybit", '{"success":false,"ret_msg":"Invalid symbol :[publicTrade.%sUSD]","op":"subscribe"}'),
]


@pytest.mark.parametrize("channel", Channel)
@pytest.mark.parametrize(("exchange", "frame"), REFUSALS)
def test_a_refusal_ends_the_market_that_it_names_or_else_the_stream(exchange, frame, channel):
    (subscription,) = DIALECTS[exchange].subscriptions(MARKETS[exchange], frozenset((channel,)))
    with pytest.raises(MarketRefused) as refused:
        subscription.decode((frame % "OLD").encode(), 0)
    assert refused.value.symbol == "OLD-USD"
    with pytest.raises(FeedError):
        subscription.decode((frame % "OTHER").encode(), 0)


@pytest.mark.parametrize("exchange", ["coinbasepro", "okx", "bybit"])
def test_where_a_request_is_refused_whole_each_has_one_market(exchange):
    (subscription,) = DIALECTS[exchange].subscriptions(MARKETS[exchange], frozenset((Channel.TRADES,)))
    asked = [msgspec.json.decode(message) for message in subscription.messages]
    assert [len(request.get("args") or request["product_ids"]) for request in asked] == [1, 1]
