"""The toy venue's dialect: everything the platform must know of an exchange, in one pure module.

Its wire is text. Socket `/feed`: `+trades llama~gold` subscribes; one message a line from then on:

    t llama~gold 41 1751328000123 2.50 0.75 b          trade: id, ms, price, quantity, taker's side (b or s)
    b llama~gold 7 1751328000123 2.49:3,2.48:1 2.51:2  whole book: number, ms, bids, asks (`-`: none)
    u llama~gold 8 1751328000125 2.49:0 -              change: number one above the last, quantity 0 removes

REST: `/markets` (`llama~gold LLAMA GOLD 0.01 0.05` a line: name, base, quote, tick, lot) and
`/trades/llama~gold?from=41` (lines as on the socket, ascending, at most 50).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crosstape.common.market.bar import Interval
from crosstape.common.market.book import BookUpdate, Level, OrderBook
from crosstape.common.market.instrument import Instrument
from crosstape.common.market.trade import TakerSide, Trade
from crosstape.exchanges.answers import step
from crosstape.exchanges.dialect import (
    Channel,
    Decode,
    Event,
    HistoryPage,
    HistoryQuery,
    HttpRequest,
    Kline,
    RateLimit,
    Rejected,
    StreamedBooks,
    Subscription,
)
from crosstape.exchanges.frames import WRONG, malformed
from crosstape.exchanges.sockets import per_socket, symbols_by_spelling
from crosstape.exchanges.times import milliseconds

PAGE = 50
_SIDES = {"b": TakerSide.BUY, "s": TakerSide.SELL}
_MARKETS_PER_SOCKET = 10


class Toy(StreamedBooks):
    """The dialect of the toy venue."""

    exchange = "toy"
    addresses: Mapping[str, str] = {"rest": "https://toy.example", "stream": "wss://toy.example"}
    rate_limits: Mapping[str, RateLimit] = {"rest": RateLimit(weight=1_000, seconds=1)}
    refused_seconds: Mapping[int, float] = {429: 10.0}
    klines_per_request: int | None = None
    klines_reach: int | None = None

    def markets(self) -> Sequence[HttpRequest]:
        return [HttpRequest("rest", "/markets")]

    def decode_markets(self, bodies: Sequence[bytes]) -> list[Instrument]:
        try:
            rows = [line.split() for body in bodies for line in body.decode().splitlines()]
            return [
                Instrument(self.exchange, name, base, quote, tick_size=step(tick), lot_size=step(lot))
                for name, base, quote, tick, lot in rows
            ]
        except WRONG as error:
            raise malformed(error) from error

    def subscriptions(self, instruments: Sequence[Instrument], channels: frozenset[Channel]) -> list[Subscription]:
        return [
            Subscription(
                "stream",
                "/feed",
                tuple(f"+{channel} {one.stream_spelling}".encode() for channel in sorted(channels) for one in group),
                group,
                channels,
                _decoder(symbols_by_spelling(group)),
            )
            for group in per_socket(instruments, _MARKETS_PER_SOCKET)
        ]

    def numbers_trades(self, instrument: Instrument) -> bool:
        return True

    def history(self, query: HistoryQuery) -> HttpRequest:
        first = query.cursor or str(query.first_id or 0)
        return HttpRequest("rest", f"/trades/{query.instrument.exchange_symbol}", {"from": first})

    def decode_history(self, query: HistoryQuery, body: bytes, time_received: int) -> HistoryPage:
        try:
            lines = body.decode().splitlines()
            trades = [_trade(line.split(), query.instrument.symbol, time_received) for line in lines]
        except WRONG as error:
            raise malformed(error) from error
        newest = max((int(trade.trade_id) for trade in trades), default=-1)
        is_end = len(trades) < PAGE or (query.last_id is not None and newest >= query.last_id)
        return HistoryPage(trades, None if is_end else str(newest + 1), reaches_back=True)

    def continues(self, last_id: int | None, update: BookUpdate) -> bool | None:
        return last_id is not None and update.last_id == last_id + 1

    def verify(self, book: OrderBook, update: BookUpdate) -> bool:
        return True

    def intervals(self) -> Sequence[Interval]:
        return ()

    def klines(self, instrument: Instrument, interval: Interval, start: int, end: int) -> HttpRequest:
        raise Rejected("toy: it has no candles")

    def decode_klines(self, instrument: Instrument, body: bytes) -> list[Kline]:
        raise Rejected("toy: it has no candles")


def _decoder(symbols: Mapping[str, str]) -> Decode:
    def decode(frame: bytes, time_received: int) -> Sequence[Event]:
        try:
            lines = [line.split() for line in str(frame, "utf-8").splitlines()]
            return [_event(words, symbols[words[1]], time_received) for words in lines]
        except WRONG as error:
            raise malformed(error) from error

    return decode


def _event(words: list[str], symbol: str, time_received: int) -> Event:
    if words[0] == "t":
        return _trade(words, symbol, time_received)
    kind, _, number, time, bids, asks = words
    if kind not in ("b", "u"):
        raise ValueError(f"not a message: {kind[:40]!r}")
    sides = (_levels(bids), _levels(asks))
    return BookUpdate("toy", symbol, kind == "b", *sides, milliseconds(time), time_received, last_id=int(number))


def _trade(words: list[str], symbol: str, time_received: int) -> Trade:
    _, _, number, time, price, quantity, side = words
    return Trade("toy", symbol, int(number), milliseconds(time), price, quantity, _SIDES[side], time_received)


def _levels(text: str) -> list[Level]:
    if text == "-":
        return []
    prices = [level.partition(":") for level in text.split(",")]
    return [(price, quantity) for price, _, quantity in prices]
