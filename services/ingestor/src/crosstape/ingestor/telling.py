"""What a repair says: trades to the bus, gaps and vouched time to the ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from prometheus_client import Counter

from crosstape.common.market.ledger import Coverage, Gap, GapState
from crosstape.common.market.trade import Source, Trade, TradeId
from crosstape.ingestor.market import Market
from crosstape.ingestor.publish import Publisher
from crosstape.ingestor.sequence import Hole

REPAIRED = Counter("crosstape_ingestor_trades_repaired_total", "Trades fetched from history", ["exchange", "cause"])
GAPS = Counter("crosstape_ingestor_gaps_total", "Holes and outages by outcome", ["exchange", "cause", "state"])
CAUSES = ("disconnect", "malformed", "sequence", "unverified", "restart", "bus")
"""Of a gap that a running ingestor tells."""


class Teller:
    """Speaks for one market; `clock` gives ns."""

    def __init__(self, market: Market, publisher: Publisher, clock: Callable[[], int]):
        self._market = market
        self._publisher = publisher
        self._clock = clock
        self._refused: set[TradeId] = set()

    def publish(self, trade: Trade, cause: str) -> Hole | None:
        """A trade from the exchange's history; returns the hole it reveals."""
        hole = self._market.observe(trade)
        self._publisher.trade(trade, Source.HISTORY)
        REPAIRED.labels(trade.exchange, cause).inc()
        return hole

    def repeat(self, trade: Trade) -> None:
        """A trade that was published, once more."""
        self._publisher.trade(trade, Source.STREAM)

    def refuse(self, trade: Trade) -> None:
        """A trade from the exchange's history that no tape can hold."""
        self._publisher.refuse([trade])

    def refuse_without_numbers(self, trades: Sequence[Trade]) -> None:
        """The same of all such `trades` of a page, each named by its time, once for as long as pages show it."""
        for trade in trades:
            if trade.trade_id not in self._refused:
                self.refuse(trade)
                self.interval(trade.time, trade.time + 1, "malformed", GapState.UNFILLABLE)
        self._refused = {trade.trade_id for trade in trades}

    async def room(self) -> None:
        """Return once more may be published."""
        await self._publisher.room()

    def hole(self, hole: Hole, cause: str, state: GapState, trades: int = 0) -> None:
        """What became of missing ids, and how many trades the repair published."""
        self._count(cause, state)
        self._gap(hole.first_id, hole.last_id, hole.start, hole.end, cause, state, trades)

    def interval(self, start: int, end: int, cause: str, state: GapState, trades: int = 0) -> None:
        """What became of [start, end) ns, in which trades may have been missed."""
        self._count(cause, state)
        self._gap(None, None, start, end, cause, state, trades)

    def still_open(self, start: int, end: int, cause: str) -> None:
        """How far (ns) an open interval goes by now: it counts as the one that is told besides."""
        self._gap(None, None, start, end, cause, GapState.OPEN, 0)

    def vouch(self, start: int, end: int) -> None:
        """Nothing of [start, end) ns lacks but what the ledger was told."""
        instrument = self._market.instrument
        self._publisher.ledger(Coverage(instrument.exchange, instrument.symbol, start, end))

    def _count(self, cause: str, state: GapState) -> None:
        GAPS.labels(self._market.instrument.exchange, cause, state.value).inc()

    def _gap(
        self, first_id: int | None, last_id: int | None, start: int, end: int, cause: str, state: GapState, trades: int
    ) -> None:
        exchange, symbol = self._market.instrument.exchange, self._market.symbol
        self._publisher.ledger(
            Gap(exchange, symbol, first_id, last_id, start, end, cause, state, trades, self._clock())
        )
