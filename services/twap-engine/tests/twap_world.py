"""A world for the engine: a clock that tests turn, books that they write, and replicas that they start and kill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import select

from crosstape.common.market.bar import NANOSECONDS
from crosstape.common.market.book import BookEvent, BookStale, BookUpdate, Level
from crosstape.twap_engine import events
from crosstape.twap_engine.benchmarks import Benchmarks
from crosstape.twap_engine.books import Books
from crosstape.twap_engine.clock import Clock
from crosstape.twap_engine.engine import Engine
from crosstape.twap_engine.execution.simulated import SimulatedExecutor
from crosstape.twap_engine.order import Market, ParentOrder, Progress, Side
from crosstape.twap_engine.replica import ReplicaLife, new_name
from crosstape.twap_engine.store.accept import NewOrder, accept
from crosstape.twap_engine.store.cancel import cancel
from crosstape.twap_engine.store.database import Database
from crosstape.twap_engine.store.read import Reader
from crosstape.twap_engine.store.tables import fills, orders, outbox, slices

START = 1_751_328_000_000_000_000
ALPHA, BETA = Market("alpha", "BTC-USDT"), Market("beta", "BTC-USD")
USER = "user-1"
LEASE = 2.0


class TestClock(Clock):
    """Stands still until it is turned."""

    __test__ = False

    def __init__(self) -> None:
        self._utc = START
        self._steady = 0

    def utc(self) -> int:
        return self._utc

    def steady(self) -> int:
        return self._steady

    def advance(self, seconds: float) -> None:
        """Time goes by."""
        self._utc += int(seconds * NANOSECONDS)
        self._steady += int(seconds * NANOSECONDS)

    def step(self, seconds: float) -> None:
        """Somebody sets the clock."""
        self._utc += int(seconds * NANOSECONDS)


class Replica:
    """A replica with database connections, books and orders in memory of its own."""

    def __init__(self, url: str, clock: Clock, fees: Mapping[str, Decimal] | None = None, silence: float = 1e6):
        self.database = Database(url)
        self.clock = clock
        self.books = Books(int(silence * NANOSECONDS))
        self.benchmarks = Benchmarks(self.books)
        self.executor = SimulatedExecutor(self.database, self.books, fees or {}, clock)
        self.engine = Engine(self.database, self.executor, self.benchmarks, clock, new_name())
        self.life = ReplicaLife(self.database, self.engine, clock, LEASE)

    async def work(self) -> None:
        """A beat, and every slice that is due."""
        await self.life.step()
        while await self.engine.step():
            pass

    def see(self, event: BookEvent) -> None:
        self.books.apply(event, self.clock.steady())
        self.benchmarks.heard([Market(event.exchange, event.symbol)], self.clock.steady())

    async def submit(self, order: ParentOrder) -> ParentOrder:
        """Accept an order, as the API does."""
        mid = self.books.mid(order.markets, self.clock.steady())
        new = NewOrder(order, Progress(arrival_price=mid), "request", "BTC-USD", [])
        (accepted,) = await accept(self.database, [new], self.engine.replica, self.engine.doubt)
        assert accepted.token is not None
        self.engine.hold(accepted.order, accepted.token, accepted.progress)
        return accepted.order

    async def cancel(self, order: ParentOrder) -> None:
        """As the API does."""
        number = await cancel(self.database, Reader(USER), order.order_id, self.clock)
        self.engine.drop(number)

    async def close(self) -> None:
        await self.database.close()


def make_order(name: str, clock: Clock, **fields: Any) -> ParentOrder:
    """Buy 1 BTC on both markets within 5 s, in six slices, but for `fields`."""
    values: dict[str, Any] = {
        "id": 0,
        "user_id": USER,
        "username": "alice",
        "order_id": name,
        "symbol": "BTC-USD",
        "exchange": "",
        "markets": (ALPHA, BETA),
        "side": Side.BUY,
        "total_quantity": Decimal("1.0"),
        "limit_price": Decimal(30_000),
        "duration": 5,
        "interval": 1,
        "lot": Decimal("0.00001"),
        "start": clock.utc(),
    }
    return ParentOrder(**(values | fields))


_streams: Counter[Market] = Counter()


def _stream(market: Market) -> str:
    return f"test.{_streams[market]}"


def snapshot(market: Market, bids: Sequence[Level], asks: Sequence[Level], time: int, **fields: Any) -> BookUpdate:
    """A whole book, received at `time`, with which a stream begins."""
    _streams[market] += 1
    levels = list(bids), list(asks)
    return BookUpdate(market.exchange, market.symbol, True, *levels, time, time, stream=_stream(market), **fields)


def change(market: Market, bids: Sequence[Level], asks: Sequence[Level], time: int) -> BookUpdate:
    """A change of the newest stream's book."""
    return BookUpdate(market.exchange, market.symbol, False, list(bids), list(asks), time, time, stream=_stream(market))


def stale(market: Market, time: int) -> BookStale:
    """The end of the newest stream."""
    return BookStale(market.exchange, market.symbol, "sequence", time, _stream(market))


class Ledger:
    """What is in the database, as rows."""

    def __init__(self, database: Database):
        self._database = database
        self.orders: list[Any] = []
        self.slices: list[Any] = []
        self.fills: list[Any] = []
        self.events: list[Any] = []

    async def read(self) -> Ledger:
        async with self._database.reading() as connection:
            self.orders = list(await connection.execute(select(orders).order_by(orders.c.id)))
            self.slices = list(await connection.execute(select(slices).order_by(slices.c.parent, slices.c.number)))
            self.fills = list(
                await connection.execute(select(fills).order_by(fills.c.parent, fills.c.slice, fills.c.part))
            )
            rows = await connection.execute(select(outbox).order_by(outbox.c.id))
            self.events = [event for row in rows for event in events.unpack(row.events)]
        return self

    def check(self) -> None:
        """What holds of every order at every moment."""
        for row in self.orders:
            own_slices = [s for s in self.slices if s.parent == row.id]
            own_fills = [f for f in self.fills if f.parent == row.id]
            filled = sum((Decimal(f.quantity) for f in own_fills), Decimal())
            assert filled == Decimal(row.filled) <= Decimal(row.total_quantity)
            paid = (Decimal(f.cost) if f.cost else Decimal(f.quantity) * Decimal(f.price) for f in own_fills)
            assert sum(paid, Decimal()) == Decimal(row.notional)
            for f in own_fills:
                assert Decimal(f.quantity) > 0
                sign = 1 if row.side == "buy" else -1
                assert Decimal(f.price) * sign <= Decimal(row.limit_price) * sign, "beyond the limit"
            assert len({s.number for s in own_slices}) == len(own_slices) == row.slices_run, "a slice twice"
            for s in own_slices:
                of_it = sum((Decimal(f.quantity) for f in own_fills if f.slice == s.number), Decimal())
                assert of_it == Decimal(s.filled) <= Decimal(s.quantity)
                assert 0 <= s.number < row.duration // row.interval + 1
            assert (row.close_reason == "completed") == (filled == Decimal(row.total_quantity))
            assert (row.status == "open") == (row.close_reason is None)
            told = [e for e in self.events if (e.user_id, e.order_id) == (row.user_id, row.order_id)]
            assert [e.number for e in told] == [*range(row.events)], "events out of order, or a gap"
            assert sum(e.kind == "fill" for e in told) == len(own_fills)
            assert [e.kind for e in told if e.kind not in ("slice", "fill")] == ["accepted"] + {
                "open": [],
                "closed": ["closed"],
                "cancelled": ["cancelled"],
            }[row.status]


ASKS_OF_THE_DYING = [("100", "5"), ("100.5", "7.5"), ("101", "1000")]
