"""kill -9 at a hundred moments: what comes out is what an undisturbed twin comes to."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import pytest
from twap_world import ALPHA, ASKS_OF_THE_DYING, Ledger, Replica, TestClock, make_order, snapshot

from crosstape.common.market.bar import NANOSECONDS
from crosstape.twap_engine.clock import Clock

pytestmark = pytest.mark.integration

ORDERS = 40
KILLS = 100
LEAST_KILLS = KILLS // 2
"""On each database, however slow the machine is: together a hundred."""
SECONDS = 14


async def submit(replica: Replica, clock: Clock) -> None:
    """Orders that between them have a slice due every 20 ms."""
    replica.see(snapshot(ALPHA, [("99", "1")], ASKS_OF_THE_DYING, 1))
    for number in range(ORDERS):
        start = clock.utc() + number * NANOSECONDS // ORDERS
        await replica.submit(
            make_order(f"o{number}", clock, markets=(ALPHA,), duration=SECONDS, start=start, limit_price=Decimal(101))
        )


async def twin(url: str) -> Ledger:
    clock = TestClock()
    replica = Replica(url, clock)
    await submit(replica, clock)
    for _ in range((SECONDS + 2) * ORDERS):
        clock.advance(1 / ORDERS)
        while await replica.engine.step():
            pass
    ledger = await Ledger(replica.database).read()
    await replica.close()
    return ledger


def taken(ledger: Ledger) -> dict[Decimal, Decimal]:
    """What was taken at each price."""
    sums: Counter[Decimal] = Counter()
    for fill in ledger.fills:
        sums[Decimal(fill.price)] += Decimal(fill.quantity)
    return dict(sums)


def cheapest(quantity: Decimal) -> dict[Decimal, Decimal]:
    """What must have been taken at each price for `quantity` in all: everything of a level before the next one."""
    sums = {}
    for price, shown in ASKS_OF_THE_DYING:
        sums[Decimal(price)] = min(quantity, Decimal(shown))
        quantity -= sums[Decimal(price)]
    return {price: taken for price, taken in sums.items() if taken}


@pytest.fixture
def urls(sqlite_template: Path, tmp_path: Path, new_postgres_url: Callable[[], str]) -> list[str]:
    """A database of each kind."""
    (tmp_path / "killed.db").write_bytes(sqlite_template.read_bytes())
    return [f"sqlite:///{tmp_path / 'killed.db'}", new_postgres_url()]


@pytest.mark.timeout(400)
async def test_whenever_replicas_are_killed_no_slice_runs_twice_and_none_is_lost(
    sqlite_url: str, urls: list[str]
) -> None:
    undisturbed = await twin(sqlite_url)
    assert taken(undisturbed) == cheapest(Decimal(ORDERS))
    async with asyncio.TaskGroup() as group:
        for url in urls:
            group.create_task(killed(url, undisturbed))


async def killed(url: str, undisturbed: Ledger) -> None:
    """Orders on the database at `url`, whose replicas are killed, come to what the undisturbed ones came to."""
    replica = Replica(url, TestClock())
    await submit(replica, replica.clock)
    program = str(Path(__file__).parent / "dying.py")
    process = await asyncio.create_subprocess_exec(
        sys.executable, program, url, "7", str(KILLS), str(SECONDS - 3), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    assert int(output.split()[-1]) >= LEAST_KILLS
    ledger = await Ledger(replica.database).read()
    await replica.close()
    ledger.check()
    assert taken(ledger) == taken(undisturbed)
    assert {row.close_reason for row in ledger.orders} == {"completed"}, "the last slice waits for a takeover"
    assert {one.parent for one in ledger.slices if one.number == SECONDS} == {row.id for row in ledger.orders}
    tokens = {row.token for row in ledger.orders}
    assert max(tokens) > 2, "orders changed hands: the first replica of all had taken them with the second token"
    assert len(ledger.slices) > len(undisturbed.slices) / 2, "most slices ran between two kills"
    assert all(one.started >= one.due for one in ledger.slices)
