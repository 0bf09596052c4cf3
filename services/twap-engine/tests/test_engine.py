"""Orders through the engine: on time, exact, and what happens when something is in the way."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
import structlog
from prometheus_client import REGISTRY
from twap_world import ALPHA, BETA, LEASE, Ledger, Replica, TestClock, change, make_order, snapshot, stale

from crosstape.common.bus.connection import BusSettings
from crosstape.common.bus.follower import Arrivals, Record
from crosstape.common.bus.topics import BOOKS
from crosstape.common.errors import Conflict, DatabaseConnectionError
from crosstape.common.market.bar import NANOSECONDS
from crosstape.common.market.book import BookUpdate
from crosstape.common.market.trade import Source, TradeColumns, batch_columns, batch_trades
from crosstape.common.testing.builders import UNSOUND, make_trade
from crosstape.twap_engine import engine as engine_module
from crosstape.twap_engine.engine import SWEPT_AT
from crosstape.twap_engine.feed import Feed
from crosstape.twap_engine.order import Progress, Side
from crosstape.twap_engine.store import replicas, slices

ASKS = [("29990", "0.1"), ("29995", "0.05"), ("30000", "2"), ("30001", "50")]
BIDS = [("29980", "5")]


@pytest.fixture
def clock() -> TestClock:
    return TestClock()


@pytest.fixture
async def replica(sqlite_url: str, clock: TestClock) -> AsyncIterator[Replica]:
    replica = Replica(sqlite_url, clock, {"alpha": Decimal("0.001")})
    replica.see(snapshot(ALPHA, BIDS, ASKS, clock.utc()))
    await replica.work()
    yield replica
    await replica.close()


async def pass_time(clock: TestClock, seconds: float, *replicas: Replica, tick: float = 0.25) -> None:
    for _ in range(int(seconds / tick)):
        clock.advance(tick)
        for replica in replicas:
            await replica.work()


async def test_six_slices_of_a_sixth_within_five_seconds(replica: Replica, clock: TestClock) -> None:
    await replica.submit(make_order("twap_001", clock))
    await replica.work()
    await pass_time(clock, 5, replica)
    ledger = await Ledger(replica.database).read()
    ledger.check()
    (row,) = ledger.orders
    assert (row.status, row.close_reason, row.filled) == ("closed", "completed", "1.00000")
    assert [Decimal(s.quantity) for s in ledger.slices] == [
        Decimal(q) for q in ("0.16667", "0.16666", "0.16667", "0.16667", "0.16666", "0.16667")
    ]
    assert [s.started - s.due for s in ledger.slices] == [0] * 6


async def test_best_price_first_and_what_was_taken_is_gone(replica: Replica, clock: TestClock) -> None:
    replica.see(snapshot(BETA, BIDS, [("29992", "0.01"), ("29995", "1")], clock.utc()))
    await replica.submit(make_order("a", clock, total_quantity=Decimal("0.2"), duration=1, interval=1))
    await replica.work()
    ledger = await Ledger(replica.database).read()
    assert [(f.exchange, f.price, f.quantity) for f in ledger.fills] == [("alpha", "29990", "0.10000")]
    await pass_time(clock, 1, replica)
    ledger = await Ledger(replica.database).read()
    assert [(f.exchange, f.price, f.quantity) for f in ledger.fills][1:] == [
        ("beta", "29992", "0.01"),
        ("beta", "29995", "0.09000"),
    ]
    assert [Decimal(f.fee) for f in ledger.fills] == [Decimal("2.999"), 0, 0]


async def test_a_level_is_not_taken_twice_until_it_left_the_book(replica: Replica, clock: TestClock) -> None:
    one = {"total_quantity": Decimal("0.1"), "duration": 1, "interval": 1, "limit_price": Decimal(29990)}
    for name in ("a", "b"):
        await replica.submit(make_order(name, clock, **one))
        await replica.work()
    await pass_time(clock, 3, replica)
    ledger = await Ledger(replica.database).read()
    assert sum(Decimal(f.quantity) for f in ledger.fills) == Decimal("0.1")
    replica.see(change(ALPHA, [], [("29990", "0")], clock.utc()))
    replica.see(change(ALPHA, [], [("29990", "0.1")], clock.utc() + 1))
    await replica.submit(make_order("c", clock, **one))
    await pass_time(clock, 2, replica)
    ledger = await Ledger(replica.database).read()
    ledger.check()
    assert [Decimal(row.filled) for row in ledger.orders] == [Decimal("0.05"), Decimal("0.05"), Decimal("0.1")]


class SlowClock(TestClock):
    """A slice takes a fifth of a second."""

    def steady(self) -> int:
        self._steady += NANOSECONDS // 5
        return self._steady


async def test_slices_for_which_a_transaction_has_no_time_run_in_the_next_one(
    replica: Replica, clock: TestClock
) -> None:
    replica.executor._clock = SlowClock()
    for number in range(4):
        await replica.submit(make_order(str(number), clock, total_quantity=Decimal("0.16"), duration=1))
    await replica.engine.step()
    ledger = await Ledger(replica.database).read()
    assert len(ledger.slices) == 3
    await pass_time(clock, 2, replica)
    ledger = await Ledger(replica.database).read()
    ledger.check()
    assert {row.close_reason for row in ledger.orders} == {"completed"}
    assert {(one.number, one.reason) for one in ledger.slices} == {(0, ""), (1, "")}


async def test_slices_of_more_markets_than_a_transaction_has_room_for_run_in_the_next_one(
    replica: Replica, clock: TestClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slices, "SIDES_AT_ONCE", 2)
    for number, markets in enumerate([(ALPHA,), (ALPHA,), (ALPHA, BETA), (BETA,)]):
        await replica.submit(make_order(str(number), clock, markets=markets))
    counts = []
    while await replica.engine.step():
        counts.append(len((await Ledger(replica.database).read()).slices))
    assert counts == [3, 4]


async def test_a_restart_remembers_what_was_taken(replica: Replica, clock: TestClock, sqlite_url: str) -> None:
    one = {"total_quantity": Decimal("0.1"), "duration": 1, "interval": 1, "limit_price": Decimal(29990)}
    await replica.submit(make_order("a", clock, **one))
    await pass_time(clock, 2, replica)
    fresh = Replica(sqlite_url, clock)
    fresh.see(snapshot(ALPHA, BIDS, ASKS, clock.utc()))
    await fresh.work()
    await fresh.submit(make_order("b", clock, **one))
    await pass_time(clock, 2, fresh)
    ledger = await Ledger(replica.database).read()
    assert [Decimal(row.filled) for row in ledger.orders] == [Decimal("0.1"), 0]
    await fresh.close()


async def test_what_a_stale_book_or_the_limit_kept_back_is_spread_over_the_slices_left(
    replica: Replica, clock: TestClock
) -> None:
    await replica.submit(make_order("a", clock))
    replica.see(stale(ALPHA, clock.utc()))
    await replica.work()
    await pass_time(clock, 1, replica)
    replica.see(snapshot(ALPHA, BIDS, [("30001", "50")], clock.utc()))
    await pass_time(clock, 1, replica)
    replica.see(snapshot(ALPHA, BIDS, ASKS, clock.utc()))
    await pass_time(clock, 3, replica)
    ledger = await Ledger(replica.database).read()
    ledger.check()
    assert [s.reason for s in ledger.slices] == ["no_live_book", "no_live_book", "price_beyond_limit", "", "", ""]
    assert [Decimal(s.filled) for s in ledger.slices][3:] == [Decimal(q) for q in ("0.33334", "0.33333", "0.33333")]
    assert ledger.orders[0].close_reason == "completed"


async def test_the_rest_is_unfilled_when_the_schedule_ends(replica: Replica, clock: TestClock) -> None:
    await replica.submit(make_order("a", clock, limit_price=Decimal(29990), duration=2))
    await pass_time(clock, 3, replica)
    (row,) = (await Ledger(replica.database).read()).orders
    assert (row.status, row.close_reason, Decimal(row.filled)) == ("closed", "expired", Decimal("0.1"))


async def test_a_crossed_book_fills_nothing(replica: Replica, clock: TestClock) -> None:
    replica.see(snapshot(ALPHA, [("29991", "1")], ASKS, clock.utc()))
    await replica.submit(make_order("a", clock))
    await replica.work()
    ledger = await Ledger(replica.database).read()
    assert [s.reason for s in ledger.slices] == ["no_live_book"]


async def test_a_silent_market_fills_nothing(sqlite_url: str, clock: TestClock) -> None:
    replica = Replica(sqlite_url, clock, silence=15)
    replica.see(snapshot(ALPHA, BIDS, ASKS, clock.utc()))
    await replica.submit(make_order("a", clock, duration=60, interval=10))
    await pass_time(clock, 21, replica, tick=1)
    ledger = await Ledger(replica.database).read()
    assert [s.reason for s in ledger.slices] == ["", "", "no_live_book"]
    replica.see(snapshot(ALPHA, BIDS, ASKS, clock.utc()))
    await pass_time(clock, 10, replica)
    assert [s.reason for s in (await ledger.read()).slices] == ["", "", "no_live_book", ""]
    await replica.close()


async def test_clock_steps_move_no_slice(replica: Replica, clock: TestClock) -> None:
    await replica.submit(make_order("a", clock, duration=10, interval=2))
    steady = clock.steady()
    moments = []
    for step in (0, 3_600, -7_200, 0, 3_600):
        clock.step(step)
        for _ in range(20):
            before = len((await Ledger(replica.database).read()).slices)
            await replica.work()
            if len((await Ledger(replica.database).read()).slices) > before:
                moments.append((clock.steady() - steady) / 1e9)
            clock.advance(0.125)
    assert moments == [0, 2, 4, 6, 8, 10]


class InterruptedClock(TestClock):
    """Who has looked at the steady clock goes on a second later."""

    def steady(self) -> int:
        found = super().steady()
        self.advance(1)
        return found


async def test_who_is_interrupted_while_an_order_is_taken_up_runs_no_slice_early(sqlite_url: str) -> None:
    replica = Replica(sqlite_url, InterruptedClock())
    order = make_order("a", replica.clock, id=1)
    replica.engine.hold(order, 1, Progress())
    assert replica.engine._held[1].due_at(1) == order.interval_ns
    await replica.close()


async def test_slices_that_fell_into_a_suspension_are_missed_and_caught_up(replica: Replica, clock: TestClock) -> None:
    replica.see(snapshot(ALPHA, BIDS, [("30000", "50")], clock.utc()))
    await replica.submit(make_order("a", clock, duration=9, interval=1))
    await replica.work()
    clock.advance(4.5)
    await pass_time(clock, 5, replica)
    ledger = await Ledger(replica.database).read()
    ledger.check()
    assert [s.number for s in ledger.slices] == [0, 4, 5, 6, 7, 8, 9]
    assert Decimal(ledger.slices[1].quantity) == Decimal("0.15")
    assert ledger.orders[0].close_reason == "completed"


async def test_a_dead_replicas_orders_go_on_elsewhere_within_five_seconds(
    replica: Replica, clock: TestClock, sqlite_url: str
) -> None:
    other = Replica(sqlite_url, clock)
    replica.see(snapshot(ALPHA, BIDS, [("30000", "50")], clock.utc()))
    other.see(snapshot(ALPHA, BIDS, [("30000", "50")], clock.utc()))
    await replica.submit(make_order("a", clock, duration=20, interval=1))
    await pass_time(clock, 2, replica, other)
    assert {s.number for s in (await Ledger(other.database).read()).slices} == {0, 1, 2}
    await pass_time(clock, 5, other)
    numbers = [s.number for s in (await Ledger(other.database).read()).slices]
    assert numbers[3] <= 3 + LEASE + 1
    await pass_time(clock, 15, other)
    ledger = await Ledger(other.database).read()
    ledger.check()
    assert ledger.orders[0].close_reason == "completed"
    await replica.work()
    assert replica.engine.replica != ledger.orders[0].owner
    await other.close()


async def test_who_was_suspended_and_lost_its_orders_runs_nothing(
    replica: Replica, clock: TestClock, sqlite_url: str
) -> None:
    other = Replica(sqlite_url, clock)
    for one in (replica, other):
        one.see(snapshot(ALPHA, BIDS, [("30000", "50")], clock.utc()))
    await replica.submit(make_order("a", clock, duration=20, interval=1))
    await pass_time(clock, 2, replica, other)
    await pass_time(clock, 5, other)
    before = (await Ledger(other.database).read()).slices
    clock.advance(1)
    while await replica.engine.step():
        pass
    assert (await Ledger(other.database).read()).slices == before
    await other.work()
    assert len((await Ledger(other.database).read()).slices) == len(before) + 1
    await other.close()


async def test_cancel_is_final(replica: Replica, clock: TestClock) -> None:
    order = await replica.submit(make_order("a", clock))
    await pass_time(clock, 2, replica)
    before = await Ledger(replica.database).read()
    await replica.cancel(order)
    with pytest.raises(Conflict, match="is cancelled"):
        await replica.cancel(order)
    await pass_time(clock, 5, replica)
    after = await Ledger(replica.database).read()
    after.check()
    assert after.slices == before.slices
    assert after.orders[0].status == "cancelled"


async def test_an_order_is_cancelled_no_earlier_than_the_slice_that_was_being_written_ran(
    replica: Replica, clock: TestClock
) -> None:
    order = await replica.submit(make_order("a", clock))
    async with replica.database.writing():
        cancelling = asyncio.create_task(replica.cancel(order))
        await asyncio.sleep(0)
        clock.advance(1)
    await cancelling
    assert (await Ledger(replica.database).read()).orders[0].closed_at == clock.utc()


async def test_a_sell_takes_the_bids(replica: Replica, clock: TestClock) -> None:
    replica.see(snapshot(ALPHA, [("29980", "0.3"), ("29970", "9")], ASKS, clock.utc()))
    await replica.submit(make_order("a", clock, side=Side.SELL, duration=1, interval=1, limit_price=Decimal(29970)))
    await pass_time(clock, 1, replica)
    ledger = await Ledger(replica.database).read()
    ledger.check()
    assert [(f.price, Decimal(f.quantity)) for f in ledger.fills] == [
        ("29980", Decimal("0.3")), ("29970", Decimal("0.2")), ("29970", Decimal("0.5")),
    ]  # fmt: skip


async def test_a_cancel_at_one_replica_stops_the_slices_of_another(
    replica: Replica, clock: TestClock, sqlite_url: str
) -> None:
    other = Replica(sqlite_url, clock)
    order = await replica.submit(make_order("a", clock))
    await pass_time(clock, 2, replica, other)
    before = await Ledger(replica.database).read()
    await other.cancel(order)
    await pass_time(clock, 5, replica, other)
    after = await Ledger(replica.database).read()
    after.check()
    assert (after.slices, after.orders[0].status) == (before.slices, "cancelled")
    await other.close()


async def test_after_a_failed_transaction_the_database_says_where_an_order_stands(
    replica: Replica, clock: TestClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A commit whose answer was lost has happened: the slice must not run again."""
    await replica.submit(make_order("a", clock))
    run = replica.executor.run

    async def run_and_lose_the_answer(due):
        await run(due)
        raise DatabaseConnectionError("gone")

    monkeypatch.setattr(replica.executor, "run", run_and_lose_the_answer)
    with pytest.raises(DatabaseConnectionError):
        await replica.engine.step()
    monkeypatch.undo()
    replica.engine.load()
    await replica.work()
    await pass_time(clock, 5, replica)
    ledger = await Ledger(replica.database).read()
    ledger.check()
    assert [s.number for s in ledger.slices] == [*range(6)]


@pytest.mark.parametrize(("part", "told"), [("engine", "slices_interrupted"), ("life", "beat_missed")])
async def test_that_the_database_is_away_is_said_once(
    replica: Replica, monkeypatch: pytest.MonkeyPatch, part: str, told: str
) -> None:
    stop, are_away = asyncio.Event(), iter([True, True, True, False, True])

    async def step() -> bool:
        if (is_away := next(are_away, None)) is None:
            stop.set()
        elif is_away:
            raise DatabaseConnectionError("away")
        return True

    monkeypatch.setattr(getattr(replica, part), "step", step)
    monkeypatch.setattr(engine_module, "RETRY_SECONDS", 0)
    monkeypatch.setattr(replica.life, "_beat_seconds", 0)
    with structlog.testing.capture_logs() as logged:
        await getattr(replica, part).run(stop)
    assert [entry["event"] for entry in logged] == [told] * 2


async def test_receipts_name_the_book_the_arrival_price_and_the_market_meanwhile(
    replica: Replica, clock: TestClock
) -> None:
    await replica.submit(make_order("a", clock, duration=2, interval=1, markets=(ALPHA,)))
    await replica.work()
    clock.advance(0.25)
    replica.see(snapshot(ALPHA, [("29970", "1")], [("29980", "1")], clock.utc()))
    now = clock.utc()
    columns = TradeColumns([1, 2], [now, now], ["29970", "29980"], ["3", "1"], [1, 1], [now, now])
    for _ in range(2):  # a repeat counts once
        replica.benchmarks.add(batch_columns("alpha", "BTC-USDT", Source.STREAM, columns), now)
    for _, fields in UNSOUND:  # nor do those count that the tape does not hold
        wrong = make_trade(**{"exchange": "alpha", "trade_id": 3, "time": now} | fields)
        replica.benchmarks.add(batch_trades([wrong], Source.STREAM), now)
    await pass_time(clock, 0.75, replica)
    ledger = await Ledger(replica.database).read()
    first, second = ledger.slices
    assert Decimal(ledger.orders[0].arrival_price) == 29985
    assert (Decimal(first.mid_price), Decimal(second.mid_price)) == (29985, 29975)
    assert Decimal(second.mid_time) == Decimal("0.25") * 29985 + Decimal("0.75") * 29975
    assert (Decimal(second.mid_seconds), second.traded_volume, second.traded_notional) == (1, "4", "119890")
    assert {f.book_hash for f in ledger.fills} == {
        hashlib.sha256(json.dumps(["alpha", "BTC-USDT", bids, asks], separators=(",", ":")).encode()).hexdigest()
        for bids, asks in ((BIDS, ASKS), ([["29970", "1"]], [["29980", "1"]]))
    }


async def test_reading_orders_anew_forgets_nothing_of_the_market(replica: Replica, clock: TestClock) -> None:
    replica.see(snapshot(ALPHA, [("99", "1")], [("101", "9")], clock.utc()))
    await replica.submit(make_order("a", clock, duration=100, interval=100, markets=(ALPHA,)))
    await replica.work()
    clock.advance(90)
    replica.see(snapshot(ALPHA, [("199", "1")], [("201", "9")], clock.utc()))
    replica.engine.load()
    await replica.work()
    clock.advance(10)
    await replica.work()
    last = (await Ledger(replica.database).read()).slices[1]
    assert (Decimal(last.mid_time), Decimal(last.mid_seconds)) == (90 * 100 + 10 * 200, 100)


def record(book: BookUpdate, clock: TestClock, age: float = 0) -> Record:
    """A book's record that the log has had for `age` seconds."""
    return Record(BOOKS.name, 0, 0, clock.utc() // 10**6 - int(age * 1000), book)


async def test_a_book_of_the_past_is_not_traded_on_when_it_arrives(sqlite_url: str, clock: TestClock) -> None:
    replica = Replica(sqlite_url, clock, silence=15)
    feed = Feed(BusSettings(""), replica.books, replica.benchmarks, clock)

    def may_trade(age: float) -> bool:
        feed.take_in(Arrivals("epoch", [record(snapshot(ALPHA, BIDS, ASKS, clock.utc()), clock, age)], 0, True))
        return replica.books.tradable(ALPHA, clock.steady()) is not None

    assert [may_trade(age) for age in (600, 16, 5, 1, -3)] == [False, False, False, True, True]
    await replica.close()


async def test_a_book_that_waited_for_the_broker_is_not_traded_on_though_its_record_is_new(
    sqlite_url: str, clock: TestClock
) -> None:
    replica = Replica(sqlite_url, clock, silence=15)
    feed = Feed(BusSettings(""), replica.books, replica.benchmarks, clock)

    def may_trade(received_before: int) -> bool:
        book = snapshot(ALPHA, BIDS, ASKS, clock.utc() - received_before * NANOSECONDS)
        feed.take_in(Arrivals("epoch", [record(book, clock)], 0, True))
        return replica.books.tradable(ALPHA, clock.steady()) is not None

    assert [may_trade(seconds) for seconds in (60, 5, 0)] == [False, False, True]
    await replica.close()


async def test_once_there_was_a_book_the_loss_of_all_takes_no_replica_away(sqlite_url: str, clock: TestClock) -> None:
    replica = Replica(sqlite_url, clock, silence=15)
    feed = Feed(BusSettings(""), replica.books, replica.benchmarks, clock)

    def may_be_asked(age: float) -> tuple[bool, bool, int]:
        feed.take_in(Arrivals("epoch", [record(snapshot(ALPHA, BIDS, ASKS, clock.utc()), clock, age)], 0, True))
        books = feed.check()
        return feed.check_start().is_up, books.is_up, books.detail["late_books"]

    assert [may_be_asked(age) for age in (60, 3, 0, 3)] == [
        (False, False, 0),
        (False, False, 1),
        (True, True, 0),
        (True, False, 1),
    ]
    await replica.close()


async def test_a_replica_waits_for_books_no_longer_than_they_take_to_come(sqlite_url: str, clock: TestClock) -> None:
    replica = Replica(sqlite_url, clock)
    feed = Feed(BusSettings(""), replica.books, replica.benchmarks, clock)

    def may_be_asked(seconds: float, is_caught_up: bool = True) -> bool:
        clock.advance(seconds)
        feed.take_in(Arrivals("epoch", [], 0, is_caught_up))
        return feed.check_start().is_up

    assert [may_be_asked(60, is_caught_up=False), may_be_asked(60), may_be_asked(14)] == [False, False, False]
    assert may_be_asked(1) and may_be_asked(0, is_caught_up=False)
    await replica.close()


async def test_a_quiet_book_is_traded_on_once_the_past_was_read(sqlite_url: str, clock: TestClock) -> None:
    replica = Replica(sqlite_url, clock, silence=15)
    feed = Feed(BusSettings(""), replica.books, replica.benchmarks, clock)
    feed.take_in(Arrivals("epoch", [record(snapshot(ALPHA, BIDS, ASKS, clock.utc()), clock, 9)], 0, True))
    assert replica.books.tradable(ALPHA, clock.steady()) is not None
    await replica.close()


async def test_records_that_were_deleted_unread_leave_no_book_until_the_next_whole_one(
    sqlite_url: str, clock: TestClock
) -> None:
    replica = Replica(sqlite_url, clock)
    feed = Feed(BusSettings(""), replica.books, replica.benchmarks, clock)

    def may_trade(book: BookUpdate, gaps: frozenset[str] = frozenset()) -> bool:
        feed.take_in(Arrivals("epoch", [record(book, clock)], 0, True, gaps))
        return replica.books.tradable(ALPHA, clock.steady()) is not None

    whole = snapshot(ALPHA, BIDS, ASKS, clock.utc())
    later = change(ALPHA, [("29980", "1")], [], clock.utc())
    assert [may_trade(whole), may_trade(later, frozenset({"trades"}))] == [True, True]
    assert [may_trade(later, frozenset({BOOKS.name})), may_trade(later), may_trade(whole)] == [False, False, True]
    await replica.close()


async def test_the_market_is_not_seen_from_a_gap_in_its_books_on(sqlite_url: str, clock: TestClock) -> None:
    replica = Replica(sqlite_url, clock, silence=15)
    feed = Feed(BusSettings(""), replica.books, replica.benchmarks, clock)
    feed.take_in(Arrivals("epoch", [record(snapshot(ALPHA, BIDS, ASKS, clock.utc()), clock)], 0, True))
    tracker = replica.benchmarks.track((ALPHA,), clock.steady())
    clock.advance(2)
    feed.take_in(Arrivals("epoch", [], 0, True, frozenset({BOOKS.name})))
    clock.advance(10)
    assert tracker.read(replica.books, clock.steady())[1].seconds == Decimal(2)
    await replica.close()


async def test_a_silence_is_not_averaged_and_signs_of_life_are_no_silence(sqlite_url: str, clock: TestClock) -> None:
    replica = Replica(sqlite_url, clock, silence=15)
    feed = Feed(BusSettings(""), replica.books, replica.benchmarks, clock)
    await replica.work()

    def come(book: BookUpdate) -> None:
        feed.take_in(Arrivals("epoch", [record(book, clock)], 0, True))

    come(snapshot(ALPHA, [("99", "1")], [("101", "9")], clock.utc()))
    await replica.submit(make_order("a", clock, duration=300, interval=100, markets=(ALPHA,)))
    await replica.work()
    for _ in range(10):  # a quiet market whose ingestor is connected
        clock.advance(10)
        come(snapshot(ALPHA, [("99", "1")], [("101", "9")], clock.utc()))
    await replica.work()
    clock.advance(50)
    come(snapshot(ALPHA, [("199", "1")], [("201", "9")], clock.utc()))
    await pass_time(clock, 50, replica, tick=5)
    clock.advance(100)
    await replica.work()
    ledger = await Ledger(replica.database).read()
    assert [(Decimal(s.mid_time), Decimal(s.mid_seconds)) for s in ledger.slices] == [
        (0, 0), (100 * 100, 100), (15 * 100 + 15 * 200, 30), (0, 0),
    ]  # fmt: skip
    await replica.close()


async def test_what_the_market_does_while_a_slice_is_written_counts(
    replica: Replica, clock: TestClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    await replica.submit(make_order("a", clock, duration=2, interval=1, markets=(ALPHA,)))
    run = replica.executor.run

    async def run_while_the_market_trades(due):
        outcomes = await run(due)
        now = clock.utc()
        columns = TradeColumns([1], [now], ["29980"], ["3"], [1], [now])
        replica.benchmarks.add(batch_columns("alpha", "BTC-USDT", Source.STREAM, columns), now)
        return outcomes

    monkeypatch.setattr(replica.executor, "run", run_while_the_market_trades)
    await replica.work()
    monkeypatch.undo()
    await pass_time(clock, 1, replica)
    assert [s.traded_volume for s in (await Ledger(replica.database).read()).slices] == ["0", "3"]


async def test_a_takeover_after_a_clock_step_moves_no_slice_of_orders_that_were_held(
    replica: Replica, clock: TestClock, sqlite_url: str
) -> None:
    other = Replica(sqlite_url, clock)
    other.see(snapshot(ALPHA, BIDS, ASKS, clock.utc()))
    await other.work()
    await replica.submit(make_order("mine", clock, duration=20))
    await other.submit(make_order("theirs", clock, duration=20))
    await pass_time(clock, 2, replica, other)
    clock.step(-3_600)
    await pass_time(clock, 8, replica)
    ledger = await Ledger(replica.database).read()
    assert ledger.orders[1].owner == replica.engine.replica
    assert [s.number for s in ledger.slices if s.parent == ledger.orders[0].id] == [*range(11)]
    await other.close()


async def test_an_order_cancelled_while_orders_are_read_anew_is_not_held_again(
    replica: Replica, clock: TestClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = await replica.submit(make_order("a", clock))
    await replica.work()
    owned = replicas.owned

    async def owned_until_cancelled(*of):
        found = await owned(*of)
        await replica.cancel(order)
        return found

    monkeypatch.setattr(replicas, "owned", owned_until_cancelled)
    replica.engine.load()
    await replica.engine.step()
    monkeypatch.undo()
    before = REGISTRY.get_sample_value("crosstape_twap_orders_lost_total")
    await pass_time(clock, 2, replica)
    assert REGISTRY.get_sample_value("crosstape_twap_orders_lost_total") == before
    assert REGISTRY.get_sample_value("crosstape_twap_open_orders") == 0


async def test_an_order_accepted_while_orders_are_read_anew_is_held(replica: Replica, clock: TestClock) -> None:
    replica.engine.load()
    working = asyncio.ensure_future(replica.engine.step())
    await replica.submit(make_order("a", clock))
    await working
    await pass_time(clock, 5, replica)
    ledger = await Ledger(replica.database).read()
    assert ledger.orders[0].close_reason is not None
    assert len(ledger.slices) == 6


async def test_an_order_accepted_and_cancelled_while_orders_are_read_anew_is_not_held_again(
    replica: Replica, clock: TestClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    owned = replicas.owned

    async def owned_of_a_busy_moment(*of):
        order = await replica.submit(make_order("a", clock))
        found = await owned(*of)
        await replica.cancel(order)
        return found

    monkeypatch.setattr(replicas, "owned", owned_of_a_busy_moment)
    replica.engine.load()
    await replica.engine.step()
    monkeypatch.undo()
    assert REGISTRY.get_sample_value("crosstape_twap_open_orders") == 0


async def test_reading_orders_anew_again_and_again_keeps_the_queue_short(replica: Replica, clock: TestClock) -> None:
    for number in range(20):
        await replica.submit(make_order(f"o{number}", clock, duration=3_600, interval=3_600))
    await replica.work()
    for _ in range(100):
        replica.engine.load()
        await replica.engine.step()
    assert len(replica.engine._queue) <= 2 * 20 + SWEPT_AT
    clock.advance(3_600)
    await replica.work()
    assert len((await Ledger(replica.database).read()).slices) == 40


async def test_a_first_beat_whose_commit_was_not_answered_is_made_again(
    sqlite_url: str, clock: TestClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = Replica(sqlite_url, clock)
    writing = replica.database.writing

    @asynccontextmanager
    async def writing_and_losing_the_answer() -> AsyncIterator[Any]:
        async with writing() as connection:
            yield connection
        raise DatabaseConnectionError("gone")

    monkeypatch.setattr(replica.database, "writing", writing_and_losing_the_answer)
    with pytest.raises(DatabaseConnectionError):
        await replica.life.step()
    monkeypatch.undo()
    await replica.life.step()
    assert replica.life.is_first
    await replica.close()


async def test_the_last_slice_runs_at_the_replica_that_takes_over(
    replica: Replica, clock: TestClock, sqlite_url: str
) -> None:
    other = Replica(sqlite_url, clock)
    for one in (replica, other):
        one.see(snapshot(ALPHA, BIDS, [("30000", "50")], clock.utc()))
    await replica.submit(make_order("a", clock))
    await pass_time(clock, 4.5, replica, other)
    await pass_time(clock, LEASE + 2, other)
    ledger = await Ledger(other.database).read()
    ledger.check()
    assert (ledger.slices[-1].number, ledger.orders[0].close_reason) == (5, "completed")
    await other.close()
