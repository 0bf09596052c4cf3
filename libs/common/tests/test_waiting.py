"""What is waited for ends when the process is told to stop, and what fails meanwhile is told."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from crosstape.common.waiting import unless_stopped


class Ended(Exception):
    """What work says when it is cancelled."""


async def fails_when_it_is_cancelled() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        raise Ended


async def test_the_result_of_what_ends_before_the_stop() -> None:
    assert await unless_stopped(asyncio.Event(), asyncio.sleep(0, "done")) == "done"


async def test_what_waits_for_ever_ends_with_the_stop() -> None:
    stop = asyncio.Event()
    waiting = asyncio.create_task(unless_stopped(stop, asyncio.Event().wait()))
    await asyncio.sleep(0)
    stop.set()
    async with asyncio.timeout(10):
        assert await waiting is None


async def test_a_failure_of_what_is_cancelled_with_whoever_waits_is_told() -> None:
    waiting = asyncio.create_task(unless_stopped(asyncio.Event(), fails_when_it_is_cancelled()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(Ended):
        await waiting


async def test_a_failure_of_what_is_cancelled_by_the_stop_is_in_the_log() -> None:
    stop = asyncio.Event()
    waiting = asyncio.create_task(unless_stopped(stop, fails_when_it_is_cancelled()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    stop.set()
    with capture_logs() as logs:
        assert await waiting is None
    assert [(line["event"], line["error"]) for line in logs] == [("stopped_with_error", "Ended")]
