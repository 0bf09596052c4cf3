"""Revocations, written: in SQL with what ends the credential, then in Redis, where every service reads them.

SQL is the authority. When Redis is away the SQL transaction stands and the caller is told of success; what Redis
lacks, `run` brings it within about a second of its return. Meanwhile auth itself refuses ended credentials by SQL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from crosstape.auth.database import Database
from crosstape.auth.metrics import UNPUBLISHED
from crosstape.auth.tables import Revocation
from crosstape.common.errors import DatabaseError
from crosstape.common.identity.revocations import CHANNEL, COUNT_KEY, KEY
from crosstape.common.runtime.health import Check
from crosstape.common.waiting import pause

log = structlog.get_logger(__name__)

MARGIN_SECONDS = 60
"""Longer than clocks differ and tokens are given leeway."""
LOOK_SECONDS = 1.0
_CHUNK = 1000

_TELL = """
local now = redis.call('TIME')
for i = 3, #ARGV, 2 do
    redis.call('ZADD', KEYS[1], ARGV[i + 1], ARGV[i])
    if ARGV[2] == '1' then redis.call('PUBLISH', ARGV[1], ARGV[i + 1] .. ' ' .. ARGV[i]) end
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now[1] - 3600)
local count = math.max(tonumber(redis.call('GET', KEYS[2]) or '0') + 1, now[1] * 1000000 + now[2])
redis.call('SET', KEYS[2], string.format('%.0f', count))
"""
# The count is a time in microseconds, so that after a loss it never comes to a value that a reader has seen already.
# Expired entries stay for an hour, so that a clock that differs does not drop what SQL still counts as live.

Entries = Sequence[tuple[str, int]]
"""Each with its expiry in Unix seconds."""


class Revoker:
    """`end` in a transaction, `tell` after its commit; `run` keeps Redis complete."""

    def __init__(self, database: Database, redis: Redis, access_seconds: int, clock: Callable[[], float]):
        self._database = database
        self._redis = redis
        self._life = access_seconds + MARGIN_SECONDS
        self._clock = clock
        self._tell = redis.register_script(_TELL)
        self._state = Check(is_up=False, detail={"reason": "starting"})

    async def end(self, db: AsyncSession, entry: str) -> Entries:
        """Note an entry (see common.identity.revocations) in the transaction; give the result to `tell`."""
        expires_at = int(self._clock()) + self._life
        await db.merge(Revocation(entry=entry, expires_at=expires_at))
        return [(entry, expires_at)]

    async def tell(self, entries: Entries) -> None:
        """Tell every service, after the commit. Never fails: `run` catches up with what Redis did not take."""
        if not entries:
            return
        try:
            await self._send(entries, publish=True)
        except (RedisError, OSError, TimeoutError) as error:
            log.warning("revocations_not_told", entries=len(entries), error=type(error).__name__)

    async def run(self, stop: asyncio.Event) -> None:
        """Bring Redis everything at the start, and whenever it lacks any: it came back empty, or a write failed."""
        is_complete = is_away = False
        while not stop.is_set():
            try:
                is_complete = await self._complete(anyway=not is_complete)
                self._state, is_away = Check(is_up=True), False
            except DatabaseError:
                pass  # it has been logged, and readiness says so
            except (RedisError, OSError, TimeoutError) as error:
                if not is_away:
                    log.warning("revocations_behind", error=type(error).__name__)
                is_away = True
                UNPUBLISHED.set(-1)
                self._state = Check(is_up=False, detail={"reason": type(error).__name__})
            await pause(stop, LOOK_SECONDS)

    def check(self) -> Check:
        """Whether Redis knows every revocation."""
        return self._state

    async def _complete(self, *, anyway: bool) -> bool:
        now = int(self._clock())
        live = Revocation.expires_at > now
        async with self._database.reading() as db:
            owed = await db.scalar(select(func.count()).select_from(Revocation).where(live)) or 0
        # In this order: what is added meanwhile makes Redis have more, not less.
        known = await self._redis.zcount(KEY, f"({now}", "+inf") if await self._redis.exists(COUNT_KEY) else -1
        UNPUBLISHED.set(max(0, owed - known))
        if known >= owed and not anyway:
            return True
        async with self._database.reading() as db:
            rows = (await db.execute(select(Revocation.entry, Revocation.expires_at).where(live))).all()
        entries = [(row.entry, row.expires_at) for row in rows]
        for first in range(0, len(entries), _CHUNK):
            await self._redis.zadd(KEY, dict(entries[first : first + _CHUNK]))
        await self._send([], publish=False)  # the count last: it makes every reader read them all
        UNPUBLISHED.set(0)
        log.info("revocations_rewritten", entries=len(entries))
        return True

    async def _send(self, entries: Entries, *, publish: bool) -> None:
        pairs = [word for entry in entries for word in entry]
        await self._tell(keys=[KEY, COUNT_KEY], args=[CHANNEL, int(publish), *pairs])
