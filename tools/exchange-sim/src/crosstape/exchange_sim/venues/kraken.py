"""Kraken spot: the v2 socket and the REST market data.

https://docs.kraken.com/api/docs/websocket-v2/book and https://docs.kraken.com/api/docs/guides/spot-ws-book-v2
Numbers are JSON numbers written at the instrument's precision. A book of depth N is told by its changes;
levels pushed out of the depth are not: the client cuts its book to N after every update, and the checksum is
over the ten best levels of what is left. The socket says BTC where REST says XBT.
"""

import re
from typing import Any

from crosstape.exchange_sim.bars import Bar
from crosstape.exchange_sim.book_view import Change
from crosstape.exchange_sim.channel_key import ChannelKey
from crosstape.exchange_sim.decimal_text import fixed
from crosstape.exchange_sim.feed import Channel, Feed
from crosstape.exchange_sim.instruments import Instrument, Kind
from crosstape.exchange_sim.market import Market
from crosstape.exchange_sim.session import Session
from crosstape.exchange_sim.trade_history import Trade
from crosstape.exchange_sim.venues.dialect import NS_PER_S, Answer, Dialect, Query, answer, integer, iso, json_object
from crosstape.exchange_sim.venues.kraken_channels import Book, Heartbeat, Instruments, Trades

DEPTHS = (10, 25, 100, 500, 1000)
HEARTBEAT = ChannelKey("kraken/stream", "heartbeat", "")
REST_NAMES = {"BTC": "XBT", "DOGE": "XDG"}
LEGACY_ASSETS = {"XBT": "XXBT", "ETH": "XETH", "XRP": "XXRP", "LTC": "XLTC", "ETC": "XETC", "XLM": "XXLM",
                 "XDG": "XXDG", "ZEC": "XZEC", "USD": "ZUSD", "EUR": "ZEUR"}  # fmt: skip
REST_PLACES = 5
VOLUME_PLACES = 8
INTERVALS = {
    1: "1m",
    5: "5m",
    15: "15m",
    30: "30m",
    60: "1h",
    240: "4h",
    1440: "1d",
    10080: "1w",
    21600: "15d",
}


def rest_name(asset: str) -> str:
    return REST_NAMES.get(asset, asset)


def altname(one: Instrument) -> str:
    return rest_name(one.base) + rest_name(one.quote)


def pair_id(one: Instrument) -> str:
    """`XXBTZUSD` for the assets of the first years, the altname for the rest."""
    base, quote = rest_name(one.base), rest_name(one.quote)
    if base in LEGACY_ASSETS and quote in LEGACY_ASSETS:
        return LEGACY_ASSETS[base] + LEGACY_ASSETS[quote]
    return base + quote


class Kraken(Dialect):
    """Requests by `method`; REST errors come with status 200."""

    exchange = "kraken"
    spoil_pattern = re.compile(rb'"checksum":(\d+)')

    def find(self, kind: Kind, symbol: str) -> Market | None:
        """Takes `BTC/USD`, `XBT/USD`, `XBTUSD` and `XXBTZUSD`."""
        wanted = symbol.upper()
        for market in self.markets.values():
            one = market.instrument
            wsname = f"{rest_name(one.base)}/{rest_name(one.quote)}"
            if wanted in (one.symbol, wsname, altname(one), pair_id(one)) and kind == one.kind:
                return market
        return None

    def channel(self, key: ChannelKey) -> Channel:
        if key.name == "heartbeat":
            return Heartbeat()
        if key.name == "instrument":
            return Instruments(list(self.markets.values()))
        market = self.markets["spot", key.symbol]
        return Trades(self, market) if key.name == "trade" else Book(market, int(key.variant))

    def greet(self, session: Session, query: Query, feed: Feed, now_ns: int) -> None:
        data = [{"version": "2.0.10", "system": "online", "api_version": "v2", "connection_id": now_ns // 1000}]
        session.reply(answer({"channel": "status", "type": "update", "data": data}).body)

    def receive(self, session: Session, text: str, feed: Feed, now_ns: int) -> None:
        request = json_object(text)
        method = request.get("method") if request else None
        params = request.get("params") if request else None
        times = {"time_in": iso(now_ns), "time_out": iso(now_ns)}
        if request and "req_id" in request:
            times["req_id"] = request["req_id"]
        if method == "ping":
            session.reply(answer({"method": "pong", **times}).body)
            return
        if method not in ("subscribe", "unsubscribe") or not isinstance(params, dict):
            body = {
                "error": "Unsupported field" if request else "Malformed request",
                "success": False,
                **times,
            }
            session.reply(answer(body).body)
            return
        for symbol in params.get("symbol") or [""]:
            key, result = self._wanted(params, symbol)
            head: dict[str, Any] = {"method": method}
            if key is None:
                head |= {"error": result, "success": False, "symbol": symbol}
                session.reply(answer(head | times).body)
                continue
            session.reply(answer(head | {"result": result, "success": True} | times).body)
            if method == "subscribe":
                feed.subscribe(session, HEARTBEAT)
                feed.subscribe(session, key)
            else:
                feed.unsubscribe(session, key)

    def _wanted(self, params: dict[str, Any], symbol: str) -> tuple[ChannelKey | None, Any]:
        """The channel and the acknowledgement's `result`, or None and the error."""
        name = params.get("channel")
        if name == "instrument":
            return ChannelKey("kraken/stream", "instrument", ""), {"channel": name, "snapshot": True}
        if ("spot", symbol) not in self.markets:
            return None, f"Currency pair not supported {symbol}"
        if name == "trade":
            return ChannelKey("kraken/stream", name, symbol), {
                "channel": name,
                "snapshot": True,
                "symbol": symbol,
            }
        depth = params.get("depth", 10)
        if name != "book" or depth not in DEPTHS:
            return None, "Subscription depth not supported" if name == "book" else "Channel not supported"
        result = {"channel": name, "depth": depth, "snapshot": True, "symbol": symbol}
        return ChannelKey("kraken/stream", name, symbol, str(depth)), result

    def refused(self, status: int) -> Answer:
        message = "EAPI:Rate limit exceeded" if status == 429 else "EService:Unavailable"
        return answer({"error": [message]}, status)

    def rest(self, address: str, path: str, query: Query, now_ns: int) -> Answer:
        route = path.removeprefix("/0/public/")
        if route == "Time":
            return result_of({"unixtime": now_ns // NS_PER_S, "rfc1123": ""})
        if route == "SystemStatus":
            return result_of({"status": "online", "timestamp": iso(now_ns)})
        if route == "AssetPairs":
            return result_of({pair_id(market.instrument): pair_info(market.instrument)
                              for market in self.markets.values()})  # fmt: skip
        handlers = {"Trades": self.trades, "Depth": self.depth, "OHLC": self.ohlc}
        if route not in handlers:
            return failed("EGeneral:Unknown method")
        market = self.find("spot", query.get("pair", ""))
        if market is None:
            return failed("EQuery:Unknown asset pair")
        try:
            return handlers[route](market, query, now_ns)
        except ValueError:
            return failed("EGeneral:Invalid arguments")

    def trades(self, market: Market, query: Query, now_ns: int) -> Answer:
        """Ascending, later than `since` (ns, exclusive: `last` of one page is the `since` of the next), at
        most
        1000; a page is never cut between two trades of the same time, or the next page would miss the
        second."""
        one = market.instrument
        count = integer(query, "count", 1000, most=1000)
        if "since" in query:
            since = int(query["since"])
            since = since * NS_PER_S if since < 10**12 else since
            trades = market.history.from_time(self.clock.meant(since) + 1, count)
            while trades and (more := market.history.from_number(trades[-1].number + 1, 1)):
                if more[0].time_ns != trades[-1].time_ns:
                    break
                trades += more
        else:
            trades = market.history.last(count)
        rows = ",".join(self._trade(one, trade) for trade in trades)
        last = self.time_ns(trades[-1]) if trades else int(query.get("since") or now_ns)
        return Answer(f'{{"error":[],"result":{{"{pair_id(one)}":[{rows}],"last":"{last}"}}}}'.encode())

    def _trade(self, one: Instrument, trade: Trade) -> str:
        price = fixed(trade.price, one.price_decimals, REST_PLACES)
        volume = fixed(trade.quantity, one.quantity_decimals, VOLUME_PLACES)
        seconds = fixed(self.time_ns(trade), 9)
        return f'["{price}","{volume}",{seconds},"{trade.side[0]}","m","",{trade.number}]'

    def depth(self, market: Market, query: Query, now_ns: int) -> Answer:
        one, count = market.instrument, integer(query, "count", 100, most=500)

        def rows(levels: list[Change]) -> list[list[Any]]:
            return [[fixed(price, one.price_decimals, REST_PLACES), fixed(quantity, one.quantity_decimals),
                     now_ns // NS_PER_S] for price, quantity in levels]  # fmt: skip

        engine = market.engine
        book = {"asks": rows(engine.asks.top(count)), "bids": rows(engine.bids.top(count))}
        return result_of({pair_id(one): book})

    def ohlc(self, market: Market, query: Query, now_ns: int) -> Answer:
        """The newest 720 bars, whatever `since` says of older ones; the last one is still open."""
        interval = INTERVALS.get(integer(query, "interval", 1))
        if interval is None:
            return failed("EGeneral:Invalid arguments")
        since = integer(query, "since", 0)
        bars = market.bars(interval, since, now_ns // NS_PER_S + 1, limit=720, newest=True)
        last = bars[-2].open_time if len(bars) > 1 else since
        return result_of({pair_id(market.instrument): [ohlc_row(market, bar) for bar in bars], "last": last})


def ohlc_row(market: Market, bar: Bar) -> list[Any]:
    """Time, open, high, low, close, volume weighted price, volume, count."""
    one = market.instrument
    prices = [fixed(price, one.price_decimals) for price in (bar.open, bar.high, bar.low, bar.close)]
    average = fixed(bar.notional // bar.volume, one.price_decimals) if bar.volume else "0.0"
    return [
        bar.open_time,
        *prices,
        average,
        fixed(bar.volume, one.quantity_decimals, VOLUME_PLACES),
        bar.trades,
    ]


def result_of(body: Any) -> Answer:
    return answer({"error": [], "result": body})


def failed(message: str) -> Answer:
    """Kraken answers its errors with 200."""
    return answer({"error": [message]})


def pair_info(one: Instrument) -> dict[str, Any]:
    base, quote = rest_name(one.base), rest_name(one.quote)
    return {
        "altname": altname(one), "wsname": f"{base}/{quote}", "aclass_base": "currency",
        "base": LEGACY_ASSETS.get(base, base), "aclass_quote": "currency",
        "quote": LEGACY_ASSETS.get(quote, quote), "lot": "unit", "cost_decimals": 5,
        "pair_decimals": one.price_decimals, "lot_decimals": one.quantity_decimals, "lot_multiplier": 1,
        "leverage_buy": [], "leverage_sell": [], "fees": [[0, 0.4]], "fees_maker": [[0, 0.25]],
        "fee_volume_currency": "ZUSD", "margin_call": 80, "margin_stop": 40, "ordermin": one.lot_size,
        "costmin": "0.5", "tick_size": one.tick_size, "status": "online",
    }  # fmt: skip
