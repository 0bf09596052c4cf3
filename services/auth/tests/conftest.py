"""The service on both databases without Redis, and on SQLite with and without it where the database is no matter."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from crosstape.auth.api.app import create_app
from crosstape.auth.database import Database
from crosstape.auth.prepare import prepare
from crosstape.auth.resources import Resources, open_resources
from crosstape.auth.settings import AuthSettings
from crosstape.common.identity.internal import InternalTokens
from crosstape.common.identity.services import AUTH
from crosstape.common.runtime.health import Health
from crosstape.common.sql import upgrade
from crosstape.common.testing.identity import INTERNAL_SECRET, SIGNING_KEY_SECRET
from services.auth.tests.harness import PASSWORD, Auth, Clock
from tests.engines.plugin import Valkey

NO_REDIS = "redis://127.0.0.1:1/0"
REDIS_DATABASE = 7
"""Auth's tests empty it; what other tests keep is elsewhere."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A database that has the schema and nothing else: what every migration makes of an empty file."""
    path = tmp_path_factory.mktemp("template") / "auth.db"

    async def make() -> None:
        database = Database(f"sqlite:///{path}")
        async with database.preparing() as db:
            await (await db.connection()).run_sync(upgrade, "crosstape.auth")
        await database.close()

    asyncio.run(make())
    return path.read_bytes()


@pytest.fixture
def sqlite_url(sqlite_template: bytes, tmp_path: Path) -> str:
    """A new database with the schema, of this test alone. (Migrations are run by the tests that are about them.)"""
    path = tmp_path / "auth.db"
    path.write_bytes(sqlite_template)
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def database_url(request: pytest.FixtureRequest) -> str:
    """A new database."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("sqlite_url"))
    url: str = asyncio.run(request.getfixturevalue("postgres_server").create_database())
    return url


@pytest.fixture
async def redis_url(valkey: Valkey) -> str:
    """A real Valkey, empty."""
    url = valkey.url.removesuffix("/0") + f"/{REDIS_DATABASE}"
    async with Redis.from_url(url) as redis:
        await redis.flushdb()
    return url


def settings(database_url: str, redis_url: str) -> AuthSettings:
    """As quick as argon2 can be."""
    return AuthSettings(
        auth_database_url=database_url,
        signing_key_secret=SecretStr(SIGNING_KEY_SECRET),
        redis_url=redis_url,
        admin_password=SecretStr(PASSWORD),
        argon2_memory_kib=8,
        argon2_passes=1,
    )


async def opened(read: AuthSettings, clock: Clock) -> Resources:
    """Ready to serve."""
    resources = open_resources(read, clock)
    await prepare(resources.database, resources.hasher, resources.sealer, read.admin_password, clock())
    await resources.keys.load()
    return resources


def served(resources: Resources, clock: Clock) -> Auth:
    return Auth(create_app(resources, Health(), InternalTokens(AUTH, [INTERNAL_SECRET])), resources, clock)


@pytest.fixture
async def auth(database_url: str, clock: Clock) -> AsyncIterator[Auth]:
    """The service on each database, without Redis."""
    resources = await opened(settings(database_url, NO_REDIS), clock)
    yield served(resources, clock)
    await resources.close()


@pytest.fixture(scope="session")
def prepared_template(sqlite_template: bytes, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A database with the admin and a signing key."""
    path = tmp_path_factory.mktemp("prepared") / "auth.db"
    path.write_bytes(sqlite_template)

    async def make() -> None:
        await (await opened(settings(f"sqlite:///{path}", NO_REDIS), Clock())).close()

    asyncio.run(make())
    return path.read_bytes()


@pytest.fixture
async def quick_auth(prepared_template: bytes, tmp_path: Path, clock: Clock) -> AsyncIterator[Auth]:
    """The service on SQLite without Redis, for what no database can change."""
    path = tmp_path / "auth.db"
    path.write_bytes(prepared_template)
    resources = open_resources(settings(f"sqlite:///{path}", NO_REDIS), clock)
    await resources.keys.load()
    yield served(resources, clock)
    await resources.close()


@pytest.fixture
async def shared_auth(sqlite_url: str, redis_url: str, clock: Clock) -> AsyncIterator[Auth]:
    """The service on SQLite, with a real Valkey."""
    resources = await opened(settings(sqlite_url, redis_url), clock)
    yield served(resources, clock)
    await resources.close()
