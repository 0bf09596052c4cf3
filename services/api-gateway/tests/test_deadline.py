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
    deadlines = Deadlines()
    longer = asyncio.create_task(overrun(deadlines, 60.0))
    await asyncio.sleep(0)
    await asyncio.gather(overrun(deadlines, 0.02), overrun(deadlines, 0.01))
    assert not longer.done()
    longer.cancel()


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


async def test_a_deadline_whose_block_was_left_in_time_counts_anew_in_the_next() -> None:
    deadlines, task = Deadlines(), asyncio.current_task()
    assert task
    deadline = Deadline(deadlines, task, 0.01)
    with deadline:
        pass
    with pytest.raises(TimeoutError), deadline:
        await asyncio.Event().wait()
    assert not task.cancelling()
