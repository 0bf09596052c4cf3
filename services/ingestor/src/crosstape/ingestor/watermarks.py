"""Where the tape ends and what it lacks, asked of the history service."""

from __future__ import annotations

import aiohttp
import msgspec
from msgspec import Struct

from crosstape.common.identity.internal import InternalTokens
from crosstape.common.market.trade import TradeId


class Watermark(Struct, frozen=True):
    """One market's newest stored trade (time in ns), and the id ranges missing below it in the hours looked at.

    `covered_until` (ns) is the end of what connections covered that began before the asked moment, 0 for none.
    """

    symbol: str
    newest_trade_id: TradeId
    newest_time: int
    holes: list[tuple[int, int]]
    covered_until: int = 0


class _Answer(Struct):
    markets: list[Watermark]


_decoder = msgspec.json.Decoder(_Answer)


async def fetch_watermarks(
    session: aiohttp.ClientSession, history_url: str, tokens: InternalTokens, exchange: str, before: int
) -> dict[str, Watermark]:
    """By symbol, every market of `exchange` that the tape has; `before` (ns) is what `covered_until` looks back from.

    Raises aiohttp.ClientError, TimeoutError.
    """
    url = f"{history_url}/internal/watermarks/{exchange}?before={before}"
    async with session.get(url, headers=tokens.own("history")) as response:
        response.raise_for_status()
        answer = _decoder.decode(await response.read())
    return {market.symbol: market for market in answer.markets}
