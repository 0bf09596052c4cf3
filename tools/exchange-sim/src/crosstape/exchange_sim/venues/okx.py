"""OKX v5: public and business sockets, REST market data, spot and linear swaps.

https://www.okx.com/docs-v5/en/#order-book-trading-market-data-ws-order-book-channel
`trades-all` (business socket) tells every trade; `trades` joins consecutive ones of one price, side and time
and tells their `count`. A book message continues the one whose `seqId` is its `prevSeqId`; a snapshot has
-1; the checksum is 0 since 2026-06. Sizes of swaps are in contracts.
"""

import re
from collections.abc import Iterable
from typing import Any

import msgspec

from crosstape.exchange_sim.bars import Bar
from crosstape.exchange_sim.channel_key import ChannelKey
from crosstape.exchange_sim.decimal_text import parsed, trimmed
from crosstape.exchange_sim.feed import Channel, Feed
from crosstape.exchange_sim.instruments import Instrument, Kind
from crosstape.exchange_sim.market import Market
from crosstape.exchange_sim.matching import BookSide
from crosstape.exchange_sim.session import Session
from crosstape.exchange_sim.trade_history import Trade
from crosstape.exchange_sim.venues.dialect import (
    NS_PER_MS,
    NS_PER_S,
    Answer,
    Dialect,
    Query,
    answer,
    integer,
    json_object,
)
from crosstape.exchange_sim.venues.okx_channels import Books, JoinedTrades, TradesAll, level_json

CHANNELS = {"/ws/v5/public": ("trades", "books"), "/ws/v5/business": ("trades-all",)}
BARS = {
    "1s": "1s", "1m": "1m", "3m": "3m", "5m": "5m", "15m": "15m", "30m": "30m", "1H": "1h", "2H": "2h",
    "4H": "4h", "6Hutc": "6h", "12Hutc": "12h", "1Dutc": "1d", "2Dutc": "2d", "3Dutc": "3d", "1Wutc": "1w",
    "1Mutc": "1M",
}  # fmt: skip


class Okx(Dialect):
    """Channels by `instId`; a channel answers only on its own socket path."""

    exchange = "okx"
    spoil_pattern = re.compile(rb'"prevSeqId":(\d+)')

    def kind_of(self, symbol: str) -> Kind:
        return "perpetual" if symbol.endswith("-SWAP") else "spot"

    def channel(self, key: ChannelKey) -> Channel:
        market = self.markets[self.kind_of(key.symbol), key.symbol]
        if key.name == "books":
            return Books(market)
        return TradesAll(self, market) if key.name == "trades-all" else JoinedTrades(self, market)

    def receive(self, session: Session, text: str, feed: Feed, now_ns: int) -> None:
        if text == "ping":
            session.reply(b"pong")
            return
        request = json_object(text)
        operation = request.get("op") if request else None
        arguments = request.get("args") if request else None
        connection = f"{id(session):016x}"[-8:]
        if operation not in ("subscribe", "unsubscribe") or not isinstance(arguments, list):
            session.reply(failure("60012", f"Illegal request: {text[:200]}", connection))
            return
        for argument in arguments:
            key = self._wanted(session, argument)
            if key is None:
                name, symbol = argument.get("channel"), argument.get("instId")
                message = f"Wrong URL or channel:{name},instId:{symbol} doesn't exist."
                session.reply(failure("60018", message, connection))
                continue
            acknowledgement = {"event": operation, "arg": argument, "connId": connection}
            session.reply(msgspec.json.encode(acknowledgement))
            if operation == "subscribe":
                feed.subscribe(session, key)
            else:
                feed.unsubscribe(session, key)

    def _wanted(self, session: Session, argument: dict[str, Any]) -> ChannelKey | None:
        name, symbol = str(argument.get("channel")), str(argument.get("instId"))
        if name not in CHANNELS.get(session.path, ()) or (self.kind_of(symbol), symbol) not in self.markets:
            return None
        return ChannelKey("okx/stream", name, symbol)

    def refused(self, status: int) -> Answer:
        code, message = (
            ("50011", "Too Many Requests") if status == 429 else ("50001", "Service temporarily unavailable")
        )
        return answer({"code": code, "data": [], "msg": message}, status)

    def rest(self, address: str, path: str, query: Query, now_ns: int) -> Answer:
        route = path.removeprefix("/api/v5/")
        if route == "public/time":
            return data_of([{"ts": str(now_ns // NS_PER_MS)}])
        if route == "public/instruments":
            kinds: dict[str, Kind] = {"SPOT": "spot", "SWAP": "perpetual"}
            kind = kinds.get(query.get("instType", ""))
            return data_of([listed(market.instrument) for (one, _), market in self.markets.items() if one == kind])
        handlers = {
            "market/trades": self.trades, "market/history-trades": self.history_trades,
            "market/books": self.books, "market/candles": self.candles,
            "market/history-candles": self.candles,
        }  # fmt: skip
        if route not in handlers:
            return answer({"code": "404", "data": [], "msg": "Not Found"}, 404)
        symbol = query.get("instId", "")
        market = self.markets.get((self.kind_of(symbol), symbol))
        if market is None:
            return failed("51001", "Instrument ID doesn't exist.")
        try:
            return handlers[route](market, query, now_ns)
        except ValueError:
            return failed("51000", "Parameter error")

    def trades(self, market: Market, query: Query, now_ns: int) -> Answer:
        limit = integer(query, "limit", 100, most=500)
        return data_of([self.trade(market, trade) for trade in reversed(market.history.last(limit))])

    def history_trades(self, market: Market, query: Query, now_ns: int) -> Answer:
        """Newest first, at most 100. `type` 1 pages by trade id, 2 by time (ms): `after` = older than it,
        `before` = newer than it."""
        limit = integer(query, "limit", 100, most=100)
        history = market.history
        trades = history.last(limit)
        if query.get("type", "1") == "1":
            if "after" in query:
                trades = history.before_number(int(query["after"]), limit)
            elif "before" in query:
                trades = history.from_number(int(query["before"]) + 1, limit)
        elif "after" in query:
            trades = history.before_time(self.clock.meant(int(query["after"]) * NS_PER_MS), limit)
        elif "before" in query:
            trades = history.from_time(self.clock.meant((int(query["before"]) + 1) * NS_PER_MS), limit)
        return data_of([self.trade(market, trade) for trade in reversed(trades)])

    def trade(self, market: Market, trade: Trade) -> dict[str, str]:
        one = market.instrument
        return {
            "instId": one.symbol,
            "side": trade.side,
            "sz": trimmed(trade.quantity, one.quantity_decimals),
            "px": trimmed(trade.price, one.price_decimals),
            "source": "0",
            "tradeId": self.native_id(market, trade.number),
            "ts": str(self.time_ns(trade) // NS_PER_MS),
        }

    def books(self, market: Market, query: Query, now_ns: int) -> Answer:
        depth, one, engine = integer(query, "sz", 1, most=400), market.instrument, market.engine

        def levels(side: BookSide) -> str:
            return ",".join(level_json(one, side, price, quantity) for price, quantity in side.top(depth))

        return Answer(
            f'{{"code":"0","msg":"","data":[{{"asks":[{levels(engine.asks)}],"bids":[{levels(engine.bids)}],'
            f'"ts":"{now_ns // NS_PER_MS}","seqId":{engine.update_id}}}]}}'.encode()
        )

    def candles(self, market: Market, query: Query, now_ns: int) -> Answer:
        """Newest first, opens older than `after` and newer than `before` (ms, both exclusive), at most 300.
        Bars of
        6 h and more open on UTC multiples only under their `utc` names; without it they follow Hong Kong
        time."""
        name = query.get("bar", "1m")
        if name not in BARS:
            return failed("51000", "Parameter bar error")
        limit = integer(query, "limit", 100, most=300)
        now_s = now_ns // NS_PER_S
        end = min(-(-integer(query, "after", now_ns // NS_PER_MS + 1000) // 1000), now_s + 1)
        start = integer(query, "before", -1) // 1000 + 1
        bars = market.bars(BARS[name], start, end, limit=limit, newest=True)
        return data_of([candle(market, bar, now_s) for bar in reversed(bars)])


def candle(market: Market, bar: Bar, now_s: int) -> list[str]:
    """Time, OHLC, volume (contracts of swaps), volume in base, volume in quote, 1 when closed."""
    one = market.instrument
    value_decimals = len(one.contract_value.partition(".")[2])
    value = parsed(one.contract_value, value_decimals)
    base = trimmed(bar.volume * value, one.quantity_decimals + value_decimals)
    quote = trimmed(bar.notional * value, one.price_decimals + one.quantity_decimals + value_decimals)
    prices = [trimmed(price, one.price_decimals) for price in (bar.open, bar.high, bar.low, bar.close)]
    volume = trimmed(bar.volume, one.quantity_decimals)
    return [str(bar.open_time * 1000), *prices, volume, base, quote, "1" if bar.close_time <= now_s else "0"]


def data_of(rows: Iterable[Any]) -> Answer:
    return answer({"code": "0", "msg": "", "data": rows})


def failed(code: str, message: str) -> Answer:
    return answer({"code": code, "data": [], "msg": message}, 400)


def failure(code: str, message: str, connection: str) -> bytes:
    return msgspec.json.encode({"event": "error", "code": code, "msg": message, "connId": connection})


def listed(one: Instrument) -> dict[str, str]:
    is_swap = one.kind == "perpetual"
    family = f"{one.base}-{one.quote}" if is_swap else ""
    return {
        "instType": "SWAP" if is_swap else "SPOT", "instId": one.symbol, "uly": family, "instFamily": family,
        "baseCcy": "" if is_swap else one.base, "quoteCcy": "" if is_swap else one.quote,
        "settleCcy": one.quote if is_swap else "", "ctVal": one.contract_value if is_swap else "",
        "ctMult": "1" if is_swap else "", "ctValCcy": one.base if is_swap else "",
        "ctType": "linear" if is_swap else "", "tickSz": one.tick_size, "lotSz": one.lot_size,
        "minSz": one.lot_size, "state": "live", "ruleType": "normal", "listTime": "1548133413000",
        "expTime": "",
        "lever": "10", "category": "1", "alias": "", "optType": "", "stk": "", "maxLmtSz": "9999999999",
        "maxMktSz": "1000000",
    }  # fmt: skip
