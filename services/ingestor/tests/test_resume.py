"""Where an ingestor goes on: what it asks the exchange for when it has seen the end of the tape."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from crosstape.common.market.instrument import Instrument
from crosstape.ingestor.audit import Auditor
from crosstape.ingestor.intervals import Outage
from crosstape.ingestor.market import Market
from crosstape.ingestor.repair import MarketRepair
from crosstape.ingestor.sequence import Hole
from crosstape.ingestor.watermarks import Tape, Watermark, Watermarks

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
    auditor = Auditor("kraken", {"BTC-USD": market}, repairs, {}, cast(Tape, Stored(newest_id)), every=1_000)
    running = asyncio.create_task(auditor.run())
    async with asyncio.timeout(10):
        while not auditor.has_resumed:
            await asyncio.sleep(0)
    running.cancel()
    assert (noted.holes, noted.outages) == (holes, outages)
