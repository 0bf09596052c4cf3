"""Which market a request names: every spelling, looked up in the exchange's own market list before any query."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from weakref import WeakValueDictionary

import msgspec
import pyarrow as pa
import structlog
from msgspec import Struct

from crosstape.common.errors import DatabaseError, ExchangeError, SymbolNotFound
from crosstape.common.market.instrument import Instrument, split_symbol
from crosstape.common.symbols import SUGGESTIONS, SymbolTable, exchange_id, exchange_not_found, split_tradingview
from crosstape.history.exchanges import PATIENT_SECONDS, REQUEST_SECONDS
from crosstape.history.store import Store

log = structlog.get_logger(__name__)

FetchMarkets = Callable[[str, float], Awaitable[Sequence[Instrument]]]
"""The market list of an exchange, within so many seconds. Raises ExchangeError."""

REFRESH_SECONDS = 3_600.0
RETRY_SECONDS = 30.0
TICK_SECONDS = 5.0


class Market(Struct, frozen=True):
    """A market of the tape. `quote_alias` is its quote where the caller asked for another (BTC-USD)."""

    exchange: str
    instrument: Instrument
    quote_alias: str | None = None

    @property
    def symbol(self) -> str:
        return self.instrument.symbol


class _Known(Struct, frozen=True):
    """`waited` is for how long the exchange was asked (s), `failure` why there is nothing in the table."""

    table: SymbolTable
    stale_at: float
    waited: float
    failure: ExchangeError | None = None


class Markets:
    """The markets of each of `exchanges`, fetched when first asked for, kept in the store for when one is away."""

    def __init__(self, exchanges: Sequence[str], fetch: FetchMarkets, store: Store):
        self.exchanges = tuple(dict.fromkeys(map(exchange_id, exchanges)))
        self._fetch = fetch
        self._store = store
        self._known: dict[str, _Known] = {}
        self._looks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def exchange(self, text: str) -> str:
        """The exchange that `text` names. Raises ExchangeNotFound."""
        exchange = exchange_id(text)
        if exchange not in self.exchanges:
            raise exchange_not_found(self.exchanges)
        return exchange

    async def resolve(self, exchange: str, symbol: str) -> Market:
        """The market that `symbol` names on `exchange`. Raises ExchangeNotFound, SymbolNotFound, ValidationFailed."""
        return await self.resolve_any(self.exchange(exchange), symbol)

    async def resolve_any(self, exchange: str, symbol: str) -> Market:
        """The same on any exchange that can be asked at all, whether or not the platform records it."""
        exchange = exchange_id(exchange)
        table = await self._table(exchange)
        try:
            found = table.resolve(symbol)
        except SymbolNotFound:
            if not self._is_stale(exchange):
                raise
            await self._refresh_once(exchange)
            found = (await self._table(exchange)).resolve(symbol)
        return Market(exchange, found.instrument, found.quote_alias)

    async def resolve_anywhere(self, symbol: str) -> Market:
        """The market of a symbol that names its exchange too (`BINANCE:BTCUSDT.P`), or that one exchange alone has.

        Raises ExchangeNotFound, SymbolNotFound with symbols that name their exchange, ValidationFailed, and
        ExchangeError where a list is lacking: nobody knows then whether it has this market too.
        """
        exchange, rest = split_tradingview(symbol)
        if exchange is not None:
            return await self.resolve(exchange, rest)
        looks = await asyncio.gather(*(self._look(exchange, symbol) for exchange in self.exchanges))
        found = [market for market in looks if isinstance(market, Market)]
        found = [market for market in found if market.quote_alias is None] or found
        if len(found) == 1:
            return found[0]
        if found:
            names = [_tradingview(market.exchange, market.symbol) for market in found]
            said = f"{symbol} is a market of several exchanges: name one of {', '.join(names[:SUGGESTIONS])}."
        else:
            near = itertools.zip_longest(*(names for names in looks if isinstance(names, list)))
            names = [name for equally_near in near for name in equally_near if name]
            said = f"No exchange has a symbol {symbol}. GET /{{exchange}}/symbols lists those of one."
        raise SymbolNotFound(said, {"suggestions": names[:SUGGESTIONS]})

    async def _look(self, exchange: str, symbol: str) -> Market | list[str]:
        """The market that `symbol` names on `exchange`; where there is none, those that look most like it."""
        try:
            return await self.resolve_any(exchange, symbol)
        except SymbolNotFound:
            return [_tradingview(exchange, near) for near in (await self._table(exchange)).suggest(symbol)]

    async def instruments(self, exchange: str) -> Sequence[Instrument]:
        """The markets of any exchange that can be asked. Raises ExchangeNotFound, ExchangeError."""
        return (await self._table(exchange_id(exchange))).instruments

    async def refresh(self) -> None:
        """Keep our lists that were asked for fresh until cancelled, so that no request waits for an exchange twice, and
        no exchange for another. While the database is away they stay as they are."""
        async with asyncio.TaskGroup() as group:
            for exchange in self.exchanges:
                group.create_task(self._keep_fresh(exchange))
            group.create_task(self._see_to_others())

    async def _keep_fresh(self, exchange: str) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            if exchange in self._known and self._is_stale(exchange):
                await self._refresh_patiently(exchange)

    async def _see_to_others(self) -> None:
        """Ask once more, and for longer, those that failed a caller; forget each that nobody asked for since."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            for exchange, known in [*self._known.items()]:
                if exchange in self.exchanges or not self._is_stale(exchange):
                    continue
                if known.failure is not None and known.waited < PATIENT_SECONDS:
                    await self._refresh_patiently(exchange)
                else:
                    self._known.pop(exchange, None)

    async def _refresh_patiently(self, exchange: str) -> None:
        try:
            await self._refresh(exchange, PATIENT_SECONDS)
        except DatabaseError:
            log.warning("market_list_not_refreshed", exchange=exchange)
            stale_at = time.monotonic() + RETRY_SECONDS
            self._known[exchange] = msgspec.structs.replace(self._known[exchange], stale_at=stale_at)

    async def _table(self, exchange: str) -> SymbolTable:
        """What is known of `exchange`: of one of ours from the store if it has a list (soon refreshed), else from the
        exchange itself, which says of an invented name that there is none before anything is looked up or kept."""
        if exchange not in self._known:
            await self._first_look(exchange)
        known = self._known[exchange]
        if known.failure is not None:
            raise known.failure
        return known.table

    async def _first_look(self, exchange: str) -> None:
        async with self._alone(exchange):
            if exchange in self._known:
                return
            if exchange in self.exchanges and (kept := await self._kept(exchange)):
                await self._know(exchange, kept, lasts=0.0, waited=0.0)
            else:
                await self._refresh(exchange, REQUEST_SECONDS)

    async def _refresh_once(self, exchange: str) -> None:
        """Of those who come together one asks."""
        async with self._alone(exchange):
            if self._is_stale(exchange):
                await self._refresh(exchange, REQUEST_SECONDS)

    def _alone(self, exchange: str) -> asyncio.Lock:
        return self._looks.setdefault(exchange, asyncio.Lock())

    def _is_stale(self, exchange: str) -> bool:
        known = self._known.get(exchange)
        return known is None or time.monotonic() >= known.stale_at

    async def _refresh(self, exchange: str, seconds: float) -> None:
        try:
            instruments = list(await self._fetch(exchange, seconds))
        except ExchangeError as error:
            log.warning("market_list_unavailable", exchange=exchange, error=error.message)
            await self._know(exchange, await self._kept(exchange), lasts=RETRY_SECONDS, waited=seconds, failure=error)
        else:
            await self._know(exchange, instruments, lasts=REFRESH_SECONDS, waited=seconds)
            await self._keep(exchange, instruments)

    async def _know(
        self,
        exchange: str,
        instruments: list[Instrument],
        *,
        lasts: float,
        waited: float,
        failure: ExchangeError | None = None,
    ) -> None:
        listed = {instrument.symbol for instrument in instruments}
        instruments = instruments + [i for i in await self._on_tape(exchange) if i.symbol not in listed]
        table = SymbolTable(exchange, instruments)
        stale_at = time.monotonic() + lasts
        self._known[exchange] = _Known(table, stale_at, waited, None if instruments else failure)

    async def _kept(self, exchange: str) -> list[Instrument]:
        rows = await self._store.rows("instruments", exchange=exchange)
        return msgspec.json.decode(rows[0][0], type=list[Instrument]) if rows else []

    async def _keep(self, exchange: str, instruments: Sequence[Instrument]) -> None:
        text = msgspec.json.encode(instruments).decode()
        try:
            await self._store.insert("instruments", pa.table({"exchange": [exchange], "instruments": [text]}))
        except DatabaseError:
            log.warning("market_list_not_kept", exchange=exchange)

    async def _on_tape(self, exchange: str) -> list[Instrument]:
        """What was recorded stays readable, whether or not the exchange still lists it."""
        return [_instrument(exchange, symbol) for (symbol,) in await self._store.rows("symbols", exchange=exchange)]


def _tradingview(exchange: str, symbol: str) -> str:
    """`BINANCE:BTCUSDT.P` for a canonical symbol."""
    return f"{exchange.upper()}:{symbol.replace('-', '')}"


def _instrument(exchange: str, symbol: str) -> Instrument:
    return Instrument(exchange, symbol, *split_symbol(symbol))
