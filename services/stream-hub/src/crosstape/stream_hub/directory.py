"""Every spelling of every market, from the lists that history keeps."""

from __future__ import annotations

import asyncio
import contextlib

import structlog
from msgspec import Struct

from crosstape.common.errors import ExchangeNotFound, ServiceUnavailable, SymbolNotFound
from crosstape.common.symbols import SUGGESTIONS, SymbolTable, exchange_id
from crosstape.stream_hub.history import History

log = structlog.get_logger(__name__)

REFRESH_SECONDS = 600.0
RETRY_SECONDS = 2.0
EVERY = "*"
"""In an exchange's place: all of them."""


class Listed(Struct, frozen=True):
    """A market that a spelling names; `quote_alias` is its quote where another was asked for."""

    exchange: str
    symbol: str
    quote_alias: str | None = None


class Directory:
    """The symbol tables of all exchanges; `run` keeps them."""

    def __init__(self, history: History):
        self._history = history
        self._tables: dict[str, SymbolTable] = {}
        self._exchanges: list[str] = []

    @property
    def is_known(self) -> bool:
        """Whether there is a table of any exchange, and every one has been asked."""
        return bool(self._tables)

    @property
    def _is_whole(self) -> bool:
        return bool(self._exchanges) and all(exchange in self._tables for exchange in self._exchanges)

    async def run(self, stop: asyncio.Event) -> None:
        """Fetch the lists now and then until `stop`."""
        while not stop.is_set():
            await self.refresh()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), REFRESH_SECONDS if self._is_whole else RETRY_SECONDS)

    async def refresh(self) -> None:
        """Fetch every list that can be had; what is known of the others stays."""
        try:
            self._exchanges = await self._history.exchanges()
        except ServiceUnavailable:
            return
        tables = dict(self._tables)
        for exchange in self._exchanges:
            with contextlib.suppress(ServiceUnavailable):
                tables[exchange] = SymbolTable(exchange, await self._history.instruments(exchange))
        self._tables = tables

    def resolve(self, exchange: str, symbol: str) -> Listed:
        """The market that `symbol` names on `exchange`, both in any spelling.

        Raises ExchangeNotFound, SymbolNotFound, ValidationFailed, and ServiceUnavailable while there is no list.
        """
        table = self._table(exchange)
        found = table.resolve(symbol)
        return Listed(table.exchange, found.instrument.symbol, found.quote_alias)

    def resolve_everywhere(self, symbol: str) -> list[Listed]:
        """The markets that `symbol` names on all exchanges, by exchange.

        Raises SymbolNotFound when there is none, ValidationFailed, ServiceUnavailable.
        """
        if not self._tables:
            raise ServiceUnavailable("The market lists are not known yet: try again in a moment.")
        found: list[Listed] = []
        suggestions: dict[str, None] = {}
        for exchange in sorted(self._tables):
            try:
                found.append(self.resolve(exchange, symbol))
            except SymbolNotFound as error:
                suggestions |= dict.fromkeys(error.details.get("suggestions", ()))
        if not found:
            raise SymbolNotFound(
                f"No exchange has a symbol {symbol}.", {"suggestions": list(suggestions)[:SUGGESTIONS]}
            )
        return found

    def _table(self, exchange: str) -> SymbolTable:
        name = exchange_id(exchange)
        if (table := self._tables.get(name)) is not None:
            return table
        if name in self._exchanges or not self._exchanges:
            raise ServiceUnavailable("The exchange's market list is not known yet: try again in a moment.")
        raise ExchangeNotFound(
            f"No such exchange. There are: {', '.join(self._exchanges)}.", {"exchanges": self._exchanges}
        )


def common_symbol(asked: str, markets: list[Listed]) -> str:
    """The canonical symbol of what was asked for on all exchanges: that of a market which has its very quote, or else
    what was written."""
    return next((market.symbol for market in markets if market.quote_alias is None), asked.strip().upper())
