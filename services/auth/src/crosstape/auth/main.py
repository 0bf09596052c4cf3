"""Wiring: settings to stores, to the app and the background work."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from crosstape.auth.api.app import create_app
from crosstape.auth.prepare import prepare
from crosstape.auth.resources import Resources, open_resources
from crosstape.auth.settings import AuthSettings
from crosstape.auth.upkeep import keep_forgetting
from crosstape.common.identity.services import AUTH
from crosstape.common.runtime.health import Health
from crosstape.common.runtime.lifecycle import Work, run_service
from crosstape.common.runtime.preparing import prepared
from crosstape.common.runtime.settings import read_settings
from crosstape.common.web.closing import close_last


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
        if not await prepared(stop, partial(_prepare, settings, resources)):
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(health.watch_database(resources.database.ping, stop), name="watch database")
            group.create_task(resources.keys.run(stop), name="signing keys")
            group.create_task(resources.revoker.run(stop), name="revocations")
            group.create_task(resources.api_keys.keep_noting(stop), name="uses of API keys")
            group.create_task(keep_forgetting(resources.database, resources.clock, stop), name="upkeep")

    app = create_app(resources, health, settings.internal_tokens(AUTH))
    close_last(app, resources.close)
    return app, [work]


async def _prepare(settings: AuthSettings, resources: Resources) -> None:
    await prepare(resources.database, resources.hasher, resources.sealer, settings.admin_password, resources.clock())
    await resources.keys.load()
