"""Accounts: who may have one, who proves to be its owner, and what its changes end."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from crosstape.auth import audit
from crosstape.auth.audit import Event
from crosstape.auth.database import Database
from crosstape.auth.hashing import PasswordHasher
from crosstape.auth.passwords import check_password
from crosstape.auth.revoking import Entries, Revoker
from crosstape.auth.sessions import Sessions, Tokens, current_user
from crosstape.auth.tables import DeletedUser, User
from crosstape.auth.throttle import Attempt, Throttle
from crosstape.auth.usernames import check_username
from crosstape.common.errors import Conflict, DataNotFound, Forbidden, Unauthenticated
from crosstape.common.identity.principal import Principal, Role
from crosstape.common.identity.revocations import user_entry
from crosstape.common.identity.usernames import username_key

log = structlog.get_logger(__name__)


class Accounts:
    """What people do with their accounts, and administrators with others'."""

    def __init__(
        self,
        database: Database,
        hasher: PasswordHasher,
        sessions: Sessions,
        revoker: Revoker,
        clock: Callable[[], float],
        *,
        logins: Throttle,
        registrations: Throttle,
    ):
        self._database = database
        self._hasher = hasher
        self._sessions = sessions
        self._revoker = revoker
        self._clock = clock
        self._logins = logins
        self._registrations = registrations
        self._unknown: set[str] = set()

    async def register(self, username: str, password: str, address: str) -> None:
        """A new account with the role user. Raises ValidationFailed, Conflict, RateLimited."""
        shown = check_username(username)
        check_password(password, shown)
        attempt = Attempt(username_key(shown), address)
        await self._registrations.check(attempt)
        await self._registrations.failed(attempt)
        await self.add(shown, password, Role.USER, address)

    async def add(self, username: str, password: str, role: Role, address: str = "", **detail: Any) -> None:
        """A new account. Raises ValidationFailed, Conflict when its name is taken."""
        shown = check_username(username)
        check_password(password, shown)
        async with self._database.reading() as db:
            if await _by_name(db, shown) is not None:
                raise _taken(shown)
        async with self._hasher.turn():
            password_hash = await self._hasher.hash(password)
        try:
            async with self._database.writing() as db:
                db.add(new_user(shown, password_hash, role, self._clock()))
                audit.record(db, self._clock(), Event.REGISTERED, shown, address, **detail)
        except IntegrityError:
            raise _taken(shown) from None

    async def login(self, username: str, password: str, address: str) -> Tokens:
        """Tokens of a new login. Raises Unauthenticated (wrong names and wrong passwords alike), RateLimited."""
        attempt = Attempt(username_key(username), address)
        await self._logins.check(attempt)
        async with self._database.reading() as db:
            user = await _by_name(db, username)
        rehashed = await self._prove(user, password, attempt)
        async with self._database.writing() as db:
            # The account may have changed while argon2 worked: its row decides.
            current = await db.get(User, user.id, with_for_update=True) if user else None
            if not user or not current or current.credentials_version != user.credentials_version:
                raise _wrong()
            current.password_hash = rehashed or current.password_hash
            audit.record(db, self._clock(), Event.LOGIN, current.username, address)
            return await self._sessions.open(db, current)

    async def change_password(self, principal: Principal, current: str, new: str, address: str) -> Tokens:
        """Ends every login, and opens a new one. Raises ValidationFailed, Unauthenticated, RateLimited."""
        check_password(new, principal.username)
        attempt = Attempt(username_key(principal.username), address)
        await self._logins.check(attempt)
        async with self._database.reading() as db:
            user = await current_user(db, principal)
        await self._prove(user, current, attempt)
        async with self._hasher.turn():
            password_hash = await self._hasher.hash(new)
        async with self._database.writing() as db:
            user = await current_user(db, principal, lock=True)
            entries = await self._replace_password(db, user, password_hash, address)
            tokens = await self._sessions.open(db, user)
        await self._revoker.tell(entries)
        return tokens

    async def set_password(self, username: str, new: str, **detail: Any) -> None:
        """An operator's word. Raises ValidationFailed, DataNotFound."""
        check_password(new, username)
        async with self._hasher.turn():
            password_hash = await self._hasher.hash(new)
        async with self._database.writing() as db:
            user = await _named(db, username)
            entries = await self._replace_password(db, user, password_hash, "", **detail)
        await self._revoker.tell(entries)

    async def unregister(self, principal: Principal, address: str) -> None:
        """Delete the caller's account and all its credentials. Raises Forbidden for an admin."""
        async with self._database.writing() as db:
            user = await current_user(db, principal, lock=True)
            if user.is_admin:
                raise Forbidden("An admin cannot unregister: another admin has to take the role away first.")
            entries = await self._delete(db, user, address)
        await self._revoker.tell(entries)

    async def remove(self, username: str, **detail: Any) -> None:
        """Delete any account but the last admin's. Raises DataNotFound, Conflict."""
        async with self._database.writing() as db:
            user = await _named_but_not_last_admin(db, username)
            entries = await self._delete(db, user, "", **detail)
        await self._revoker.tell(entries)

    async def change_role(self, username: str, role: Role, address: str = "", **detail: Any) -> User:
        """Give another role; ends every login of the account. Raises DataNotFound, Conflict for the last admin."""
        async with self._database.writing() as db:
            user = await _named_but_not_last_admin(db, username, becoming=role)
            if user.role == role:
                return user
            user.role = role.value
            entries = await self._raise_version(db, user)
            audit.record(db, self._clock(), Event.ROLE_CHANGED, user.username, address, role=role.value, **detail)
        await self._revoker.tell(entries)
        return user

    async def users(self) -> list[User]:
        """All accounts, by name."""
        async with self._database.reading() as db:
            return list(await db.scalars(select(User).order_by(User.username_key)))

    async def absent(self, user_ids: Sequence[str]) -> list[str]:
        """Those of `user_ids` whose accounts were deleted: such an id never comes again.

        One of which this database knows nothing is not among them: it may be the wrong database, an empty one, or one
        that is being restored. That is logged, once for each.
        """
        async with self._database.reading() as db:  # accounts first: one that goes in between is found in both
            known = set(await db.scalars(select(User.id).where(User.id.in_(user_ids))))
            deleted = set(await db.scalars(select(DeletedUser.id).where(DeletedUser.id.in_(user_ids))))
        for user_id in set(user_ids) - deleted - known - self._unknown:
            self._unknown.add(user_id)
            log.error("user_unknown", user_id=user_id, advice="is this the right database, and restored as a whole?")
        return [user_id for user_id in user_ids if user_id in deleted]

    async def check(self, principal: Principal) -> User:
        """The account behind a credential, now. Raises Unauthenticated."""
        async with self._database.reading() as db:
            return await current_user(db, principal)

    async def _prove(self, user: User | None, password: str, attempt: Attempt) -> str | None:
        """The password's new hash where today's parameters ask for one. Raises Unauthenticated, after the same work
        whoever `user` is.

        Asked again in one's turn, the throttle lets no crowd of simultaneous guesses through.
        """
        async with self._hasher.turn():
            await self._logins.check(attempt)
            known = user.password_hash if user else None
            if await self._hasher.matches(password, known) and known:
                await self._logins.succeeded(attempt)
                return await self._hasher.hash(password) if self._hasher.is_outdated(known) else None
            delay = await self._logins.failed(attempt)
        async with self._database.writing() as db:
            name = user.username if user else ""
            audit.record(db, self._clock(), Event.LOGIN_FAILED, name, attempt.address)
            if delay:
                audit.record(db, self._clock(), Event.THROTTLED, name, attempt.address, seconds=delay)
        raise _wrong()

    async def _replace_password(
        self, db: AsyncSession, user: User, password_hash: str, address: str, **detail: Any
    ) -> Entries:
        user.password_hash = password_hash
        audit.record(db, self._clock(), Event.PASSWORD_CHANGED, user.username, address, **detail)
        return await self._raise_version(db, user)

    async def _raise_version(self, db: AsyncSession, user: User) -> Entries:
        user.credentials_version += 1
        await self._sessions.end_all(db, user)
        return await self._revoker.end(db, user_entry(user.id, user.credentials_version))

    async def _delete(self, db: AsyncSession, user: User, address: str, **detail: Any) -> Entries:
        await db.execute(delete(User).where(User.id == user.id))
        db.add(DeletedUser(id=user.id))
        audit.record(db, self._clock(), Event.UNREGISTERED, user.username, address, **detail)
        return await self._revoker.end(db, user_entry(user.id, user.credentials_version + 1))


def new_user(shown: str, password_hash: str, role: Role, now: float) -> User:
    """An account not yet stored."""
    return User(
        id=str(uuid.uuid4()),
        username=shown,
        username_key=username_key(shown),
        password_hash=password_hash,
        role=role.value,
        credentials_version=1,
        created_at=int(now),
    )


async def _by_name(db: AsyncSession, username: str) -> User | None:
    found: User | None = await db.scalar(select(User).where(User.username_key == username_key(username)))
    return found


async def _named(db: AsyncSession, username: str) -> User:
    """The account, locked. Raises DataNotFound."""
    same = User.username_key == username_key(username)
    user: User | None = await db.scalar(select(User).where(same).with_for_update())
    if user is None:
        raise DataNotFound("No account has this name.")
    return user


async def _named_but_not_last_admin(db: AsyncSession, username: str, becoming: Role | None = None) -> User:
    """The account, locked, which may now lose its role. Raises DataNotFound, Conflict."""
    # All admins are locked first, in one order: two who demote each other at once take turns.
    admins = select(User).where(User.role == Role.ADMIN.value).order_by(User.id).with_for_update()
    count = len((await db.scalars(admins)).all())
    user = await _named(db, username)
    if user.is_admin and becoming is not Role.ADMIN and count == 1:
        raise Conflict("This is the last admin: make another account one first.")
    return user


def _taken(username: str) -> Conflict:
    return Conflict(f"The username {username} is taken.")


def _wrong() -> Unauthenticated:
    return Unauthenticated("The username or the password is wrong.")
