"""Random histories: orders, books, cancels, kills, suspensions and clock steps, on replicas that share a database.

After every step the database must hold what `Ledger.check` says, and of every level's life no more may be taken than it
ever showed. In the end every order is over.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from twap_world import ALPHA, BETA, Ledger, Replica, TestClock, change, make_order, snapshot, stale

from crosstape.common.errors import Conflict
from crosstape.common.market.book import BookEvent, BookStale
from crosstape.twap_engine.order import Market, ParentOrder, Progress, Side, Status
from crosstape.twap_engine.store import accept as accepting
from crosstape.twap_engine.store.database import Database

PRICES = [str(price) for price in range(95, 106)]
QUANTITIES = ["0", "0.5", "1", "3"]
Level = tuple[Market, Side, str]


class Histories(RuleBasedStateMachine):
    """Two replicas, each of which may be killed (another takes its place) or suspended for a while."""

    new_url: Callable[[], str]
    orders = Bundle("orders")

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._url = self.new_url()
        self._clock = TestClock()
        self._books: dict[Market, tuple[dict[str, str], dict[str, str]]] = {}
        self._replicas = [Replica(self._url, self._clock) for _ in range(2)]
        self._suspended: dict[int, list[BookEvent]] = {}
        self._count = 0
        self._final: dict[str, int] = {}
        self._ledger = Ledger(self._replicas[0].database)
        """As the last step that may have changed the database left it."""
        self._seen = 0
        self._lives: dict[Level, tuple[Decimal, Decimal]] = {}
        """Of each level that lives: the most that it showed, and what was taken."""

    @initialize()
    def begin(self) -> None:
        for market in (ALPHA, BETA):
            self.whole_book(market, {"99": "1", "98": "3"}, {"101": "1", "102": "3"})
        self._work()

    @rule(
        target=orders,
        replica=st.integers(0, 1),
        side=st.sampled_from(Side),
        lots=st.integers(1, 40),
        limit=st.sampled_from(PRICES),
        slices=st.integers(1, 6),
        interval=st.integers(1, 3),
        markets=st.sampled_from([(ALPHA,), (BETA,), (ALPHA, BETA)]),
    )
    def submit(
        self, replica: int, side: Side, lots: int, limit: str, slices: int, interval: int, markets
    ) -> ParentOrder:
        self._count += 1
        order = make_order(
            f"o{self._count}",
            self._clock,
            side=side,
            total_quantity=Decimal(lots) / 4,
            limit_price=Decimal(limit),
            duration=slices * interval,
            interval=interval,
            markets=markets,
            lot=Decimal("0.1"),
        )
        accepted = self._runner.run(self._replicas[replica].submit(order))
        self._work()
        return accepted

    @rule(
        market=st.sampled_from([ALPHA, BETA]),
        bids=st.dictionaries(st.sampled_from(PRICES[:5]), st.sampled_from(QUANTITIES[1:]), max_size=3),
        asks=st.dictionaries(st.sampled_from(PRICES[6:]), st.sampled_from(QUANTITIES[1:]), max_size=3),
    )
    def whole_book(self, market: Market, bids: dict[str, str], asks: dict[str, str]) -> None:
        self._books[market] = (dict(bids), dict(asks))
        self._tell(snapshot(market, list(bids.items()), list(asks.items()), self._book_time()))

    @rule(
        market=st.sampled_from([ALPHA, BETA]),
        bids=st.dictionaries(st.sampled_from(PRICES[:5]), st.sampled_from(QUANTITIES), max_size=3),
        asks=st.dictionaries(st.sampled_from(PRICES[6:]), st.sampled_from(QUANTITIES), max_size=3),
    )
    def book_changes(self, market: Market, bids: dict[str, str], asks: dict[str, str]) -> None:
        for kept, changed in zip(self._books[market], (bids, asks), strict=True):
            kept.update(changed)
            for price in [p for p, quantity in kept.items() if quantity == "0"]:
                del kept[price]
        self._tell(change(market, list(bids.items()), list(asks.items()), self._book_time()))

    @rule(market=st.sampled_from([ALPHA, BETA]))
    def book_breaks(self, market: Market) -> None:
        self._tell(stale(market, self._book_time()))

    @rule(seconds=st.sampled_from([0.2, 0.5, 1.0, 1.0, 2.5, 7.0]))
    def time_passes(self, seconds: float) -> None:
        self._clock.advance(seconds)
        self._work()

    @rule(seconds=st.sampled_from([-3600.0, -1.5, 0.7, 3600.0]))
    def clock_is_set(self, seconds: float) -> None:
        self._clock.step(seconds)
        self._work()

    @rule(order=orders, replica=st.integers(0, 1))
    def cancel(self, order: ParentOrder, replica: int) -> None:
        async def cancel() -> None:
            try:
                await self._replicas[replica].cancel(order)
            except Conflict:
                return
            self._ledger = await Ledger(self._replicas[0].database).read()
            self._final[order.order_id] = sum(fill.parent == order.id for fill in self._ledger.fills)

        self._runner.run(cancel())

    @rule(replica=st.integers(0, 1))
    def kill(self, replica: int) -> None:
        """Nothing is said to anybody; what replaces it knows the books as they are published, to all."""
        old = self._replicas[replica]
        self._suspended.pop(replica, None)
        self._replicas[replica] = Replica(self._url, self._clock)
        self._runner.run(old.close())
        for market, (bids, asks) in self._books.items():
            self._tell(snapshot(market, list(bids.items()), list(asks.items()), self._book_time()))
        self._work()

    @rule(replica=st.integers(0, 1))
    def suspend(self, replica: int) -> None:
        self._suspended.setdefault(replica, [])

    @rule(replica=st.integers(0, 1))
    def resume(self, replica: int) -> None:
        for event in self._suspended.pop(replica, ()):
            self._replicas[replica].see(event)
        self._work()

    @invariant()
    def holds(self) -> None:
        self._ledger.check()
        for row in self._ledger.orders:
            if row.order_id in self._final:
                assert row.status == Status.CANCELLED.value
                assert sum(fill.parent == row.id for fill in self._ledger.fills) == self._final[row.order_id]

    def teardown(self) -> None:
        """Whatever happened: one living replica brings every order to its end."""

        async def finish() -> None:
            for replica in self._replicas:
                await replica.close()
            for step in (0, 1_000 * 3_600):  # what waits because the clock was set back ends when that is made good
                self._clock.step(step)
                last = Replica(self._url, self._clock)
                for _ in range(30):
                    self._clock.advance(0.5)
                    await last.work()
                ledger = await Ledger(last.database).read()
                await last.close()
            ledger.check()
            assert not any(row.status == Status.OPEN.value for row in ledger.orders)

        self._runner.run(finish())
        self._runner.close()

    def _book_time(self) -> int:
        """The ingestor's clock: it only ever grows, a little with each record."""
        self._seen += 1
        return 1_000_000_000_000 + self._clock.steady() + self._seen

    def _tell(self, event: BookEvent) -> None:
        for number, replica in enumerate(self._replicas):
            if number in self._suspended:
                self._suspended[number].append(event)
            else:
                replica.see(event)
        if not isinstance(event, BookStale):
            self._note_lives(Market(event.exchange, event.symbol))

    def _note_lives(self, market: Market) -> None:
        bids, asks = self._books[market]
        for side, kept in ((Side.SELL, bids), (Side.BUY, asks)):
            for price in PRICES:
                level = (market, side, price)
                if price not in kept:
                    self._lives.pop(level, None)
                else:
                    most, taken = self._lives.get(level, (Decimal(), Decimal()))
                    self._lives[level] = (max(most, Decimal(kept[price])), taken)

    def _work(self) -> None:
        """Those that live work, and whatever they take from a level counts against its life."""

        async def work() -> None:
            known = {(f.parent, f.slice, f.part) for f in self._ledger.fills}
            for number, replica in enumerate(self._replicas):
                if number not in self._suspended:
                    await replica.work()
            self._ledger = await Ledger(self._replicas[0].database).read()
            sides = {row.id: Side(row.side) for row in self._ledger.orders}
            for fill in self._ledger.fills:
                if (fill.parent, fill.slice, fill.part) not in known:
                    level = (Market(fill.exchange, fill.symbol), sides[fill.parent], fill.price)
                    most, taken = self._lives[level]
                    self._lives[level] = (most, taken + Decimal(fill.quantity))
                    assert taken + Decimal(fill.quantity) <= most, "taken twice"

        self._runner.run(work())


def _run(new_url: Callable[[], str], examples: int, steps: int) -> None:
    machine = type("Machine", (Histories,), {"new_url": staticmethod(new_url)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


@pytest.mark.integration  # it takes seconds
def test_random_histories_keep_every_promise(sqlite_template: Path, tmp_path: Path) -> None:
    def new_url() -> str:
        path = tmp_path / f"{uuid.uuid4().hex}.db"
        path.write_bytes(sqlite_template.read_bytes())
        return f"sqlite:///{path}"

    _run(new_url, examples=12, steps=25)


@pytest.mark.integration
def test_random_histories_keep_every_promise_on_postgresql(new_postgres_url: Callable[[], str]) -> None:
    _run(new_postgres_url, examples=4, steps=15)


@pytest.mark.integration
def test_replicas_that_work_at_the_same_moment_share_orders_and_levels(new_postgres_url: Callable[[], str]) -> None:
    """Both fill on one market, at once, while orders are cancelled at both: no deadlock, nothing taken twice."""
    clock = TestClock()
    shown = Decimal(40)

    async def work(url: str) -> Ledger:
        replicas = [Replica(url, clock) for _ in range(2)]
        orders: list[ParentOrder] = []
        for number, replica in enumerate(replicas):
            replica.see(snapshot(ALPHA, [("99", "1")], [("101", str(shown))], 1))
            await replica.life.step()
            for order in range(30):
                fields = {"markets": (ALPHA,), "limit_price": Decimal(101), "duration": 4}
                orders.append(await replica.submit(make_order(f"o{number}-{order}", clock, **fields)))
        for second in range(6):
            await asyncio.gather(
                *(replica.work() for replica in replicas),
                *(replicas[n % 2].cancel(order) for n, order in enumerate(orders) if second == 2 and n % 7 == 0),
            )
            clock.advance(1)
        ledger = await Ledger(replicas[0].database).read()
        for replica in replicas:
            await replica.close()
        return ledger

    ledger = asyncio.run(work(new_postgres_url()))
    ledger.check()
    assert sum(Decimal(fill.quantity) for fill in ledger.fills) == shown
    assert len({row.owner for row in ledger.orders}) == 2
    assert sum(row.status == Status.CANCELLED.value for row in ledger.orders) == 9


@pytest.mark.integration
def test_requests_at_the_same_moment_open_no_more_orders_than_an_account_may_have(
    new_postgres_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "MOST_OPEN_ORDERS", 10)
    clock = TestClock()

    async def request(replica: Replica, number: int) -> bool:
        orders = [make_order(f"o{number}-{order}", clock) for order in range(5)]
        new = [accepting.NewOrder(order, Progress(), "request", "BTC-USD", []) for order in orders]
        try:
            await accepting.accept(replica.database, new, replica.engine.replica, replica.engine.doubt)
        except Conflict:
            return False
        return True

    async def work(url: str) -> tuple[int, int]:
        replicas = [Replica(url, clock) for _ in range(2)]
        answers = await asyncio.gather(*(request(replicas[number % 2], number) for number in range(20)))
        ledger = await Ledger(replicas[0].database).read()
        for replica in replicas:
            await replica.close()
        return sum(answers), len(ledger.orders)

    assert asyncio.run(work(new_postgres_url())) == (2, 10)


@pytest.mark.integration
def test_however_many_requests_of_a_user_wait_for_each_other_others_are_answered(
    new_postgres_url: Callable[[], str],
) -> None:
    async def work(url: str) -> None:
        database, holds, may_end = Database(url, 2), asyncio.Event(), asyncio.Event()

        async def request() -> None:
            async with database.writing_for("a"):
                holds.set()
                await may_end.wait()

        requests = [asyncio.ensure_future(request()) for _ in range(5)]
        await holds.wait()
        async with database.writing_for("b"):  # waiting for a connection has a deadline of its own
            may_end.set()
        await asyncio.gather(*requests)
        await database.close()

    asyncio.run(work(new_postgres_url()))
