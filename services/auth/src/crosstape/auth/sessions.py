"""Logins: an access token and a refresh token that is good for one use.

A refresh token that is shown a second time was stolen or lost on its way, and nobody can tell which: its whole login
ends. There is no time of grace, so a client has to refresh from one place at a time.
"""

from __future__ import annotations

import hashlib
import secrets
import uuid
from collections.abc import Callable

from msgspec import Struct
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from crosstape.auth import audit
from crosstape.auth.audit import Event
from crosstape.auth.database import Database
from crosstape.auth.keyring import KeyRing
from crosstape.auth.revoking import Entries, Revoker
from crosstape.auth.tables import ApiKey, LoginSession, RefreshToken, User
from crosstape.common.errors import Unauthenticated
from crosstape.common.identity.access import Claims
from crosstape.common.identity.principal import ROLE_SCOPES, Principal, Role
from crosstape.common.identity.revocations import session_entry


class Tokens(Struct, frozen=True):
    """What a login gives; `expires_in` is the access token's life in seconds."""

    access_token: str
    refresh_token: str
    expires_in: int


class Sessions:
    """Opens logins, renews their tokens, ends them."""

    def __init__(
        self,
        database: Database,
        keys: KeyRing,
        revoker: Revoker,
        clock: Callable[[], float],
        *,
        access_seconds: int,
        refresh_seconds: int,
    ):
        self._database = database
        self._keys = keys
        self._revoker = revoker
        self._clock = clock
        self._access_seconds = access_seconds
        self._refresh_seconds = refresh_seconds

    async def open(self, db: AsyncSession, user: User) -> Tokens:
        """A new login of `user`, in the transaction that proved who it is."""
        now = int(self._clock())
        login = LoginSession(
            id=uuid.uuid4().hex, user_id=user.id, created_at=now, expires_at=now + self._refresh_seconds
        )
        db.add(login)
        await db.flush()
        return self._issue(db, user, login)

    async def refresh(self, token: str, address: str) -> Tokens:
        """New tokens for a refresh token, which is used up. Raises Unauthenticated; reuse ends the login."""
        digest = _digest(token)
        entries: Entries = []
        async with self._database.writing() as db:
            now = int(self._clock())
            session_id = await db.scalar(select(RefreshToken.session_id).where(RefreshToken.hash == digest))
            # Everything about a login takes its turn at the login's row, so of two refreshes one comes second.
            login = await db.get(LoginSession, session_id, with_for_update=True) if session_id else None
            shown = await db.get(RefreshToken, digest) if login else None
            if login and shown and shown.expires_at > now:
                user = await db.get_one(User, login.user_id)
                if shown.used_at is None:
                    shown.used_at = now
                    login.expires_at = now + self._refresh_seconds
                    return self._issue(db, user, login)
                audit.record(db, now, Event.REFRESH_REUSED, user.username, address)
                entries = await self._end(db, login.id)
        await self._revoker.tell(entries)
        raise Unauthenticated("The refresh token is unknown, expired or used up: log in again.")

    async def end(self, principal: Principal, address: str) -> None:
        """End the login behind `principal`: its access tokens and its refresh token."""
        async with self._database.writing() as db:
            user = await current_user(db, principal)
            audit.record(db, self._clock(), Event.LOGOFF, user.username, address)
            entries = await self._end(db, principal.session_id)
        await self._revoker.tell(entries)

    async def end_all(self, db: AsyncSession, user: User) -> None:
        """Forget every login of `user`; the caller ends their access tokens by raising the credentials version."""
        await db.execute(delete(LoginSession).where(LoginSession.user_id == user.id))

    async def _end(self, db: AsyncSession, session_id: str) -> Entries:
        await db.execute(delete(LoginSession).where(LoginSession.id == session_id))
        return await self._revoker.end(db, session_entry(session_id))

    def _issue(self, db: AsyncSession, user: User, login: LoginSession) -> Tokens:
        now = int(self._clock())
        refresh_token = secrets.token_urlsafe(32)
        db.add(RefreshToken(hash=_digest(refresh_token), session_id=login.id, expires_at=login.expires_at))
        role = Role(user.role)
        claims = Claims(
            sub=user.id,
            jti=uuid.uuid4().hex,
            iat=now,
            exp=now + self._access_seconds,
            sid=login.id,
            ver=user.credentials_version,
            name=user.username,
            role=role,
            scope=" ".join(sorted(ROLE_SCOPES[role])),
        )
        return Tokens(self._keys.sign(claims), refresh_token, self._access_seconds)


async def current_user(db: AsyncSession, principal: Principal, *, lock: bool = False) -> User:
    """The account behind a credential, as SQL knows it now: nothing revoked gets by, whatever Redis knows.

    Raises Unauthenticated.
    """
    user = await db.get(User, principal.user_id, with_for_update=lock)
    if user is None or user.credentials_version != principal.credentials_version:
        raise _ended()
    if principal.session_id and await db.get(LoginSession, principal.session_id) is None:
        raise _ended()
    if principal.api_key_id and await db.get(ApiKey, principal.api_key_id) is None:
        raise _ended()
    return user


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _ended() -> Unauthenticated:
    return Unauthenticated("The credential has been revoked: log in again.")
