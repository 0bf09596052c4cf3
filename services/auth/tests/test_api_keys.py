"""API keys: shown once, worth a part of what their owner may do, for as long as both last."""

from __future__ import annotations

import asyncio
import datetime as dt
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import select

from crosstape.auth import api_keys
from crosstape.auth.tables import ApiKey
from crosstape.common.errors import DatabaseQueryError, Unauthenticated
from crosstape.common.identity.authenticator import API_KEY_FORM, API_KEY_PATH
from crosstape.common.identity.internal import HEADER
from crosstape.common.identity.principal import Caller, Principal, Role, Scope
from crosstape.common.identity.services import AUTH
from crosstape.common.sql import DEADLINE_SECONDS
from libs.common.tests.asgi import request
from services.auth.tests.harness import PASSWORD, Auth, is_error


async def create(auth: Auth, token: str, *scopes: str, **body: object) -> dict[str, str]:
    answer = await auth.ask("POST", "/api-keys", {"name": "bot", "scopes": scopes or ["market:read"], **body}, by=token)
    assert answer.status == 201, answer.body
    return dict(answer.json())


async def shows(auth: Auth, key: str) -> Principal:
    return await auth.resources.api_keys.principal(key)


async def last_used(auth: Auth) -> int | None:
    """When the only key was, as far as it has been noted."""
    async with auth.resources.database.reading() as db:
        return (await db.scalars(select(ApiKey.last_used_at))).one()


async def test_a_key_is_shown_once_and_only_its_hash_is_kept(auth: Auth) -> None:
    _, token = await auth.member()
    made = await create(auth, token, "orders:read", "market:read")
    assert API_KEY_FORM.fullmatch(made["api_key"])
    assert made["api_key"].startswith(made["prefix"] + "_")
    listed = (await auth.ask("GET", "/api-keys", by=token)).json()
    assert listed == [{name: value for name, value in made.items() if name != "api_key"}]
    assert listed[0]["scopes"] == ["market:read", "orders:read"]
    secret = made["api_key"].split("_", 2)[2]
    async with auth.resources.database.reading() as db:
        row = (await db.scalars(select(ApiKey))).one()
    assert secret not in str(vars(row))


async def test_a_key_shows_its_owner_to_our_services_alone(quick_auth: Auth) -> None:
    name, token = await quick_auth.member()
    key = (await create(quick_auth, token, "market:read"))["api_key"]
    body = b'{"api_key":"' + key.encode() + b'"}'
    own = {HEADER: quick_auth.tokens.mint(AUTH, Caller("api-gateway")), "Content-Type": "application/json"}
    answer = await request(quick_auth.app, "POST", API_KEY_PATH, body, own)
    assert answer.status == 200
    principal = answer.json()
    assert (principal["username"], principal["role"], principal["scopes"]) == (name, "user", ["market:read"])
    assert principal["expires_at"] == 0
    is_error(await quick_auth.ask("POST", API_KEY_PATH, body, by=token), 403, "FORBIDDEN")
    is_error(await quick_auth.ask("POST", API_KEY_PATH, body), 403, "FORBIDDEN")
    is_error(
        await request(quick_auth.app, "POST", API_KEY_PATH, body.replace(b"ctk_", b"ctk-"), own), 401, "UNAUTHENTICATED"
    )


async def test_every_wrong_key_is_refused_alike(quick_auth: Auth) -> None:
    _, token = await quick_auth.member()
    key = (await create(quick_auth, token))["api_key"]
    _, key_id, secret = key.split("_", 2)
    wrong = [
        "",
        "ctk_",
        key[:-1],
        f"ctk_{'0' * 16}_{secret}",
        f"ctk_{key_id}_{'A' * 43}",
        f"ctk_{key_id}'--_{secret}",
        key + "\x00",
        f" {key}",
    ]
    for text in wrong:
        with pytest.raises(Unauthenticated, match="unknown, expired or revoked"):
            await shows(quick_auth, text)


async def test_a_key_ends_when_it_is_revoked_or_expires(auth: Auth) -> None:
    _, token = await auth.member()
    in_an_hour = dt.datetime.fromtimestamp(auth.clock() + 3600, dt.UTC).isoformat()
    revoked, expiring = await create(auth, token), await create(auth, token, expires_at=in_an_hour)
    assert (await shows(auth, expiring["api_key"])).expires_at == auth.clock() + 3600
    path = f"/api-keys/{revoked['id']}"
    assert (await auth.ask("DELETE", path, by=token)).json() == {"message": "API key revoked"}
    is_error(await auth.ask("DELETE", path, by=token), 404, "DATA_NOT_FOUND")
    auth.clock.now += 3600
    for key in (revoked, expiring):
        with pytest.raises(Unauthenticated):
            await shows(auth, key["api_key"])


async def test_nobody_revokes_or_sees_anothers_key(quick_auth: Auth) -> None:
    _, mine = await quick_auth.member()
    _, theirs = await quick_auth.member()
    key = await create(quick_auth, theirs)
    is_error(await quick_auth.ask("DELETE", f"/api-keys/{key['id']}", by=mine), 404, "DATA_NOT_FOUND")
    assert (await quick_auth.ask("GET", "/api-keys", by=mine)).json() == []
    await shows(quick_auth, key["api_key"])


async def test_a_key_cannot_carry_more_than_its_owners_role(auth: Auth) -> None:
    name, token = await auth.member()
    asked = {"name": "bot", "scopes": ["market:read", "admin"]}
    assert "admin" in is_error(await auth.ask("POST", "/api-keys", asked, by=token), 403, "FORBIDDEN")
    admin = await auth.admin()
    await auth.ask("PATCH", f"/users/{name}", {"role": "admin"}, by=admin)
    key = (await create(auth, (await auth.login(name))["access_token"], "market:read", "admin"))["api_key"]
    before = await shows(auth, key)
    assert Scope.ADMIN in before.scopes
    await auth.ask("PATCH", f"/users/{name}", {"role": "quant"}, by=admin)
    after = await shows(auth, key)
    assert (after.role, after.scopes) == (Role.QUANT, {Scope.MARKET_READ})
    is_error(await auth.ask("GET", "/users", by=before), 401, "UNAUTHENTICATED")


async def test_a_key_outlives_a_new_password(quick_auth: Auth) -> None:
    _, token = await quick_auth.member()
    key = (await create(quick_auth, token))["api_key"]
    before = await shows(quick_auth, key)
    change = {"current_password": PASSWORD, "new_password": "another uncommon phrase"}
    assert (await quick_auth.ask("POST", "/password", change, by=token)).status == 200
    after = await shows(quick_auth, key)
    assert after.credentials_version == before.credentials_version + 1


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/logoff", None),
        ("DELETE", "/unregister", None),
        ("GET", "/api-keys", None),
        ("POST", "/api-keys", {"name": "more", "scopes": ["market:read"]}),
        ("DELETE", "/api-keys/0123456789abcdef", None),
        ("POST", "/password", {"current_password": PASSWORD, "new_password": "another uncommon phrase"}),
    ],
)
async def test_a_key_may_not_change_its_account(quick_auth: Auth, method: str, path: str, body: object) -> None:
    key = (await create(quick_auth, await quick_auth.admin(), *Scope))["api_key"]
    principal = await shows(quick_auth, key)
    is_error(await quick_auth.ask(method, path, body, by=principal), 403, "FORBIDDEN")
    assert (await quick_auth.ask("GET", "/info", by=principal)).status == 200
    assert (await quick_auth.ask("GET", "/users", by=principal)).status == 200


async def test_the_last_use_is_noted_at_most_once_a_minute(auth: Auth) -> None:
    _, token = await auth.member()
    key = (await create(auth, token))["api_key"]
    assert await last_used(auth) is None
    started = int(auth.clock())
    for after, expected in ((0, started), (59, started), (60, started + 60)):
        auth.clock.now = started + after
        await shows(auth, key)
        await auth.resources.api_keys.note_uses()
        assert await last_used(auth) == expected


async def test_an_account_has_so_many_keys_and_no_more(quick_auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "MOST_KEYS", 2)
    _, token = await quick_auth.member()
    for _ in range(2):
        await create(quick_auth, token)
    asked = {"name": "third", "scopes": ["market:read"]}
    is_error(await quick_auth.ask("POST", "/api-keys", asked, by=token), 409, "CONFLICT")


@pytest.mark.parametrize(
    "body",
    [
        {"name": "", "scopes": ["market:read"]},
        {"name": "a\x00b", "scopes": ["market:read"]},
        {"name": "a\u202eb", "scopes": ["market:read"]},
        {"name": "x" * 65, "scopes": ["market:read"]},
        {"name": "k", "scopes": []},
        {"name": "k", "scopes": ["everything"]},
        {"name": "k", "scopes": ["market:read"], "user_id": "1"},
        {"name": "k", "scopes": ["market:read"], "expires_at": "2020-01-01T00:00:00Z"},
    ],
)
async def test_a_malformed_key_is_not_made(quick_auth: Auth, body: object) -> None:
    _, token = await quick_auth.member()
    is_error(await quick_auth.ask("POST", "/api-keys", body, by=token), 422, "VALIDATION_ERROR")
    assert (await quick_auth.ask("GET", "/api-keys", by=token)).json() == []


@asynccontextmanager
async def failing() -> AsyncIterator[None]:
    raise DatabaseQueryError("The accounts could not be read or changed.")
    yield


async def test_a_key_is_good_although_its_use_cannot_be_noted(
    quick_auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, token = await quick_auth.member()
    key = await create(quick_auth, token, "market:read")
    with monkeypatch.context() as broken:
        broken.setattr(quick_auth.resources.database, "writing", failing)
        assert (await shows(quick_auth, key["api_key"])).username == name
        await quick_auth.resources.api_keys.note_uses()
    assert await last_used(quick_auth) is None


async def test_a_key_is_good_at_once_although_another_writer_keeps_the_database(
    quick_auth: Auth, tmp_path: Path
) -> None:
    name, token = await quick_auth.member()
    key = await create(quick_auth, token, "market:read")
    writer = sqlite3.connect(tmp_path / "auth.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    async with asyncio.timeout(DEADLINE_SECONDS / 2):
        assert (await shows(quick_auth, key["api_key"])).username == name
    writer.close()


async def test_a_service_that_stops_notes_the_last_uses(quick_auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "NOTING_SECONDS", 3600.0)
    _, token = await quick_auth.member()
    key = await create(quick_auth, token, "market:read")
    stop = asyncio.Event()
    noting = asyncio.create_task(quick_auth.resources.api_keys.keep_noting(stop))
    await shows(quick_auth, key["api_key"])
    stop.set()
    await noting
    assert await last_used(quick_auth) == int(quick_auth.clock())


@pytest.mark.parametrize(("expires_at", "deprecation"), [("20300101-0000", "true"), ("2030-01-01T00:00:00Z", None)])
async def test_a_legacy_time_is_answered_with_its_deprecation(
    quick_auth: Auth, expires_at: str, deprecation: str | None
) -> None:
    _, token = await quick_auth.member()
    body = {"name": "k", "scopes": ["market:read"], "expires_at": expires_at}
    answer = await quick_auth.ask("POST", "/api-keys", body, by=token)
    assert answer.json()["expires_at"] == "2030-01-01T00:00:00.000Z"
    assert answer.headers.get("deprecation") == deprecation
