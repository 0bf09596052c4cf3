"""Preparing a database: it is waited for, a stop ends the wait, and other failures are not hidden."""

from __future__ import annotations

import asyncio

import pytest
import structlog

from crosstape.common.errors import DatabaseConnectionError
from crosstape.common.runtime import preparing
from crosstape.common.runtime.preparing import prepared


async def test_a_database_that_is_away_is_asked_again_until_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing, "RETRY_SECONDS", 0.0)
    times = 0

    async def prepare() -> None:
        nonlocal times
        times += 1
        if times < 3:
            raise DatabaseConnectionError("away")

    with structlog.testing.capture_logs() as entries:
        assert await prepared(asyncio.Event(), prepare)
    assert times == 3
    assert [entry["event"] for entry in entries] == ["database_not_prepared"], "said once"


async def test_a_stop_ends_the_wait() -> None:
    stop = asyncio.Event()

    async def prepare() -> None:
        stop.set()
        raise DatabaseConnectionError("away")

    assert not await prepared(stop, prepare)


async def test_another_failure_ends_the_service() -> None:
    async def prepare() -> None:
        raise RuntimeError("a migration that cannot be")

    with pytest.raises(RuntimeError, match="cannot be"):
        await prepared(asyncio.Event(), prepare)
