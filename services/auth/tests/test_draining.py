"""Who is asked while the service drains answers: the port does until the end."""

from __future__ import annotations

import asyncio

import pytest

from crosstape.auth.main import build
from services.auth.tests.conftest import NO_REDIS, settings
from services.auth.tests.harness import Auth, Clock


async def test_a_login_is_answered_after_the_work_has_ended_and_then_the_threads_end(
    sqlite_url: str, clock: Clock
) -> None:
    stop = asyncio.Event()
    app, [work] = await build(settings(sqlite_url, NO_REDIS), stop)
    auth = Auth(app, app.state.resources, clock)
    async with app.router.lifespan_context(app):
        working = asyncio.create_task(work(stop))
        async with asyncio.timeout(60):
            while (await auth.ask("GET", "/readyz")).status != 200:
                await asyncio.sleep(0.01)
            stop.set()
            await working
        assert (await auth.login("admin"))["access_token"]
    with pytest.raises(RuntimeError, match="after shutdown"):
        await auth.resources.hasher.hash("anything")
