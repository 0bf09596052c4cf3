"""Every exchange without a dialect of its own, through ccxt's tables, parsers and sockets.

What this cannot do, compared with a dialect: books (ccxt's carry no sequence number, so nobody could verify them);
seeing a lost trade (nothing is known about the exchange's ids); times finer than a millisecond; trades of an exchange
that gives them no id. Numbers are exact where the exchange sends text or goes over REST; a number that is bare JSON on
a socket has been through a float in ccxt, which changes no decimal of up to 15 digits.

ccxt owns the sockets and the pacing, and costs more than a second to import: it is imported when the first exchange is
opened, never by the native dialects.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from decimal import Context, Decimal
from typing import Any

from crosstape.common.errors import ExchangeError, ExchangeNotFound
from crosstape.common.market.bar import Interval
from crosstape.common.market.decimals import decimal_text, is_positive_decimal, plain_text
from crosstape.common.market.instrument import Instrument, Kind
from crosstape.common.market.trade import TakerSide, Trade, TradeId, trade_id
from crosstape.common.symbols import can_be_symbol
from crosstape.exchanges.answers import checked_klines, set_apart, step
from crosstape.exchanges.dialect import FeedError, HistoryPage, HistoryQuery, Kline, Klines, MalformedFrame
from crosstape.exchanges.frames import WRONG, malformed
from crosstape.exchanges.times import MILLISECOND, milliseconds

_WRONG = (*WRONG, ArithmeticError, TypeError)
_EXACT = Context(prec=80)
_SIDES = {"buy": TakerSide.BUY, "sell": TakerSide.SELL}
_DECIMAL_PLACES, _TICK_SIZE = 2, 4
"""ccxt's `precisionMode`: what `precision` counts."""

_PAGE = 500

LOOK_BACK = 60_000_000_000
"""How far (ns) before the wanted time trades are asked for: one of them shows that none after it is left out."""

LEAST_LOOK_BACK = 3_600_000_000_000
"""How far (ns) an exchange's newest trades look back where they are limited by time (Bitstamp's, ccxt 4.5.64): where
there are none, nobody traded for so long."""

MOST_TRADES = 10_000
"""So many trades end an answer that is worth its look back: what is newer is left to the next one."""

_FINAL = {"ArgumentsRequired", "BadRequest", "NotSupported"}
"""ccxt's errors, by name as ccxt is imported late, that the same request would meet again."""

_NO_ID = "id"


class Unanswerable(ExchangeError):
    """Asking again would not help: the request is refused as such, or its answer lacks what it never has."""


def open_exchange(exchange: str) -> CcxtExchange:
    """The exchange of this ccxt id. Raises ExchangeNotFound."""
    pro = importlib.import_module("ccxt.pro")
    plain = importlib.import_module("ccxt.async_support")
    if exchange not in plain.exchanges:
        raise ExchangeNotFound(f"Unknown exchange: {exchange[:40]}.")
    client = getattr(pro if exchange in pro.exchanges else plain, exchange)({"enableRateLimit": True})
    client.number = str
    return CcxtExchange(exchange, client)


class CcxtExchange:
    """One exchange through an open ccxt client; `close` it at the end. `now` is wall time in ns.

    Symbols go to ccxt in its unified form, which `markets` puts into `Instrument.stream_symbol`.
    """

    def __init__(self, exchange: str, client: Any, now: Callable[[], int] = time.time_ns):
        self.exchange = exchange
        self._client = client
        self._now = now
        self._contract_sizes: dict[str, Decimal] = {}

    async def close(self) -> None:
        """Close the sockets and the session."""
        await self._client.close()

    async def markets(self) -> list[Instrument]:
        """Active spot markets and linear perpetual futures that a symbol can name. Raises ExchangeError."""
        markets = await self._call(self._client.load_markets, True)  # what ccxt remembers may have changed
        try:
            self._contract_sizes = {
                m["symbol"]: Decimal(m["contractSize"])
                for m in markets.values()
                if is_positive_decimal(str(m["contractSize"]))
            }
            instruments = [self._instrument(m) for m in markets.values() if _is_offered(m)]
        except _WRONG as error:
            raise ExchangeError(f"{self.exchange} sent markets that cannot be read: {error}") from error
        return [instrument for instrument in instruments if can_be_symbol(instrument.symbol)]

    def _instrument(self, market: Mapping[str, Any]) -> Instrument:
        precision = market.get("precision") or {}
        return Instrument(
            self.exchange,
            market["id"],
            market["base"],
            market["quote"],
            Kind.PERPETUAL if market.get("swap") else Kind.SPOT,
            self._step(precision.get("price")),
            self._step(precision.get("amount")),
            stream_symbol=market["symbol"],
            aliases=(market["symbol"],),
        )

    def _step(self, precision: Any) -> str:
        if precision is None:
            return ""
        if self._client.precisionMode == _TICK_SIZE:
            return step(_plain(precision))
        if self._client.precisionMode == _DECIMAL_PLACES:
            return decimal_text(Decimal(1).scaleb(-int(precision)))
        return ""

    async def watch_trades(self, instrument: Instrument) -> AsyncIterator[list[Trade]]:
        """New trades of one market as they come, also those that no tape can hold.

        Raises FeedError when the stream cannot go on, MalformedFrame.
        """
        while True:
            try:
                raw = await self._client.watch_trades(instrument.stream_spelling)
            except Exception as error:
                raise FeedError(f"{self.exchange}: {_said(error)}") from error
            yield self._trades(instrument, raw)

    async def trade_history(self, query: HistoryQuery) -> AsyncIterator[HistoryPage]:
        """One page: the trades from the start of `query` to now, or to the page's `until`, as far back as can be proved
        that none of them is left out. Many exchanges give their newest trades, whatever time is asked for, and ccxt
        then drops those before it.

        Raises ExchangeError, Unanswerable where asking again would not help.
        """
        now = self._now()
        held = await self._page(query.instrument, None)
        until = max([now, *(trade.time for trade in held.values())])  # the exchange's clock may be ahead
        oldest = min((trade.time for trade in held.values()), default=now - LEAST_LOOK_BACK)
        if oldest >= query.start:
            held, until = await self._reaching_back(query, held, until)
            oldest = min([oldest, *(trade.time for trade in held.values())])
        trades, refused = set_apart(held.values())
        refused = [trade for trade in refused if trade.time >= query.start]
        reaches_back = oldest < query.start
        yield HistoryPage(trades, None, reaches_back, refused, since=None if held else oldest, until=until)

    async def _reaching_back(
        self, query: HistoryQuery, newest: dict[TradeId, Trade], until: int
    ) -> tuple[dict[TradeId, Trade], int]:
        """`newest`, what pages that share a trade with the next one hold before them, and until when (ns) nothing lacks
        of both: `until`, or before it when there are so many that `newest` is not joined yet."""
        held: dict[TradeId, Trade] = {}
        since = query.start - LOOK_BACK
        while not held.keys() & newest.keys():
            if len(held) >= MOST_TRADES and since > query.start + LOOK_BACK:
                return held | newest, since
            try:
                page = await self._page(query.instrument, since)
            except Unanswerable:
                return newest, until
            held = held | page if held.keys() & page.keys() else page
            latest = max((trade.time for trade in page.values()), default=since)
            if latest <= since:
                return newest, until
            since = latest
        return held | newest, until

    async def _page(self, instrument: Instrument, since: int | None) -> dict[TradeId, Trade]:
        """The trades from `since` (ns) on or the newest ones, as many as one answer holds, by their ids."""
        wanted = None if since is None else since // MILLISECOND
        raw = await self._call(self._client.fetch_trades, instrument.stream_spelling, wanted, _PAGE)
        try:
            return {trade.trade_id: trade for trade in self._trades(instrument, raw)}
        except MalformedFrame as error:
            kind = Unanswerable if error.kind == _NO_ID else ExchangeError
            raise kind(f"{self.exchange} sent trades that cannot be read: {error}") from error

    def intervals(self) -> Sequence[Interval]:
        """The candle lengths the exchange offers."""
        offered = self._client.timeframes or {}
        return [interval for interval in Interval if interval.value in offered]

    async def klines(self, instrument: Instrument, interval: Interval, start: int, end: int) -> Klines:
        """The candles that open in [start, end) ms, the still open one included; how far the exchange reaches back is
        not known. Raises ExchangeError.
        """
        found: dict[int, Kline] = {}
        since = start
        while since < end:
            rows = await self._call(self._client.fetch_ohlcv, instrument.stream_spelling, interval.value, since, _PAGE)
            page = self._klines(rows)
            found |= {kline.open_time: kline for kline in page if start <= kline.open_time < end}
            if not page or page[-1].open_time < since:
                break
            since = page[-1].open_time + 1
        return Klines([found[open_time] for open_time in sorted(found)], start)

    def _klines(self, rows: Sequence[Sequence[Any]]) -> list[Kline]:
        try:
            return checked_klines([Kline(int(row[0]), *map(_plain, row[1:6])) for row in rows])
        except _WRONG as error:
            raise ExchangeError(f"{self.exchange} sent candles that cannot be read: {error}") from error

    def _trades(self, instrument: Instrument, raw: Sequence[Mapping[str, Any]]) -> list[Trade]:
        received = self._now()
        size = self._contract_sizes.get(instrument.stream_spelling) if instrument.kind is Kind.PERPETUAL else None
        try:
            return [_trade(instrument, one, size, received) for one in raw]
        except _WRONG as error:
            raise malformed(error) from error

    async def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return await function(*arguments)
        except Exception as error:
            is_final = any(kind.__name__ in _FINAL for kind in type(error).__mro__)
            kind = Unanswerable if is_final else ExchangeError
            raise kind(f"{self.exchange} failed: {_said(error)}") from error


def _is_offered(market: Mapping[str, Any]) -> bool:
    is_linear_swap = bool(market.get("swap")) and bool(market.get("linear"))
    return market.get("active") is not False and (bool(market.get("spot")) or is_linear_swap)


def _trade(instrument: Instrument, raw: Mapping[str, Any], contract_size: Decimal | None, received: int) -> Trade:
    if not raw["id"]:
        raise MalformedFrame(_NO_ID, f"{instrument.exchange} gives its trades no id")
    quantity = _told(raw["amount"])
    if contract_size is not None and is_positive_decimal(quantity):
        quantity = decimal_text(_EXACT.multiply(Decimal(quantity), contract_size))
    return Trade(
        instrument.exchange,
        instrument.symbol,
        trade_id(str(raw["id"])),
        milliseconds(str(raw["timestamp"])),
        _told(raw["price"]),
        quantity,
        _SIDES.get(raw["side"], TakerSide.UNKNOWN),
        received,
    )


def _plain(number: Any) -> str:
    """ccxt's number as plain text. Raises ArithmeticError or ValueError where it is none the tape can hold."""
    text = str(number)
    if is_positive_decimal(text):
        return text
    value = Decimal(text)
    if not value.is_finite() or abs(value.adjusted()) > 40:
        raise ValueError(f"not a number to keep: {text[:40]!r}")
    return plain_text(value)


def _told(number: Any) -> str:
    """The same of a trade's number, which is left as it is where it is none: that trade alone is refused for it."""
    try:
        return _plain(number)
    except (ArithmeticError, ValueError):
        return str(number)


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"
