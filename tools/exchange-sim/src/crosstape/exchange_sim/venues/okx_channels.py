"""Frames of OKX v5 channels: every trade, joined trades, books."""

from itertools import groupby

from crosstape.exchange_sim.book_view import BookView, Change
from crosstape.exchange_sim.decimal_text import trimmed
from crosstape.exchange_sim.feed import Channel
from crosstape.exchange_sim.instruments import Instrument
from crosstape.exchange_sim.market import Market
from crosstape.exchange_sim.matching import BookSide
from crosstape.exchange_sim.trade_history import Trade
from crosstape.exchange_sim.venues.dialect import NS_PER_MS, NS_PER_S, Dialect

BOOK_PACE_NS = 100 * NS_PER_MS
BOOK_DEPTH = 400
QUIET_NS = 60 * NS_PER_S


class TradesAll(Channel):
    """`trades-all`: one frame a trade."""

    market: Market

    def __init__(self, dialect: Dialect, market: Market) -> None:
        super().__init__(market)
        self.market = market
        self.dialect = dialect

    def on_trades(self, trades: list[Trade], now_ns: int) -> list[bytes]:
        return [self._frame("trades-all", [trade], "") for trade in trades]

    def _frame(self, channel: str, trades: list[Trade], extra: str) -> bytes:
        one, last = self.market.instrument, trades[-1]
        size = trimmed(sum(trade.quantity for trade in trades), one.quantity_decimals)
        return (
            f'{{"arg":{{"channel":"{channel}","instId":"{one.symbol}"}},"data":[{{"instId":"{one.symbol}",'
            f'"tradeId":"{last.number}","px":"{trimmed(last.price, one.price_decimals)}","sz":"{size}",'
            f'"side":"{last.side}","ts":"{self.dialect.time_ns(last) // NS_PER_MS}"{extra},"source":"0"}}]}}'
        ).encode()


class JoinedTrades(TradesAll):
    """`trades`: one frame for consecutive trades of one price, side and time."""

    def on_trades(self, trades: list[Trade], now_ns: int) -> list[bytes]:
        groups = groupby(trades, key=lambda trade: (trade.price, trade.side, trade.time_ns))
        frames: list[bytes] = []
        for _, group in groups:
            joined = list(group)
            extra = f',"count":"{len(joined)}","seqId":{joined[-1].sequence}'
            frames.append(self._frame("trades", joined, extra))
        return frames


class Books(Channel):
    """`books`: 400 levels as a snapshot, then updates each 100 ms."""

    market: Market

    def __init__(self, market: Market) -> None:
        super().__init__(market, BOOK_PACE_NS)
        self.market = market
        self.view = BookView(market.engine, BOOK_DEPTH)
        self.sent_ns = 0

    def hello(self, now_ns: int) -> list[bytes]:
        bids = sorted(self.view.bids.items(), reverse=True)
        asks = sorted(self.view.asks.items())
        return [self._frame("snapshot", bids, asks, -1, now_ns)]

    def on_tick(self, now_ns: int) -> list[bytes]:
        """A book without changes says so once a minute: `prevSeqId` equal to `seqId`, no levels."""
        previous = self.view.update_id
        bids, asks = self.view.advance()
        if not bids and not asks:
            self.view.update_id = previous
            if now_ns - self.sent_ns < QUIET_NS:
                return []
        return [self._frame("update", bids, asks, previous, now_ns)]

    def _frame(self, action: str, bids: list[Change], asks: list[Change], previous: int, now_ns: int) -> bytes:
        self.sent_ns = now_ns
        engine = self.market.engine
        return (
            f'{{"arg":{{"channel":"books","instId":"{self.market.instrument.symbol}"}},"action":"{action}",'
            f'"data":[{{"asks":[{self._levels(engine.asks, asks)}],'
            f'"bids":[{self._levels(engine.bids, bids)}],"ts":"{now_ns // NS_PER_MS}","checksum":0,'
            f'"seqId":{self.view.update_id},"prevSeqId":{previous}}}]}}'
        ).encode()

    def _levels(self, side: BookSide, levels: list[Change]) -> str:
        one = self.market.instrument
        return ",".join(level_json(one, side, price, quantity) for price, quantity in levels)


def level_json(one: Instrument, side: BookSide, price: int, quantity: int) -> str:
    """[price, size, a retired field, number of orders]"""
    level = side.levels.get(price) if quantity else None
    return (f'["{trimmed(price, one.price_decimals)}","{trimmed(quantity, one.quantity_decimals)}","0",'
            f'"{len(level.orders) if level else 0}"]')  # fmt: skip
