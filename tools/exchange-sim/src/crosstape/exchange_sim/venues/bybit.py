"""Bybit v5: public sockets of spot and linear, REST market data.

https://bybit-exchange.github.io/docs/v5/websocket/public/orderbook and .../public/trade
Trade ids of linear contracts are UUIDs without order, those of spot numeric strings. A book's `u` grows by
one with every message. A candle opens at the close before it, which counts in its high and low.
"""

import re
from typing import Any

import msgspec

from crosstape.exchange_sim.bars import Bar
from crosstape.exchange_sim.book_view import Change
from crosstape.exchange_sim.channel_key import ChannelKey
from crosstape.exchange_sim.decimal_text import trimmed
from crosstape.exchange_sim.feed import Channel, Feed
from crosstape.exchange_sim.instruments import Instrument, Kind
from crosstape.exchange_sim.market import Market
from crosstape.exchange_sim.session import Session
from crosstape.exchange_sim.venues.bybit_channels import (
    PACES_MS,
    OrderBook,
    PublicTrade,
    number_of_uuid,
    price_text,
    quantity_text,
    trade_uuid,
)
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

MAX_SPOT_ARGUMENTS = 10
CATEGORIES: dict[str, Kind] = {"spot": "spot", "linear": "perpetual"}
INTERVALS = {
    "1": "1m", "3": "3m", "5": "5m", "15": "15m", "30": "30m", "60": "1h", "120": "2h", "240": "4h",
    "360": "6h", "720": "12h", "D": "1d", "W": "1w", "M": "1M",
}  # fmt: skip
SPOT_ID_OFFSET = 2_290_000_000_000_000_000


def spot_offset(market: Market) -> int:
    """What an id is above its trade's number: nothing in a recording, whose numbers are the ids."""
    return SPOT_ID_OFFSET if market.has_past else 0


class Bybit(Dialect):
    """Topics, up to ten in one request on spot."""

    exchange = "bybit"
    spoil_pattern = re.compile(rb'"u":(\d+)')

    def native_id(self, market: Market, number: int) -> str:
        if known := market.native_ids.get(number):
            return known
        if market.instrument.kind == "perpetual":
            return trade_uuid(market.instrument, number)
        return str(spot_offset(market) + number)

    def number_of(self, market: Market, native_id: str) -> int:
        if market.native_ids:
            return super().number_of(market, native_id)
        if market.instrument.kind == "perpetual":
            return number_of_uuid(native_id)
        return int(native_id) - spot_offset(market)

    def channel(self, key: ChannelKey) -> Channel:
        kind: Kind = "spot" if "spot" in key.address else "perpetual"
        market = self.markets[kind, key.symbol]
        if key.name == "publicTrade":
            return PublicTrade(self, market)
        return OrderBook(market, int(key.variant))

    def receive(self, session: Session, text: str, feed: Feed, now_ns: int) -> None:
        request = json_object(text) or {}
        operation, arguments = request.get("op"), request.get("args") or []
        head = {"conn_id": f"{id(session):016x}", "op": operation, "req_id": request.get("req_id", "")}
        if operation == "ping":
            session.reply(msgspec.json.encode({"success": True, "ret_msg": "pong", **head}))
            return
        if operation not in ("subscribe", "unsubscribe") or not isinstance(arguments, list):
            session.reply(msgspec.json.encode({"success": False, "ret_msg": "Invalid op", **head}))
            return
        is_spot = session.address.endswith("spot.stream")
        if is_spot and len(arguments) > MAX_SPOT_ARGUMENTS:
            session.reply(msgspec.json.encode({"success": False, "ret_msg": "args size >10", **head}))
            return
        keys = [self._wanted(session, str(topic)) for topic in arguments]
        if None in keys:
            message = f"error:handler not found,topic:{arguments[keys.index(None)]}"
            session.reply(msgspec.json.encode({"success": False, "ret_msg": message, **head}))
            return
        session.reply(msgspec.json.encode({"success": True, "ret_msg": "subscribe" if is_spot else "", **head}))
        for key in filter(None, keys):
            if operation == "subscribe":
                feed.subscribe(session, key)
            else:
                feed.unsubscribe(session, key)

    def _wanted(self, session: Session, topic: str) -> ChannelKey | None:
        name, *rest = topic.split(".")
        kind = CATEGORIES.get(session.path.rpartition("/")[2])
        if not rest or kind is None or (kind, rest[-1]) not in self.markets:
            return None
        if name == "publicTrade" and len(rest) == 1:
            return ChannelKey(session.address, name, rest[0])
        if name == "orderbook" and len(rest) == 2 and rest[0].isdigit() and int(rest[0]) in PACES_MS:
            return ChannelKey(session.address, name, rest[1], rest[0])
        return None

    def refused(self, status: int) -> Answer:
        code, message = (10006, "Too many visits!") if status == 429 else (10016, "Internal server error")
        return answer({"retCode": code, "retMsg": message, "result": {}, "retExtInfo": {}}, status)

    def rest(self, address: str, path: str, query: Query, now_ns: int) -> Answer:
        route = path.removeprefix("/v5/market/")
        if route == "time":
            seconds = now_ns // NS_PER_S
            return result_of({"timeSecond": str(seconds), "timeNano": str(now_ns)}, now_ns)
        kind = CATEGORIES.get(query.get("category", ""))
        if kind is None:
            return failed("params error: category invalid", now_ns)
        try:
            if route == "instruments-info":
                return self.instruments_info(kind, query, now_ns)
            handlers = {"recent-trade": self.recent, "orderbook": self.order_book, "kline": self.kline}
            if route not in handlers:
                return answer({"retCode": 404, "retMsg": "Not Found"}, 404)
            market = self.markets.get((kind, query.get("symbol", "")))
            if market is None:
                return failed("Not supported symbols", now_ns)
            return handlers[route](market, query, now_ns)
        except ValueError:
            return failed("params error", now_ns)

    def instruments_info(self, kind: Kind, query: Query, now_ns: int) -> Answer:
        """Pages of `limit` (500) by `nextPageCursor`, an opaque text; spot comes in one page."""
        found = [market.instrument for (one, symbol), market in self.markets.items()
                 if one == kind and query.get("symbol", symbol) == symbol]  # fmt: skip
        start = integer(query, "cursor", 0)
        limit = integer(query, "limit", 500, most=1000) if kind == "perpetual" else len(found)
        result: dict[str, Any] = {
            "category": query["category"],
            "list": [*map(info, found[start : start + limit])],
        }
        if kind == "perpetual":
            result["nextPageCursor"] = str(start + limit) if start + limit < len(found) else ""
        return result_of(result, now_ns)

    def recent(self, market: Market, query: Query, now_ns: int) -> Answer:
        """Newest first, at most 1000 (spot: 60); there is no way to older ones."""
        one = market.instrument
        most = 60 if one.kind == "spot" else 1000
        trades = market.history.last(integer(query, "limit", min(500, most), most=most))
        rows = [{"execId": self.native_id(market, trade.number), "symbol": one.symbol,
                 "price": price_text(one, trade.price), "size": quantity_text(one, trade.quantity),
                 "side": trade.side.capitalize(), "time": str(self.time_ns(trade) // NS_PER_MS),
                 "isBlockTrade": False, "isRPITrade": False, "seq": str(trade.sequence)}
                for trade in reversed(trades)]  # fmt: skip
        return result_of({"category": query["category"], "list": rows}, now_ns)

    def order_book(self, market: Market, query: Query, now_ns: int) -> Answer:
        one, engine = market.instrument, market.engine
        depth = integer(query, "limit", 1 if one.kind == "spot" else 25, most=200 if one.kind == "spot" else 500)

        def rows(levels: list[Change]) -> list[list[str]]:
            return [[price_text(one, price), quantity_text(one, quantity)] for price, quantity in levels]

        time_ms = now_ns // NS_PER_MS
        book = {
            "s": one.symbol,
            "b": rows(engine.bids.top(depth)),
            "a": rows(engine.asks.top(depth)),
            "ts": time_ms,
            "u": engine.update_id,
            "seq": engine.update_id,
            "cts": time_ms,
        }
        return result_of(book, now_ns)

    def kline(self, market: Market, query: Query, now_ns: int) -> Answer:
        """Newest first, `start` and `end` in ms, both inclusive."""
        interval = INTERVALS.get(query.get("interval", ""))
        if interval is None:
            return failed("Invalid period!", now_ns)
        limit = integer(query, "limit", 200, most=1000)
        end = min(integer(query, "end", now_ns // NS_PER_MS) // 1000, now_ns // NS_PER_S) + 1
        start = -(-integer(query, "start", 0) // 1000)
        bars = market.bars(interval, start, end, limit=limit, newest=True)
        previous = market.close_before(bars[0].open_time) if bars else None
        rows = []
        for bar in bars:
            rows.append(kline_row(market.instrument, bar, bar.open if previous is None else previous))
            previous = bar.close
        return result_of({"category": query["category"], "symbol": market.instrument.symbol,
                          "list": rows[::-1]}, now_ns)  # fmt: skip


def kline_row(one: Instrument, bar: Bar, opened: int) -> list[str]:
    """Start (ms), open, high, low, close, volume in base, turnover in quote."""
    prices = (opened, max(bar.high, opened), min(bar.low, opened), bar.close)
    turnover = trimmed(bar.notional, one.price_decimals + one.quantity_decimals)
    return [str(bar.open_time * 1000), *(price_text(one, price) for price in prices),
            trimmed(bar.volume, one.quantity_decimals), turnover]  # fmt: skip


def result_of(result: dict[str, Any], now_ns: int) -> Answer:
    return answer({"retCode": 0, "retMsg": "OK", "result": result, "retExtInfo": {}, "time": now_ns // NS_PER_MS})


def failed(message: str, now_ns: int) -> Answer:
    """Bybit answers its errors with 200."""
    return answer({"retCode": 10001, "retMsg": message, "result": {}, "retExtInfo": {}, "time": now_ns // NS_PER_MS})


def info(one: Instrument) -> dict[str, Any]:
    common = {"symbol": one.symbol, "status": "Trading", "baseCoin": one.base, "quoteCoin": one.quote}
    if one.kind == "spot":
        return common | {
            "innovation": "0", "marginTrading": "utaOnly", "priceFilter": {"tickSize": one.tick_size},
            "lotSizeFilter": {"basePrecision": one.lot_size, "quotePrecision": "0.0000001",
                              "minOrderQty": one.lot_size, "maxOrderQty": "100000", "minOrderAmt": "5",
                              "maxOrderAmt": "8000000"},
        }  # fmt: skip
    tick = price_text(one, 1)
    return common | {
        "contractType": "LinearPerpetual", "settleCoin": one.quote, "launchTime": "1584230400000",
        "deliveryTime": "0", "deliveryFeeRate": "", "priceScale": str(max(2, one.price_decimals)),
        "leverageFilter": {"minLeverage": "1", "maxLeverage": "100.00", "leverageStep": "0.01"},
        "priceFilter": {"minPrice": tick, "maxPrice": "1999999.80", "tickSize": tick},
        "lotSizeFilter": {"maxOrderQty": "1190.000", "minOrderQty": one.lot_size, "qtyStep": one.lot_size,
                          "minNotionalValue": "5"},
        "unifiedMarginTrade": True, "fundingInterval": 480, "copyTrading": "both", "isPreListing": False,
    }  # fmt: skip
