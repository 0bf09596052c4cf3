"""The markets an order may be filled in, by any spelling."""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

from crosstape.common.errors import ServiceUnavailable, SymbolNotFound
from crosstape.common.market.instrument import Kind
from crosstape.common.symbols import Resolution, SymbolTables, check_symbol, split_tradingview
from crosstape.twap_engine.order import Market

UNTOLD_LOT = Decimal("0.00000001")
"""Where an exchange does not tell its lot size."""


class Place(Struct, frozen=True):
    """Where an order may be filled. `quote_aliases` are by exchange the quotes that stand in for the one asked for;
    `canonical` names what is traded; `lot` is the coarsest of the markets' lots. `unknown` are the exchanges that might
    have a market too: their lists are not known at the moment."""

    markets: tuple[Market, ...]
    quote_aliases: dict[str, str]
    canonical: str
    lot: Decimal
    unknown: tuple[str, ...] = ()


class Directory:
    """Where orders may be filled, by the symbol tables of all exchanges."""

    def __init__(self, tables: SymbolTables):
        self._tables = tables

    def place(self, symbol: str, exchange: str = "") -> Place:
        """The markets that `symbol` names on `exchange`, or on all of them: in any spelling, and of one kind.

        Raises ExchangeNotFound, SymbolNotFound, ValidationFailed, and ServiceUnavailable while a list is missing that
        may have it.
        """
        check_symbol(symbol)  # also while there is no list that would
        prefix, _ = split_tradingview(symbol)
        if not exchange and prefix in self._tables.exchanges:
            exchange = prefix
        found = [self._tables.table(exchange).resolve(symbol)] if exchange else self._everywhere(symbol)
        kind = Kind.SPOT if any(one.instrument.kind is Kind.SPOT for one in found) else Kind.PERPETUAL
        chosen = [one for one in found if one.instrument.kind is kind]
        exact = [one for one in chosen if one.quote_alias is None] or chosen
        return Place(
            markets=tuple(sorted(Market(one.instrument.exchange, one.instrument.symbol) for one in chosen)),
            quote_aliases={one.instrument.exchange: one.quote_alias for one in chosen if one.quote_alias},
            canonical=exact[0].instrument.symbol,
            lot=max(Decimal(one.instrument.lot_size) if one.instrument.lot_size else UNTOLD_LOT for one in chosen),
            unknown=() if exchange else tuple(self._tables.missing),
        )

    def _everywhere(self, symbol: str) -> list[Resolution]:
        try:
            return self._tables.everywhere(symbol)
        except SymbolNotFound:
            if not (missing := self._tables.missing):
                raise
            raise ServiceUnavailable(
                f"Whether there is a market {symbol} is not known at the moment: {', '.join(missing)} did not tell its "
                "market list yet. Try again in a moment."
            ) from None
