"""The audit log: every security event, written in the transaction of what it tells."""

from __future__ import annotations

import enum
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from crosstape.auth.metrics import EVENTS
from crosstape.auth.tables import AuditEvent
from crosstape.common.runtime.metrics import begin

LONGEST_ADDRESS = 64


class Event(enum.StrEnum):
    """What is worth telling."""

    LOGIN = "login"
    LOGIN_FAILED = "login_failed"
    THROTTLED = "throttled"
    REFRESH_REUSED = "refresh_reused"
    LOGOFF = "logoff"
    REGISTERED = "registered"
    UNREGISTERED = "unregistered"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105
    ROLE_CHANGED = "role_changed"
    API_KEY_CREATED = "api_key_created"
    API_KEY_REVOKED = "api_key_revoked"
    SIGNING_KEY_ROTATED = "signing_key_rotated"


begin(EVENTS, Event)


def record(db: AsyncSession, now: float, event: Event, username: str = "", address: str = "", **detail: Any) -> None:
    """Add a row about `username`'s account; `detail` is shown to operators and holds no secret."""
    EVENTS.labels(event.value).inc()
    db.add(
        AuditEvent(
            time=int(now),
            event=event.value,
            username=username,
            address=address[:LONGEST_ADDRESS],
            detail=msgspec.json.encode(detail).decode(),
        )
    )
