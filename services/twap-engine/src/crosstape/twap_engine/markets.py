"""The markets an order may be filled in, by any spelling."""

from __future__ import annotations

from decimal import Decimal

from msgspec import Struct

from crosstape.common.market.instrument import Kind
from crosstape.common.symbols import SymbolTables, split_tradingview
from crosstape.twap_engine.order import Market

UNTOLD_LOT = Decimal("0.00000001")
"""Where an exchange does not tell its lot size."""


class Place(Struct, frozen=True):
    """Where an order may be filled. `quote_aliases` are by exchange the quotes that stand in for the one asked for;
    `canonical` names what is traded; `lot` is the coarsest of the markets' lots."""

    markets: tuple[Market, ...]
    quote_aliases: dict[str, str]
    canonical: str
    lot: Decimal


class Directory:
    """Where orders may be filled, by the symbol tables of all exchanges."""

    def __init__(self, tables: SymbolTables):
        self._tables = tables

    def place(self, symbol: str, exchange: str = "") -> Place:
        """The markets that `symbol` names on `exchange`, or on all of them: in any spelling, and of one kind.

        Raises ExchangeNotFound, SymbolNotFound, ValidationFailed, and ServiceUnavailable while there is no list.
        """
        prefix, _ = split_tradingview(symbol)
        if not exchange and prefix in self._tables.exchanges:
            exchange = prefix
        found = [self._tables.table(exchange).resolve(symbol)] if exchange else self._tables.everywhere(symbol)
        kind = Kind.SPOT if any(one.instrument.kind is Kind.SPOT for one in found) else Kind.PERPETUAL
        chosen = [one for one in found if one.instrument.kind is kind]
        exact = [one for one in chosen if one.quote_alias is None] or chosen
        return Place(
            markets=tuple(sorted(Market(one.instrument.exchange, one.instrument.symbol) for one in chosen)),
            quote_aliases={one.instrument.exchange: one.quote_alias for one in chosen if one.quote_alias},
            canonical=exact[0].instrument.symbol,
            lot=max(Decimal(one.instrument.lot_size) if one.instrument.lot_size else UNTOLD_LOT for one in chosen),
        )
