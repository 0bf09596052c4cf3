"""What has run out is forgotten, once an hour; several replicas doing so at once do no harm."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from sqlalchemy import delete

from crosstape.auth.database import Database
from crosstape.auth.tables import AuditEvent, LoginSession, RefreshToken, Revocation, SigningKey
from crosstape.common.errors import DatabaseError
from crosstape.common.waiting import pause

log = structlog.get_logger(__name__)

EVERY_SECONDS = 3600.0
AUDIT_DAYS = 180


async def forget(database: Database, now: float) -> None:
    """Delete expired logins, tokens and revocations, retired keys, and audit rows older than 180 days."""
    async with database.writing() as db:
        await db.execute(delete(LoginSession).where(LoginSession.expires_at <= int(now)))
        await db.execute(delete(RefreshToken).where(RefreshToken.expires_at <= int(now)))
        await db.execute(delete(Revocation).where(Revocation.expires_at <= int(now)))
        await db.execute(delete(SigningKey).where(SigningKey.retires_at <= int(now)))
        await db.execute(delete(AuditEvent).where(AuditEvent.time <= int(now) - AUDIT_DAYS * 86_400))


async def keep_forgetting(database: Database, clock: Callable[[], float], stop: asyncio.Event) -> None:
    """Until stopped."""
    while not stop.is_set():
        try:
            await forget(database, clock())
        except DatabaseError as error:
            log.warning("upkeep_postponed", error=error.error_code)
        await pause(stop, EVERY_SECONDS)
