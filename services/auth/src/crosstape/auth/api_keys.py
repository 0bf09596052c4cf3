"""API keys: `ctk_<id>_<secret>`, shown once, worth a part of what their owner may do."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import secrets
from collections.abc import Callable, Iterable

from sqlalchemy import func, or_, select, update

from crosstape.auth import audit
from crosstape.auth.audit import Event
from crosstape.auth.database import Database
from crosstape.auth.revoking import Revoker
from crosstape.auth.sessions import current_user
from crosstape.auth.tables import ApiKey, User
from crosstape.common.errors import Conflict, DatabaseError, DataNotFound, Forbidden, Unauthenticated, ValidationFailed
from crosstape.common.identity.authenticator import API_KEY_FORM
from crosstape.common.identity.principal import ROLE_SCOPES, Principal, Role, Scope
from crosstape.common.identity.revocations import api_key_entry
from crosstape.common.waiting import pause

MOST_KEYS = 100
"""Of one account."""
USE_NOTED_SECONDS = 60
"""How old `last_used_at` may be before it is written again."""
NOTING_SECONDS = 1.0
"""Between two times of writing, of all keys at once."""


class ApiKeys:
    """Makes, lists and revokes the keys of accounts, and says whom a key shows."""

    def __init__(self, database: Database, revoker: Revoker, clock: Callable[[], float]):
        self._database = database
        self._revoker = revoker
        self._clock = clock
        self._used: set[str] = set()

    async def create(
        self, principal: Principal, name: str, scopes: Iterable[Scope], expires_at: int | None, address: str
    ) -> tuple[ApiKey, str]:
        """A key of the caller's and its text, which nobody can learn again. `expires_at` in Unix seconds, None: never.

        Raises ValidationFailed for a time that is over, Unauthenticated, Forbidden for a scope the caller's role has
        not, Conflict when there are too many.
        """
        now = int(self._clock())
        if expires_at is not None and expires_at <= now:
            raise ValidationFailed("expires_at: it must be in the future.", {"parameter": "expires_at"})
        key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        async with self._database.writing() as db:
            user = await current_user(db, principal, lock=True)
            wanted = frozenset(scopes)
            if beyond := wanted - ROLE_SCOPES[Role(user.role)]:
                raise Forbidden(f"Your role may not give: {', '.join(sorted(beyond))}.")
            count = await db.scalar(select(func.count()).select_from(ApiKey).where(ApiKey.user_id == user.id))
            if (count or 0) >= MOST_KEYS:
                raise Conflict(f"An account has at most {MOST_KEYS} API keys: revoke one first.")
            key = ApiKey(
                id=key_id,
                user_id=user.id,
                name=name,
                secret_hash=_digest(secret),
                scopes=" ".join(sorted(wanted)),
                created_at=now,
                expires_at=expires_at,
            )
            db.add(key)
            audit.record(db, now, Event.API_KEY_CREATED, user.username, address, id=key_id, scopes=key.scopes)
        return key, f"ctk_{key_id}_{secret}"

    async def listed(self, principal: Principal) -> list[ApiKey]:
        """The caller's keys, oldest first."""
        async with self._database.reading() as db:
            user = await current_user(db, principal)
            keys = select(ApiKey).where(ApiKey.user_id == user.id).order_by(ApiKey.created_at, ApiKey.id)
            return list(await db.scalars(keys))

    async def revoke(self, principal: Principal, key_id: str, address: str) -> None:
        """End one of the caller's keys. Raises DataNotFound, also for somebody else's."""
        async with self._database.writing() as db:
            user = await current_user(db, principal)
            key = await db.scalar(select(ApiKey).where(ApiKey.id == key_id, ApiKey.user_id == user.id))
            if key is None:
                raise DataNotFound("You have no API key with this id.")
            await db.delete(key)
            audit.record(db, self._clock(), Event.API_KEY_REVOKED, user.username, address, id=key_id)
            entries = await self._revoker.end(db, api_key_entry(key_id))
        await self._revoker.tell(entries)

    async def principal(self, text: str) -> Principal:
        """Whom a key shows: its owner as they are now, with the scopes they may give it. That it was used is written
        by the next `note_uses`: it may take the database longer than whoever asks waits. Raises Unauthenticated."""
        if not API_KEY_FORM.fullmatch(text):
            raise _unknown()
        _, key_id, secret = text.split("_", 2)
        now = int(self._clock())
        async with self._database.reading() as db:
            found = (
                await db.execute(select(ApiKey, User).join(User, User.id == ApiKey.user_id).where(ApiKey.id == key_id))
            ).one_or_none()
        if found is None:
            raise _unknown()
        key, user = found
        if not hmac.compare_digest(key.secret_hash, _digest(secret)) or (key.expires_at or now + 1) <= now:
            raise _unknown()
        if key.last_used_at is None or key.last_used_at <= now - USE_NOTED_SECONDS:
            self._used.add(key_id)
        role = Role(user.role)
        return Principal(
            user_id=user.id,
            username=user.username,
            role=role,
            scopes=ROLE_SCOPES[role] & {Scope(word) for word in key.scopes.split()},
            api_key_id=key_id,
            credentials_version=user.credentials_version,
            expires_at=key.expires_at or 0,
        )

    async def note_uses(self) -> None:
        """Write that the keys which were shown since the last time were used. Only for people to see: what cannot be
        written, which has been logged, waits for the key's next use."""
        used, self._used = self._used, set()
        if not used:
            return
        now = int(self._clock())
        is_old = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at <= now - USE_NOTED_SECONDS)
        with contextlib.suppress(DatabaseError):
            async with self._database.writing() as db:
                await db.execute(update(ApiKey).where(ApiKey.id.in_(used), is_old).values(last_used_at=now))

    async def keep_noting(self, stop: asyncio.Event) -> None:
        """Until stopped, and once more then."""
        while not stop.is_set():
            await pause(stop, NOTING_SECONDS)
            await self.note_uses()


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _unknown() -> Unauthenticated:
    return Unauthenticated("The API key is unknown, expired or revoked.")
