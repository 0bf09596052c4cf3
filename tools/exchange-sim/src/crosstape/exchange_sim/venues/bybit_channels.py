"""Frames of Bybit v5 topics: public trades and order books, and how they write numbers and ids."""

from uuid import UUID

from crosstape.exchange_sim.book_view import BookView, Change
from crosstape.exchange_sim.decimal_text import fixed, trimmed
from crosstape.exchange_sim.feed import Channel
from crosstape.exchange_sim.instruments import Instrument
from crosstape.exchange_sim.latent import scattered, stream_key
from crosstape.exchange_sim.market import Market
from crosstape.exchange_sim.trade_history import Trade
from crosstape.exchange_sim.venues.dialect import NS_PER_MS, Dialect

PACES_MS = {1: 10, 50: 20, 200: 100}
UUID_LOW_BITS = 62
UUID_LOW_MASK = (1 << UUID_LOW_BITS) - 1
UUID_SCATTER = 0x1E3779B97F4A7C15
UUID_GATHER = pow(UUID_SCATTER, -1, 1 << UUID_LOW_BITS)


def trade_uuid(one: Instrument, number: int) -> str:
    """The n-th trade's UUID: scattered, but `number_of_uuid` finds n again in its low 62 bits."""
    high = scattered(stream_key(one.key), number)
    return str(UUID(int=high << 64 | (number * UUID_SCATTER) & UUID_LOW_MASK, version=5))


def number_of_uuid(text: str) -> int:
    return (UUID(text).int & UUID_LOW_MASK) * UUID_GATHER & UUID_LOW_MASK


def price_text(one: Instrument, ticks: int) -> str:
    """Linear pads to two places at least (`65114.20`), spot cuts zeros (`65140`)."""
    if one.kind == "perpetual":
        return fixed(ticks, one.price_decimals, max(2, one.price_decimals))
    return trimmed(ticks, one.price_decimals)


def quantity_text(one: Instrument, lots: int) -> str:
    if one.kind == "perpetual" and lots:
        return fixed(lots, one.quantity_decimals)
    return trimmed(lots, one.quantity_decimals)


def levels_json(one: Instrument, levels: list[Change]) -> str:
    return ",".join(f'["{price_text(one, price)}","{quantity_text(one, quantity)}"]' for price, quantity in levels)


class PublicTrade(Channel):
    """All trades of one step in one frame, oldest first."""

    market: Market

    def __init__(self, dialect: Dialect, market: Market) -> None:
        super().__init__(market)
        self.market = market
        self.dialect = dialect
        self.last_price = 0

    def on_trades(self, trades: list[Trade], now_ns: int) -> list[bytes]:
        rows = ",".join(map(self._row, trades))
        symbol = self.market.instrument.symbol
        head = f'{{"topic":"publicTrade.{symbol}","type":"snapshot","ts":{now_ns // NS_PER_MS}'
        return [f'{head},"data":[{rows}]}}'.encode()]

    def _row(self, trade: Trade) -> str:
        one = self.market.instrument
        price, quantity = price_text(one, trade.price), quantity_text(one, trade.quantity)
        identity = self.dialect.native_id(self.market, trade.number)
        time_ms = self.dialect.time_ns(trade) // NS_PER_MS
        side = trade.side.capitalize()
        if one.kind == "spot":
            return (f'{{"i":"{identity}","T":{time_ms},"p":"{price}","v":"{quantity}","S":"{side}",'
                    f'"seq":{trade.sequence},"s":"{one.symbol}","BT":false,"RPI":false}}')  # fmt: skip
        direction = "PlusTick" if trade.price > self.last_price else "MinusTick"
        if trade.price == self.last_price:
            direction = "ZeroMinusTick" if trade.side == "sell" else "ZeroPlusTick"
        self.last_price = trade.price
        return (f'{{"T":{time_ms},"s":"{one.symbol}","S":"{side}","v":"{quantity}","p":"{price}",'
                f'"L":"{direction}","i":"{identity}","BT":false,"RPI":false,'
                f'"seq":{trade.sequence}}}')  # fmt: skip


class OrderBook(Channel):
    """`orderbook.N`: a snapshot, then deltas; depth 1 sends snapshots only."""

    market: Market

    def __init__(self, market: Market, depth: int) -> None:
        super().__init__(market, PACES_MS[depth] * NS_PER_MS)
        self.market = market
        self.depth = depth
        self.view = BookView(market.engine, depth)
        self.message = self.view.update_id

    def hello(self, now_ns: int) -> list[bytes]:
        bids = sorted(self.view.bids.items(), reverse=True)
        asks = sorted(self.view.asks.items())
        return [self._frame("snapshot", bids, asks, now_ns)]

    def on_tick(self, now_ns: int) -> list[bytes]:
        bids, asks = self.view.advance()
        if not bids and not asks:
            return []
        self.message += 1
        if self.depth == 1:
            return self.hello(now_ns)
        return [self._frame("delta", bids, asks, now_ns)]

    def _frame(self, kind: str, bids: list[Change], asks: list[Change], now_ns: int) -> bytes:
        one, time_ms = self.market.instrument, now_ns // NS_PER_MS
        return (
            f'{{"topic":"orderbook.{self.depth}.{one.symbol}","type":"{kind}","ts":{time_ms},'
            f'"data":{{"s":"{one.symbol}","b":[{levels_json(one, bids)}],"a":[{levels_json(one, asks)}],'
            f'"u":{self.message},"seq":{self.view.update_id}}},"cts":{time_ms}}}'
        ).encode()
