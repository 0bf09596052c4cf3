"""Waiting that ends early: when the process is told to stop, or for any other event."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import TypeVar

Result = TypeVar("Result")


async def pause(event: asyncio.Event, seconds: float) -> None:
    """Return after `seconds`, or as soon as `event` is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):  # wait_for may lose a cancel that comes just then (CPython 3.11)
            await event.wait()


async def unless_stopped(stop: asyncio.Event, work: Awaitable[Result]) -> Result | None:
    """The result of `work`, or None when `stop` came first: then `work`, which may wait for ever, is cancelled."""
    working = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return working.result() if working.done() else None
    finally:
        stopping.cancel()
        working.cancel()
        await asyncio.wait({working})
