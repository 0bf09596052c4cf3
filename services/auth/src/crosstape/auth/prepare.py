"""Before the first request: the schema, signing keys under seal, an administrator; by one process at a time."""

from __future__ import annotations

import secrets

import structlog
from pydantic import SecretStr
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from crosstape.auth import audit, keyring
from crosstape.auth.accounts import new_user
from crosstape.auth.audit import Event
from crosstape.auth.database import Database
from crosstape.auth.hashing import PasswordHasher
from crosstape.auth.sealing import Sealer
from crosstape.auth.settings import ADMIN
from crosstape.auth.tables import User
from crosstape.common.identity.principal import Role
from crosstape.common.sql import upgrade

log = structlog.get_logger(__name__)


async def prepare(
    database: Database, hasher: PasswordHasher, sealer: Sealer, admin_password: SecretStr | None, now: float
) -> None:
    """Bring the schema up to date, seal what is not, and make what is missing, in one transaction. Repeatable.

    Raises DatabaseError, and NotOpened when a signing key is sealed with none of the sealer's secrets.
    """
    invented = ""
    async with database.preparing() as db:
        await (await db.connection()).run_sync(upgrade, "crosstape.auth")
        sealed = await keyring.seal_keys(db, sealer)
        await keyring.add_first_key(db, sealer, now)
        if await db.scalar(select(User.id).where(User.role == Role.ADMIN.value).limit(1)) is None:
            invented = "" if admin_password else secrets.token_urlsafe(12)
            password = admin_password.get_secret_value() if admin_password else invented
            await _add_admin(db, hasher, password, now)
    if sealed:
        log.info("signing_keys_sealed", keys=sealed)
        if not await database.erase_overwritten():
            log.warning(
                "plain_keys_left", advice="stop whatever else reads the database: its log holds them until then"
            )
    if invented:
        # The one secret that is ever logged: nobody else could tell it to the operator.
        log.warning("admin_made", username=ADMIN, password=invented, advice="shown once: change it by POST /password")


async def _add_admin(db: AsyncSession, hasher: PasswordHasher, password: str, now: float) -> None:
    async with hasher.turn():
        db.add(new_user(ADMIN, await hasher.hash(password), Role.ADMIN, now))
    audit.record(db, now, Event.REGISTERED, ADMIN, role=Role.ADMIN.value, by="first start")
