"""Every spelling of every market, from the lists that history keeps, and the markets an order may be filled in."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import TypeVar

import aiohttp
import msgspec
import structlog
from msgspec import Struct

from crosstape.common.identity.internal import InternalTokens
from crosstape.common.market.instrument import Instrument, Kind
from crosstape.common.symbols import SymbolTables, split_tradingview
from crosstape.common.waiting import pause
from crosstape.twap_engine.order import Market

log = structlog.get_logger(__name__)

HISTORY = "history"
TIMEOUT_SECONDS = 10.0
REFRESH_SECONDS = 600.0
RETRY_SECONDS = 1.0
UNTOLD_LOT = Decimal("0.00000001")
"""Where an exchange does not tell its lot size."""

Answer = TypeVar("Answer")


class _Exchanges(Struct):
    exchanges: list[str]


class _Instruments(Struct):
    instruments: list[Instrument]


class Place(Struct, frozen=True):
    """Where an order may be filled. `canonical` names what is traded; `lot` is the coarsest of the markets' lots."""

    markets: tuple[Market, ...]
    canonical: str
    lot: Decimal


class Directory:
    """The symbol tables of all exchanges; `run` keeps them."""

    def __init__(self, history_url: str, session: aiohttp.ClientSession, tokens: InternalTokens):
        self._url = history_url.rstrip("/")
        self._session = session
        self._tokens = tokens
        self._tables = SymbolTables()

    async def run(self, stop: asyncio.Event) -> None:
        """Fetch the lists now and then until `stop`."""
        while not stop.is_set():
            await self.refresh()
            await pause(stop, REFRESH_SECONDS if self._tables.is_whole else RETRY_SECONDS)

    async def refresh(self) -> None:
        """Fetch every list that can be had; what is known of the others stays."""
        answer = await self._get("/exchanges", _Exchanges)
        if answer is not None:
            self._tables.exchanges = answer.exchanges
        for exchange in self._tables.exchanges:
            if (listed := await self._get(f"/internal/instruments/{exchange}", _Instruments)) is not None:
                self._tables.put(exchange, listed.instruments)

    async def _get(self, path: str, kind: type[Answer]) -> Answer | None:
        try:
            async with (
                asyncio.timeout(TIMEOUT_SECONDS),
                self._session.get(self._url + path, headers=self._tokens.own(HISTORY)) as response,
            ):
                response.raise_for_status()
                return msgspec.json.decode(await response.read(), type=kind)
        except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError) as error:
            log.warning("market_lists_away", path=path, error=type(error).__name__)
            return None

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
            canonical=exact[0].instrument.symbol,
            lot=max(Decimal(one.instrument.lot_size) if one.instrument.lot_size else UNTOLD_LOT for one in chosen),
        )
