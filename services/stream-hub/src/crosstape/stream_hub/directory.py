"""Every spelling of every market, on one exchange or on all of them."""

from __future__ import annotations

from msgspec import Struct

from crosstape.common.symbols import Resolution, SymbolTables

EVERY = "*"
"""In an exchange's place: all of them."""


class Listed(Struct, frozen=True):
    """A market that a spelling names; `quote_alias` is its quote where another was asked for."""

    exchange: str
    symbol: str
    quote_alias: str | None = None


class Directory:
    """The markets that clients name, by the symbol tables of all exchanges."""

    def __init__(self, tables: SymbolTables):
        self._tables = tables

    def resolve(self, exchange: str, symbol: str) -> Listed:
        """The market that `symbol` names on `exchange`, both in any spelling.

        Raises ExchangeNotFound, SymbolNotFound, ValidationFailed, and ServiceUnavailable while there is no list.
        """
        return _listed(self._tables.table(exchange).resolve(symbol))

    def resolve_everywhere(self, symbol: str) -> list[Listed]:
        """The markets that `symbol` names on all exchanges, by exchange.

        Raises SymbolNotFound when there is none, ValidationFailed, ServiceUnavailable.
        """
        return [_listed(found) for found in self._tables.everywhere(symbol)]


def _listed(found: Resolution) -> Listed:
    return Listed(found.instrument.exchange, found.instrument.symbol, found.quote_alias)


def common_symbol(asked: str, markets: list[Listed]) -> str:
    """The canonical symbol of what was asked for on all exchanges: that of a market which has its very quote, or else
    what was written."""
    return next((market.symbol for market in markets if market.quote_alias is None), asked.strip().upper())
