"""Revocations reach every service through Redis, and survive its absence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import structlog
from redis.asyncio import Redis

from crosstape.auth import revoking
from crosstape.common.identity.principal import Principal
from crosstape.common.identity.revocations import KEY, RevocationFeed, Revocations
from crosstape.common.testing.background import working
from services.auth.tests.conftest import opened, served, settings
from services.auth.tests.harness import PASSWORD, Auth, Clock
from tests.engines.plugin import Valkey

pytestmark = pytest.mark.integration


async def eventually(question: Callable[[], Awaitable[bool] | bool]) -> None:
    async with asyncio.timeout(60):
        while True:
            answer = question()
            if answer if isinstance(answer, bool) else await answer:
                return
            await asyncio.sleep(0.02)


class Door:
    """Another service: what it has learned of revocations."""

    def __init__(self, url: str) -> None:
        self.redis = Redis.from_url(url)
        self.known = Revocations()
        self.feed = RevocationFeed(self.redis, self.known)

    def refuses(self, principal: Principal) -> Callable[[], bool]:
        return lambda: self.known.has_revoked(principal)


@pytest.fixture
async def door(redis_url: str) -> AsyncIterator[Door]:
    opened_door = Door(redis_url)
    yield opened_door
    await opened_door.redis.aclose()


async def test_a_service_that_starts_before_redis_says_once_that_nobody_hears_of_revocations(
    quick_auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revoking, "LOOK_SECONDS", 0.01)
    revoker, looks = quick_auth.resources.revoker, 0
    complete = revoker._complete

    async def counted(*, anyway: bool) -> bool:
        nonlocal looks
        looks += 1
        return await complete(anyway=anyway)

    monkeypatch.setattr(revoker, "_complete", counted)
    with structlog.testing.capture_logs() as lines:
        async with working(revoker.run):
            await eventually(lambda: looks > 3)
    assert [line["event"] for line in lines] == ["revocations_behind"]


async def test_every_end_of_a_credential_reaches_every_service(shared_auth: Auth, door: Door) -> None:
    auth = shared_auth
    name = await auth.register()
    async with working(auth.resources.revoker.run, door.feed.run):
        await eventually(lambda: door.feed.is_fresh)
        tokens = await auth.login(name)
        mine = await auth.principal(tokens["access_token"])
        body = {"name": "k", "scopes": ["market:read"]}
        made = (await auth.ask("POST", "/api-keys", body, by=tokens["access_token"])).json()
        key = await auth.resources.api_keys.principal(made["api_key"])
        await auth.ask("DELETE", f"/api-keys/{made['id']}", by=mine)
        await eventually(door.refuses(key))
        assert not door.known.has_revoked(mine)

        await auth.ask("POST", "/logoff", by=mine)
        await eventually(door.refuses(mine))

        stolen = await auth.login(name)
        mine = await auth.principal(stolen["access_token"])
        for _ in range(2):
            await auth.ask("POST", "/refresh", {"refresh_token": stolen["refresh_token"]})
        await eventually(door.refuses(mine))

        mine = await auth.principal((await auth.login(name))["access_token"])
        change = {"current_password": PASSWORD, "new_password": "another uncommon phrase"}
        fresh = (await auth.ask("POST", "/password", change, by=mine)).json()["access_token"]
        await eventually(door.refuses(mine))
        mine = await auth.principal(fresh)
        assert not door.known.has_revoked(mine)

        await auth.ask("PATCH", f"/users/{name}", {"role": "quant"}, by=await auth.admin())
        await eventually(door.refuses(mine))

        mine = await auth.principal((await auth.login(name, "another uncommon phrase"))["access_token"])
        await auth.ask("DELETE", "/unregister", by=mine)
        await eventually(door.refuses(mine))


async def test_a_service_that_starts_later_learns_what_was_revoked_before(shared_auth: Auth, door: Door) -> None:
    _, token = await shared_auth.member()
    principal = await shared_auth.principal(token)
    await shared_auth.ask("POST", "/logoff", by=token)
    async with working(shared_auth.resources.revoker.run, door.feed.run):
        await eventually(door.refuses(principal))


async def test_what_redis_lost_is_written_again(shared_auth: Auth, door: Door) -> None:
    auth = shared_auth
    _, token = await auth.member()
    principal = await auth.principal(token)
    async with working(auth.resources.revoker.run):
        await auth.ask("POST", "/logoff", by=token)
        for loss in (door.redis.flushdb, lambda: door.redis.delete(KEY)):
            assert await loss()
            await eventually(lambda: door.redis.exists(KEY))
        async with working(door.feed.run):
            await eventually(door.refuses(principal))


async def test_a_revocation_made_while_redis_is_away_succeeds_and_arrives_when_it_is_back(
    tmp_path: object, own_valkey: Valkey, clock: Clock
) -> None:
    resources = await opened(settings(f"sqlite:///{tmp_path}/auth.db", own_valkey.url), clock)
    auth, door = served(resources, clock), Door(own_valkey.url)
    async with working(resources.revoker.run, door.feed.run):
        await eventually(lambda: door.feed.is_fresh)
        _, token = await auth.member()
        principal = await auth.principal(token)
        own_valkey.kill()
        await eventually(lambda: not door.feed.is_fresh)
        assert (await auth.ask("POST", "/logoff", by=token)).status == 200
        assert (await auth.ask("GET", "/info", by=token)).status == 401
        assert not door.known.has_revoked(principal)
        await eventually(lambda: not resources.revoker.check().is_up)
        await own_valkey.restart()
        await eventually(door.refuses(principal))
        await eventually(lambda: door.feed.is_fresh and resources.revoker.check().is_up)
    await resources.close()
    await door.redis.aclose()


async def test_redis_forgets_what_could_not_be_shown_any_more(shared_auth: Auth, door: Door) -> None:
    auth = shared_auth
    await door.redis.zadd(KEY, {"session:long-ago": 1})
    _, token = await auth.member()
    await auth.ask("POST", "/logoff", by=token)
    entries = await door.redis.zrange(KEY, 0, -1, withscores=True)
    session_id = (await auth.principal(token)).session_id
    assert entries == [(f"session:{session_id}".encode(), auth.clock() + 900 + 60)]
