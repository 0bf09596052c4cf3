"""Signing keys: a rotation makes no token invalid, and a retired key opens nothing."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from crosstape.auth.keyring import KeyRing, rotate
from crosstape.common.errors import Conflict, ServiceUnavailable, Unauthenticated
from crosstape.common.identity.access import Claims, JwkSet, public_keys, read_access_token
from crosstape.common.identity.authenticator import JWKS_PATH
from crosstape.common.identity.principal import Role
from libs.common.tests.asgi import request
from services.auth.tests.harness import Auth, is_error

LIFE = 900


def claims(now: float) -> Claims:
    """Of a token that the verifier, which looks at the real clock, takes for valid."""
    return Claims(
        sub="1", jti="2", iat=int(now), exp=int(now) + LIFE, sid="3", ver=1, name="bob", role=Role.USER, scope=""
    )


async def keys_of(auth: Auth) -> dict[str, Ed25519PublicKey]:
    return public_keys(await auth.key_set())


async def rotated(auth: Auth) -> str:
    async with auth.resources.database.preparing() as db:
        key = await rotate(db, auth.resources.sealer, auth.clock(), LIFE)
    await auth.resources.keys.load()
    return key.kid


async def test_the_key_set_is_open_and_may_be_cached_for_a_short_while(quick_auth: Auth) -> None:
    answer = await request(quick_auth.app, "GET", JWKS_PATH)
    assert answer.status == 200
    assert answer.headers["cache-control"] == "public, max-age=30"
    assert answer.headers["content-type"] == "application/json"
    (key,) = answer.json()["keys"]
    assert {name: key[name] for name in ("kty", "crv", "alg", "use")} == {
        "kty": "OKP",
        "crv": "Ed25519",
        "alg": "EdDSA",
        "use": "sig",
    }
    assert "d" not in key


async def test_a_rotation_makes_no_token_invalid(auth: Auth) -> None:
    ring, now = auth.resources.keys, auth.clock()
    before = ring.sign(claims(now))
    (old,) = await keys_of(auth)
    new = await rotated(auth)
    published = await keys_of(auth)
    assert set(published) == {old, new}
    during = ring.sign(claims(now))
    assert set(published) >= {old}
    with pytest.raises(Unauthenticated):
        read_access_token(during, {new: published[new]})

    auth.clock.now += 120
    after = ring.sign(claims(now))
    assert read_access_token(after, {new: published[new]}).username == "bob"
    for token in (before, during, after):
        assert read_access_token(token, await keys_of(auth)).username == "bob"

    auth.clock.now += LIFE + 59
    assert set(await keys_of(auth)) == {old, new}
    auth.clock.now += 1
    assert set(await keys_of(auth)) == {new}


async def test_a_second_rotation_waits_for_the_first(quick_auth: Auth) -> None:
    await rotated(quick_auth)
    with pytest.raises(Conflict, match="signs in 120 s"):
        await rotated(quick_auth)
    quick_auth.clock.now += 121
    await rotated(quick_auth)
    assert len(await keys_of(quick_auth)) == 3


async def test_before_the_keys_are_loaded_nothing_is_signed_and_no_empty_set_is_shown(quick_auth: Auth) -> None:
    ring = KeyRing(quick_auth.resources.database, quick_auth.resources.sealer, quick_auth.clock)
    with pytest.raises(ServiceUnavailable):
        ring.sign(claims(quick_auth.clock()))
    with pytest.raises(ServiceUnavailable):
        ring.key_set()


async def test_the_private_keys_stay_where_they_are(quick_auth: Auth) -> None:
    _, token = await quick_auth.member()
    for path in ("/users", "/info", JWKS_PATH, "/openapi.json", "/metrics"):
        assert b"PRIVATE" not in (await quick_auth.ask("GET", path, by=token)).body
    assert isinstance(await quick_auth.key_set(), JwkSet)
    is_error(await quick_auth.ask("POST", JWKS_PATH, {}), 405, "METHOD_NOT_ALLOWED")
