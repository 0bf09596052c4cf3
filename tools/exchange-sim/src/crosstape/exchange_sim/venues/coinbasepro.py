"""Coinbase Exchange (once Coinbase Pro): the public feed and the REST market data.

https://docs.cdp.coinbase.com/exchange/websocket-feed/channels
https://docs.cdp.coinbase.com/api-reference/exchange-api/rest-api/products/get-product-trades
`side` is the MAKER's: a `match` with side `sell` was a taker buy. `l2update` has no sequence number; `match`
and `heartbeat` carry the product's.
"""

import re
from datetime import datetime
from typing import Any

import msgspec

from crosstape.exchange_sim.bars import Bar
from crosstape.exchange_sim.channel_key import ChannelKey
from crosstape.exchange_sim.decimal_text import fixed, trimmed
from crosstape.exchange_sim.feed import Channel, Feed
from crosstape.exchange_sim.instruments import Instrument
from crosstape.exchange_sim.market import Market
from crosstape.exchange_sim.session import Session
from crosstape.exchange_sim.venues.coinbasepro_channels import Heartbeat, Level2, Matches, maker_side
from crosstape.exchange_sim.venues.dialect import NS_PER_S, Answer, Dialect, Query, answer, integer, iso, json_object

CHANNELS = ("matches", "level2", "level2_batch", "heartbeat")
GRANULARITIES = {60: "1m", 300: "5m", 900: "15m", 3600: "1h", 21600: "6h", 86400: "1d"}
MAX_CANDLES = 300


class CoinbasePro(Dialect):
    """Channels by name and product; REST under `/products`."""

    exchange = "coinbasepro"
    spoil_pattern = re.compile(rb'"sequence":(\d+)')

    def channel(self, key: ChannelKey) -> Channel:
        market = self.markets["spot", key.symbol]
        if key.name == "matches":
            return Matches(self, market)
        return Heartbeat(market) if key.name == "heartbeat" else Level2(market)

    def receive(self, session: Session, text: str, feed: Feed, now_ns: int) -> None:
        request = json_object(text) or {}
        kind = request.get("type")
        if kind not in ("subscribe", "unsubscribe"):
            session.reply(
                refusal("Malformed JSON" if not request else "Type has to be either subscribe or unsubscribe")
            )
            return
        wanted: list[ChannelKey] = []
        for channel in request.get("channels") or []:
            name = channel if isinstance(channel, str) else channel.get("name")
            products = request.get("product_ids") if isinstance(channel, str) else channel.get("product_ids")
            products = products or request.get("product_ids") or []
            if name not in CHANNELS:
                session.reply(refusal("Failed to subscribe", f"{name} is not a valid channel"))
                return
            for product in products:
                if ("spot", product) not in self.markets:
                    session.reply(refusal("Failed to subscribe", f"{product} is not a valid product"))
                    return
                wanted.append(ChannelKey("coinbasepro/stream", name, product))
        for key in wanted:
            if kind == "subscribe":
                session.subscriptions[f"{key.name}:{key.symbol}"] = key
            else:
                session.subscriptions.pop(f"{key.name}:{key.symbol}", None)
        session.reply(self._subscriptions(session))
        for key in wanted:
            if kind == "subscribe":
                feed.subscribe(session, key)
            else:
                feed.unsubscribe(session, key)

    def _subscriptions(self, session: Session) -> bytes:
        channels: dict[str, list[str]] = {}
        for key in session.subscriptions.values():
            channels.setdefault(key.name, []).append(key.symbol)
        listed = [{"name": name, "product_ids": products, "account_ids": None} for name, products in channels.items()]
        return msgspec.json.encode({"type": "subscriptions", "channels": listed})

    def refused(self, status: int) -> Answer:
        return answer({"message": "Public rate limit exceeded" if status == 429 else "Internal server error"}, status)

    def rest(self, address: str, path: str, query: Query, now_ns: int) -> Answer:
        if path == "/time":
            return answer({"iso": iso(now_ns), "epoch": now_ns / NS_PER_S})
        if path == "/products":
            return answer([product(market.instrument) for market in self.markets.values()])
        parts = path.strip("/").split("/")
        market = self.markets.get(("spot", parts[1])) if len(parts) > 1 and parts[0] == "products" else None
        if market is None:
            return answer({"message": "NotFound"}, 404)
        handlers = {"trades": self.trades, "book": self.book, "candles": self.candles}
        if len(parts) == 2:
            return answer(product(market.instrument))
        if parts[2] not in handlers:
            return answer({"message": "NotFound"}, 404)
        try:
            return handlers[parts[2]](market, query, now_ns)
        except ValueError as error:
            return answer({"message": f"Invalid parameter: {error}"}, 400)

    def trades(self, market: Market, query: Query, now_ns: int) -> Answer:
        """Newest first, at most 1000. `after` = older than that id; `before` = newer than it. The `cb-after`
        header is the `after` of the next older page."""
        one, limit = market.instrument, integer(query, "limit", 1000, most=1000)
        if "after" in query:
            trades = market.history.before_number(int(query["after"]), limit)
        else:
            trades = market.history.last(limit)
        if "before" in query:
            trades = [trade for trade in trades if trade.number > int(query["before"])]
        rows = [{"trade_id": trade.number, "side": maker_side(trade),
                 "size": fixed(trade.quantity, one.quantity_decimals),
                 "price": fixed(trade.price, one.price_decimals, 8), "time": iso(self.time_ns(trade))}
                for trade in reversed(trades)]  # fmt: skip
        headers = {"cb-before": str(trades[-1].number), "cb-after": str(trades[0].number)} if trades else {}
        return answer(rows, headers=headers)

    def book(self, market: Market, query: Query, now_ns: int) -> Answer:
        """Level 1 is the best price, level 2 everything: [price, size, orders]."""
        level = integer(query, "level", 1)
        if level not in (1, 2):
            return answer({"message": "Invalid level"}, 400)
        one, engine = market.instrument, market.engine
        depth = 1 if level == 1 else 1_000_000

        def rows(side: Any) -> list[list[Any]]:
            return [[fixed(price, one.price_decimals), trimmed(quantity, one.quantity_decimals),
                     len(side.levels[price].orders)] for price, quantity in side.top(depth)]  # fmt: skip

        return answer({"bids": rows(engine.bids), "asks": rows(engine.asks), "sequence": engine.update_id,
                       "auction_mode": False, "auction": None, "time": iso(now_ns)})  # fmt: skip

    def candles(self, market: Market, query: Query, now_ns: int) -> Answer:
        """[time, low, high, open, close, volume], newest first, at most 300; intervals without a trade are
        left out."""
        interval = GRANULARITIES.get(integer(query, "granularity", 60))
        if interval is None:
            return answer({"message": "Unsupported granularity"}, 400)
        now_s = now_ns // NS_PER_S
        end = min(seconds_of(query["end"]) if query.get("end") else now_s, now_s) + 1
        start = seconds_of(query["start"]) if query.get("start") else 0
        bars = market.bars(interval, start, end, limit=MAX_CANDLES + 1, newest=True)
        if query.get("start") and len(bars) > MAX_CANDLES:
            message = "granularity too small for the requested time range. Count of aggregations requested"
            return answer({"message": f"{message} exceeds {MAX_CANDLES}"}, 400)
        rows = ",".join(candle(market.instrument, bar) for bar in reversed(bars[-MAX_CANDLES:]) if bar.trades)
        return Answer(f"[{rows}]".encode())


def seconds_of(text: str) -> int:
    """ISO 8601 or Unix seconds."""
    return int(text) if text.isdigit() else int(datetime.fromisoformat(text).timestamp())


def candle(one: Instrument, bar: Bar) -> str:
    prices = ",".join(fixed(price, one.price_decimals) for price in (bar.low, bar.high, bar.open, bar.close))
    return f"[{bar.open_time},{prices},{fixed(bar.volume, one.quantity_decimals)}]"


def refusal(message: str, reason: str | None = None) -> bytes:
    return msgspec.json.encode({"type": "error", "message": message} | ({"reason": reason} if reason else {}))


def product(one: Instrument) -> dict[str, Any]:
    return {
        "id": one.symbol, "base_currency": one.base, "quote_currency": one.quote,
        "quote_increment": one.tick_size, "base_increment": one.lot_size,
        "display_name": f"{one.base}/{one.quote}", "min_market_funds": "1", "margin_enabled": False,
        "post_only": False, "limit_only": False, "cancel_only": False, "status": "online",
        "status_message": "",
        "trading_disabled": False, "fx_stablecoin": False, "max_slippage_percentage": "0.02000000",
        "auction_mode": False, "high_bid_limit_percentage": "",
    }  # fmt: skip
