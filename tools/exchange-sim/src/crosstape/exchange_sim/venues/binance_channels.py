"""Frames of Binance's streams: trades, aggregates, depth diffs, best prices."""

from crosstape.exchange_sim.book_view import BookView, Change
from crosstape.exchange_sim.decimal_text import fixed
from crosstape.exchange_sim.feed import Channel
from crosstape.exchange_sim.market import Market
from crosstape.exchange_sim.matching import Side
from crosstape.exchange_sim.trade_history import Trade
from crosstape.exchange_sim.venues.dialect import NS_PER_MS, Dialect

SPOT_PLACES = 8


def price_text(market: Market, ticks: int) -> str:
    """Spot writes eight places, USD-M the instrument's own."""
    places = SPOT_PLACES if market.instrument.kind == "spot" else None
    return fixed(ticks, market.instrument.price_decimals, places)


def quantity_text(market: Market, lots: int) -> str:
    places = SPOT_PLACES if market.instrument.kind == "spot" else None
    return fixed(lots, market.instrument.quantity_decimals, places)


def levels_json(market: Market, levels: list[Change]) -> str:
    return ",".join(f'["{price_text(market, price)}","{quantity_text(market, quantity)}"]'
                    for price, quantity in levels)  # fmt: skip


class Stream(Channel):
    """`wrap` puts the payload into the envelope of a combined stream."""

    market: Market

    def __init__(self, dialect: Dialect, market: Market, stream: str, wrapped: bool, interval_ns: int = 0) -> None:
        super().__init__(market, interval_ns)
        self.market = market
        self.dialect = dialect
        self.is_spot = market.instrument.kind == "spot"
        self.head = f'{{"stream":"{stream}","data":' if wrapped else ""
        self.tail = "}" if wrapped else ""

    def wrap(self, payload: str) -> bytes:
        return f"{self.head}{payload}{self.tail}".encode()


class Trades(Stream):
    """`@trade`: one frame a trade."""

    def on_trades(self, trades: list[Trade], now_ns: int) -> list[bytes]:
        return [self.wrap(self._trade(trade, now_ns)) for trade in trades]

    def _trade(self, trade: Trade, now_ns: int) -> str:
        time_ms = self.dialect.time_ns(trade) // NS_PER_MS
        price, quantity = price_text(self.market, trade.price), quantity_text(self.market, trade.quantity)
        is_buyer_maker = "true" if trade.side == "sell" else "false"
        symbol = self.market.instrument.symbol
        event = f'{{"e":"trade","E":{now_ns // NS_PER_MS}'
        if self.is_spot:
            return (f'{event},"s":"{symbol}","t":{trade.number},"p":"{price}","q":"{quantity}",'
                    f'"T":{time_ms},"m":{is_buyer_maker},"M":true}}')  # fmt: skip
        return (f'{event},"T":{time_ms},"s":"{symbol}","t":{trade.number},"p":"{price}","q":"{quantity}",'
                f'"X":"MARKET","m":{is_buyer_maker}}}')  # fmt: skip


class AggregateTrades(Stream):
    """`@aggTrade`: one frame a trade, as an aggregate of one."""

    def on_trades(self, trades: list[Trade], now_ns: int) -> list[bytes]:
        return [self.wrap(self._trade(trade, now_ns)) for trade in trades]

    def _trade(self, trade: Trade, now_ns: int) -> str:
        return (
            f'{{"e":"aggTrade","E":{now_ns // NS_PER_MS},"s":"{self.market.instrument.symbol}",'
            f'"a":{trade.number},"p":"{price_text(self.market, trade.price)}",'
            f'"q":"{quantity_text(self.market, trade.quantity)}","f":{trade.number},"l":{trade.number},'
            f'"T":{self.dialect.time_ns(trade) // NS_PER_MS},"m":{str(trade.side == "sell").lower()}'
            + (',"M":true}' if self.is_spot else "}")
        )


class DepthDiffs(Stream):
    """`@depth`: every level that changed since the frame before; no frame where none did."""

    def __init__(self, dialect: Dialect, market: Market, stream: str, wrapped: bool, interval_ns: int) -> None:
        super().__init__(dialect, market, stream, wrapped, interval_ns)
        self.view = BookView(market.engine, None)

    def on_book(self, changed: set[tuple[Side, int]]) -> None:
        self.view.changed |= changed

    def on_tick(self, now_ns: int) -> list[bytes]:
        previous = self.view.update_id
        bids, asks = self.view.advance()
        if self.view.update_id == previous:
            return []
        time_ms = now_ns // NS_PER_MS
        event = f'{{"e":"depthUpdate","E":{time_ms},'
        if not self.is_spot:
            event += f'"T":{time_ms},'
        event += f'"s":"{self.market.instrument.symbol}","U":{previous + 1},"u":{self.view.update_id},'
        if not self.is_spot:
            event += f'"pu":{previous},'
        return [self.wrap(f'{event}"b":[{levels_json(self.market, bids)}],"a":[{levels_json(self.market, asks)}]}}')]


class BookTicker(Stream):
    """`@bookTicker`: the best bid and ask, when either changed."""

    def __init__(self, dialect: Dialect, market: Market, stream: str, wrapped: bool) -> None:
        super().__init__(dialect, market, stream, wrapped, 50 * NS_PER_MS)
        self.told: tuple[list[Change], list[Change]] | None = None

    def on_tick(self, now_ns: int) -> list[bytes]:
        engine = self.market.engine
        best = (engine.bids.top(1), engine.asks.top(1))
        if best == self.told or not all(best):
            return []
        self.told = best
        (bid, bid_quantity), (ask, ask_quantity) = best[0][0], best[1][0]
        event = "" if self.is_spot else '"e":"bookTicker",'
        times = "" if self.is_spot else f',"T":{now_ns // NS_PER_MS},"E":{now_ns // NS_PER_MS}'
        return [self.wrap(
            f'{{{event}"u":{engine.update_id},"s":"{self.market.instrument.symbol}",'
            f'"b":"{price_text(self.market, bid)}","B":"{quantity_text(self.market, bid_quantity)}",'
            f'"a":"{price_text(self.market, ask)}","A":"{quantity_text(self.market, ask_quantity)}"{times}}}'
        )]  # fmt: skip
