"""The market lists of all exchanges, as history keeps them."""

from __future__ import annotations

import asyncio
import time
from typing import TypeVar

import aiohttp
import msgspec
import structlog
from msgspec import Struct

from crosstape.common.identity.internal import InternalTokens
from crosstape.common.identity.services import HISTORY
from crosstape.common.market.instrument import Instrument
from crosstape.common.symbols import SymbolTables
from crosstape.common.waiting import pause

log = structlog.get_logger(__name__)

TIMEOUT_SECONDS = 25.0
"""Longer than history itself waits for an exchange."""
REFRESH_SECONDS = 600.0
RETRY_SECONDS = 1.0

Answer = TypeVar("Answer")


class _Exchanges(Struct):
    exchanges: list[str]


class _Instruments(Struct):
    instruments: list[Instrument]


class MarketLists:
    """`tables` has the symbols of every exchange that history answers for; `run` keeps them."""

    def __init__(self, history_url: str, session: aiohttp.ClientSession, tokens: InternalTokens):
        self.tables = SymbolTables()
        self._url = history_url
        self._session = session
        self._tokens = tokens
        self._away: set[str] = set()

    async def run(self, stop: asyncio.Event) -> None:
        """Fetch every list now and then, and those that are missing again and again, until `stop`."""
        due = time.monotonic()
        while not stop.is_set():
            if time.monotonic() >= due:
                due += REFRESH_SECONDS
                await self.refresh()
            elif not self.tables.is_whole:
                await self._complete()
            await pause(stop, RETRY_SECONDS)

    async def refresh(self) -> None:
        """Fetch every list; what is known of one that cannot be had stays."""
        await self._ask_for_exchanges()
        await self._ask_for_lists(self.tables.exchanges)

    async def _complete(self) -> None:
        if not self.tables.exchanges:
            await self._ask_for_exchanges()
        await self._ask_for_lists(self.tables.missing)

    async def _ask_for_exchanges(self) -> None:
        if (answer := await self._get("/exchanges", _Exchanges)) is not None:
            self.tables.exchanges = answer.exchanges

    async def _ask_for_lists(self, exchanges: list[str]) -> None:
        async with asyncio.TaskGroup() as group:  # one that is slow keeps no other waiting
            for exchange in exchanges:
                group.create_task(self._ask_for_list(exchange))

    async def _ask_for_list(self, exchange: str) -> None:
        if (answer := await self._get(f"/internal/instruments/{exchange}", _Instruments)) is not None:
            self.tables.put(exchange, answer.instruments)

    async def _get(self, path: str, kind: type[Answer]) -> Answer | None:
        try:
            async with (
                asyncio.timeout(TIMEOUT_SECONDS),
                self._session.get(self._url + path, headers=self._tokens.own(HISTORY)) as response,
            ):
                response.raise_for_status()
                answer = msgspec.json.decode(await response.read(), type=kind)
        except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError) as error:
            if path not in self._away:
                self._away.add(path)
                log.warning("market_list_away", path=path, error=type(error).__name__, detail=str(error)[:200])
            return None
        self._away.discard(path)
        return answer
