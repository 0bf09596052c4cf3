"""What comes of a frame of trades: unreadable ones and refused markets are repaired, the rest is published."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
import structlog

from crosstape.common.market.instrument import Instrument
from crosstape.common.market.ledger import Coverage
from crosstape.common.market.trade import Source, batch_trades
from crosstape.common.testing.builders import make_trade
from crosstape.exchanges.dialect import MalformedFrame, MarketRefused, Subscription
from crosstape.ingestor.ingest import TradeHandler
from crosstape.ingestor.market import Market
from crosstape.ingestor.outages import Outage
from crosstape.ingestor.publish import Publisher
from crosstape.ingestor.repair import MarketRepair
from services.ingestor.tests.harness import Sent

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
    market = Market(INSTRUMENT, is_numbered=is_numbered)
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
        handler.on_frame(b"{", 90)
    assert repairs.outages == outages


class Told:
    """A publisher that keeps what the ledger is told."""

    def __init__(self) -> None:
        self.ledger_events: list[object] = []

    def ledger(self, event: object) -> None:
        self.ledger_events.append(event)


def test_a_market_that_the_exchange_refuses_is_not_vouched_for_and_the_others_are() -> None:
    def refused(payload: bytes, time_received: int) -> list[object]:
        raise MarketRefused("not supported", "OLD-USD")

    instruments = (Instrument("kraken", "OLDUSD", "OLD", "USD"), Instrument("kraken", "XBTUSD", "BTC", "USD"))
    markets = {instrument.symbol: Market(instrument, is_numbered=True) for instrument in instruments}
    repairs = {symbol: Repairs() for symbol in markets}
    subscription = cast(Subscription, type("S", (), {"decode": staticmethod(refused), "instruments": instruments}))
    publisher = Told()
    handler = TradeHandler(
        subscription, markets, cast(dict[str, MarketRepair], repairs), cast(Publisher, cast(Any, publisher))
    )
    handler.on_connected(10)
    with pytest.raises(MarketRefused):
        handler.on_frame(b"", 20)
    assert {symbol: market.connected_since for symbol, market in markets.items()} == {"OLD-USD": None, "BTC-USD": 10}
    handler.on_disconnected(30)
    handler.on_connected(40)
    assert {symbol: repair.outages for symbol, repair in repairs.items()} == {
        "OLD-USD": [Outage(10, 40, "disconnect")],
        "BTC-USD": [Outage(30, 40, "disconnect")],
    }
    assert publisher.ledger_events == [Coverage("kraken", "BTC-USD", 10, 30)]


async def test_a_trade_that_no_tape_can_hold_is_left_out_and_shown_once_by_its_identity() -> None:
    producer = Sent()
    publisher = Publisher("x", cast(Any, producer), lambda is_pressed: None)
    with structlog.testing.capture_logs() as lines:
        running = asyncio.create_task(publisher.run())
        for number, price in enumerate(["1", "NaN", "-1", "2"]):
            publisher.trade(make_trade(number, exchange="x", symbol="A-B", price=price))
        async with asyncio.timeout(10):
            while not producer.records:
                await asyncio.sleep(0.001)
        running.cancel()
    (batch,) = producer.records
    assert batch.identity() == {"exchange": "x", "symbol": "A-B", "first_trade_id": 0, "last_trade_id": 3, "trades": 2}
    (line,) = lines
    assert (line["event"], line["exchange"], line["symbol"], line["trade_id"]) == ("trade_refused", "x", "A-B", 1)


def test_a_batch_of_text_ids_is_called_by_them() -> None:
    batch = batch_trades([make_trade("a"), make_trade("b")], Source.STREAM)
    assert (batch.identity()["first_trade_id"], batch.identity()["last_trade_id"]) == ("a", "b")


async def test_the_ledger_vouches_for_trades_only_once_the_bus_has_them() -> None:
    producer, event = Sent(), Coverage("x", "A-B", 0, 1)
    publisher = Publisher("x", cast(Any, producer), lambda is_pressed: None)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        running = [group.create_task(publisher.run()), group.create_task(publisher.run_ledger())]
        publisher.trade(make_trade(1, exchange="x", symbol="A-B"))
        publisher.ledger(event)
        while not producer.records:
            await asyncio.sleep(0)
        for _ in range(100):
            await asyncio.sleep(0)
        assert producer.delivered == []
        producer.taken.set()
        await publisher.drain()
        for task in running:
            task.cancel()
    assert producer.delivered == [(event, 1)]
