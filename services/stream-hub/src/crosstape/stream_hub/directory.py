"""Every spelling of every market, from the lists that history keeps."""

from __future__ import annotations

import asyncio
import contextlib

import structlog
from msgspec import Struct

from crosstape.common.errors import ServiceUnavailable
from crosstape.common.market.instrument import Instrument
from crosstape.common.symbols import Resolution, SymbolTables
from crosstape.common.waiting import pause
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
        self._tables = SymbolTables()

    @property
    def is_known(self) -> bool:
        """Whether there is a table of any exchange, and every one has been asked."""
        return self._tables.is_known

    async def run(self, stop: asyncio.Event) -> None:
        """Fetch the lists now and then until `stop`."""
        while not stop.is_set():
            await self.refresh()
            await pause(stop, REFRESH_SECONDS if self._tables.is_whole else RETRY_SECONDS)

    async def refresh(self) -> None:
        """Fetch every list that can be had; what is known of the others stays."""
        try:
            self._tables.exchanges = await self._history.exchanges()
        except ServiceUnavailable:
            return
        listed: dict[str, list[Instrument]] = {}
        for exchange in self._tables.exchanges:
            with contextlib.suppress(ServiceUnavailable):
                listed[exchange] = await self._history.instruments(exchange)
        for exchange, instruments in listed.items():
            self._tables.put(exchange, instruments)

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
