"""Who gets a connection that comes free: on connections that lead nowhere."""

from __future__ import annotations

import asyncio
from math import inf
from typing import Any

import pytest

from crosstape.api_gateway.pool import Pool
from crosstape.api_gateway.service_connection import Broken, Busy


class Stub:
    """A connection."""

    def __init__(self, on_lost: Any) -> None:
        self._on_lost = on_lost
        self.is_lost = False
        self.retires_at = inf

    @property
    def is_reusable(self) -> bool:
        return not self.is_lost

    def abort(self) -> None:
        self.is_lost = True
        self._on_lost(self)


class Nowhere:
    """A connector; `is_away` as long as nobody can be reached."""

    def __init__(self) -> None:
        self.opened: list[Stub] = []
        self.is_away = False

    async def connect(self, on_lost: Any) -> Any:
        await asyncio.sleep(0)
        if self.is_away:
            raise Broken("refused")
        self.opened.append(Stub(on_lost))
        return self.opened[-1]


def opened(limit: int = 1, wait_seconds: float = 30.0) -> tuple[Pool, Nowhere]:
    connector = Nowhere()
    return Pool(connector, limit, wait_seconds), connector  # type: ignore[arg-type]


async def standing(pool: Pool) -> asyncio.Task[Any]:
    """Somebody who stands in line."""
    task = asyncio.create_task(pool.acquire())
    await asyncio.sleep(0)
    return task


async def is_full(pool: Pool) -> bool:
    """Whether a newcomer of this very moment would have to wait."""
    try:
        async with asyncio.timeout(0):
            pool.release(await pool.acquire())
    except TimeoutError:
        return True
    return False


async def test_a_free_connection_goes_to_whoever_has_waited_longest_and_not_to_a_newcomer() -> None:
    pool, connector = opened()
    only = await pool.acquire()
    first, second = await standing(pool), await standing(pool)
    pool.release(only)
    assert await is_full(pool)
    assert await first is only
    pool.release(only)
    assert await second is only
    pool.release(only)
    assert await pool.acquire() is only
    assert len(connector.opened) == 1


async def test_the_place_of_one_that_is_lost_goes_to_whoever_waits() -> None:
    pool, connector = opened()
    only = await pool.acquire()
    first = await standing(pool)
    only.abort()
    assert await is_full(pool)
    assert await first is connector.opened[1]


@pytest.mark.parametrize("is_lost", [False, True])
async def test_who_leaves_the_line_as_their_turn_comes_passes_it_on(is_lost: bool) -> None:
    pool, _ = opened()
    only = await pool.acquire()
    leaving, waiting = await standing(pool), await standing(pool)
    only.abort() if is_lost else pool.release(only)
    leaving.cancel()
    async with asyncio.timeout(5):
        pool.release(await waiting)
        await pool.acquire()


async def test_one_that_is_lost_on_its_way_to_whoever_waits_is_replaced() -> None:
    pool, connector = opened()
    only = await pool.acquire()
    waiting = await standing(pool)
    pool.release(only)
    only.abort()
    async with asyncio.timeout(5):
        assert await waiting is connector.opened[1]


async def test_who_was_given_one_that_was_lost_is_the_next() -> None:
    pool, _ = opened()
    only = await pool.acquire()
    served = list[int]()

    async def serve(number: int) -> None:
        connection = await pool.acquire()
        served.append(number)
        pool.release(connection)

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        for number in range(4):
            group.create_task(serve(number))
        await asyncio.sleep(0)
        pool.release(only)
        only.abort()
    assert served == [1, 0, 2, 3]


async def test_who_cannot_connect_makes_way() -> None:
    pool, connector = opened()
    connector.is_away = True
    first, second = await standing(pool), await standing(pool)
    for task in (first, second):
        with pytest.raises(Broken):
            await task
    connector.is_away = False
    await pool.acquire()


async def test_who_waits_in_vain_is_told() -> None:
    pool, _ = opened(wait_seconds=0.01)
    only = await pool.acquire()
    with pytest.raises(Busy):
        await pool.acquire()
    pool.release(only)
    assert await pool.acquire() is only
