"""Wiring: settings to stores, to the app and the background work."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from sqlalchemy import text

from crosstape.auth.api.app import create_app
from crosstape.auth.database import Database
from crosstape.auth.prepare import prepare
from crosstape.auth.resources import Resources, open_resources
from crosstape.auth.settings import AuthSettings
from crosstape.auth.upkeep import keep_forgetting
from crosstape.common.errors import DatabaseError
from crosstape.common.identity.authenticator import AUTH
from crosstape.common.runtime.health import Check, Health
from crosstape.common.runtime.lifecycle import Work, run_service
from crosstape.common.runtime.settings import read_settings

RETRY_SECONDS = 1.0
PING_SECONDS = 2.0


def main() -> None:
    """Run the service as its environment says."""
    settings = read_settings(AuthSettings)
    run_service(AUTH, settings, partial(build, settings))


async def build(settings: AuthSettings, stop: asyncio.Event) -> tuple[Any, Sequence[Work]]:
    """The app and the background work. The port answers (not ready) while the database is still out of reach."""
    health = Health(needs=("database",), stopping=stop)
    resources = open_resources(settings)
    health.watch("revocations", resources.revoker.check)

    async def work(stop: asyncio.Event) -> None:
        try:
            await _prepare(settings, resources, stop)
            if stop.is_set():
                return
            async with asyncio.TaskGroup() as group:
                group.create_task(_watch_database(resources.database, health, stop), name="watch database")
                group.create_task(resources.keys.run(stop), name="signing keys")
                group.create_task(resources.revoker.run(stop), name="revocations")
                group.create_task(keep_forgetting(resources.database, resources.clock, stop), name="upkeep")
        finally:
            await resources.close()

    return create_app(resources, health, settings.internal_tokens(AUTH)), [work]


async def _prepare(settings: AuthSettings, resources: Resources, stop: asyncio.Event) -> None:
    while not stop.is_set():
        try:
            await prepare(resources.database, resources.hasher, settings.admin_password, resources.clock())
            await resources.keys.load()
        except DatabaseError:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), RETRY_SECONDS)
        else:
            return


async def _watch_database(database: Database, health: Health, stop: asyncio.Event) -> None:
    state = Check(is_up=True)
    health.watch("database", lambda: state)
    while not stop.is_set():
        started = time.perf_counter()
        try:
            async with database.reading() as db:
                await db.execute(text("SELECT 1"))
            took = round((time.perf_counter() - started) * 1000, 2)
            state = Check(is_up=True, detail={"response_time_ms": took})
        except DatabaseError as error:
            state = Check(is_up=False, detail={"reason": error.error_code})
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), PING_SECONDS)
