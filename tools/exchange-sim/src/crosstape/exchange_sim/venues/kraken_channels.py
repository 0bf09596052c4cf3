"""Frames of Kraken's v2 channels: trades, books with checksum, heartbeats, instruments."""

import zlib

from crosstape.exchange_sim.book_view import BookView, Change
from crosstape.exchange_sim.decimal_text import fixed
from crosstape.exchange_sim.feed import Channel
from crosstape.exchange_sim.instruments import Instrument
from crosstape.exchange_sim.market import Market
from crosstape.exchange_sim.trade_history import Trade
from crosstape.exchange_sim.venues.dialect import NS_PER_S, Dialect, answer, iso

BOOK_PACE_NS = 100_000_000
PAST_TRADES = 50


def checksum(one: Instrument, bids: list[Change], asks: list[Change]) -> int:
    """CRC32 over the ten best asks, then bids: price and quantity at their precision, without dot or leading
    zeros."""
    digits = "".join(str(price) + str(quantity) for price, quantity in asks[:10] + bids[:10])
    return zlib.crc32(digits.encode())


def levels_json(one: Instrument, levels: list[Change]) -> str:
    places, lots = one.price_decimals, one.quantity_decimals
    return ",".join(f'{{"price":{fixed(price, places)},"qty":{fixed(quantity, lots)}}}' for price, quantity in levels)


class Trades(Channel):
    """`trade`: the last fifty, then every trade."""

    market: Market

    def __init__(self, dialect: Dialect, market: Market) -> None:
        super().__init__(market)
        self.market = market
        self.dialect = dialect

    def hello(self, now_ns: int) -> list[bytes]:
        return [self._frame("snapshot", self.market.history.last(PAST_TRADES))]

    def on_trades(self, trades: list[Trade], now_ns: int) -> list[bytes]:
        return [self._frame("update", trades)]

    def _frame(self, kind: str, trades: list[Trade]) -> bytes:
        rows = ",".join(map(self._row, trades))
        return f'{{"channel":"trade","type":"{kind}","data":[{rows}]}}'.encode()

    def _row(self, trade: Trade) -> str:
        one = self.market.instrument
        return (
            f'{{"symbol":"{one.symbol}","side":"{trade.side}",'
            f'"price":{fixed(trade.price, one.price_decimals)},'
            f'"qty":{fixed(trade.quantity, one.quantity_decimals)},"ord_type":"market",'
            f'"trade_id":{trade.number},"timestamp":"{iso(self.dialect.time_ns(trade))}"}}'
        )


class Book(Channel):
    """`book`: a snapshot, then changes, each with the checksum of the book after it."""

    market: Market

    def __init__(self, market: Market, depth: int) -> None:
        super().__init__(market, BOOK_PACE_NS)
        self.market = market
        self.depth = depth
        self.view = BookView(market.engine, depth, tells_pushed_out=False)

    def hello(self, now_ns: int) -> list[bytes]:
        bids = sorted(self.view.bids.items(), reverse=True)
        asks = sorted(self.view.asks.items())
        return [self._frame("snapshot", bids, asks, now_ns)]

    def on_tick(self, now_ns: int) -> list[bytes]:
        bids, asks = self.view.advance()
        return [self._frame("update", bids, asks, now_ns)] if bids or asks else []

    def _frame(self, kind: str, bids: list[Change], asks: list[Change], now_ns: int) -> bytes:
        one = self.market.instrument
        best_bids = sorted(self.view.bids.items(), reverse=True)[:10]
        best_asks = sorted(self.view.asks.items())[:10]
        return (
            f'{{"channel":"book","type":"{kind}","data":[{{"symbol":"{one.symbol}",'
            f'"bids":[{levels_json(one, bids)}],"asks":[{levels_json(one, asks)}],'
            f'"checksum":{checksum(one, best_bids, best_asks)},"timestamp":"{iso(now_ns)}"}}]}}'
        ).encode()


class Heartbeat(Channel):
    """`heartbeat`: every second, once anything is subscribed."""

    def __init__(self) -> None:
        super().__init__(None, NS_PER_S)

    def on_tick(self, now_ns: int) -> list[bytes]:
        return [b'{"channel":"heartbeat"}']


class Instruments(Channel):
    """The whole list as one snapshot: `price_precision` and `qty_precision` are what checksums need."""

    def __init__(self, markets: list[Market]) -> None:
        super().__init__(None)
        self.instruments = [market.instrument for market in markets]

    def hello(self, now_ns: int) -> list[bytes]:
        assets = sorted({asset for one in self.instruments for asset in (one.base, one.quote)})
        data = {
            "assets": [{"id": asset, "status": "enabled", "precision": 10, "precision_display": 5,
                        "borrowable": False, "collateral_value": 0.0} for asset in assets],
            "pairs": [{"symbol": one.symbol, "base": one.base, "quote": one.quote, "status": "online",
                       "qty_precision": one.quantity_decimals, "qty_increment": float(one.lot_size),
                       "price_precision": one.price_decimals, "price_increment": float(one.tick_size),
                       "cost_precision": 5, "marginable": False, "has_index": True, "cost_min": 0.5,
                       "qty_min": float(one.lot_size)} for one in self.instruments],
        }  # fmt: skip
        return [answer({"channel": "instrument", "type": "snapshot", "data": data}).body]
