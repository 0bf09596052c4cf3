"""Waiting that ends early: when the process is told to stop, or for any other event."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import TypeVar

import structlog

log = structlog.get_logger(__name__)

Result = TypeVar("Result")


async def pause(event: asyncio.Event, seconds: float) -> None:
    """Return after `seconds`, or as soon as `event` is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):  # wait_for may lose a cancel that comes just then (CPython 3.11)
            await event.wait()


async def unless_stopped(stop: asyncio.Event, work: Awaitable[Result]) -> Result | None:
    """The result of `work`, or None when `stop` came first: then `work`, which may wait for ever, is cancelled.

    Raises what `work` raises, also while it is cancelled with whoever waits here: nobody else would hear of it. What it
    raises on being stopped is in the log only, as by then there is no use in it.
    """
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
    except asyncio.CancelledError:
        if (failure := await _cancelled(working)) is not None:
            raise failure from None
        raise
    finally:
        stopping.cancel()
    if (failure := await _cancelled(working)) is not None:
        log.warning("stopped_with_error", error=type(failure).__name__, detail=str(failure)[:200])
    return None


async def _cancelled(task: asyncio.Future[Result]) -> BaseException | None:
    """Cancel `task` and wait for its end: what it raised then."""
    task.cancel()
    await asyncio.wait({task})
    return None if task.cancelled() else task.exception()
