"""What the routes and the operator's commands work with: one frozen context, built in `main` (or by a test)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from redis.asyncio import Redis

from crosstape.auth.accounts import Accounts
from crosstape.auth.api_keys import ApiKeys
from crosstape.auth.database import Database
from crosstape.auth.hashing import PasswordHasher
from crosstape.auth.keyring import KeyRing
from crosstape.auth.revoking import Revoker
from crosstape.auth.sealing import Sealer
from crosstape.auth.sessions import Sessions
from crosstape.auth.settings import StoreSettings
from crosstape.auth.throttle import ACCOUNT, ADDRESS, REGISTRATIONS, Throttle

REDIS_SECONDS = 1.0
"""How long Redis may take before it counts as away."""


@dataclass(frozen=True)
class Resources:
    """`clock` gives Unix seconds; everything that is about time asks it, but for throttling."""

    database: Database
    redis: Redis
    hasher: PasswordHasher
    sealer: Sealer
    keys: KeyRing
    revoker: Revoker
    sessions: Sessions
    accounts: Accounts
    api_keys: ApiKeys
    clock: Callable[[], float]

    async def close(self) -> None:
        """Close all connections and threads."""
        self.hasher.close()
        await self.database.close()
        await self.redis.aclose()


def open_resources(settings: StoreSettings, clock: Callable[[], float] = time.time) -> Resources:
    """Connects to nobody yet. Needs a running event loop."""
    database = Database(settings.auth_database_url)
    redis = Redis.from_url(
        settings.redis_url, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS, retry=None
    )
    hasher = PasswordHasher(settings.argon2_memory_kib, settings.argon2_passes)
    sealer = settings.sealer
    keys = KeyRing(database, sealer, clock)
    revoker = Revoker(database, redis, settings.access_token_seconds, clock)
    sessions = Sessions(
        database,
        keys,
        revoker,
        clock,
        access_seconds=settings.access_token_seconds,
        refresh_seconds=settings.refresh_token_seconds,
    )
    accounts = Accounts(
        database,
        hasher,
        sessions,
        revoker,
        clock,
        logins=Throttle("login", redis, ACCOUNT, ADDRESS),
        registrations=Throttle("register", redis, REGISTRATIONS, REGISTRATIONS),
    )
    return Resources(
        database, redis, hasher, sealer, keys, revoker, sessions, accounts, ApiKeys(database, revoker, clock), clock
    )


def _resources(request: Request) -> Resources:
    found: Resources = request.app.state.resources
    return found


Context = Annotated[Resources, Depends(_resources)]
"""A FastAPI parameter: the context."""
