"""Who trades: makers quoting around the fair price and takers crossing the spread, seeded per market."""

from random import Random

from crosstape.exchange_sim.bars import lots_per_usd
from crosstape.exchange_sim.latent import fair_price
from crosstape.exchange_sim.market import Market
from crosstape.exchange_sim.matching import BookSide, Side
from crosstape.exchange_sim.trade_history import Trade

QUOTE_SCALE = 6e-4
HALF_SPREAD = 5e-6
MAKER_USD, MAKER_SIGMA = 1500.0, 1.0
TAKER_USD, TAKER_SIGMA = 500.0, 1.2
CATCH_UP_NS = 2_000_000_000


class OrderFlow:
    """Sends orders to one market's engine. `orders_a_side` is how many resting orders each side keeps.

    Takers arrive as a Poisson process whose rate follows the fills an order really makes, so that trades (not
    orders) come at `trades_per_second`.
    """

    def __init__(self, market: Market, seed: int, trades_per_second: float, orders_a_side: int) -> None:
        self.market = market
        self.seed = seed
        self.rate = trades_per_second
        self.orders_a_side = orders_a_side
        self.random = Random(f"{seed}/{market.instrument.key}/{market.next_number}")
        self.lots_per_usd = lots_per_usd(market.instrument)
        self.next_take_ns = 0
        self.last_time_ns = 0
        self.stepped_ns = 0
        self.orders = 3
        self.fills = 4

    def open_book(self, now_ns: int) -> None:
        fair = fair_price(self.seed, self.market.instrument, now_ns / 1e9)
        self._refill(fair)
        self.next_take_ns = now_ns + self._wait_ns()
        self.market.engine.take_changed()

    def step(self, now_ns: int) -> list[Trade]:
        """Lets time pass until `now_ns`; answers the trades this made, none later than now."""
        self.next_take_ns -= max(0, self.stepped_ns - now_ns)  # the machine's clock may be set back
        self.stepped_ns = now_ns
        fair = fair_price(self.seed, self.market.instrument, now_ns / 1e9)
        self._withdraw(fair)
        self._replace()
        self._refill(fair)
        return self._take(now_ns)

    def _wait_ns(self) -> int:
        orders_per_second = self.rate * self.orders / self.fills
        return int(self.random.expovariate(orders_per_second) * 1e9) + 1

    def _lots(self, usd: float, sigma: float) -> int:
        return max(1, int(usd * self.random.lognormvariate(0.0, sigma) * self.lots_per_usd))

    def _withdraw(self, fair: float) -> None:
        """Makers pull quotes which the fair price has passed: what is refilled later can never cross."""
        engine = self.market.engine
        while engine.bids.prices and engine.bids.prices[-1] > fair:
            self._cancel_level(engine.bids, engine.bids.prices[-1])
        while engine.asks.prices and engine.asks.prices[0] < fair:
            self._cancel_level(engine.asks, engine.asks.prices[0])

    def _replace(self) -> None:
        """One far and one random quote a side make room for fresh ones."""
        for side in (self.market.engine.bids, self.market.engine.asks):
            if len(side.prices) > 2:
                far = side.prices[0] if side.side == "buy" else side.prices[-1]
                self.market.engine.cancel(next(iter(side.levels[far].orders)))
                price = side.prices[int(self.random.random() * len(side.prices))]
                self.market.engine.cancel(next(iter(side.levels[price].orders)))

    def _cancel_level(self, side: BookSide, price: int) -> None:
        for order_id in list(side.levels[price].orders):
            self.market.engine.cancel(order_id)

    def _take(self, now_ns: int) -> list[Trade]:
        trades: list[Trade] = []
        unit = self.market.time_unit_ns
        self.next_take_ns = max(self.next_take_ns, now_ns - CATCH_UP_NS)
        while self.next_take_ns <= now_ns:
            time_ns = max(self.last_time_ns, self.next_take_ns // unit * unit)
            self.last_time_ns = time_ns
            side: Side = "buy" if self.random.random() < 0.5 else "sell"
            fills = self.market.engine.market(side, self._lots(TAKER_USD, TAKER_SIGMA))
            trades.extend(self.market.trade(fill, time_ns) for fill in fills)
            if fills:  # else the book is empty: more and more takers would come for nothing
                self.orders += 1
                self.fills += len(fills)
            self.next_take_ns += self._wait_ns()
        return trades

    def _refill(self, fair: float) -> None:
        engine = self.market.engine
        while engine.bids.order_count < self.orders_a_side:
            price = max(1, int(fair - self._distance(fair)))
            engine.limit("buy", price, self._lots(MAKER_USD, MAKER_SIGMA))
        while engine.asks.order_count < self.orders_a_side:
            price = int(fair + self._distance(fair)) + 1
            engine.limit("sell", price, self._lots(MAKER_USD, MAKER_SIGMA))

    def _distance(self, fair: float) -> float:
        """Ticks from the fair price: most quotes are near, one in five reaches eight times as far."""
        reach = 8.0 if self.random.random() < 0.2 else 1.0
        half_spread = max(0.5, fair * HALF_SPREAD)
        return half_spread + self.random.expovariate(1.0 / (fair * QUOTE_SCALE * reach))
