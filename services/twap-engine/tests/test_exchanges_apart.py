"""Exchanges that hang or fail: what is due elsewhere goes on, and what they did is found out once they answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
from test_wiring import running
from twap_world import Ledger, Replica, TestClock, make_order, snapshot

from crosstape.common.errors import DatabaseConnectionError, ExchangeError
from crosstape.twap_engine import main
from crosstape.twap_engine.execution import calls, listings
from crosstape.twap_engine.execution.ccxt_clients import CcxtClient, Executed, OrderUnknown
from crosstape.twap_engine.execution.ccxt_executor import CcxtExecutor
from crosstape.twap_engine.execution.listings import Listings
from crosstape.twap_engine.order import Market, ParentOrder, Side
from crosstape.twap_engine.settings import Limits
from crosstape.twap_engine.store import replicas, slices

BINANCE, KRAKEN = Market("binance", "BTC-USDT"), Market("kraken", "BTC-USD")


def executed(quantity: Decimal, price: Decimal) -> Executed:
    return Executed(is_final=True, filled=quantity, average=price, cost=quantity * price, fee=Decimal())


class Exchange(CcxtClient):
    """An exchange that fills all of an order. What `hangs` is not answered until `wake`, what `fails` is an error."""

    def __init__(self, exchange: str):
        self.exchange = exchange
        self.hangs: set[str] = set()
        self.fails: set[str] = set()
        self.tried: list[str] = []
        self.sent: dict[str, Executed] = {}
        self._awake = asyncio.Event()
        self._is_ready = False

    @property
    def slices(self) -> list[str]:
        """Those that were sent, as far as their names tell."""
        return [name.rpartition("x")[0] for name in self.sent]

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

    async def load(self) -> None:
        await self._answer("load")
        self._is_ready = True

    async def close(self) -> None:
        pass

    def may_trade(self, market: Market) -> bool:
        return market.exchange == self.exchange

    def rounded(self, symbol: str, side: Side, quantity: Decimal, limit_price: Decimal) -> tuple[Decimal, Decimal]:
        return quantity, limit_price

    async def place(self, symbol: str, side: Side, quantity: Decimal, limit_price: Decimal, name: str) -> Decimal:
        self.tried.append(name)
        await self._answer("place")
        self.sent[name] = executed(quantity, limit_price)
        return Decimal()

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
        enough = {"USDT": Decimal(10**6), "USD": Decimal(10**6)}
        limits = Limits(enough, enough)
        self.stop = asyncio.Event()
        self.listings = Listings(clients)
        self.listing: asyncio.Task[None] | None = None
        self.executor = CcxtExecutor(self.replica.database, self.replica.books, self.listings, limits, clock)
        self.replica.engine._executor = self.executor
        self.replica.see(snapshot(BINANCE, [("29980", "5")], [("29990", "5")], 1))
        self.replica.see(snapshot(KRAKEN, [("29980", "5")], [("29995", "5")], 1))

    async def submit(self, name: str, market: Market, duration: int, interval: int, *others: Market) -> ParentOrder:
        self.listing = self.listing or asyncio.create_task(self.listings.run(self.stop))
        await self.replica.work()
        values = {"markets": (market, *others), "duration": duration, "interval": interval}
        return await self.replica.submit(make_order(name, self.clock, **values))

    async def close(self) -> None:
        self.stop.set()
        if self.listing is not None:
            await self.listing
        await self.replica.close()

    async def pass_time(self, seconds: float, tick: float = 0.25) -> list[Any]:
        """The slices that there are then."""
        async with asyncio.timeout(60):
            await self.replica.work()
            for _ in range(int(seconds / tick)):
                self.clock.advance(tick)
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
    monkeypatch.setattr(listings, "RETRY_SECONDS", 0.01)


@pytest.fixture
def clients() -> dict[str, Exchange]:
    return {name: Exchange(name) for name in ("binance", "kraken")}


@pytest.fixture
async def desk(sqlite_url: str, clients: dict[str, Exchange]) -> AsyncIterator[Desk]:
    one = Desk(sqlite_url, TestClock(), clients)
    yield one
    await one.close()


@pytest.mark.parametrize("what", ["load", "place", "find"])
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
    assert clients["binance"].slices == [f"ctwap{slow.id}x0"]


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
    clients["binance"].fails = {"load"}
    order = await desk.submit("a", BINANCE, 20, 10, KRAKEN)
    await desk.wait_for_slices(order, 1)
    assert clients["kraken"].slices == [f"ctwap{order.id}x0"]
    clients["binance"].fails.clear()
    async with asyncio.timeout(60):
        while not clients["binance"].is_ready:
            await asyncio.sleep(0)
    await desk.pass_time(10)
    await desk.wait_for_slices(order, 2)
    assert clients["binance"].slices == [f"ctwap{order.id}x1"]


async def test_an_order_goes_where_its_quote_has_a_limit_though_another_one_is_cheaper(
    desk: Desk, clients: dict[str, Exchange]
) -> None:
    allowed = {"USD": Decimal(10**6)}
    desk.executor._limits = Limits(allowed, allowed)
    order = await desk.submit("a", BINANCE, 1, 1, KRAKEN)
    slices = await desk.wait_for_slices(order, 2)
    assert [one.reason for one in slices] == ["", ""]
    assert (len(clients["binance"].sent), len(clients["kraken"].sent)) == (0, 2)


async def test_a_list_that_could_not_be_renewed_is_asked_for_again_within_a_minute(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stop, waits, client = asyncio.Event(), list[float](), Exchange("binance")
    client.fails = {"load"}

    async def pause(stop: asyncio.Event, seconds: float) -> None:
        waits.append(seconds)
        client.fails ^= {"load"}
        if len(waits) == 4:
            stop.set()

    monkeypatch.setattr(listings, "pause", pause)
    await Listings({"binance": client}).run(stop)
    assert waits == [listings.RETRY_SECONDS, 3_600, 60, 3_600]


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
    binance.sent[binance.tried[0]] = executed(Decimal("0.1"), Decimal(29_990))
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
    await other.pass_time(50, tick=2.5)
    assert [one.reason for one in await other.slices()] == ["not_found"]
    await other.pass_time(40, tick=2.5)
    await desk.wait_for_slices(await desk.submit("b", KRAKEN, 1, 1), 1)
    assert order.id not in desk.executor._ways
    await other.close()


async def test_who_takes_an_order_over_that_is_cancelled_just_then_finds_out_what_its_slice_got(
    desk: Desk, clients: dict[str, Exchange], sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    binance = clients["binance"]
    binance.fails, binance.hangs = {"place"}, {"find"}
    order = await desk.submit("a", BINANCE, 60, 60)
    await desk.pass_time(1)
    binance.sent[binance.tried[0]] = executed(Decimal("0.1"), Decimal(29_990))
    other = Desk(sqlite_url, desk.clock, clients)
    async with other.replica.database.writing() as connection:
        await replicas.resign(connection, desk.replica.engine.replica)
    owned = replicas.owned

    async def owned_until_cancelled(*of: Any) -> Any:
        found = await owned(*of)
        if found:
            await other.replica.cancel(order)
        return found

    monkeypatch.setattr(replicas, "owned", owned_until_cancelled)
    await other.pass_time(0)
    monkeypatch.undo()
    binance.wake()
    (found,) = await other.wait_for_slices(order, 1)
    assert Decimal(found.filled) == Decimal("0.1")
    await other.close()


async def test_the_service_asks_for_the_market_lists_from_its_start(
    sqlite_url: str, clients: dict[str, Exchange], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "open_clients", lambda settings: clients)
    monkeypatch.setattr(main, "prepared", lambda stop, prepare: asyncio.sleep(0, False))
    monkeypatch.setenv("CROSSTAPE_EXECUTOR", "ccxt")
    async with running(sqlite_url, monkeypatch):
        while not all(client.is_ready for client in clients.values()):
            await asyncio.sleep(0)
