"""Instrument: what is traded on an exchange, and the one canonical text that names it."""

from __future__ import annotations

import enum

from msgspec import Struct

_PERPETUAL = ".P"
"""TradingView's, at the end of a perpetual future's symbol."""


class Kind(enum.StrEnum):
    """How an instrument settles."""

    SPOT = "spot"
    PERPETUAL = "perpetual"


class Instrument(Struct, frozen=True, gc=False):
    """One market of one exchange.

    `exchange_symbol` is the exchange's own spelling, the one its REST addresses take (`BTCUSDT`, `XBTUSDT`, `BTC-USD`).
    `aliases` are its further spellings (Kraken's `XBT/USD`), `stream_symbol` the one its socket takes when it differs.
    `tick_size` and `lot_size` are the smallest steps of price (quote) and quantity (base), as exact decimal text;
    empty where the exchange does not tell.
    """

    exchange: str
    exchange_symbol: str
    base: str
    quote: str
    kind: Kind = Kind.SPOT
    tick_size: str = ""
    lot_size: str = ""
    stream_symbol: str = ""
    aliases: tuple[str, ...] = ()

    @property
    def symbol(self) -> str:
        """Canonical symbol: `BTC-USDT`; a perpetual future carries TradingView's suffix, `BTC-USDT.P`."""
        suffix = _PERPETUAL if self.kind is Kind.PERPETUAL else ""
        return f"{self.base}-{self.quote}{suffix}"

    @property
    def stream_spelling(self) -> str:
        """The spelling used on the exchange's socket."""
        return self.stream_symbol or self.exchange_symbol


def split_symbol(symbol: str) -> tuple[str, str, Kind]:
    """Base, quote and kind of a canonical symbol. A base may hold dashes and dots; one without a dash is empty."""
    kind = Kind.PERPETUAL if symbol.endswith(_PERPETUAL) else Kind.SPOT
    base, _, quote = symbol.removesuffix(_PERPETUAL).rpartition("-")
    return base, quote, kind
