"""Where the tape ends and what it lacks, asked of the history service."""

from __future__ import annotations

import aiohttp
import msgspec
from msgspec import Struct

from crosstape.common.identity.internal import InternalTokens
from crosstape.common.market.trade import TradeId


class Watermark(Struct, frozen=True):
    """One market's newest stored trade (time in ns), and the id ranges missing below it in the hours looked at."""

    symbol: str
    newest_trade_id: TradeId
    newest_time: int
    holes: list[tuple[int, int]]


class Watermarks(Struct, frozen=True):
    """By symbol, what the tape has of one exchange; and of markets without trade numbers the intervals (ns) until now
    that nobody vouched for, nor gave up."""

    markets: dict[str, Watermark]
    uncovered: dict[str, list[tuple[int, int]]]


class _Answer(Struct):
    markets: list[Watermark]
    uncovered: dict[str, list[tuple[int, int]]]


_decoder = msgspec.json.Decoder(_Answer)


async def fetch_watermarks(
    session: aiohttp.ClientSession, history_url: str, tokens: InternalTokens, exchange: str
) -> Watermarks:
    """What the tape has of `exchange`. Raises aiohttp.ClientError, TimeoutError, msgspec.MsgspecError."""
    url = f"{history_url}/internal/watermarks/{exchange}"
    async with session.get(url, headers=tokens.own("history")) as response:
        response.raise_for_status()
        answer = _decoder.decode(await response.read())
    return Watermarks({market.symbol: market for market in answer.markets}, answer.uncovered)
