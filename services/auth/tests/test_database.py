"""The database: its schema, its first moments with several processes, and its absence."""

from __future__ import annotations

import asyncio
import stat
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from pydantic import SecretStr
from sqlalchemy import Connection, func, select, text

from crosstape.auth.database import Database
from crosstape.auth.settings import AuthSettings
from crosstape.auth.tables import Base, SigningKey, User
from crosstape.common.errors import DatabaseQueryError, DatabaseTimeout
from crosstape.common.testing.identity import SIGNING_KEY_SECRET
from libs.common.tests.statements import shorten
from services.auth.tests.conftest import NO_REDIS, opened, served, settings
from services.auth.tests.harness import Auth, Clock, is_error
from tests.engines.plugin import Postgres

PREPARES = """
import asyncio, sys, time
from functools import partial
from crosstape.auth.database import Database
from crosstape.auth.hashing import PasswordHasher
from crosstape.auth.prepare import prepare
from crosstape.auth.sealing import Sealer
from crosstape.common.runtime.preparing import prepared

async def main():
    database = Database(sys.argv[1])
    work = partial(prepare, database, PasswordHasher(8, 1), Sealer([sys.argv[2]]), None, time.time())
    assert await prepared(asyncio.Event(), work)
    await database.close()

sys.stderr.write("ready\\n")
sys.stderr.flush()
sys.stdin.readline()
asyncio.run(main())
"""


async def test_the_migrations_amount_to_the_tables(auth: Auth) -> None:
    def differences(connection: Connection) -> list[object]:
        return compare_metadata(MigrationContext.configure(connection), Base.metadata)

    async with auth.resources.database.reading() as db:
        assert await (await db.connection()).run_sync(differences) == []


async def test_preparing_again_changes_nothing(auth: Auth, database_url: str, clock: Clock) -> None:
    keys = await auth.key_set()
    again = await opened(settings(database_url, NO_REDIS), clock)
    assert len(await again.accounts.users()) == 1
    assert await auth.key_set() == keys
    await again.close()


@pytest.mark.integration
async def test_processes_that_start_at_once_make_one_key_and_one_admin(database_url: str) -> None:
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", PREPARES, database_url, SIGNING_KEY_SECRET),
            stdin=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        for _ in range(3)
    ]
    for process in processes:
        assert process.stderr is not None
        assert await process.stderr.readline() == b"ready\n"
    complaints = await asyncio.gather(*(process.communicate(b"go\n") for process in processes))
    assert [process.returncode for process in processes] == [0] * 3, complaints
    database = Database(database_url)
    async with database.reading() as db:
        assert await db.scalar(select(func.count()).select_from(User)) == 1
        assert await db.scalar(select(func.count()).select_from(SigningKey)) == 1
    await database.close()


async def test_sqlite_is_its_owners_alone_and_keeps_its_promises(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "deep" / "auth.db"
    resources = await opened(settings(f"sqlite:///{path}", NO_REDIS), clock)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    async with resources.database.reading() as db:
        pragmas = [
            (await db.execute(text(f"PRAGMA {name}"))).scalar_one()
            for name in ("journal_mode", "foreign_keys", "busy_timeout", "synchronous")
        ]
    assert pragmas == ["wal", 1, 5000, 2]
    await resources.close()


async def test_a_write_waits_for_another_and_a_failed_one_leaves_nothing(auth: Auth) -> None:
    async def rename(name: str) -> None:
        async with auth.resources.database.writing() as db:
            user = (await db.scalars(select(User).with_for_update())).one()
            user.credentials_version += 1
            await asyncio.sleep(0)
            if name == "fails":
                raise LookupError(name)

    outcomes = await asyncio.gather(*(rename(name) for name in ("a", "fails", "b", "c")), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None), LookupError, type(None), type(None)]
    assert (await auth.resources.accounts.users())[0].credentials_version == 4


async def test_a_statement_that_fails_tells_nothing_of_ours(auth: Auth) -> None:
    with pytest.raises(DatabaseQueryError) as failed:
        async with auth.resources.database.reading() as db:
            await db.execute(text("SELECT secret FROM no_such_table"))
    assert "no_such_table" not in failed.value.message


async def test_a_locked_sqlite_gives_up_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    monkeypatch.setattr("crosstape.common.sql.DEADLINE_SECONDS", 0.1)
    resources = await opened(settings(f"sqlite:///{tmp_path / 'auth.db'}", NO_REDIS), clock)
    async with resources.database.writing():
        with pytest.raises(DatabaseTimeout):
            async with resources.database.writing():
                pass
    await resources.close()


@pytest.mark.integration
async def test_what_prepares_may_take_longer_than_a_statement_of_the_service(
    postgres_server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten(monkeypatch, 0.2)
    database = Database(await postgres_server.create_database())
    for begun, is_late in ((database.preparing, False), (database.writing, True)):
        with pytest.raises(DatabaseTimeout) if is_late else nullcontext():
            async with begun() as db:
                await db.execute(text("SELECT pg_sleep(0.4)"))
    await database.close()


@pytest.mark.integration
async def test_without_postgresql_every_route_is_503_and_its_return_needs_no_restart(
    own_postgres_server: Postgres, clock: Clock
) -> None:
    resources = await opened(settings(await own_postgres_server.create_database(), NO_REDIS), clock)
    auth = served(resources, clock)
    name, token = await auth.member()
    own_postgres_server.kill()
    await own_postgres_server.engine.stop()
    for answer in (
        await auth.ask("GET", "/info", by=token),
        await auth.ask("POST", "/login", {"username": name, "password": "x"}),
        await auth.ask("GET", "/api-keys", by=token),
    ):
        is_error(answer, 503, "DATABASE_CONNECTION_ERROR")
    await own_postgres_server.restart()
    assert (await auth.ask("GET", "/info", by=token)).status == 200
    await resources.close()


@pytest.mark.parametrize("url", ["mysql://x/y", "nonsense", "", "http://db"])
def test_only_the_two_databases_are_taken(url: str) -> None:
    with pytest.raises(ValueError, match="sqlite:/// or a postgresql://"):
        AuthSettings(auth_database_url=url, signing_key_secret=SecretStr(SIGNING_KEY_SECRET))
