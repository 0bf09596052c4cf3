"""What an unreadable frame of trades means: where nothing else would reveal its loss, its interval is repaired."""

from __future__ import annotations

from typing import Any, cast

import pytest

from crosstape.common.market.instrument import Instrument
from crosstape.exchanges.dialect import MalformedFrame, Subscription
from crosstape.ingestor.ingest import TradeHandler
from crosstape.ingestor.market import Market
from crosstape.ingestor.publish import Publisher
from crosstape.ingestor.repair import MarketRepair, Outage

INSTRUMENT = Instrument("bybit", "BTCUSDT", "BTC", "USDT")


class Repairs:
    def __init__(self) -> None:
        self.outages: list[Outage] = []

    def outage(self, outage: Outage) -> None:
        self.outages.append(outage)


def unreadable(payload: object, time_received: int) -> list[object]:
    raise MalformedFrame("json", "cut short")


@pytest.mark.parametrize(("is_numbered", "outages"), [(False, [Outage(50, 90, "malformed")]), (True, [])])
def test_an_unreadable_frame_is_an_outage_of_trades_without_numbers(is_numbered: bool, outages: list[Outage]) -> None:
    market = Market(INSTRUMENT, is_numbered=is_numbered, now=0)
    market.connected_since, market.last_trade_received = 10, 50
    repairs = Repairs()
    subscription = cast(Subscription, type("S", (), {"decode": staticmethod(unreadable), "instruments": (INSTRUMENT,)}))
    handler = TradeHandler(
        subscription,
        {INSTRUMENT.symbol: market},
        {INSTRUMENT.symbol: cast(MarketRepair, repairs)},
        cast(Publisher, cast(Any, None)),
    )
    with pytest.raises(MalformedFrame):
        handler.on_frame(bytearray(b"{"), 90)
    assert repairs.outages == outages
