"""Places in the tape: the order of a market's trades, and what follows a trade in it. Pure."""

from __future__ import annotations

from msgspec import Struct

from crosstape.history.api.cursor import TradeCursor
from crosstape.history.api.markets import Market

FIRST = TradeCursor(0, "")


class TradeQuery(Struct, frozen=True):
    """Trades of `market` from the place `first` on, of time [start, end) ns."""

    market: Market
    start: int
    end: int
    first: TradeCursor = FIRST

    @property
    def range(self) -> dict[str, object]:
        """The parameters of queries by time."""
        market = self.market
        return {"exchange": market.exchange, "symbol": market.symbol, "start": self.start, "end": self.end}

    @property
    def place(self) -> dict[str, object]:
        """The parameters of queries by place."""
        return {"from_seq": self.first.seq, "from_uid": self.first.uid}


def following(trade_id: int | str, milliseconds: int) -> TradeCursor:
    """The first place after a trade: after a number the next one; after a text itself with the smallest printable
    character, as ids hold none smaller."""
    if isinstance(trade_id, int):
        return TradeCursor(trade_id + 1, "")
    return TradeCursor(milliseconds, f"{trade_id} ")
