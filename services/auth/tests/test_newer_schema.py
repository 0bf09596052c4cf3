"""Going back to the version before, and starting again while another replica is new already."""

from __future__ import annotations

from sqlalchemy import text

from services.auth.tests.conftest import NO_REDIS, opened, settings
from services.auth.tests.harness import Auth, Clock


async def test_a_schema_that_a_newer_version_made_is_left_as_it_is(auth: Auth, database_url: str, clock: Clock) -> None:
    async with auth.resources.database.writing() as db:
        await db.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    again = await opened(settings(database_url, NO_REDIS), clock)
    assert len(await again.accounts.users()) == 1
    async with again.database.reading() as db:
        assert await db.scalar(text("SELECT version_num FROM alembic_version")) == "9999"
    await again.close()
