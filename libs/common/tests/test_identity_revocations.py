"""Revocations: what they end, how they reach a service, and when a service knows that it does not know."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from crosstape.common.identity import revocations
from crosstape.common.identity.principal import Principal, Role
from crosstape.common.identity.revocations import (
    CHANNEL,
    COUNT_KEY,
    KEY,
    RevocationFeed,
    Revocations,
    api_key_entry,
    session_entry,
    user_entry,
)
from crosstape.common.testing.background import working
from tests.engines.plugin import Valkey

PATIENCE = 60.0


def login(user: str = "u1", session: str = "s1", version: int = 1) -> Principal:
    return Principal(
        user_id=user,
        username="alice",
        role=Role.USER,
        scopes=frozenset(),
        session_id=session,
        credentials_version=version,
        expires_at=0,
    )


def key(user: str = "u1", api_key: str = "k1", version: int = 1) -> Principal:
    return Principal(
        user_id=user,
        username="alice",
        role=Role.USER,
        scopes=frozenset(),
        api_key_id=api_key,
        credentials_version=version,
        expires_at=0,
    )


def test_an_entry_ends_what_it_names_and_nothing_else() -> None:
    known = Revocations()
    known.add(session_entry("s1"), 100)
    known.add(api_key_entry("k1"), 100)
    assert known.has_revoked(login(session="s1"))
    assert known.has_revoked(key(api_key="k1"))
    assert not known.has_revoked(login(session="s2"))
    assert not known.has_revoked(key(api_key="k2"))
    assert not known.has_revoked(login(session="k1"))
    assert not known.has_revoked(key(api_key="s1"))


def test_a_new_credentials_version_ends_all_that_came_before_it() -> None:
    known = Revocations()
    known.add(user_entry("u1", 3), 100)
    assert [known.has_revoked(login(version=version)) for version in (1, 2, 3, 4)] == [True, True, False, False]
    assert known.has_revoked(key(version=2))
    assert not known.has_revoked(login(user="u2"))


@given(st.permutations([1, 2, 3, 4]), st.lists(st.sampled_from([1, 2, 3, 4])))
def test_versions_may_come_in_any_order_and_more_than_once(order: list[int], repeats: list[int]) -> None:
    known = Revocations()
    for version in [*order, *repeats]:
        known.add(user_entry("u1", version), 100 + version)
    assert known.has_revoked(login(version=3))
    assert not known.has_revoked(login(version=4))


def test_an_entry_is_forgotten_when_it_expires() -> None:
    known = Revocations()
    known.add(session_entry("s1"), 100)
    known.add(user_entry("u1", 2), 200)
    known.forget_expired(100)
    assert known.has_revoked(login(session="s1", version=1))
    assert not known.has_revoked(login(session="s1", version=2))
    known.forget_expired(200)
    assert not known.has_revoked(login())


class Following:
    """A feed that runs, and the Redis it follows."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.known = Revocations()
        self.feed = RevocationFeed(redis, self.known)

    async def write(self, entry: str, life: float = 600) -> None:
        """As the auth service writes it."""
        until = time.time() + life
        async with self.redis.pipeline() as pipe:
            await pipe.zadd(KEY, {entry: until}).incr(COUNT_KEY).publish(CHANNEL, f"{until} {entry}").execute()

    async def knows(self, principal: Principal) -> None:
        await until(lambda: self.known.has_revoked(principal))


async def until(is_true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not is_true():
            await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocations, "POLL_SECONDS", 0.05)
    monkeypatch.setattr(revocations, "FRESH_SECONDS", 0.5)


@pytest.fixture(params=[False, True], ids=["bytes", "text"])
async def following(valkey: Valkey, request: pytest.FixtureRequest) -> AsyncIterator[Following]:
    redis = Redis.from_url(valkey.url.removesuffix("/0") + "/6", decode_responses=request.param)
    await redis.flushdb()
    following = Following(redis)
    async with working(following.feed.run):
        yield following
    await redis.aclose()


@pytest.mark.integration
async def test_a_feed_is_not_fresh_before_the_auth_service_has_written(following: Following) -> None:
    assert not following.feed.is_fresh
    await asyncio.wait_for(following.redis.ping(), PATIENCE)
    assert not following.feed.is_fresh
    await following.redis.set(COUNT_KEY, 1)
    await until(lambda: following.feed.is_fresh)


@pytest.mark.integration
async def test_a_redis_that_is_not_auths_is_told_from_one_that_is_away(valkey: Valkey) -> None:
    async with Redis.from_url(valkey.url.removesuffix("/0") + "/6") as redis:
        await redis.flushdb()
        stop = asyncio.Event()
        with structlog.testing.capture_logs() as lines:
            running = asyncio.create_task(RevocationFeed(redis, Revocations()).run(stop))
            await until(lambda: bool(lines))
            stop.set()
            await running
    assert "the auth service writes them" in lines[0]["error"]


@pytest.mark.integration
async def test_an_entry_arrives_at_once_and_one_from_before_at_the_start(
    following: Following, monkeypatch: pytest.MonkeyPatch
) -> None:
    await following.write(session_entry("before"))
    monkeypatch.setattr(revocations, "POLL_SECONDS", 60.0)  # so that only its message can bring the next one
    late = Following(following.redis)
    async with working(late.feed.run):
        await late.knows(login(session="before"))
        await late.write(session_entry("now"))
        await late.knows(login(session="now"))
        await late.write(user_entry("u9", 5))
        await late.knows(login(user="u9", version=4))


@pytest.mark.integration
async def test_an_entry_whose_message_was_lost_is_found_by_the_count(following: Following) -> None:
    await following.write(session_entry("first"))
    await following.knows(login(session="first"))
    await following.redis.zadd(KEY, {session_entry("unpublished"): time.time() + 60})
    await following.redis.incr(COUNT_KEY)
    await following.knows(login(session="unpublished"))


@pytest.mark.integration
async def test_expired_entries_are_not_read(following: Following) -> None:
    await following.redis.zadd(KEY, {session_entry("over"): time.time() - 1})
    await following.write(session_entry("live"))
    await following.knows(login(session="live"))
    assert not following.known.has_revoked(login(session="over"))


@pytest.mark.integration
async def test_what_is_not_ours_in_redis_does_not_end_the_feed(following: Following) -> None:
    await following.write(session_entry("first"))
    await following.knows(login(session="first"))
    for rubbish in ("", "rubbish", "1 user:u1:x", "x session:s1", "\x00"):
        await following.redis.publish(CHANNEL, rubbish)
    await following.write(session_entry("second"))
    await following.knows(login(session="second"))


@pytest.mark.integration
async def test_redis_may_go_and_come_back(own_valkey: Valkey) -> None:
    redis = Redis.from_url(own_valkey.url)
    following = Following(redis)
    stop = asyncio.Event()
    running = asyncio.create_task(following.feed.run(stop))
    await following.write(session_entry("before"))
    await following.knows(login(session="before"))
    own_valkey.kill()
    await until(lambda: not following.feed.is_fresh)
    assert following.known.has_revoked(login(session="before"))
    await own_valkey.restart()
    await redis.connection_pool.disconnect()  # those of before are broken, which a write would find out
    await following.write(session_entry("after"))
    await following.knows(login(session="after"))
    await until(lambda: following.feed.is_fresh)
    stop.set()
    await running
    await redis.aclose()
