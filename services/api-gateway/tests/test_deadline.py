"""Deadlines share a timer, and each ends in its own time."""

from __future__ import annotations

import asyncio

import pytest

from crosstape.api_gateway.deadline import Deadline, Deadlines


async def overrun(deadlines: Deadlines, seconds: float) -> None:
    """Returns when a deadline of `seconds` has ended this task's waiting."""
    task = asyncio.current_task()
    assert task
    with pytest.raises(TimeoutError), Deadline(deadlines, task, seconds):
        await asyncio.Event().wait()
    assert not task.cancelling()


async def test_a_shorter_deadline_ends_before_one_that_began_earlier() -> None:
    deadlines, ended = Deadlines(), list[float]()

    async def wait(seconds: float) -> None:
        await overrun(deadlines, seconds)
        ended.append(seconds)

    await asyncio.gather(wait(0.06), wait(0.02), wait(0.04))
    assert ended == [0.02, 0.04, 0.06]


async def test_a_deadline_counts_from_its_last_move() -> None:
    deadlines, task = Deadlines(), asyncio.current_task()
    assert task
    with pytest.raises(TimeoutError), Deadline(deadlines, task, 0.01) as deadline:
        deadline.move(60.0)
        await asyncio.create_task(overrun(deadlines, 0.03))
        deadline.move(0.01)
        await asyncio.Event().wait()


async def test_a_block_that_is_left_in_time_is_not_ended_later() -> None:
    deadlines, task = Deadlines(), asyncio.current_task()
    assert task
    with Deadline(deadlines, task, 0.01):
        pass
    await asyncio.create_task(overrun(deadlines, 0.03))
    assert not task.cancelling()


async def test_a_cancellation_from_elsewhere_passes() -> None:
    deadlines, task = Deadlines(), asyncio.current_task()
    assert task
    with pytest.raises(asyncio.CancelledError), Deadline(deadlines, task, 60.0):
        task.cancel()
        await asyncio.Event().wait()
    task.uncancel()
