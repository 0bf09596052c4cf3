"""What the hub asks of history over HTTP: bars and trades, as the exact texts that REST answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any, TypeVar

import aiohttp
import msgspec
import structlog
from msgspec import Struct

from crosstape.common.errors import ExchangeNotFound, ServiceUnavailable, SymbolNotFound
from crosstape.common.identity.internal import InternalTokens
from crosstape.common.identity.services import HISTORY
from crosstape.common.market.bar import NANOSECONDS, Bar, BarStatus, Interval
from crosstape.common.market.trade import TakerSide, Trade, TradeId
from crosstape.stream_hub.messages import SIDES

log = structlog.get_logger(__name__)

PAGE = 10_000
TIMEOUT_SECONDS = 20.0
UNKNOWN = (ExchangeNotFound.error_code, SymbolNotFound.error_code)
_SIDES = {text: side for side, text in SIDES.items()}

Answer = TypeVar("Answer")
Row = TypeVar("Row")


class _BarRow(Struct):
    timestamp: int
    open: str
    high: str
    low: str
    close: str
    volume: str
    volume_delta: str
    trades: int
    status: BarStatus
    revision: int
    volume_unknown: str


class _ClosedMinute(_BarRow):
    symbol: str


class _ClosedMinutes(Struct):
    bars: list[_ClosedMinute]


class _Bars(Struct):
    bars: list[_BarRow]
    next_cursor: str | None


class _TradeRow(Struct):
    trade_id: TradeId
    timestamp: Decimal
    price: str
    quantity: str
    side: str


class _Trades(Struct):
    trades: list[_TradeRow]
    next_cursor: str | None


class _Refusal(Struct):
    error_code: str


class NotListed(ServiceUnavailable):
    """History knows no such exchange or market (any more, or yet), however often it is asked."""

    def __init__(self) -> None:
        super().__init__("The platform's history does not know this market: try again later.")


class History:
    """Every method raises ServiceUnavailable when history is away or does not know an answer, and of those NotListed
    when it does not know the market."""

    def __init__(self, url: str, session: aiohttp.ClientSession, tokens: InternalTokens):
        self._url = url
        self._session = session
        self._tokens = tokens

    async def closed_minutes(self, exchange: str, symbols: Sequence[str], since: int) -> dict[str, list[Bar]]:
        """Of each of these markets that has any, the closed minutes from `since` (Unix s) on, oldest first."""
        parameters = {"symbols": list(symbols), "since": since}
        answer = await self._get(f"/internal/closed_minutes/{exchange}", parameters, _ClosedMinutes)
        bars: dict[str, list[Bar]] = {}
        for row in answer.bars:
            bars.setdefault(row.symbol, []).append(_bar(exchange, row.symbol, Interval.M1, row))
        return bars

    async def bars(self, exchange: str, symbol: str, interval: Interval, start: int, end: int) -> list[Bar]:
        """The bars that open in [start, end) Unix s, oldest first, open ones too: for few of them."""
        return [bar async for page in self.bar_pages(exchange, symbol, interval, start, end) for bar in page]

    async def bar_pages(
        self, exchange: str, symbol: str, interval: Interval, start: int, end: int, rows: int = PAGE
    ) -> AsyncGenerator[list[Bar], None]:
        """Pages of at most so many `rows`: the bars that open in [start, end) Unix s, oldest first, open ones too."""
        parameters: dict[str, Any] = {"interval": interval.value, "start": start, "end": end, "limit": rows}

        def bars_of(answer: _Bars) -> list[Bar]:
            return [_bar(exchange, symbol, interval, row) for row in answer.bars]

        async for page in self._pages(f"/api/v1/ohlcv/{exchange}/{symbol}", parameters, _Bars, bars_of):
            yield page

    async def trades(
        self, exchange: str, symbol: str, start: int, end: int, rows: int = PAGE
    ) -> AsyncGenerator[list[Trade], None]:
        """Pages of at most so many `rows`: the trades of time [start, end) ns, by their ids. Their times have
        microseconds, and nobody received them."""
        parameters = {"start": _seconds(start), "end": _seconds(end), "limit": rows}

        def trades_of(answer: _Trades) -> list[Trade]:
            return [_trade(exchange, symbol, row) for row in answer.trades]

        async for page in self._pages(f"/api/v1/trades/{exchange}/{symbol}", parameters, _Trades, trades_of):
            yield page

    async def _pages(
        self, path: str, parameters: Mapping[str, Any], kind: type[Answer], rows_of: Callable[[Answer], list[Row]]
    ) -> AsyncGenerator[list[Row], None]:
        cursor: str | None = None
        while True:
            rows, cursor = await self._page(path, {**parameters, "cursor": cursor}, kind, rows_of)
            yield rows
            if cursor is None:
                return

    async def _page(
        self, path: str, parameters: Mapping[str, Any], kind: type[Answer], rows_of: Callable[[Answer], list[Row]]
    ) -> tuple[list[Row], str | None]:
        """The rows of a page, and where the next one begins. Of the answer itself nothing is kept."""
        asked = {name: value for name, value in parameters.items() if value is not None}
        answer: Any = await self._get(path, {**asked, "numbers": "string"}, kind)
        return rows_of(answer), answer.next_cursor

    async def _get(self, path: str, parameters: Mapping[str, Any], kind: type[Answer]) -> Answer:
        try:
            async with (
                asyncio.timeout(TIMEOUT_SECONDS),
                self._session.get(
                    self._url + path, params=dict(parameters), headers=self._tokens.own(HISTORY)
                ) as response,
            ):
                body = await response.read()
                # A 404 of anything else, such as an ingress with nobody behind it, says nothing of the market.
                if response.status == 404 and msgspec.json.decode(body, type=_Refusal).error_code in UNKNOWN:
                    raise NotListed
                response.raise_for_status()
                return msgspec.json.decode(body, type=kind)
        except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError) as error:
            log.warning("history_failed", path=path, error=type(error).__name__, detail=str(error)[:200])
            raise ServiceUnavailable("The platform's history is not reachable: try again in a moment.") from error


def _seconds(nanoseconds: int) -> str:
    whole, rest = divmod(nanoseconds, NANOSECONDS)
    return f"{whole}.{rest:09d}"


def _bar(exchange: str, symbol: str, interval: Interval, row: _BarRow) -> Bar:
    return Bar(
        exchange=exchange,
        symbol=symbol,
        interval=interval.value,
        open_time=row.timestamp,
        open=row.open,
        high=row.high,
        low=row.low,
        close=row.close,
        volume=row.volume,
        volume_delta=row.volume_delta,
        volume_unknown=row.volume_unknown,
        trades=row.trades,
        first_trade_id=0,
        last_trade_id=0,
        status=row.status,
        revision=row.revision,
    )


def _trade(exchange: str, symbol: str, row: _TradeRow) -> Trade:
    side = _SIDES.get(row.side, TakerSide.UNKNOWN)
    nanoseconds = int(row.timestamp * NANOSECONDS)
    return Trade(exchange, symbol, row.trade_id, nanoseconds, row.price, row.quantity, side, 0)
