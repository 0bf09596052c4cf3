"""What a service does to its database before anything else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from crosstape.common.errors import DatabaseError
from crosstape.common.waiting import unless_stopped

log = structlog.get_logger(__name__)

RETRY_SECONDS = 1.0


async def prepared(stop: asyncio.Event, prepare: Callable[[], Awaitable[object]]) -> bool:
    """Whether `prepare` (which may be repeated) was done before `stop`; the database is waited for."""
    return await unless_stopped(stop, _until_reached(prepare)) or False


async def _until_reached(prepare: Callable[[], Awaitable[object]]) -> bool:
    told = ""
    while True:
        try:
            await prepare()
        except DatabaseError as error:
            if told != error.error_code:  # once, until it is another one
                told = error.error_code
                log.warning("database_not_prepared", error=told, reason=error.message)
            await asyncio.sleep(RETRY_SECONDS)
        else:
            return True
