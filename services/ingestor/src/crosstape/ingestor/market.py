"""What the ingestor knows of one market while it runs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from crosstape.common.market.instrument import Instrument
from crosstape.common.market.trade import Trade, TradeId
from crosstape.ingestor.sequence import Hole, TradeSequence

REMEMBERED_IDS = 5_000
"""How many unordered trade ids are remembered to tell new trades in the exchange's history from published ones."""

LEAST_REACH = 60
"""Trades that the shortest history reaches back (Bybit's spot markets): how far others do is learned from their pages.
"""


class Market:
    """One instrument: its id sequence (where ids are numbered), and since when it is connected.

    `connected_since`, `disconnected_at` and `compared_until` are ns of our clock. Trades without numbers from before
    `compared_until` were compared with the exchange's history, or are from before the first connection and nobody's to
    compare; it is 0 before that. `unaudited` of them were observed, live or repaired, since the last comparison began;
    the history reaches back at least `reach` trades, and at least `least_reach` where there were so many ever (0 where
    that is not known). `unfillable` are id ranges that the history does not reach, or of
    trades that no tape can hold: they are not asked for again by this process. `newest` is the trade of the sequence's
    newest number, None while the tape's end is all that is known; without numbers it is the one that came last.
    """

    def __init__(self, instrument: Instrument, *, is_numbered: bool, least_reach: int = LEAST_REACH):
        self.instrument = instrument
        self.least_reach = least_reach
        self.sequence = TradeSequence() if is_numbered else None
        self.connected_since: int | None = None
        self.disconnected_at: int | None = None
        self.compared_until = 0
        self.last_trade_received = 0
        self.newest: Trade | None = None
        self.unfillable: list[tuple[int, int]] = []
        self.unaudited = 0
        self.reach = LEAST_REACH
        self._seen: OrderedDict[TradeId, None] = OrderedDict()

    @property
    def symbol(self) -> str:
        return self.instrument.symbol

    @property
    def has_traded(self) -> bool:
        """Whether any trade without a number came."""
        return bool(self._seen)

    @property
    def is_soon_out_of_reach(self) -> bool:
        """Whether what the socket left out could soon be older than anything the exchange's history still holds."""
        return self.unaudited > self.reach // 2

    def observe(self, trade: Trade) -> Hole | None:
        """Note one trade of this market, live or repaired; returns the hole it reveals."""
        if self.sequence is not None and isinstance(trade.trade_id, int):
            hole = self.sequence.observe(trade.trade_id, trade.time)
            if trade.trade_id == self.sequence.newest_id:
                self.newest = trade
            return hole
        self.unaudited += 1
        self.newest = trade
        self._seen[trade.trade_id] = None
        if len(self._seen) > REMEMBERED_IDS:
            self._seen.popitem(last=False)
        return None

    def unseen(self, trades: Iterable[Trade]) -> list[Trade]:
        """Those of `trades` whose ids were not observed, as far as they are remembered."""
        return [trade for trade in trades if trade.trade_id not in self._seen]
