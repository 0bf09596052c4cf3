"""One market: its book, its trades, its minutes. The simulated order flow and a replayed recording both feed
it."""

from collections.abc import Callable, Iterable

from crosstape.exchange_sim.bars import (
    MINUTE,
    Bar,
    empty_bar,
    folded,
    merged,
    next_open,
    open_time_of,
    opens,
    synthetic,
)
from crosstape.exchange_sim.instruments import Instrument
from crosstape.exchange_sim.matching import Fill, MatchingEngine
from crosstape.exchange_sim.trade_history import Trade, TradeHistory

KEPT_MINUTES = 1_440
"""In which something traded: what a simulated market holds of its candles."""

MILLISECOND_EXCHANGES = ("binance", "okx", "bybit")


class Market:
    """`since` (Unix seconds): from here on the truth is trades; before it candles are synthetic, or absent
    where `has_past` is false (a recording has no past).

    `native_ids` are ids that do not follow from a trade's number and `recorded_book` the body of a book
    snapshot: only a recording has them. `reserve` is called when `next_number` reaches `reserved_number`, or
    the book's update id `reserved_update`: it must move them ahead, durably, before either is used (see
    state.py).
    """

    def __init__(
        self, instrument: Instrument, seed: int, *, history_limit: int, first_number: int, since: int,
        first_update_id: int = 0, has_past: bool = True,
    ) -> None:  # fmt: skip
        self.instrument = instrument
        self.seed = seed
        self.engine = MatchingEngine(first_update_id=first_update_id)
        self.history = TradeHistory(history_limit)
        self.minutes: dict[int, Bar] = {}
        self.next_number = first_number
        self.since = since
        self.has_past = has_past
        self.native_ids: dict[int, str] = {}
        self.recorded_book: bytes | None = None
        self.reserved_number = 1 << 62
        self.reserved_update = 1 << 62
        self.reserve: Callable[[Market], None] = lambda market: None
        self.time_unit_ns = 1_000_000 if instrument.exchange in MILLISECOND_EXCHANGES else 1_000

    def trade(self, fill: Fill, time_ns: int) -> Trade:
        if self.next_number >= self.reserved_number or self.engine.update_id >= self.reserved_update:
            self.reserve(self)
        trade = Trade(self.next_number, time_ns, fill.price, fill.quantity, fill.taker_side, fill.update_id)
        self.next_number += 1
        self.record(trade)
        return trade

    def record(self, trade: Trade) -> None:
        self.history.append(trade)
        minute = trade.time_ns // (MINUTE * 1_000_000_000) * MINUTE
        bar = self.minutes.get(minute)
        if bar is None:
            bar = self.minutes[minute] = empty_bar(minute, minute + MINUTE, trade.price)
            if self.has_past:
                self._forget()
        bar.add(trade)

    def _forget(self) -> None:
        """Let the minutes beyond those that are kept become part of the synthetic past."""
        while len(self.minutes) > KEPT_MINUTES:
            oldest = next(iter(self.minutes))
            del self.minutes[oldest]
            self.since = max(self.since, oldest + MINUTE)

    def bars(self, interval: str, start: int, end: int, *, limit: int, newest: bool) -> list[Bar]:
        """At most `limit` bars with open in [start, end), ascending: the first ones, or the newest ones.

        A bar in which nothing traded is flat at the close before it (and left out where there is none).
        """
        if newest:
            first = open_time_of(interval, end - 1)
            for _ in range(limit - 1):
                first = open_time_of(interval, first - 1)
            start = max(start, first)
        found: list[Bar] = []
        previous: int | None = None
        for open_time in opens(interval, max(0, start), end):
            close_time = next_open(interval, open_time)
            if previous is None:
                previous = self.close_before(open_time)
            bar = self.bar(open_time, close_time)
            if bar is None and previous is not None:
                bar = empty_bar(open_time, close_time, previous)
            if bar is not None:
                found.append(bar)
                previous = bar.close
            if len(found) == limit:
                break
        return found

    def bar(self, start: int, end: int) -> Bar | None:
        """What traded in [start, end), or None."""
        if self.has_past and end <= self.since:
            return synthetic(self.seed, self.instrument, start, end)
        parts: list[Bar] = []
        if self.has_past and start < self.since:
            parts.append(synthetic(self.seed, self.instrument, start, self.since))
            start_own = self.since // MINUTE * MINUTE
        else:
            start_own = start
        parts.extend(self._own_bars(start_own, end))
        return merged(start, end, parts)

    def _own_bars(self, start: int, end: int) -> Iterable[Bar]:
        if start % MINUTE == 0 and end % MINUTE == 0:
            minutes = range(start, end, MINUTE)
            held = minutes if len(minutes) < len(self.minutes) else sorted(self.minutes)
            return [self.minutes[minute] for minute in held if start <= minute < end and minute in self.minutes]
        bar = folded(start, end, self.history.between(start * 1_000_000_000, end * 1_000_000_000))
        return [bar] if bar else []

    def close_before(self, seconds: int) -> int | None:
        """The last price before `seconds`."""
        if self.has_past and seconds <= self.since:
            return synthetic(self.seed, self.instrument, seconds - 1, seconds).close
        earlier = self.history.before_time(seconds * 1_000_000_000, 1)
        if earlier:
            return earlier[0].price
        if self.has_past:
            return synthetic(self.seed, self.instrument, self.since - 1, self.since).close
        return None
