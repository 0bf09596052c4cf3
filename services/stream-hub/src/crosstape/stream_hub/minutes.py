"""A minute of one market as two witnesses know it: our own tape, and the bar that history stored and told."""

from __future__ import annotations

from decimal import Decimal

from crosstape.common.market.bar import Bar, BarStatus, Interval, trade_order
from crosstape.common.market.decimals import decimal_text
from crosstape.common.market.trade import Trade
from crosstape.stream_hub.numbers import EXACT, ZERO


class Fold:
    """The bar of the trades added so far, in any order; each is added once."""

    __slots__ = ("_close", "_first", "_high", "_last", "_low", "_open", "_unknown", "_volume", "delta", "trades")

    def __init__(self, trade: Trade):
        self._first = self._last = trade
        self._open = self._high = self._low = self._close = Decimal(trade.price)
        self._volume = self._unknown = self.delta = ZERO
        self.trades = 0
        self.add(trade)

    def add(self, trade: Trade) -> None:
        """One more trade of the minute."""
        price, quantity = Decimal(trade.price), Decimal(trade.quantity)
        self.trades += 1
        self._volume = EXACT.add(self._volume, quantity)
        if trade.side:
            self.delta = EXACT.add(self.delta, quantity) if trade.side > 0 else EXACT.subtract(self.delta, quantity)
        else:
            self._unknown = EXACT.add(self._unknown, quantity)
        if price > self._high:
            self._high = price
        elif price < self._low:
            self._low = price
        place = trade_order(trade)
        if place >= trade_order(self._last):
            self._last, self._close = trade, price
        elif place < trade_order(self._first):
            self._first, self._open = trade, price

    def bar(self, open_time: int) -> Bar:
        """The minute so far."""
        return Bar(
            exchange=self._first.exchange,
            symbol=self._first.symbol,
            interval=Interval.M1.value,
            open_time=open_time,
            open=decimal_text(self._open),
            high=decimal_text(self._high),
            low=decimal_text(self._low),
            close=decimal_text(self._close),
            volume=decimal_text(self._volume),
            volume_delta=decimal_text(self.delta),
            volume_unknown=decimal_text(self._unknown),
            trades=self.trades,
            first_trade_id=self._first.trade_id,
            last_trade_id=self._last.trade_id,
            status=BarStatus.PROVISIONAL,
        )


class Minute:
    """Whoever knows more trades is believed, history when they know as many: it has every trade but the newest."""

    __slots__ = ("_bar", "_own", "_revision", "_told_delta", "_told_trades")

    def __init__(self) -> None:
        self._own: Fold | None = None
        self._bar: Bar | None = None
        self._told_trades = 0
        self._told_delta = ZERO
        self._revision = -1

    @property
    def delta(self) -> Decimal:
        """The minute's volume delta."""
        own = self._own
        return self._told_delta if own is None or self._told_trades >= own.trades else own.delta

    def add(self, trade: Trade) -> None:
        """A new trade of our own tape."""
        if self._own is None:
            self._own = Fold(trade)
        else:
            self._own.add(trade)

    def tell(self, bar: Bar) -> None:
        """History's closed bar; an older revision than the one known says nothing."""
        if bar.revision >= self._revision:
            self._revision = bar.revision
            self._bar, self._told_trades, self._told_delta = bar, bar.trades, Decimal(bar.volume_delta)

    def bar(self, open_time: int) -> Bar | None:
        """The minute as a bar; None when its details were let go."""
        own = self._own
        if own is None or self._told_trades >= own.trades:
            return self._bar
        return own.bar(open_time)

    def settle(self) -> None:
        """Keep nothing but the sums."""
        if self._own is not None:
            self._told_delta, self._told_trades = self.delta, max(self._told_trades, self._own.trades)
        self._own = self._bar = None
