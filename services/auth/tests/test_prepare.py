"""The first start: an administrator, whose password somebody learns."""

from __future__ import annotations

from pathlib import Path

import structlog

from crosstape.auth.prepare import prepare
from crosstape.auth.resources import open_resources
from crosstape.common.identity.principal import Role
from services.auth.tests.conftest import NO_REDIS, served, settings
from services.auth.tests.harness import PASSWORD, Clock


async def test_without_a_password_one_is_invented_and_told_once(tmp_path: Path, clock: Clock) -> None:
    resources = open_resources(settings(f"sqlite:///{tmp_path / 'auth.db'}", NO_REDIS), clock)
    with structlog.testing.capture_logs() as told:
        for _ in range(2):
            await prepare(resources.database, resources.hasher, resources.sealer, None, clock())
    (line,) = [entry for entry in told if "password" in entry]
    assert (line["event"], line["username"]) == ("admin_made", "admin")
    await resources.keys.load()
    await served(resources, clock).login("admin", line["password"])
    await resources.close()


async def test_an_admin_that_exists_keeps_its_password(tmp_path: Path, clock: Clock) -> None:
    read = settings(f"sqlite:///{tmp_path / 'auth.db'}", NO_REDIS)
    resources = open_resources(read, clock)
    await prepare(resources.database, resources.hasher, resources.sealer, read.admin_password, clock())
    await resources.accounts.set_password("admin", "a phrase of the operator")
    await prepare(resources.database, resources.hasher, resources.sealer, read.admin_password, clock())
    (admin,) = await resources.accounts.users()
    assert admin.role == Role.ADMIN
    async with resources.hasher.turn():
        assert not await resources.hasher.matches(PASSWORD, admin.password_hash)
    await resources.close()
