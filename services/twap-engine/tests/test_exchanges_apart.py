"""Exchanges that hang or fail: what is due elsewhere goes on, and what they did is found out once they answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from twap_world import Ledger, Replica, TestClock, make_order, snapshot

from crosstape.common.errors import DatabaseConnectionError, ExchangeError
from crosstape.twap_engine.execution import calls
from crosstape.twap_engine.execution.ccxt_clients import CcxtClient, Executed, OrderUnknown
from crosstape.twap_engine.execution.ccxt_executor import CcxtExecutor
from crosstape.twap_engine.order import Market, ParentOrder, Side
from crosstape.twap_engine.settings import Limits
from crosstape.twap_engine.store import replicas, slices

BINANCE, KRAKEN = Market("binance", "BTC-USDT"), Market("kraken", "BTC-USD")


class Exchange(CcxtClient):
    """An exchange that fills all of an order. What `hangs` is not answered until `wake`, what `fails` is an error."""

    def __init__(self, exchange: str):
        self.exchange = exchange
        self.hangs: set[str] = set()
        self.fails: set[str] = set()
        self.sent: dict[str, Executed] = {}
        self._awake = asyncio.Event()
        self._is_ready = False

    def wake(self) -> None:
        self.hangs.clear()
        self._awake.set()

    async def _answer(self, what: str) -> None:
        if what in self.hangs:
            await self._awake.wait()
        if what in self.fails:
            raise ExchangeError(f"{self.exchange} answered with an error.")

    @property
    def is_ready(self) -> bool:
        return self._is_ready

    async def prepare(self) -> None:
        await self._answer("prepare")
        self._is_ready = True

    def rounded(self, symbol: str, side: Side, quantity: Decimal, limit_price: Decimal) -> tuple[Decimal, Decimal]:
        return quantity, limit_price

    async def place(self, symbol: str, side: Side, quantity: Decimal, limit_price: Decimal, name: str) -> None:
        await self._answer("place")
        self.sent[name] = Executed(is_final=True, filled=quantity, average=limit_price, fee=Decimal())

    async def find(self, symbol: str, name: str) -> Executed:
        await self._answer("find")
        if name not in self.sent:
            raise OrderUnknown(f"{self.exchange} knows no such order.")
        return self.sent[name]


class Desk:
    """A replica whose orders go to two exchanges, at Binance for the better price."""

    def __init__(self, url: str, clock: TestClock, clients: dict[str, Exchange]):
        self.clock = clock
        self.replica = Replica(url, clock)
        limits = Limits(Decimal(10**6), Decimal(10**6))
        self.executor = CcxtExecutor(self.replica.database, self.replica.books, clients, limits, clock)
        self.replica.engine._executor = self.executor
        self.replica.see(snapshot(BINANCE, [("29980", "5")], [("29990", "5")], 1))
        self.replica.see(snapshot(KRAKEN, [("29980", "5")], [("29995", "5")], 1))

    async def submit(self, name: str, market: Market, duration: int, interval: int) -> ParentOrder:
        await self.replica.work()
        values = {"markets": (market,), "duration": duration, "interval": interval}
        return await self.replica.submit(make_order(name, self.clock, **values))

    async def pass_time(self, seconds: float) -> list[Any]:
        """The slices that there are then."""
        async with asyncio.timeout(60):
            await self.replica.work()
            for _ in range(int(seconds * 4)):
                self.clock.advance(0.25)
                await self.replica.work()
        return await self.slices()

    async def slices(self) -> list[Any]:
        ledger = await Ledger(self.replica.database).read()
        ledger.check()
        return ledger.slices

    async def wait_for_slices(self, order: ParentOrder, count: int) -> list[Any]:
        """Those of an order, once there are `count`."""
        async with asyncio.timeout(60):
            while len(found := [one for one in await self.slices() if one.parent == order.id]) < count:
                await self.pass_time(0.5)
        return found


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What hangs or fails is waited for no longer than it must be."""
    monkeypatch.setattr(calls, "PATIENCE_SECONDS", 0.01)
    monkeypatch.setattr(calls, "RETRY_SECONDS", 0.01)


@pytest.fixture
def clients() -> dict[str, Exchange]:
    return {name: Exchange(name) for name in ("binance", "kraken")}


@pytest.fixture
async def desk(sqlite_url: str, clients: dict[str, Exchange]) -> AsyncIterator[Desk]:
    one = Desk(sqlite_url, TestClock(), clients)
    yield one
    await one.replica.close()


@pytest.mark.parametrize("what", ["prepare", "place", "find"])
async def test_an_exchange_that_hangs_delays_no_slice_of_another(
    desk: Desk, clients: dict[str, Exchange], what: str
) -> None:
    clients["binance"].hangs = {what}
    slow = await desk.submit("slow", BINANCE, 60, 10)
    quick = await desk.submit("quick", KRAKEN, 5, 1)
    await desk.pass_time(5)
    found = await desk.wait_for_slices(quick, 6)
    assert [(one.number, one.started - one.due) for one in found] == [(number, 0) for number in range(6)]
    clients["binance"].wake()
    (late,) = await desk.wait_for_slices(slow, 1)
    assert late.number == 0
    assert Decimal(late.filled) > 0
    assert [*clients["binance"].sent] == [f"ctwap{slow.id}x0"]


async def test_a_cancelled_order_at_an_exchange_that_hangs_delays_no_slice_of_another(
    desk: Desk, clients: dict[str, Exchange]
) -> None:
    clients["binance"].hangs = {"find"}
    slow = await desk.submit("slow", BINANCE, 60, 10)
    await desk.pass_time(0)
    await desk.replica.cancel(slow)
    quick = await desk.submit("quick", KRAKEN, 5, 1)
    await desk.pass_time(5)
    found = await desk.wait_for_slices(quick, 6)
    assert [one.started - one.due for one in found] == [0] * 6
    clients["binance"].wake()
    (late,) = await desk.wait_for_slices(slow, 1)
    assert Decimal(late.filled) > 0


async def test_an_order_of_several_exchanges_goes_where_one_answers(desk: Desk, clients: dict[str, Exchange]) -> None:
    clients["binance"].fails = {"prepare"}
    await desk.replica.work()
    values = {"markets": (BINANCE, KRAKEN), "duration": 20, "interval": 10}
    order = await desk.replica.submit(make_order("a", desk.clock, **values))
    await desk.wait_for_slices(order, 1)
    assert [*clients["kraken"].sent] == [f"ctwap{order.id}x0"]
    clients["binance"].fails.clear()
    async with asyncio.timeout(60):
        while not clients["binance"].is_ready:
            await asyncio.sleep(0)
    await desk.pass_time(10)
    await desk.wait_for_slices(order, 2)
    assert [*clients["binance"].sent] == [f"ctwap{order.id}x1"]


async def its_second_slice_is_on_its_way(desk: Desk, binance: Exchange) -> ParentOrder:
    """An order at Binance whose first slice is written, and whose second one is due while placing hangs."""
    order = await desk.submit("a", BINANCE, 20, 10)
    await desk.wait_for_slices(order, 1)
    binance.hangs = {"place"}
    desk.clock.advance(10 - desk.clock.steady() / 1e9)
    return order


async def test_what_the_market_did_until_a_slice_was_sent_is_its_own_however_late_the_answer(
    desk: Desk, clients: dict[str, Exchange]
) -> None:
    order = await its_second_slice_is_on_its_way(desk, clients["binance"])
    await desk.pass_time(4)
    clients["binance"].wake()
    await desk.wait_for_slices(order, 2)
    desk.clock.advance(20 - desk.clock.steady() / 1e9)
    found = await desk.wait_for_slices(order, 3)
    assert [Decimal(one.mid_seconds) for one in found] == [0, 10, 10]


async def test_who_got_an_order_back_counts_only_what_it_saw_of_the_market_since(
    desk: Desk, clients: dict[str, Exchange]
) -> None:
    order = await its_second_slice_is_on_its_way(desk, clients["binance"])
    await desk.pass_time(1)
    async with desk.replica.database.writing() as connection:  # somebody took it for dead
        await replicas.resign(connection, desk.replica.engine.replica)
    await desk.pass_time(1)
    clients["binance"].wake()
    await desk.wait_for_slices(order, 2)
    desk.clock.advance(20 - desk.clock.steady() / 1e9)
    last = (await desk.wait_for_slices(order, 3))[2]
    assert 0 < Decimal(last.mid_seconds) < 10


async def test_an_answer_of_before_a_suspension_is_no_proof_that_a_slice_never_arrived(
    desk: Desk, clients: dict[str, Exchange]
) -> None:
    binance = clients["binance"]
    binance.fails = {"place"}
    order = await desk.submit("a", BINANCE, 300, 100)
    await desk.pass_time(2)
    binance.hangs = {"find"}
    await desk.pass_time(1)
    binance.wake()
    desk.clock.advance(60)
    assert await desk.pass_time(0) == []
    arrived = Executed(is_final=True, filled=Decimal("0.1"), average=Decimal(29_990), fee=Decimal())
    binance.sent[f"ctwap{order.id}x0"] = arrived
    (found,) = await desk.wait_for_slices(order, 1)
    assert Decimal(found.filled) == Decimal("0.1")


async def test_after_a_failure_of_the_database_no_slice_goes_on_behind_the_engines_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = await desk.submit("failing", BINANCE, 60, 10)
    other = await desk.replica.submit(make_order("other", desk.clock, markets=(KRAKEN,), duration=60, interval=10))
    lock, is_waiting, may_go = slices.lock, asyncio.Event(), asyncio.Event()

    async def lock_one_alone(connection: Any, proofs: Any) -> set[int]:
        if failing.id in proofs:
            raise DatabaseConnectionError("gone")
        is_waiting.set()
        await may_go.wait()
        return await lock(connection, proofs)

    monkeypatch.setattr(calls, "PATIENCE_SECONDS", 60)
    monkeypatch.setattr(slices, "lock", lock_one_alone)
    step = asyncio.ensure_future(desk.replica.engine.step())
    async with asyncio.timeout(60):
        await is_waiting.wait()
        await asyncio.wait({step}, timeout=0.05)
        assert not step.done()
        may_go.set()
        with pytest.raises(DatabaseConnectionError):
            await step
    monkeypatch.undo()
    assert [(one.parent, one.number) for one in await desk.slices()] == [(other.id, 0)]


async def test_slices_that_another_replica_found_out_about_are_forgotten(
    desk: Desk, clients: dict[str, Exchange], sqlite_url: str
) -> None:
    clients["binance"].fails = {"place"}
    order = await desk.submit("a", BINANCE, 60, 60)
    await desk.pass_time(1)
    assert [*desk.executor._ways] == [order.id]
    other = Desk(sqlite_url, desk.clock, clients)
    async with other.replica.database.writing() as connection:
        await replicas.resign(connection, desk.replica.engine.replica)
    await other.pass_time(30)
    assert [one.reason for one in await other.slices()] == ["not_found"]
    await other.pass_time(40)
    await desk.wait_for_slices(await desk.submit("b", KRAKEN, 1, 1), 1)
    assert order.id not in desk.executor._ways
    await other.replica.close()
