"""Where an ingestor goes on: what it asks the exchange for when it has seen the end of the tape."""

from __future__ import annotations

import asyncio
import time
from typing import cast

import pytest

from crosstape.common.market.instrument import Instrument
from crosstape.common.market.ledger import Gap
from crosstape.exchanges.dialect import Subscription
from crosstape.exchanges.rest import ExchangeRest
from crosstape.ingestor.audit import Auditor
from crosstape.ingestor.ingest import TradeHandler
from crosstape.ingestor.market import Market
from crosstape.ingestor.outages import HISTORY_LAG, Outage
from crosstape.ingestor.publish import Publisher
from crosstape.ingestor.repair import MarketRepair
from crosstape.ingestor.sequence import Hole
from crosstape.ingestor.unnumbered import Unnumbered
from crosstape.ingestor.watermarks import StoredTape, Watermark, Watermarks
from services.ingestor.tests.harness import Bus, Exchange

INSTRUMENT = Instrument("kraken", "XBTUSD", "BTC", "USD")
LIVE = range(100, 110)


class Stored:
    """A tape that ends in `newest_id`."""

    def __init__(self, newest_id: int):
        self._watermarks = Watermarks({"BTC-USD": Watermark("BTC-USD", newest_id, newest_id, [])}, {})

    async def wait(self) -> Watermarks:
        return self._watermarks


class Noted:
    def __init__(self) -> None:
        self.holes: list[tuple[int, int]] = []
        self.outages: list[str] = []

    def hole(self, hole: Hole, cause: str) -> None:
        self.holes.append((hole.first_id, hole.last_id))

    def outage(self, outage: Outage) -> None:
        self.outages.append(outage.cause)


@pytest.mark.parametrize(
    ("newest_id", "holes", "outages"),
    [
        pytest.param(90, [(91, 99)], ["restart"], id="trades are missing"),
        pytest.param(99, [], ["restart"], id="the next trade is ours"),
        pytest.param(105, [], [], id="the newest trade is ours, as history answered late"),
    ],
)
async def test_only_an_end_that_was_before_this_process_is_an_outage(
    newest_id: int, holes: list[tuple[int, int]], outages: list[str]
) -> None:
    market, noted = Market(INSTRUMENT, is_numbered=True), Noted()
    assert market.sequence is not None
    for trade_id in LIVE:
        market.sequence.observe(trade_id, trade_id)
    repairs = cast(dict[str, MarketRepair], {"BTC-USD": noted})
    auditor = Auditor("kraken", {"BTC-USD": market}, repairs, {}, cast(StoredTape, Stored(newest_id)), every=1_000)
    running = asyncio.create_task(auditor.run())
    async with asyncio.timeout(10):
        while not auditor.has_resumed:
            await asyncio.sleep(0)
    running.cancel()
    assert (noted.holes, noted.outages) == (holes, outages)


@pytest.mark.parametrize("connected_after", [-HISTORY_LAG, HISTORY_LAG])
async def test_without_numbers_what_comes_between_the_answer_of_history_and_the_first_connection_is_an_outage_too(
    connected_after: int,
) -> None:
    market, bus = Market(INSTRUMENT, is_numbered=False), Bus()
    repair = MarketRepair(market, cast(ExchangeRest, Exchange(lambda query: [])), cast(Publisher, bus))
    symbol, answered = INSTRUMENT.symbol, time.time_ns()
    subscription = cast(Subscription, type("S", (), {"decode": None, "instruments": (INSTRUMENT,)}))
    handler = TradeHandler(subscription, {symbol: market}, {symbol: repair}, cast(Publisher, bus))
    if connected_after < 0:
        handler.on_connected(answered + connected_after)
    long_ago, lately = (1_000, 1_200), (answered - 9 * HISTORY_LAG, answered)
    Unnumbered({symbol: repair}).resume(Watermarks({}, {symbol: [long_ago, lately]}))
    if connected_after > 0:
        handler.on_connected(answered + connected_after)
    opened = [(gap.start, gap.end) for gap in bus.told if isinstance(gap, Gap)]
    assert opened == [long_ago, lately, *([(answered, answered + connected_after)] if connected_after > 0 else [])]
