"""Frames of the Coinbase Exchange feed: matches, level 2 batches, heartbeats."""

from collections.abc import Iterable
from uuid import UUID

from crosstape.exchange_sim.book_view import BookView, Change
from crosstape.exchange_sim.decimal_text import fixed, trimmed
from crosstape.exchange_sim.feed import Channel
from crosstape.exchange_sim.instruments import Instrument
from crosstape.exchange_sim.latent import MASK, scattered, stream_key
from crosstape.exchange_sim.market import Market
from crosstape.exchange_sim.matching import Side
from crosstape.exchange_sim.trade_history import Trade
from crosstape.exchange_sim.venues.dialect import NS_PER_S, Dialect, iso

BATCH_NS = 50_000_000
GONE = "0.00000000"


def maker_side(trade: Trade) -> Side:
    return "sell" if trade.side == "buy" else "buy"


def order_uuid(one: Instrument, role: str, number: int) -> UUID:
    """An order id for a trade's maker or taker: made up, but always the same."""
    key = stream_key(one.key, role)
    return UUID(int=scattered(key, number) << 64 | scattered(~key & MASK, number), version=4)


def levels_json(one: Instrument, levels: Iterable[Change]) -> str:
    return ",".join(f'["{fixed(price, one.price_decimals)}","{trimmed(quantity, one.quantity_decimals)}"]'
                    for price, quantity in levels)  # fmt: skip


class Matches(Channel):
    """`matches`: the last trade on subscribing, then every trade."""

    market: Market

    def __init__(self, dialect: Dialect, market: Market) -> None:
        super().__init__(market)
        self.market = market
        self.dialect = dialect

    def hello(self, now_ns: int) -> list[bytes]:
        return [self._frame("last_match", trade) for trade in self.market.history.last(1)]

    def on_trades(self, trades: list[Trade], now_ns: int) -> list[bytes]:
        return [self._frame("match", trade) for trade in trades]

    def _frame(self, kind: str, trade: Trade) -> bytes:
        one = self.market.instrument
        return (
            f'{{"type":"{kind}","trade_id":{trade.number},'
            f'"maker_order_id":"{order_uuid(one, "maker", trade.number)}",'
            f'"taker_order_id":"{order_uuid(one, "taker", trade.number)}","side":"{maker_side(trade)}",'
            f'"size":"{trimmed(trade.quantity, one.quantity_decimals)}",'
            f'"price":"{fixed(trade.price, one.price_decimals)}","product_id":"{one.symbol}",'
            f'"sequence":{trade.sequence},"time":"{iso(self.dialect.time_ns(trade))}"}}'
        ).encode()


class Level2(Channel):
    """`level2` and `level2_batch`: the whole book, then the changes of each 50 ms."""

    market: Market

    def __init__(self, market: Market) -> None:
        super().__init__(market, BATCH_NS)
        self.market = market
        self.view = BookView(market.engine, None)

    def hello(self, now_ns: int) -> list[bytes]:
        one = self.market.instrument
        asks = levels_json(one, sorted(self.view.asks.items()))
        bids = levels_json(one, sorted(self.view.bids.items(), reverse=True))
        return [
            f'{{"type":"snapshot","product_id":"{one.symbol}","asks":[{asks}],"bids":[{bids}],'
            f'"time":"{iso(now_ns)}"}}'.encode()
        ]

    def on_book(self, changed: set[tuple[Side, int]]) -> None:
        self.view.changed |= changed

    def on_tick(self, now_ns: int) -> list[bytes]:
        one = self.market.instrument
        bids, asks = self.view.advance()
        changes = ",".join(
            f'["{side}","{fixed(price, one.price_decimals)}",'
            f'"{trimmed(quantity, one.quantity_decimals) if quantity else GONE}"]'
            for side, levels in (("buy", bids), ("sell", asks)) for price, quantity in levels
        )  # fmt: skip
        if not changes:
            return []
        return [
            f'{{"type":"l2update","product_id":"{one.symbol}","changes":[{changes}],"time":"{iso(now_ns)}"}}'.encode()
        ]


class Heartbeat(Channel):
    """`heartbeat`: the product's sequence and last trade id, every second."""

    market: Market

    def __init__(self, market: Market) -> None:
        super().__init__(market, NS_PER_S)
        self.market = market

    def on_tick(self, now_ns: int) -> list[bytes]:
        last = self.market.history.last(1)
        return [
            f'{{"type":"heartbeat","last_trade_id":{last[0].number if last else 0},'
            f'"product_id":"{self.market.instrument.symbol}","sequence":{self.market.engine.update_id},'
            f'"time":"{iso(now_ns)}"}}'.encode()
        ]
