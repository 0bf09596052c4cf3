"""Audit: what the tape and the exchange hold is compared with what we believe, so that no loss stays unseen.

A socket reveals a hole only with the next trade, and the bus may lose records that were sent. So on a timer, and at
once after the bus reported a loss, the tape's own holes are asked for and repaired like any other. Where the tape ends
before what was published, its store is late or the bus lost the last records: the newest trade is sent again, which
does no harm, and behind it everything else that was lost is a hole. Where the tape ended before all that we followed,
or so long ago that it does not look back there, it tells of none: then all is repaired that it should have by now.
Markets that have been silent are looked up in the exchange's history, and those whose trades have no numbers always:
before so many have come that its history no longer reaches what the socket may have left out.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Mapping

import structlog
from msgspec import Struct

from crosstape.common.errors import ExchangeError
from crosstape.common.market.bar import NANOSECONDS
from crosstape.common.waiting import pause
from crosstape.ingestor.feed import Feed, backoff
from crosstape.ingestor.market import Market
from crosstape.ingestor.outages import Outage
from crosstape.ingestor.repair import MarketRepair
from crosstape.ingestor.sequence import Hole, TradeSequence
from crosstape.ingestor.unnumbered import Unnumbered
from crosstape.ingestor.watermarks import StoredTape, Watermark

log = structlog.get_logger(__name__)

SILENT_NANOSECONDS = 3_000_000_000
"""A market without a live trade for so long may have lost its last ones."""

ROUNDS_AFTER_LOSS = 4
"""How many quick rounds follow a loss on the bus: two to see that the tape ends too early, two that a hole stays."""

LOOKED_BACK = 6 * 3_600 * NANOSECONDS
"""How long (ns) before the exchange's newest trade the tape tells its holes."""

QUICK_SECONDS = 2.5
BUSY_SECONDS = 0.1


class _Belief(Struct, frozen=True):
    """What a round found: the id ranges that the tape lacked, our newest id, and where the tape ended (time in ns), at
    0 where it held nothing. `is_late` when that was before what had been published a round earlier."""

    holes: frozenset[tuple[int, int]]
    published: int
    stored_id: int
    stored_time: int
    is_late: bool


class Auditor:
    """Compares tape, exchange and belief of every market of this process. `feeds` bring their trades, by symbol."""

    def __init__(
        self,
        exchange: str,
        markets: dict[str, Market],
        repairs: dict[str, MarketRepair],
        feeds: Mapping[str, Feed],
        tape: StoredTape,
        *,
        every: float,
    ):
        self._exchange = exchange
        self._markets = markets
        self._repairs = repairs
        self._feeds = feeds
        self._tape = tape
        self._every = every
        self._began = time.time_ns()
        self._unnumbered = Unnumbered({s: repairs[s] for s, market in markets.items() if market.sequence is None})
        self._beliefs: dict[str, _Belief] = {}
        self._found: dict[str, int] = {}
        self._turns = deque(markets)
        self._under_audit: set[str] = set()
        self._failures: Counter[str] = Counter()
        self._not_before: dict[str, float] = {}
        self._quick_rounds = 0
        self._lost = asyncio.Event()
        self._may_lack = False
        self.has_resumed = False

    def bus_lost(self, reason: str) -> None:
        """The bus may have lost records: look at the tape soon, and again."""
        if self._quick_rounds == 0:
            log.warning("bus_loss", exchange=self._exchange, reason=reason)
        self._quick_rounds = ROUNDS_AFTER_LOSS
        self._may_lack = True
        self._lost.set()
        self._unnumbered.lost()

    async def run(self) -> None:
        """Resume from the tape, then audit until cancelled."""
        await self._resume()
        while True:
            await self._pause()
            await self._audit_tape()
            await self._audit_exchange()

    async def run_busy(self) -> None:
        """Look markets up as often as their exchange's short history demands, until cancelled. One whose look-up fails
        has to wait."""
        async with asyncio.TaskGroup() as group:
            while True:
                await asyncio.sleep(BUSY_SECONDS)
                for symbol, market in self._markets.items():
                    is_due = time.monotonic() >= self._not_before.get(symbol, 0)
                    if is_due and market.is_soon_out_of_reach and symbol not in self._under_audit:
                        group.create_task(self._audit_market(symbol))

    async def _pause(self) -> None:
        if self._quick_rounds:
            self._quick_rounds -= 1
            await asyncio.sleep(QUICK_SECONDS)
            return
        await pause(self._lost, self._every)
        self._lost.clear()

    async def _resume(self) -> None:
        """Continue every market from the last trade the tape has."""
        watermarks = await self._tape.wait()
        self._unnumbered.resume(watermarks)
        now = time.time_ns()
        for symbol, market in self._markets.items():
            stored = watermarks.markets.get(symbol)
            if market.sequence is not None and stored is not None:
                self._resume_numbered(market.sequence, self._repairs[symbol], stored, now)
        self.has_resumed = True

    def _resume_numbered(self, sequence: TradeSequence, repair: MarketRepair, stored: Watermark, now: int) -> None:
        newest_id = stored.newest_trade_id
        if not isinstance(newest_id, int):
            return
        # A tape that ends in what this process brought, as history answered late, does not say what was before.
        is_end_ours = sequence.has_met(newest_id)
        if (hole := sequence.resume(newest_id, stored.newest_time)) is not None:
            repair.hole(hole, "restart")
        if not is_end_ours:
            repair.outage(Outage(min(stored.newest_time, self._began), now, "restart"))
        for lacking in stored.holes:
            if (found := sequence.reopen(lacking)) is not None:
                repair.hole(found, "restart")

    async def _audit_tape(self) -> None:
        watermarks = await self._tape.look()
        if watermarks is None:
            return
        self._unnumbered.stored(watermarks)
        newest = max((stored.newest_time for stored in watermarks.markets.values()), default=0)
        for symbol, market in self._markets.items():
            self._compare(market, watermarks.markets.get(symbol), newest - LOOKED_BACK)
        self._may_lack = self._may_lack and self._quick_rounds > 0

    def _compare(self, market: Market, stored: Watermark | None, looked_from: int) -> None:
        """Repair what the tape lacked in this round and the one before: younger holes may be on their way. Of the time
        before `looked_from` (ns) the tape told none."""
        sequence, repair = market.sequence, self._repairs[market.symbol]
        if sequence is None or sequence.newest_id is None:
            return
        stored_id, stored_time = 0, 0
        if stored is not None and isinstance(stored.newest_trade_id, int):
            stored_id, stored_time = stored.newest_trade_id, stored.newest_time
        holes = {(hole.first_id, hole.last_id): hole for hole in (stored.holes if stored is not None else ())}
        before = self._beliefs.get(market.symbol)
        is_late = before is not None and stored_id < before.published
        self._beliefs[market.symbol] = _Belief(frozenset(holes), sequence.newest_id, stored_id, stored_time, is_late)
        if before is None:
            return
        lost: list[Hole] = []
        is_told = sequence.has_met(before.stored_id) and before.stored_time >= looked_from
        if not is_told and (before.is_late or self._may_lack):
            lost += sequence.followed(before.stored_id, before.stored_time, stored_id, stored_time)
        lost += [holes[ids] for ids in sorted(holes.keys() & before.holes)]
        for lacking in (part for hole in lost for part in hole.without(market.unfillable)):
            if (reopened := sequence.reopen(lacking)) is not None:
                repair.hole(reopened, "bus")
        if is_late:
            repair.repeat_newest()

    async def _audit_exchange(self) -> None:
        """Ask for the markets in turn. A failure ends the round, as all may be refused: the next begins behind it."""
        now = time.time_ns()
        for symbol in tuple(self._turns):
            self._turns.rotate(-1)
            market = self._markets[symbol]
            is_silent = now - market.last_trade_received > SILENT_NANOSECONDS
            if (market.sequence is None or is_silent) and not await self._audit_market(symbol):
                return

    async def _audit_market(self, symbol: str) -> bool:
        """Whether the exchange answered, where it was asked."""
        if self._markets[symbol].connected_since is None or symbol in self._under_audit:
            return True
        self._under_audit.add(symbol)
        try:
            found = await self._repairs[symbol].audit()
        except ExchangeError as error:
            log.warning("audit_delayed", exchange=self._exchange, symbol=symbol, error=error.message)
            self._failures[symbol] += 1
            pause = backoff(self._failures[symbol], 0.5 + random.random() / 2)
            self._not_before[symbol] = time.monotonic() + pause
            return False
        finally:
            self._under_audit.discard(symbol)
        self._failures[symbol] = 0
        self._leave_stuck(symbol)
        if found:
            self._found[symbol] = time.time_ns()
        return True

    def _leave_stuck(self, symbol: str) -> None:
        """Leave a connection that has brought nothing since an earlier audit found trades: though it answers pings, it
        does not bring them."""
        market, feed = self._markets[symbol], self._feeds[symbol]
        heard = max(market.last_trade_received, market.connected_since or 0)
        is_silent = time.time_ns() - heard > feed.stall_after * NANOSECONDS
        if is_silent and heard < self._found.get(symbol, 0):
            feed.reconnect(f"it leaves out the trades of {symbol}")
