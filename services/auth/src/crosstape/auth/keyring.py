"""Signing keys: made at the first start, published before they sign, kept published until their tokens are gone.

The database has them under seal; in the clear they are in memory alone."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from msgspec import Struct
from sqlalchemy import or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from crosstape.auth.database import Database
from crosstape.auth.sealing import NotOpened, Sealer
from crosstape.auth.tables import SigningKey
from crosstape.common.errors import Conflict, DatabaseError, ServiceUnavailable
from crosstape.common.identity.access import Claims, JwkSet, public_jwk, sign_access_token
from crosstape.common.identity.authenticator import JWKS_SECONDS
from crosstape.common.waiting import pause

log = structlog.get_logger(__name__)

RELOAD_SECONDS = 15.0
CACHE_SECONDS = 30
"""How long a cache may keep the key set."""
PUBLISHED_BEFORE_SECONDS = 120
"""How long a new key is public before it signs: every replica has loaded it, and every verifier asked, by then."""
RETIRED_AFTER_SECONDS = 60
"""Beyond the life of the last token a key signed."""

_PLAIN = "-----BEGIN"

if RELOAD_SECONDS + CACHE_SECONDS + JWKS_SECONDS >= PUBLISHED_BEFORE_SECONDS:
    raise AssertionError("a new key would sign before every verifier has it")


class _Key(Struct, frozen=True):
    kid: str
    private: Ed25519PrivateKey
    signs_from: int
    retires_at: int | None


class KeyRing:
    """The keys of now, in memory; `run` looks for new ones. `load` first."""

    def __init__(self, database: Database, sealer: Sealer, clock: Callable[[], float]):
        self._database = database
        self._sealer = sealer
        self._clock = clock
        self._keys: list[_Key] = []

    async def load(self) -> None:
        """Read the keys anew; those in memory stay when it raises DatabaseError or NotOpened."""
        async with self._database.reading() as db:
            rows = await db.scalars(select(SigningKey).order_by(SigningKey.signs_from))
            self._keys = [
                _Key(row.kid, _private(self._sealer.open(row.private_key)), row.signs_from, row.retires_at)
                for row in rows
            ]

    async def run(self, stop: asyncio.Event) -> None:
        """Load again and again, so that a rotation by the operator reaches every replica."""
        while not stop.is_set():
            await pause(stop, RELOAD_SECONDS)
            try:
                await self.load()
            except DatabaseError as error:
                log.warning("signing_keys_not_reloaded", error=error.error_code)
            except NotOpened as error:  # somebody seals with a secret that this process has not got: it can still sign
                log.error("signing_keys_not_reloaded", error=str(error))

    def sign(self, claims: Claims) -> str:
        """The access token of `claims`. Raises ServiceUnavailable before the keys are loaded."""
        now = self._clock()
        signing = [key for key in self._live() if key.signs_from <= now]
        if not signing:
            raise _not_loaded()
        return sign_access_token(claims, signing[-1].private, signing[-1].kid)

    def key_set(self) -> bytes:
        """The JWKS document. Raises ServiceUnavailable before the keys are loaded: an empty one would be a lie."""
        live = self._live()
        if not live:
            raise _not_loaded()
        return msgspec.json.encode(JwkSet([public_jwk(key.kid, key.private.public_key()) for key in live]))

    def _live(self) -> list[_Key]:
        now = self._clock()
        return [key for key in self._keys if key.retires_at is None or key.retires_at > now]


async def seal_keys(db: AsyncSession, sealer: Sealer) -> int:
    """Seal with the first secret what is not: the PEM of a time before secrets, and what an older one sealed.

    How many keys that were. Raises NotOpened.
    """
    changed = 0
    for key in await db.scalars(select(SigningKey).with_for_update()):  # `forget` may be about to delete one
        found = key.private_key
        key.private_key = sealer.seal(found.encode()) if found.startswith(_PLAIN) else sealer.renewed(found)
        changed += key.private_key != found
    return changed


async def add_first_key(db: AsyncSession, sealer: Sealer, now: float) -> None:
    """Make a key that signs from now on, unless there is one."""
    if await db.scalar(select(SigningKey.kid).limit(1)) is None:
        db.add(_new_key(sealer, now, signs_from=now))


async def rotate(db: AsyncSession, sealer: Sealer, now: float, access_seconds: int) -> SigningKey:
    """Publish a new key, which signs in two minutes; the others retire when their last token has expired.

    Raises Conflict while an earlier rotation is still in its two minutes, and NotOpened when `sealer` cannot open the
    others: then the service, which can, could not open what it seals.
    """
    for live in await live_keys(db, now):
        sealer.open(live.private_key)
    waiting = await db.scalar(select(SigningKey).where(SigningKey.signs_from > int(now)))
    if waiting is not None:
        raise Conflict(
            f"the key {waiting.kid} is published and signs in {waiting.signs_from - int(now)} s: wait for it"
        )
    key = _new_key(sealer, now, signs_from=now + PUBLISHED_BEFORE_SECONDS)
    await db.execute(
        update(SigningKey)
        .where(SigningKey.retires_at.is_(None))
        .values(retires_at=key.signs_from + access_seconds + RETIRED_AFTER_SECONDS)
    )
    db.add(key)
    return key


async def live_keys(db: AsyncSession, now: float) -> list[SigningKey]:
    """Those in the JWKS, oldest first."""
    live = or_(SigningKey.retires_at.is_(None), SigningKey.retires_at > int(now))
    return list(await db.scalars(select(SigningKey).where(live).order_by(SigningKey.signs_from)))


def _new_key(sealer: Sealer, now: float, *, signs_from: float) -> SigningKey:
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return SigningKey(
        kid=secrets.token_hex(8),
        private_key=sealer.seal(pem),
        created_at=int(now),
        signs_from=int(signs_from),
        retires_at=None,
    )


def _private(pem: bytes) -> Ed25519PrivateKey:
    key = load_pem_private_key(pem, password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise TypeError("a signing key is not Ed25519")
    return key


def _not_loaded() -> ServiceUnavailable:
    return ServiceUnavailable("The accounts are out of reach. Try again in a moment.")
