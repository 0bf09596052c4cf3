"""Markets whose trades have no numbers: no tape shows what it lacks of them, so that it is told by time.

What nobody vouched for before this process is made up for, and all that the bus may have lost: from where the tape
ended before the loss until now, unless it ended in the newest trade that came. In the ledger that is open at once, so
that the next process knows if this one is killed before the exchange has answered: as it begins, or later where history
had not stored it by then.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping

from crosstape.common.market.bar import NANOSECONDS
from crosstape.ingestor.outages import OVERLAP, Outage
from crosstape.ingestor.repair import MarketRepair
from crosstape.ingestor.watermarks import StoredTape, Watermark, Watermarks

LOSS_OVERLAP = 10 * NANOSECONDS
"""How far (ns) before the tape's end it may lack trades that the bus lost."""

SETTLED_SECONDS = 60.0
"""So long after the bus told of a loss it may tell of it again, when the tape ends in newer trades."""

LOOK_SECONDS = 60.0
"""How often it is looked where the tape ends, where nothing else looks."""


class Unnumbered:
    """Such markets of one exchange, by symbol, as their `repairs`."""

    def __init__(self, repairs: Mapping[str, MarketRepair]):
        self._repairs = repairs
        self._began = time.time_ns()
        self._stored: dict[str, Watermark] = {}
        self._settled_at = 0.0

    def resume(self, watermarks: Watermarks) -> None:
        """Make up for what was before this process."""
        self.stored(watermarks)
        for symbol, repair in self._repairs.items():
            for start, end in watermarks.uncovered.get(symbol, ()):
                repair.outage(Outage(start, end, "restart"))
                if end >= self._began - OVERLAP:  # until history answered; an older one until somebody else began
                    repair.unheard_from(end)
        self._make_up_for_losses(watermarks, math.inf)

    def stored(self, watermarks: Watermarks) -> None:
        """The tape ends there, and nobody is at losses that are open for long, if nothing was lost just now."""
        if time.monotonic() >= self._settled_at:
            self._stored = watermarks.markets
            self._make_up_for_losses(watermarks, time.time_ns() - SETTLED_SECONDS * NANOSECONDS)

    def _make_up_for_losses(self, watermarks: Watermarks, until: float) -> None:
        """Repair what the ledger has open that was over by `until` (ns): somebody may be at what is younger."""
        for symbol, repair in self._repairs.items():
            for start, end in watermarks.lost_on_bus.get(symbol, ()):
                if end <= until:
                    repair.outage(Outage(start, end, "bus"))

    def lost(self) -> None:
        """The bus may have lost what it took until now."""
        now = time.time_ns()
        self._settled_at = time.monotonic() + SETTLED_SECONDS
        for symbol, repair in self._repairs.items():
            stored = self._stored.get(symbol)
            if stored is not None and repair.ends_in(stored.newest_trade_id):
                continue  # the tape has all that was sent
            tape_end = self._began if stored is None else min(stored.newest_time, now)
            repair.outage(Outage(tape_end - LOSS_OVERLAP, now + OVERLAP, "bus"))


async def follow_tape(unnumbered: Unnumbered, tape: StoredTape) -> None:
    """Resume from the tape, then look on where it ends, in case that history is away when the bus loses something,
    until cancelled."""
    unnumbered.resume(await tape.wait())
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        if (watermarks := await tape.look()) is not None:
            unnumbered.stored(watermarks)
