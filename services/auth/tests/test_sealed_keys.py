"""Signing keys under seal: databases of before, a change of the secret, and a secret that is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path

import pytest
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import SecretStr
from sqlalchemy import select, text

from crosstape.auth import keyring
from crosstape.auth.database import Database
from crosstape.auth.keyring import rotate
from crosstape.auth.sealing import NotOpened, Sealer
from crosstape.auth.tables import SigningKey
from crosstape.common.errors import Unauthenticated
from crosstape.common.identity.access import public_keys, read_access_token, sign_access_token
from crosstape.common.testing.background import working
from services.auth.tests.conftest import NO_REDIS, opened, served, settings
from services.auth.tests.harness import Auth, Clock
from services.auth.tests.test_keyring import LIFE, claims, keys_of
from services.auth.tests.test_revoking import eventually

OLD, NEW = "the old secret of at least 32 bytes", "the new secret of at least 32 bytes"
KID = "of-before"


@asynccontextmanager
async def started(database_url: str, clock: Clock, *secrets: str) -> AsyncIterator[Auth]:
    """A replica whose setting is these secrets."""
    read = settings(database_url, NO_REDIS).model_copy(update={"signing_key_secret": SecretStr(",".join(secrets))})
    resources = await opened(read, clock)
    try:
        yield served(resources, clock)
    finally:
        await resources.close()


async def with_a_plain_key(database: Database, now: float) -> Ed25519PrivateKey:
    """Add the key that a version without seals would have made."""
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    async with database.writing() as db:
        db.add(SigningKey(kid=KID, private_key=pem, created_at=int(now), signs_from=int(now), retires_at=None))
    return private


async def stored(database: Database) -> list[str]:
    async with database.reading() as db:
        return list(await db.scalars(select(SigningKey.private_key)))


def files_of(database_url: str) -> bytes:
    """All that SQLite keeps on the disk: the database, its log and its index."""
    path = Path(database_url.removeprefix("sqlite:///"))
    return b"".join(each.read_bytes() for each in path.parent.glob(f"{path.name}*"))


async def test_a_database_of_before_is_sealed_at_the_next_start_and_its_tokens_stay_valid(
    database_url: str, clock: Clock
) -> None:
    async with started(database_url, clock, NEW) as auth:
        async with auth.resources.database.writing() as db:
            await db.execute(text("DELETE FROM signing_keys"))
        private = await with_a_plain_key(auth.resources.database, clock())
    token = sign_access_token(claims(clock()), private, KID)
    for _ in range(2):
        async with started(database_url, clock, NEW) as auth:
            (sealed,) = await stored(auth.resources.database)
            assert "PRIVATE" not in sealed
            assert Sealer([NEW]).open(sealed).startswith(b"-----BEGIN")
            assert read_access_token(token, await keys_of(auth)).username == "bob"
            made = auth.resources.keys.sign(claims(clock()))
            assert read_access_token(made, {KID: private.public_key()}).username == "bob"


async def test_after_a_start_sqlites_files_hold_no_plain_key_not_even_an_overwritten_one(
    sqlite_url: str, clock: Clock
) -> None:
    before = Database(sqlite_url)
    await with_a_plain_key(before, clock())
    assert b"PRIVATE KEY" in files_of(sqlite_url)
    with structlog.testing.capture_logs() as told:
        async with started(sqlite_url, clock, NEW):
            assert b"PRIVATE KEY" not in files_of(sqlite_url)
    assert b"PRIVATE KEY" not in files_of(sqlite_url)
    assert {"event": "signing_keys_sealed", "keys": 1, "log_level": "info"} in told
    await before.close()


async def test_that_a_reader_keeps_the_overwritten_key_in_sqlites_log_is_told(
    sqlite_url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crosstape.common.sql.DEADLINE_SECONDS", 0.1)
    before = Database(sqlite_url)
    await with_a_plain_key(before, clock())
    with structlog.testing.capture_logs() as told:
        async with before.reading() as db:
            await db.execute(text("SELECT 1 FROM signing_keys"))
            async with started(sqlite_url, clock, NEW):
                assert b"PRIVATE KEY" in files_of(sqlite_url)
    assert "plain_keys_left" in {entry["event"] for entry in told}
    await before.close()


async def test_a_first_start_and_a_rotation_write_no_plain_key(sqlite_url: str, clock: Clock) -> None:
    async with started(sqlite_url, clock, NEW) as auth:
        async with auth.resources.database.preparing() as db:
            await rotate(db, auth.resources.sealer, clock(), LIFE)
        assert len(await stored(auth.resources.database)) == 2
        assert b"PRIVATE KEY" not in files_of(sqlite_url)


async def test_the_secret_is_changed_in_three_steps_each_beside_a_replica_of_the_step_before(
    database_url: str, clock: Clock
) -> None:
    steps = [(OLD,), (OLD, NEW), (NEW, OLD), (NEW,)]
    tokens = []
    for former, step in pairwise(steps):
        async with started(database_url, clock, *former) as first, started(database_url, clock, *step) as second:
            for _ in range(2):
                for auth in (first, second):
                    await auth.resources.keys.load()
                    tokens.append(auth.resources.keys.sign(claims(clock())))
                async with first.resources.database.preparing() as db:  # it is started again, with what it had
                    await keyring.seal_keys(db, first.resources.sealer)
            async with second.resources.database.preparing() as db:
                await keyring.seal_keys(db, second.resources.sealer)
    async with started(database_url, clock, NEW) as last:
        for token in tokens:
            assert read_access_token(token, await keys_of(last)).username == "bob"


async def test_a_start_with_a_secret_that_opens_nothing_changes_nothing(database_url: str, clock: Clock) -> None:
    async with started(database_url, clock, OLD) as auth:
        before = await stored(auth.resources.database)
        with pytest.raises(NotOpened, match="CROSSTAPE_SIGNING_KEY_SECRET"):
            async with started(database_url, clock, NEW):
                pass
        assert await stored(auth.resources.database) == before


async def test_a_running_replica_signs_on_with_the_keys_it_has_when_it_can_no_longer_open_them(
    sqlite_url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring, "RELOAD_SECONDS", 0.01)
    async with started(sqlite_url, clock, OLD) as auth, started(sqlite_url, clock, NEW, OLD):
        ring = auth.resources.keys
        with structlog.testing.capture_logs() as told:
            async with working(ring.run):
                await eventually(lambda: len(told) > 1)
        assert {(line["event"], line["log_level"]) for line in told} == {("signing_keys_not_reloaded", "error")}
        assert "CROSSTAPE_SIGNING_KEY_SECRET" in told[0]["error"]
        assert read_access_token(ring.sign(claims(clock())), await keys_of(auth)).username == "bob"


async def test_a_rotation_by_an_operator_with_another_secret_is_refused(quick_auth: Auth) -> None:
    database = quick_auth.resources.database
    before = await stored(database)
    with pytest.raises(NotOpened):
        async with database.preparing() as db:
            await rotate(db, Sealer([NEW]), quick_auth.clock(), LIFE)
    assert await stored(database) == before


async def test_without_the_secret_the_keys_are_deleted_and_logins_and_api_keys_go_on(
    database_url: str, clock: Clock
) -> None:
    """What docs/how-to/restore.md says."""
    async with started(database_url, clock, OLD) as auth:
        name = await auth.register()
        tokens = await auth.login(name)
        made = await auth.ask("POST", "/api-keys", {"name": "bot", "scopes": ["market:read"]}, by=await auth.admin())
        assert made.status == 201
        async with auth.resources.database.writing() as db:
            await db.execute(text("DELETE FROM signing_keys"))
    async with started(database_url, clock, NEW) as auth:
        with pytest.raises(Unauthenticated):
            read_access_token(tokens["access_token"], public_keys(await auth.key_set()))
        answer = await auth.ask("POST", "/refresh", {"refresh_token": tokens["refresh_token"]})
        assert answer.status == 200, answer.body
        assert (await auth.principal(answer.json()["access_token"])).username == name
        assert (await auth.resources.api_keys.principal(made.json()["api_key"])).username == "admin"
        await auth.login(name)
