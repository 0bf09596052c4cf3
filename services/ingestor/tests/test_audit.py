"""What the audit makes of the tape: only what the bus lost is missing again, and no failure keeps others waiting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import cast

import pytest

from crosstape.common.errors import ExchangeError
from crosstape.common.market.bar import NANOSECONDS
from crosstape.common.market.instrument import Instrument
from crosstape.common.market.trade import TradeId
from crosstape.common.testing.builders import make_trade
from crosstape.ingestor import audit
from crosstape.ingestor.audit import LOOKED_BACK, Auditor
from crosstape.ingestor.feed import Feed
from crosstape.ingestor.market import Market
from crosstape.ingestor.outages import Outage
from crosstape.ingestor.repair import MarketRepair
from crosstape.ingestor.sequence import Hole
from crosstape.ingestor.watermarks import StoredTape, Watermark, Watermarks

INSTRUMENT = Instrument("binance", "BTCUSDT", "BTC", "USDT")
SYMBOL = INSTRUMENT.symbol
NOTHING = Watermarks({}, {})
LOST = Hole(6, 8, 50, 90)
LOSS = "a log started again"


def ends(newest_id: int, *holes: Hole) -> Watermarks:
    return Watermarks({SYMBOL: Watermark(SYMBOL, newest_id, newest_id * 10, list(holes))}, {})


class Looks:
    """A tape that says these things one after the other, None where it does not answer; before what follows a text the
    bus tells this loss."""

    def __init__(self, *said: Watermarks | str | None):
        self._said = [*said]
        self.on_loss: Callable[[str], None]
        self.is_over = asyncio.Event()

    def _next(self) -> Watermarks | None:
        said = self._said.pop(0)
        if isinstance(said, str):
            self.on_loss(said)
            return self._next()
        return said

    async def wait(self) -> Watermarks:
        first = self._next()
        assert first is not None
        return first

    async def look(self) -> Watermarks | None:
        if not self._said:
            self.is_over.set()
            await asyncio.Event().wait()
        return self._next()


class Noted:
    """A repair that keeps what it is asked for; its audit fails where it should."""

    def __init__(self, *, fails: bool = False, finds: int = 0):
        self.holes: list[Hole] = []
        self.outages: list[Outage] = []
        self.repeats = 0
        self.audits = 0
        self._fails = fails
        self.finds = finds

    def hole(self, hole: Hole, cause: str) -> None:
        self.holes.append(hole)

    def outage(self, outage: Outage) -> None:
        self.outages.append(outage)

    def ends_in(self, trade_id: TradeId) -> bool:
        return False

    def repeat_newest(self) -> None:
        self.repeats += 1

    async def audit(self) -> int:
        self.audits += 1
        if self._fails:
            raise ExchangeError("poisoned")
        return self.finds


class Socket:
    """A feed that is stuck after a minute of silence, and keeps why it was left."""

    stall_after = 60.0

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def reconnect(self, reason: str) -> None:
        self.reasons.append(reason)


async def audited(markets: Sequence[Market], repairs: Sequence[Noted], tape: Looks) -> list[str]:
    """Resume, then a round for each further thing that `tape` says; returns why their socket was left."""
    socket = Socket()
    auditor = Auditor(
        "binance",
        {market.symbol: market for market in markets},
        {market.symbol: cast(MarketRepair, repair) for market, repair in zip(markets, repairs, strict=True)},
        {market.symbol: cast(Feed, socket) for market in markets},
        cast(StoredTape, tape),
        every=0.001,
    )
    tape.on_loss = auditor.bus_lost
    running = asyncio.create_task(auditor.run())
    async with asyncio.timeout(10):
        await tape.is_over.wait()
    running.cancel()
    return socket.reasons


def numbered(newest_id: int) -> Market:
    market = Market(INSTRUMENT, is_numbered=True)
    for number in range(1, newest_id + 1):
        market.observe(make_trade(number, time=number * 10))
    return market


async def test_ids_the_tape_lost_are_a_hole_between_the_times_of_its_neighbours() -> None:
    repair = Noted()
    await audited([numbered(9)], [repair], Looks(ends(9), ends(9, LOST), ends(9, LOST)))
    assert repair.holes == [LOST]


@pytest.mark.parametrize(
    ("given_up", "asked"),
    [
        pytest.param([(6, 6), (7, 8)], [], id="by ids that are neighbours"),
        pytest.param([(7, 7)], [Hole(6, 6, 50, 90), Hole(8, 8, 50, 90)], id="in part"),
    ],
)
async def test_ids_that_were_given_up_are_not_missing_again(given_up: list[tuple[int, int]], asked: list[Hole]) -> None:
    market, repair = numbered(9), Noted()
    market.unfillable += given_up
    await audited([market], [repair], Looks(ends(9), ends(9, LOST), ends(9, LOST)))
    assert repair.holes == asked


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


async def test_what_the_bus_lost_before_the_tape_held_anything_is_missing_though_the_tape_shows_no_hole() -> None:
    market, repair = Market(INSTRUMENT, is_numbered=True), Noted()
    for number in range(100, 121):
        market.observe(make_trade(number, time=number * 10))
    await audited([market], [repair], Looks(NOTHING, NOTHING, NOTHING, ends(120), ends(120)))
    assert repair.repeats == 1
    assert repair.holes == [Hole(100, 119, 1_000, 1_200)]


async def test_what_the_bus_lost_after_a_silence_longer_than_the_tape_looks_back_is_missing() -> None:
    market, repair, later = numbered(5), Noted(), 2 * LOOKED_BACK
    for number in range(6, 10):
        market.observe(make_trade(number, time=later + number))
    again = Watermarks({SYMBOL: Watermark(SYMBOL, 9, later + 9, [])}, {})
    await audited([market], [repair], Looks(ends(5), ends(5), ends(5), again, again))
    assert repair.holes == [Hole(6, 8, 50, later + 9)]


async def test_of_a_market_without_numbers_what_the_bus_lost_is_made_up_for_from_where_the_tape_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(audit, "QUICK_SECONDS", 0)
    market, repair = Market(INSTRUMENT, is_numbered=False), Noted()
    await audited([market], [repair], Looks(ends(5), ends(6), LOSS, None))
    (outage,) = repair.outages
    assert (outage.start, outage.cause) == (60 - 10 * NANOSECONDS, "bus")


async def test_a_market_whose_audit_keeps_failing_keeps_no_other_from_its_turn() -> None:
    markets = [Market(Instrument("binance", f"{base}USDT", base, "USDT"), is_numbered=True) for base in "ABC"]
    for market in markets:
        market.connected_since = 0
    repairs = [Noted(fails=True), Noted(), Noted()]
    await audited(markets, repairs, Looks(NOTHING, NOTHING, NOTHING))
    assert [repair.audits for repair in repairs] == [2, 1, 1]


async def test_a_market_whose_history_is_short_and_fails_is_not_asked_for_it_all_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 0.0
    monkeypatch.setattr(audit, "time", SimpleNamespace(monotonic=lambda: now, time_ns=time.time_ns))
    monkeypatch.setattr(audit, "BUSY_SECONDS", 0)
    market, repair = Market(INSTRUMENT, is_numbered=False), Noted(fails=True)
    market.connected_since, market.unaudited = 0, market.reach
    repairs = {SYMBOL: cast(MarketRepair, repair)}
    auditor = Auditor("bybit", {SYMBOL: market}, repairs, {}, cast(StoredTape, None), every=1_000)
    running = asyncio.create_task(auditor.run_busy())
    for _ in range(600):
        now += 0.1
        for _ in range(5):
            await asyncio.sleep(0)
    running.cancel()
    assert 3 < repair.audits <= 10


class Racing(Noted):
    """A repair that finds a trade which its market's socket brings right after."""

    def __init__(self, market: Market):
        super().__init__(finds=1)
        self._market = market

    async def audit(self) -> int:
        asyncio.get_running_loop().call_soon(self._bring)
        return await super().audit()

    def _bring(self) -> None:
        self._market.last_trade_received = time.time_ns()


@pytest.mark.parametrize("finds", [0, 1])
async def test_a_connection_that_does_not_bring_what_audits_find_is_left(finds: int) -> None:
    market = numbered(9)
    market.connected_since = 1
    reasons = await audited([market], [Noted(finds=finds)], Looks(NOTHING, NOTHING, NOTHING))
    assert bool(reasons) == bool(finds)


async def test_a_connection_that_brings_a_trade_later_than_the_history_is_kept() -> None:
    market = numbered(9)
    market.connected_since = 1
    assert await audited([market], [Racing(market)], Looks(*[NOTHING] * 5)) == []


async def test_a_young_connection_is_kept() -> None:
    market = numbered(9)
    market.connected_since = time.time_ns()
    assert await audited([market], [Noted(finds=1)], Looks(*[NOTHING] * 5)) == []
