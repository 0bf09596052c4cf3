"""What the market itself did while orders were open: its mid price over time, and its trades."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal, localcontext

from crosstape.common.market.soundness import sound_part
from crosstape.common.market.trade import Source, TradeBatch, TradeId
from crosstape.twap_engine.books import Books
from crosstape.twap_engine.order import Benchmark, Market
from crosstape.twap_engine.schedule import EXACT

REMEMBERED_IDS = 5_000
"""Trade ids that are texts have no order: so many are remembered to tell a repeat."""

Markets = tuple[Market, ...]


class Tracker:
    """Sums over one set of markets since it is tracked; the difference of two readings is what lies between them."""

    def __init__(self, markets: Markets):
        self.markets = markets
        self.users = 0
        self.totals = Benchmark()
        self._mid: Decimal | None = None
        self._at = 0
        self._until = 0

    def read(self, books: Books, now: int) -> tuple[Decimal | None, Benchmark]:
        """The mid price at `now` (steady, ns), None without a live book, and the sums until then."""
        if now != self._at:
            self.look(books, now)
        return self._mid, self.totals

    def look(self, books: Books, now: int) -> None:
        """Until `now` the mid price was what it was, or until its books could no longer be trusted; look what it is
        from now on."""
        if self._mid is not None:
            with localcontext(EXACT):
                seconds = Decimal(min(now, self._until) - self._at).scaleb(-9)
                self.totals += Benchmark(mid_time=self._mid * seconds, seconds=seconds)
        self._mid, self._until = books.lasting_mid(self.markets, now)
        self._at = now

    def add_trades(self, notional: Decimal, volume: Decimal) -> None:
        """Trades were made in one of the markets."""
        with localcontext(EXACT):
            self.totals += Benchmark(notional=notional, volume=volume)


class Benchmarks:
    """The trackers of the orders that are held here. Trades count once: a repeat is known by its id."""

    def __init__(self, books: Books):
        self._books = books
        self._trackers: dict[Markets, Tracker] = {}
        self._of_market: dict[Market, list[Tracker]] = {}
        self._newest_id: dict[Market, int] = {}
        self._recent_ids: dict[Market, dict[TradeId, None]] = {}

    def track(self, markets: Markets, now: int) -> Tracker:
        """The tracker of `markets`; `release` it when it is no longer needed."""
        tracker = self._trackers.get(markets)
        if tracker is None:
            tracker = self._trackers[markets] = Tracker(markets)
            for market in markets:
                self._of_market.setdefault(market, []).append(tracker)
        tracker.users += 1
        tracker.look(self._books, now)
        return tracker

    def release(self, tracker: Tracker) -> None:
        """One user less."""
        tracker.users -= 1
        if tracker.users == 0:
            del self._trackers[tracker.markets]
            for market in tracker.markets:
                self._of_market[market].remove(tracker)
                if not self._of_market[market]:
                    del self._of_market[market]
                    self._newest_id.pop(market, None)
                    self._recent_ids.pop(market, None)

    def heard(self, markets: Iterable[Market], now: int) -> None:
        """Something came of `markets`: their books are others than a moment ago, or may be trusted for longer."""
        found = {id(tracker): tracker for market in markets for tracker in self._of_market.get(market, ())}
        for tracker in found.values():
            tracker.look(self._books, now)

    def add(self, batch: TradeBatch, now: int) -> None:
        """Trades as topic `trades` carries them at `now` (UTC, ns); those fetched from history are of an earlier time
        and left out, as are those that the tape does not hold either."""
        market = Market(batch.exchange, batch.symbol)
        trackers = self._of_market.get(market)
        if not trackers or batch.source is not Source.STREAM:
            return
        sound = sound_part(batch, now)
        if sound is None:
            return
        columns = sound.columns()
        notional, volume = Decimal(), Decimal()
        with localcontext(EXACT):
            for trade_id, price, quantity in zip(columns.trade_id, columns.price, columns.quantity, strict=True):
                if self._is_new(market, trade_id):
                    size = Decimal(quantity)
                    volume += size
                    notional += size * Decimal(price)
        for tracker in trackers:
            tracker.add_trades(notional, volume)

    def _is_new(self, market: Market, trade_id: TradeId) -> bool:
        if isinstance(trade_id, int):
            if trade_id <= self._newest_id.get(market, -1):
                return False
            self._newest_id[market] = trade_id
            return True
        recent = self._recent_ids.setdefault(market, {})
        if trade_id in recent:
            return False
        recent[trade_id] = None
        if len(recent) > REMEMBERED_IDS:
            del recent[next(iter(recent))]
        return True
