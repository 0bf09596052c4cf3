"""Revocations: credentials that ended before their time, known to every service within moments.

The auth service's SQL is the authority and Redis the fast copy: a sorted set of entries by expiry, a count that rises
with every entry, and a channel that tells each new one. An entry lives as long as an access token could; who may have
missed one about an API key, which lives longer, asks the auth service about that key.
"""

from __future__ import annotations

import asyncio
import time
from typing import cast

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from crosstape.common.identity.principal import Principal
from crosstape.common.waiting import pause, unless_stopped

log = structlog.get_logger(__name__)

KEY = "crosstape:revocations"
COUNT_KEY = "crosstape:revocations:count"
CHANNEL = "crosstape:revocations"

FRESH_SECONDS = 3.0
POLL_SECONDS = 1.0
TIMEOUT_SECONDS = 2.0


def session_entry(session_id: str) -> str:
    """Ends a login: its access tokens and its refresh tokens."""
    return f"session:{session_id}"


def api_key_entry(api_key_id: str) -> str:
    """Ends an API key."""
    return f"api_key:{api_key_id}"


def user_entry(user_id: str, credentials_version: int) -> str:
    """Ends everything of an account that was issued under an earlier credentials version."""
    return f"user:{user_id}:{credentials_version}"


class Revocations:
    """What has been revoked and could still be shown. Times are Unix seconds."""

    def __init__(self) -> None:
        self._credentials: dict[str, float] = {}
        self._versions: dict[str, tuple[int, float]] = {}

    def add(self, entry: str, expires_at: float) -> None:
        """Take note of an entry; repeats are harmless."""
        kind, _, rest = entry.partition(":")
        if kind != "user":
            self._credentials[entry] = expires_at
            return
        user_id, _, version = rest.rpartition(":")
        known = self._versions.get(user_id)
        if known is None or int(version) >= known[0]:
            self._versions[user_id] = (int(version), expires_at)

    def has_revoked(self, principal: Principal) -> bool:
        """Whether the credential behind `principal` has ended."""
        if principal.session_id and session_entry(principal.session_id) in self._credentials:
            return True
        if principal.api_key_id and api_key_entry(principal.api_key_id) in self._credentials:
            return True
        lowest = self._versions.get(principal.user_id)
        return lowest is not None and principal.credentials_version < lowest[0]

    def forget_expired(self, now: float) -> None:
        """Drop what can no longer be shown anyway."""
        self._credentials = {entry: until for entry, until in self._credentials.items() if until > now}
        self._versions = {user: known for user, known in self._versions.items() if known[1] > now}


class RevocationFeed:
    """Keeps `revocations` as new as Redis is, by its channel and by a look at the count every second."""

    def __init__(self, redis: Redis, revocations: Revocations):
        self._redis = redis
        self._revocations = revocations
        self._count: int | None = None
        self._synced_at = float("-inf")
        self._is_away = False

    @property
    def is_fresh(self) -> bool:
        """Whether a revocation of three seconds ago would be known here."""
        return time.monotonic() - self._synced_at < FRESH_SECONDS

    async def run(self, stop: asyncio.Event) -> None:
        """Follow until stopped; Redis may come and go."""
        await unless_stopped(stop, self._keep(stop))  # which looks at `stop` too: redis-py may swallow being cancelled

    async def _keep(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await self._follow(stop)
            except (RedisError, OSError, TimeoutError, ValueError) as error:  # ValueError: entries that are not ours
                if not self._is_away:
                    log.warning("revocations_away", error=str(error) or type(error).__name__)
                self._is_away = True
                await pause(stop, POLL_SECONDS)

    async def _follow(self, stop: asyncio.Event) -> None:
        async with self._redis.pubsub() as channel:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await channel.subscribe(CHANNEL)
            self._count = None
            while not stop.is_set():
                async with asyncio.timeout(TIMEOUT_SECONDS):
                    await self._catch_up()
                caught_up_at = time.monotonic()
                # However many entries come at once, all of them are read anew only once a second.
                while not stop.is_set() and (left := caught_up_at + POLL_SECONDS - time.monotonic()) > 0:
                    if message := await channel.get_message(ignore_subscribe_messages=True, timeout=left):
                        self._take(message["data"])

    async def _catch_up(self) -> None:
        count = await self._redis.get(COUNT_KEY)
        if count is None:
            raise TimeoutError("Redis holds no revocations yet: the auth service writes them")
        now = time.time()
        if int(count) != self._count:
            entries = await self._redis.zrangebyscore(KEY, now, "+inf", withscores=True)
            for pair in cast(list[tuple[bytes | str, float]], entries):
                self._revocations.add(_text(pair[0]), pair[1])
            self._count = int(count)
        self._revocations.forget_expired(now)
        self._synced_at = time.monotonic()
        self._is_away = False

    def _take(self, message: bytes | str) -> None:
        expires_at, _, entry = _text(message).partition(" ")
        self._revocations.add(entry, float(expires_at))


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
