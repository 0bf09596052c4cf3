"""What the tests of replays have in common: channels, times, trades and bars."""

from __future__ import annotations

import time
from importlib import import_module

from crosstape.common.market.bar import NANOSECONDS
from crosstape.stream_hub import messages
from crosstape.stream_hub.fanout import Outbox
from crosstape.stream_hub.market import MarketState, RingSize

h = import_module("services.stream-hub.tests.harness")

TRADES = "trades:binance:BTC-USDT"
OTHERS = "trades:okx:BTC-USDT"
TAPE = "trades:*:BTC-USD"
FIVE = "bars:binance:BTC-USDT:5m"
DAY = 86_400
LONG_AGO = time.time_ns() // NANOSECONDS // DAY * DAY - 2 * DAY


def market_of(size=10_000):
    return MarketState("binance", "BTC-USDT", Outbox(), RingSize(size, 300.0), time.time())


def trades_at(seconds, **fields):
    """A trade at each of these Unix seconds, which is its id as well."""
    return [h.trade(second, time=second * NANOSECONDS, **fields) for second in seconds]


def message(trade):
    return messages.trade(TRADES, trade, None)


def close_bar(platform, start):
    """Five minutes from `start` (Unix s) on, each with a trade, are stored and told."""
    for second in range(start, start + 300, 60):
        platform.trades(h.trade(second, time=second * NANOSECONDS))
        platform.close_minute(second)
