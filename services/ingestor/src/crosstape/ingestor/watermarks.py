"""Where the tape ends and what it lacks, asked of the history service."""

from __future__ import annotations

import asyncio

import aiohttp
import msgspec
import structlog
from msgspec import Struct

from crosstape.common.identity.internal import InternalTokens
from crosstape.common.identity.services import HISTORY
from crosstape.common.market.trade import TradeId
from crosstape.ingestor.sequence import Hole

log = structlog.get_logger(__name__)

RETRY_SECONDS = 1.0


class Watermark(Struct, frozen=True):
    """One market's newest stored trade (time in ns), and what is missing below it in the hours looked at."""

    symbol: str
    newest_trade_id: TradeId
    newest_time: int
    holes: list[Hole]


class Watermarks(Struct, frozen=True):
    """By symbol, what the tape has of one exchange; and of markets without trade numbers the intervals (ns) until now
    that nobody vouched for, nor gave up, and those of which the bus lost what nobody has repaired."""

    markets: dict[str, Watermark]
    uncovered: dict[str, list[tuple[int, int]]]
    lost_on_bus: dict[str, list[tuple[int, int]]] = {}


class _Answer(Struct):
    markets: list[Watermark]
    uncovered: dict[str, list[tuple[int, int]]]
    lost_on_bus: dict[str, list[tuple[int, int]]] = {}  # a history of before does not tell


_decoder = msgspec.json.Decoder(_Answer)


class StoredTape:
    """One exchange's tape, as the history service has stored it."""

    def __init__(self, session: aiohttp.ClientSession, history_url: str, tokens: InternalTokens, exchange: str):
        self._session = session
        self._url = f"{history_url}/internal/watermarks/{exchange}"
        self._tokens = tokens
        self._exchange = exchange
        self._is_there = True

    async def look(self) -> Watermarks | None:
        """What it has, or None while history is away, which is said once."""
        try:
            async with self._session.get(self._url, headers=self._tokens.own(HISTORY)) as response:
                response.raise_for_status()
                answer = _decoder.decode(await response.read())
        except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError) as error:
            if self._is_there:
                log.warning("watermarks_unavailable", exchange=self._exchange, error=str(error) or type(error).__name__)
            self._is_there = False
            return None
        self._is_there = True
        return Watermarks({market.symbol: market for market in answer.markets}, answer.uncovered, answer.lost_on_bus)

    async def wait(self) -> Watermarks:
        """What it has, however long history is away."""
        while (watermarks := await self.look()) is None:
            await asyncio.sleep(RETRY_SECONDS)
        return watermarks
