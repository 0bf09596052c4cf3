"""Binance spot and USD-M futures: combined and raw streams, SUBSCRIBE messages, REST market data.

https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams
https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams
Spot diffs carry `U` and `u` (each `U` is the `u` before plus one); USD-M diffs add `pu`, the `u` before. `m`
says the buyer was the maker, so `m: true` is a taker sell. `@aggTrade` gives every trade as an aggregate of
one.
"""

import re
from typing import Any

import msgspec

from crosstape.exchange_sim.bars import Bar
from crosstape.exchange_sim.channel_key import ChannelKey
from crosstape.exchange_sim.decimal_text import fixed
from crosstape.exchange_sim.feed import Channel, Feed
from crosstape.exchange_sim.instruments import Kind
from crosstape.exchange_sim.market import Market
from crosstape.exchange_sim.session import Session
from crosstape.exchange_sim.trade_history import Trade
from crosstape.exchange_sim.venues.binance_channels import (
    SPOT_PLACES,
    AggregateTrades,
    BookTicker,
    DepthDiffs,
    Trades,
    levels_json,
    price_text,
    quantity_text,
)
from crosstape.exchange_sim.venues.dialect import NS_PER_MS, Answer, Dialect, Query, answer, integer, json_object

INTERVALS = (
    "1s",
    "1m",
    "3m",
    "5m",
    "15m",
    "30m",
    "1h",
    "2h",
    "4h",
    "6h",
    "8h",
    "12h",
    "1d",
    "3d",
    "1w",
    "1M",
)
DEPTH_PACES_MS = {"": 100, "0ms": 10, "100ms": 100, "250ms": 250, "500ms": 500, "1000ms": 1000}


def kind_of(address: str) -> Kind:
    return "perpetual" if "perpetual" in address else "spot"


def notional_text(market: Market, notional: int) -> str:
    decimals = market.instrument.price_decimals + market.instrument.quantity_decimals
    return fixed(notional, decimals, max(SPOT_PLACES, decimals))


class Binance(Dialect):
    """Streams by name, symbols in upper case; spot and USD-M by their address."""

    exchange = "binance"
    spoil_pattern = re.compile(rb'"(?:pu|U)":(\d+)(?!.*"pu":)')

    def channel(self, key: ChannelKey) -> Channel:
        pace, _, envelope = key.variant.partition("/")
        market = self.markets[kind_of(key.address), key.symbol]
        stream = f"{key.symbol.lower()}@{key.name}" + (f"@{pace}" if pace else "")
        wrapped = envelope == "combined"
        if key.name == "trade":
            return Trades(self, market, stream, wrapped)
        if key.name == "aggTrade":
            return AggregateTrades(self, market, stream, wrapped)
        if key.name == "bookTicker":
            return BookTicker(self, market, stream, wrapped)
        pace_ms = DEPTH_PACES_MS[pace]
        if not pace:
            pace_ms = 1000 if market.instrument.kind == "spot" else 250
        return DepthDiffs(self, market, stream, wrapped, pace_ms * NS_PER_MS)

    def key(self, session: Session, stream: str) -> ChannelKey | None:
        """`btcusdt@depth@100ms` as a channel; None for a stream that does not exist."""
        symbol, _, rest = stream.partition("@")
        name, _, pace = rest.partition("@")
        known = name in ("trade", "aggTrade", "bookTicker") and not pace
        known = known or (name == "depth" and pace in DEPTH_PACES_MS)
        if not known or (kind_of(session.address), symbol.upper()) not in self.markets:
            return None
        envelope = "combined" if session.wrapped else "raw"
        return ChannelKey(session.address, name, symbol.upper(), f"{pace}/{envelope}")

    def greet(self, session: Session, query: Query, feed: Feed, now_ns: int) -> None:
        # USD-M routes by kind of data since 2026-04-23: /public/stream, /market/stream (ccxt 4.5.64).
        path = session.path.removeprefix("/public").removeprefix("/market")
        session.wrapped = path.startswith("/stream")
        listed = query.get("streams", "") if session.wrapped else path.removeprefix("/ws").strip("/")
        self._subscribe(session, feed, [stream for stream in listed.split("/") if stream])

    def _subscribe(self, session: Session, feed: Feed, streams: list[str]) -> None:
        """A stream that does not exist is accepted and stays silent, as on the real exchange."""
        for stream in streams:
            if key := self.key(session, stream):
                session.subscriptions[stream] = key
                feed.subscribe(session, key)

    def receive(self, session: Session, text: str, feed: Feed, now_ns: int) -> None:
        request = json_object(text) or {}
        request_id = msgspec.json.encode(request.get("id")).decode()
        method, params = request.get("method"), request.get("params") or []
        if method not in ("SUBSCRIBE", "UNSUBSCRIBE", "LIST_SUBSCRIPTIONS") or not isinstance(params, list):
            code = 2 if request else 3
            session.reply(f'{{"error":{{"code":{code},"msg":"Invalid request"}},"id":{request_id}}}'.encode())
            return
        result = "null"
        if method == "LIST_SUBSCRIPTIONS":
            result = msgspec.json.encode(list(session.subscriptions)).decode()
        session.reply(f'{{"result":{result},"id":{request_id}}}'.encode())
        if method == "SUBSCRIBE":
            self._subscribe(session, feed, [str(stream) for stream in params])
        elif method == "UNSUBSCRIBE":
            for stream in params:
                if key := session.subscriptions.pop(str(stream), None):
                    feed.unsubscribe(session, key)

    def refused(self, status: int) -> Answer:
        if status == 429:
            return answer({"code": -1003, "msg": "Too many requests; current limit is 6000."}, status)
        return answer({"code": -1001, "msg": "Internal error; unable to process your request."}, status)

    def rest(self, address: str, path: str, query: Query, now_ns: int) -> Answer:
        kind = kind_of(address)
        route = path.removeprefix("/fapi/v1/" if kind == "perpetual" else "/api/v3/")
        if route == "ping":
            return answer({})
        if route == "time":
            return answer({"serverTime": now_ns // NS_PER_MS})
        if route == "exchangeInfo":
            return answer(self.exchange_info(kind, now_ns))
        handlers = {
            "depth": self.depth, "trades": self.recent, "historicalTrades": self.historical,
            "aggTrades": self.aggregates, "klines": self.klines,
        }  # fmt: skip
        handler = handlers.get(route)
        if handler is None:
            return answer({"code": -5000, "msg": f"Path {path}, Method GET is invalid"}, 404)
        if "symbol" not in query:
            return error(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
        market = self.markets.get((kind, query["symbol"]))
        if market is None:
            return error(-1121, "Invalid symbol.")
        try:
            return handler(market, query, now_ns)
        except ValueError:
            return error(-1100, "Illegal characters found in a parameter.")

    def exchange_info(self, kind: Kind, now_ns: int) -> dict[str, Any]:
        symbols = [symbol_info(market) for (one, _), market in self.markets.items() if one == kind]
        return {"timezone": "UTC", "serverTime": now_ns // NS_PER_MS, "rateLimits": [
            {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 6000},
        ], "exchangeFilters": [], "symbols": symbols}  # fmt: skip

    def depth(self, market: Market, query: Query, now_ns: int) -> Answer:
        is_spot = market.instrument.kind == "spot"
        if market.recorded_book is not None:
            return Answer(market.recorded_book)
        limit = integer(query, "limit", 100 if is_spot else 500, most=5000 if is_spot else 1000)
        times = "" if is_spot else f'"E":{now_ns // NS_PER_MS},"T":{now_ns // NS_PER_MS},'
        bids = levels_json(market, market.engine.bids.top(limit))
        asks = levels_json(market, market.engine.asks.top(limit))
        return Answer(f'{{"lastUpdateId":{market.engine.update_id},{times}"bids":[{bids}],"asks":[{asks}]}}'.encode())

    def recent(self, market: Market, query: Query, now_ns: int) -> Answer:
        limit = integer(query, "limit", 500, most=1000)
        return answer([self.trade(market, trade) for trade in market.history.last(limit)])

    def historical(self, market: Market, query: Query, now_ns: int) -> Answer:
        """Ascending from `fromId` on; without it the newest. USD-M gives at most 500."""
        is_spot = market.instrument.kind == "spot"
        limit = integer(query, "limit", 500 if is_spot else 100, most=1000 if is_spot else 500)
        if "fromId" in query:
            trades = market.history.from_number(int(query["fromId"]), limit)
        else:
            trades = market.history.last(limit)
        return answer([self.trade(market, trade) for trade in trades])

    def aggregates(self, market: Market, query: Query, now_ns: int) -> Answer:
        limit = integer(query, "limit", 500, most=1000)
        if "fromId" in query:
            trades = market.history.from_number(int(query["fromId"]), limit)
        elif "startTime" in query:
            trades = market.history.from_time(self.clock.meant(int(query["startTime"]) * NS_PER_MS), limit)
            if "endTime" in query:
                end_ns = self.clock.meant((int(query["endTime"]) + 1) * NS_PER_MS)
                trades = [trade for trade in trades if trade.time_ns < end_ns]
        else:
            trades = market.history.last(limit)
        return answer([
            {"a": trade.number, "p": price_text(market, trade.price),
             "q": quantity_text(market, trade.quantity), "f": trade.number, "l": trade.number,
             "T": self.time_ns(trade) // NS_PER_MS, "m": trade.side == "sell", "M": True}
            for trade in trades])  # fmt: skip

    def trade(self, market: Market, trade: Trade) -> dict[str, Any]:
        row = {
            "id": trade.number, "price": price_text(market, trade.price),
            "qty": quantity_text(market, trade.quantity),
            "quoteQty": notional_text(market, trade.price * trade.quantity),
            "time": self.time_ns(trade) // NS_PER_MS, "isBuyerMaker": trade.side == "sell",
        }  # fmt: skip
        return row | {"isBestMatch": True} if market.instrument.kind == "spot" else row

    def klines(self, market: Market, query: Query, now_ns: int) -> Answer:
        """`endTime` is inclusive; the newest bars are answered where `startTime` is absent."""
        if query.get("interval") not in INTERVALS:
            return error(-1120, "Invalid interval.")
        limit = integer(query, "limit", 500, most=1000 if market.instrument.kind == "spot" else 1500)
        now_s = now_ns // 1_000_000_000
        start = -(-integer(query, "startTime", 0) // 1000)
        end = min(integer(query, "endTime", now_ns // NS_PER_MS) // 1000, now_s) + 1
        bars = market.bars(query["interval"], start, end, limit=limit, newest="startTime" not in query)
        return answer([kline(market, bar) for bar in bars])


def kline(market: Market, bar: Bar) -> list[Any]:
    """Open time, OHLC, volume, close time, quote volume, trades, taker buy volume, taker buy quote volume,
    unused."""
    prices = [price_text(market, price) for price in (bar.open, bar.high, bar.low, bar.close)]
    return [bar.open_time * 1000, *prices, quantity_text(market, bar.volume), bar.close_time * 1000 - 1,
            notional_text(market, bar.notional), bar.trades, quantity_text(market, bar.buy_volume),
            notional_text(market, bar.buy_notional), "0"]  # fmt: skip


def error(code: int, message: str) -> Answer:
    return answer({"code": code, "msg": message}, 400)


def symbol_info(market: Market) -> dict[str, Any]:
    """An entry of exchangeInfo, with the fields clients read."""
    one = market.instrument
    tick = fixed(1, one.price_decimals, SPOT_PLACES if one.kind == "spot" else None)
    step = fixed(1, one.quantity_decimals, SPOT_PLACES if one.kind == "spot" else None)
    filters = [
        {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "1000000.00000000", "tickSize": tick},
        {"filterType": "LOT_SIZE", "minQty": step, "maxQty": "9000000.00000000", "stepSize": step},
    ]
    common = {"symbol": one.symbol, "status": "TRADING", "baseAsset": one.base, "quoteAsset": one.quote,
              "quotePrecision": 8, "baseAssetPrecision": 8}  # fmt: skip
    if one.kind == "perpetual":
        return common | {
            "pair": one.symbol, "contractType": "PERPETUAL", "deliveryDate": 4133404800000,
            "onboardDate": 1569398400000, "marginAsset": one.quote, "pricePrecision": one.price_decimals,
            "quantityPrecision": one.quantity_decimals, "underlyingType": "COIN",
            "filters": [*filters, {"filterType": "MIN_NOTIONAL", "notional": "5"}],
            "orderTypes": ["LIMIT", "MARKET"], "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
        }  # fmt: skip
    return common | {
        "quoteAssetPrecision": 8, "baseCommissionPrecision": 8, "quoteCommissionPrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"], "icebergAllowed": True, "ocoAllowed": True,
        "quoteOrderQtyMarketAllowed": True, "allowTrailingStop": True, "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": True, "permissions": ["SPOT"], "permissionSets": [["SPOT"]],
        "filters": [*filters, {"filterType": "NOTIONAL", "minNotional": "5.00000000"}],
    }  # fmt: skip
