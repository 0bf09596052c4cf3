"""What the audit makes of the tape: only what the bus lost is missing again, and no failure keeps others waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest

from crosstape.common.errors import ExchangeError
from crosstape.common.market.instrument import Instrument
from crosstape.common.testing.builders import make_trade
from crosstape.ingestor import audit
from crosstape.ingestor.audit import ROUNDS_AFTER_LOSS, Auditor
from crosstape.ingestor.intervals import Outage
from crosstape.ingestor.market import Market
from crosstape.ingestor.repair import MarketRepair
from crosstape.ingestor.sequence import Hole
from crosstape.ingestor.watermarks import Tape, Watermark, Watermarks

INSTRUMENT = Instrument("binance", "BTCUSDT", "BTC", "USDT")
SYMBOL = INSTRUMENT.symbol
NOTHING = Watermarks({}, {})
LOST = Hole(6, 8, 50, 90)


def ends(newest_id: int, *holes: Hole) -> Watermarks:
    return Watermarks({SYMBOL: Watermark(SYMBOL, newest_id, newest_id * 10, list(holes))}, {})


class Looks:
    """A tape that says these things one after the other, None where it does not answer."""

    def __init__(self, *said: Watermarks | None):
        self._said = [*said]
        self.is_over = asyncio.Event()

    async def wait(self) -> Watermarks:
        first = self._said.pop(0)
        assert first is not None
        return first

    async def look(self) -> Watermarks | None:
        if not self._said:
            self.is_over.set()
            await asyncio.Event().wait()
        return self._said.pop(0)


class Noted:
    """A repair that keeps what it is asked for; its audit fails where it should."""

    def __init__(self, *, fails: bool = False):
        self.holes: list[Hole] = []
        self.outages: list[str] = []
        self.repeats = 0
        self.audits = 0
        self._fails = fails

    def hole(self, hole: Hole, cause: str) -> None:
        self.holes.append(hole)

    def outage(self, outage: Outage) -> None:
        self.outages.append(outage.cause)

    def repeat_newest(self) -> None:
        self.repeats += 1

    async def audit(self) -> None:
        self.audits += 1
        if self._fails:
            raise ExchangeError("poisoned")


async def audited(markets: Sequence[Market], repairs: Sequence[Noted], tape: Looks, *, is_lost: bool = False) -> None:
    """Resume, then a round for each further thing that `tape` says."""
    auditor = Auditor(
        "binance",
        {market.symbol: market for market in markets},
        {market.symbol: cast(MarketRepair, repair) for market, repair in zip(markets, repairs, strict=True)},
        cast(Tape, tape),
        every=0.001,
    )
    if is_lost:
        auditor.bus_lost("a log started again")
    running = asyncio.create_task(auditor.run())
    async with asyncio.timeout(10):
        await tape.is_over.wait()
    running.cancel()


def numbered(newest_id: int) -> Market:
    market = Market(INSTRUMENT, is_numbered=True)
    for number in range(1, newest_id + 1):
        market.observe(make_trade(number, time=number * 10))
    return market


async def test_ids_the_tape_lost_are_a_hole_between_the_times_of_its_neighbours() -> None:
    repair = Noted()
    await audited([numbered(9)], [repair], Looks(ends(9), ends(9, LOST), ends(9, LOST)))
    assert repair.holes == [LOST]


async def test_ids_the_tape_lacks_at_the_start_are_too() -> None:
    repair = Noted()
    await audited([numbered(9)], [repair], Looks(ends(9, LOST)))
    assert repair.holes == [LOST]


async def test_a_store_that_is_late_loses_nothing() -> None:
    repair = Noted()
    await audited([numbered(9)], [repair], Looks(*[ends(5)] * 6, ends(9), ends(9)))
    assert repair.holes == []


async def test_the_last_records_before_a_silence_are_found_behind_the_newest_one_sent_again() -> None:
    repair = Noted()
    await audited([numbered(9)], [repair], Looks(ends(5), ends(5), ends(5), ends(9, LOST), ends(9, LOST)))
    assert repair.repeats == 1
    assert repair.holes == [LOST]


async def test_a_loss_on_the_bus_is_made_up_for_though_history_was_away_when_it_was_due(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(audit, "QUICK_SECONDS", 0)
    market, repair = Market(INSTRUMENT, is_numbered=False), Noted()
    looks = Looks(NOTHING, *[NOTHING] * (ROUNDS_AFTER_LOSS - 1), None, NOTHING, NOTHING)
    await audited([market], [repair], looks, is_lost=True)
    assert repair.outages == ["bus"]


async def test_a_market_whose_audit_keeps_failing_keeps_no_other_from_its_turn() -> None:
    markets = [Market(Instrument("binance", f"{base}USDT", base, "USDT"), is_numbered=True) for base in "ABC"]
    for market in markets:
        market.connected_since = 0
    repairs = [Noted(fails=True), Noted(), Noted()]
    await audited(markets, repairs, Looks(NOTHING, NOTHING, NOTHING))
    assert [repair.audits for repair in repairs] == [2, 1, 1]
