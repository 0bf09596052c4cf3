"""The doors: an Authenticator in front of a real, scripted auth service, and VerifiedCaller in front of a service."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator

import aiohttp
import jwt
import msgspec
import pytest
import structlog
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import FastAPI

from crosstape.common.errors import ServiceUnavailable, Unauthenticated
from crosstape.common.identity import authenticator
from crosstape.common.identity.access import Claims, JwkSet, public_jwk, sign_access_token
from crosstape.common.identity.authenticator import API_KEY_PATH, JWKS_PATH, Authenticator
from crosstape.common.identity.internal import HEADER, REFUSED, InternalTokens
from crosstape.common.identity.principal import Caller, Principal, Role, Scope
from crosstape.common.identity.revocations import Revocations, api_key_entry, session_entry, user_entry
from crosstape.common.identity.services import AUTH
from crosstape.common.web.identity import VerifiedBy, VerifiedCaller
from libs.common.tests.asgi import request

pytestmark = pytest.mark.integration

SECRET = "s" * 32
KEY_TEXT = "ctk_0123456789abcdef_" + "S" * 43


def owner(**changes: object) -> Principal:
    good = Principal(
        user_id="u1",
        username="alice",
        role=Role.USER,
        scopes=frozenset({Scope.MARKET_READ}),
        api_key_id="0123456789abcdef",
        credentials_version=1,
        expires_at=0,
    )
    return msgspec.structs.replace(good, **changes)


class FakeAuth:
    """An auth service: knows signing keys and API keys, counts what it is asked, and can be away or slow."""

    def __init__(self) -> None:
        self.signing = {"first": Ed25519PrivateKey.generate()}
        self.owners = {KEY_TEXT: owner()}
        self.asked: list[str] = []
        self.is_away = self.believes_nobody = False
        self.key_set: bytes | None = None
        self.answers = asyncio.Event()
        self.answers.set()
        self.tokens = InternalTokens(AUTH, [SECRET])

    async def __call__(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        await self.answers.wait()
        if self.is_away:
            return web.Response(status=503)
        if self.believes_nobody:
            return web.Response(status=401, headers={HEADER: REFUSED})
        if request.path == JWKS_PATH:
            keys = JwkSet([public_jwk(kid, key.public_key()) for kid, key in self.signing.items()])
            return web.Response(body=self.key_set or msgspec.json.encode(keys))
        assert request.path == API_KEY_PATH
        assert request.content_type == "application/json"
        assert self.tokens.verify(request.headers[HEADER]).is_service
        found = self.owners.get(json.loads(await request.read())["api_key"])
        return web.Response(body=msgspec.json.encode(found)) if found else web.Response(status=401)

    def token(self, kid: str = "first", session: str = "s1", life: int = 900) -> str:
        now = int(time.time())
        claims = Claims(
            sub="u1",
            jti="j",
            iat=now,
            exp=now + life,
            sid=session,
            ver=1,
            name="alice",
            role=Role.USER,
            scope="market:read",
        )
        return sign_access_token(claims, self.signing[kid], kid)


class Door:
    """An authenticator and what it depends on."""

    def __init__(self, auth: FakeAuth, url: str, session: aiohttp.ClientSession):
        self.auth = auth
        self.revoked = Revocations()
        self.ask = Authenticator(url, session, InternalTokens("api-gateway", [SECRET]), self.revoked)


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    auth = FakeAuth()
    server = web.Server(auth)
    runner = web.ServerRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    async with aiohttp.ClientSession() as session:
        yield Door(auth, f"http://{host}:{port}", session)
    auth.answers.set()
    await runner.cleanup()


async def test_an_access_token_is_verified_by_the_key_set_and_then_remembered(door: Door) -> None:
    token = door.auth.token()
    assert door.ask.remembered(token) is None
    assert (await door.ask.authenticate(token)).username == "alice"
    assert door.ask.remembered(token) == await door.ask.authenticate(token)
    assert door.auth.asked == [JWKS_PATH]


async def test_a_new_signing_key_is_found_and_a_foreign_one_asked_about_once(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authenticator, "JWKS_SOONEST_SECONDS", 3_600.0)
    await door.ask.authenticate(door.auth.token())
    foreign = FakeAuth()
    foreign.signing = {"foreign": Ed25519PrivateKey.generate()}
    for _ in range(20):
        with pytest.raises(Unauthenticated):
            await door.ask.authenticate(foreign.token("foreign"))
    assert door.auth.asked == [JWKS_PATH]
    door.auth.signing["second"] = Ed25519PrivateKey.generate()
    monkeypatch.setattr(authenticator, "JWKS_SOONEST_SECONDS", 0.0)
    assert (await door.ask.authenticate(door.auth.token("second"))).username == "alice"


async def test_known_keys_outlive_the_auth_service(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unauthenticated):
        await door.ask.authenticate("nonsense")
    await door.ask.authenticate(door.auth.token())
    door.auth.is_away = True
    assert (await door.ask.authenticate(door.auth.token(session="s2"))).session_id == "s2"
    monkeypatch.setattr(authenticator, "JWKS_SOONEST_SECONDS", 0.0)
    door.auth.signing["second"] = Ed25519PrivateKey.generate()
    with pytest.raises(Unauthenticated):
        await door.ask.authenticate(door.auth.token("second"))


async def test_without_any_key_nobody_can_tell(door: Door) -> None:
    door.auth.is_away = True
    with pytest.raises(ServiceUnavailable):
        await door.ask.authenticate(door.auth.token())


async def test_a_token_of_an_auth_service_that_has_just_started_is_good(door: Door) -> None:
    door.auth.is_away = True
    with pytest.raises(ServiceUnavailable):
        await door.ask.authenticate(door.auth.token())
    door.auth.is_away = False
    assert (await door.ask.authenticate(door.auth.token())).username == "alice"


async def test_a_hanging_auth_service_holds_up_a_crowd_only_once(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authenticator, "TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(authenticator, "JWKS_SOONEST_SECONDS", 0.3)
    door.auth.answers.clear()
    started = time.monotonic()
    token = door.auth.token()
    outcomes = await asyncio.gather(*(door.ask.authenticate(token) for _ in range(30)), return_exceptions=True)
    assert all(isinstance(outcome, ServiceUnavailable) for outcome in outcomes)
    assert time.monotonic() - started < 2
    assert door.auth.asked == [JWKS_PATH]


@pytest.mark.parametrize("key_set", [b"{", b"[]", b'{"keys":[{"kid":"x","x":"AA"}]}', b'{"keys":[{"kid":1}]}', b"\xff"])
async def test_a_malformed_key_set_changes_nothing(door: Door, monkeypatch: pytest.MonkeyPatch, key_set: bytes) -> None:
    monkeypatch.setattr(authenticator, "JWKS_SOONEST_SECONDS", 0.0)
    await door.ask.authenticate(door.auth.token())
    door.auth.key_set = key_set
    door.auth.signing["second"] = Ed25519PrivateKey.generate()
    with pytest.raises(Unauthenticated):
        await door.ask.authenticate(door.auth.token("second"))
    assert (await door.ask.authenticate(door.auth.token(session="s3"))).session_id == "s3"


async def test_an_ended_login_is_refused_although_it_is_remembered(door: Door) -> None:
    ended, other = door.auth.token(session="s1"), door.auth.token(session="s2")
    for token in (ended, other):
        await door.ask.authenticate(token)
    door.revoked.add(session_entry("s1"), time.time() + 60)
    assert door.ask.remembered(ended) is None
    with pytest.raises(Unauthenticated, match="revoked"):
        await door.ask.authenticate(ended)
    await door.ask.authenticate(other)
    door.revoked.add(user_entry("u1", 2), time.time() + 60)
    with pytest.raises(Unauthenticated, match="revoked"):
        await door.ask.authenticate(other)


async def test_a_remembered_token_expires_to_the_second(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    token = door.auth.token(life=30)
    principal = await door.ask.authenticate(token)
    real = time.time
    monkeypatch.setattr(authenticator.time, "time", lambda: real() + 31)
    assert door.ask.remembered(token) is None
    with pytest.raises(Unauthenticated, match="expired"):
        door.ask.check(principal)


async def test_an_api_key_is_asked_about_once(door: Door) -> None:
    assert await door.ask.authenticate(KEY_TEXT) == owner()
    assert await door.ask.authenticate(KEY_TEXT) == owner()
    assert door.auth.asked == [API_KEY_PATH]


async def test_a_wrong_api_key_is_refused_and_for_a_moment_not_asked_about_again(door: Door) -> None:
    for _ in range(5):
        with pytest.raises(Unauthenticated, match="unknown, expired or revoked"):
            await door.ask.authenticate("ctk_0123456789abcdef_" + "T" * 43)
    assert door.auth.asked == [API_KEY_PATH]


@pytest.mark.parametrize(
    "text",
    ["ctk_", "ctk_x_y", "ctk_" + "a" * 16, KEY_TEXT + "\n", KEY_TEXT + "é", "ctk_" + "a" * 10_000, KEY_TEXT[:-20]],
)
async def test_what_cannot_be_an_api_key_is_not_asked_about(door: Door, text: str) -> None:
    with pytest.raises(Unauthenticated):
        await door.ask.authenticate(text)
    assert door.auth.asked == []


async def test_an_api_key_nobody_can_ask_about_is_not_called_wrong(door: Door) -> None:
    door.auth.is_away = True
    with pytest.raises(ServiceUnavailable):
        await door.ask.authenticate(KEY_TEXT)
    door.auth.is_away = False
    assert await door.ask.authenticate(KEY_TEXT) == owner()


async def test_an_api_key_is_not_wrong_because_the_auth_service_does_not_believe_who_asks(door: Door) -> None:
    door.auth.believes_nobody = True
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            with pytest.raises(ServiceUnavailable):
                await door.ask.authenticate(KEY_TEXT)
    assert [line["event"] for line in lines] == ["identity_refused_by"], "callers are many"
    door.auth.believes_nobody = False
    assert await door.ask.authenticate(KEY_TEXT) == owner(), "it is not remembered as refused"


async def test_an_api_key_is_asked_about_anew_when_its_account_changed(door: Door) -> None:
    await door.ask.authenticate(KEY_TEXT)
    door.revoked.add(user_entry("u1", 2), time.time() + 60)
    door.auth.owners[KEY_TEXT] = owner(role=Role.QUANT, credentials_version=2)
    assert (await door.ask.authenticate(KEY_TEXT)).role is Role.QUANT
    assert door.ask.remembered(KEY_TEXT)
    door.revoked.add(api_key_entry("0123456789abcdef"), time.time() + 60)
    del door.auth.owners[KEY_TEXT]
    with pytest.raises(Unauthenticated):
        await door.ask.authenticate(KEY_TEXT)


def service() -> FastAPI:
    app = FastAPI()

    @app.get("/who")
    async def who(caller: VerifiedBy) -> str:
        return f"{caller.service} {caller.principal.username if caller.principal else '-'} {caller.address or '-'}"

    @app.get("/internal/work")
    async def work(caller: VerifiedBy) -> str:
        return caller.service

    @app.get("/livez")
    async def livez() -> str:
        return "ok"

    app.add_middleware(VerifiedCaller, tokens=InternalTokens("history", [SECRET]))
    return app


def shown(caller: Caller) -> dict[str, str]:
    return {HEADER: InternalTokens(caller.service, [SECRET]).mint("history", caller)}


async def test_a_service_learns_who_calls_from_the_token_alone() -> None:
    app = service()
    for caller, answer in (
        (Caller("api-gateway", owner(), "203.0.113.7"), "api-gateway alice 203.0.113.7"),
        (Caller("api-gateway", None, "203.0.113.7"), "api-gateway - 203.0.113.7"),
        (Caller("ingestor"), "ingestor - -"),
    ):
        headers = {**shown(caller), "X-Forwarded-For": "192.0.2.1", "X-User-Id": "root"}
        assert (await request(app, "GET", "/who", headers=headers)).json() == answer


async def test_without_a_token_only_probes_are_answered() -> None:
    app = service()
    assert (await request(app, "GET", "/livez")).status == 200
    for path in ("/who", "/internal/work", "/nowhere", "/livez/", "//livez", "/LIVEZ"):
        answer = await request(app, "GET", path)
        assert answer.status == 401
        assert answer.json()["error_code"] == "UNAUTHENTICATED"


async def test_who_is_not_believed_is_told_so_and_the_cause_is_logged_once() -> None:
    app = service()
    now, caller = int(time.time()), Caller("api-gateway", None, "203.0.113.7")
    claims = {
        "iss": "api-gateway",
        "aud": "history",
        "iat": now,
        "exp": now + 30,
        "caller": msgspec.to_builtins(caller),
    }

    def token(secret: str = SECRET, **changes: object) -> str:
        return jwt.encode({**claims, **changes}, secret, "HS256")

    wrong = {
        "signature": token("x" * 32),
        "time": token(iat=now + 60),
        "missing": "",
        "content": token(caller={}),
    }
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            for text in wrong.values():
                answer = await request(app, "GET", "/who", headers={HEADER: text} if text else {})
                assert (answer.status, answer.headers[HEADER.lower()]) == (401, REFUSED)
        assert HEADER.lower() not in (await request(app, "GET", "/who", headers={HEADER: token()})).headers
    assert [(line["event"], line["cause"]) for line in lines] == [("identity_refused", cause) for cause in wrong]


async def test_two_tokens_are_none() -> None:
    answers = []

    async def send(message: dict[str, object]) -> None:
        answers.append(message)

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    name, value = HEADER.lower().encode(), shown(Caller("ingestor"))[HEADER].encode()
    scope = {"type": "http", "method": "GET", "path": "/who", "headers": [(name, value)] * 2, "query_string": b""}
    await service()(scope, receive, send)  # type: ignore[arg-type]
    assert answers[0]["status"] == 401


async def test_internal_paths_are_for_services_alone() -> None:
    app = service()
    assert (await request(app, "GET", "/internal/work", headers=shown(Caller("ingestor")))).status == 200
    for caller in (Caller("api-gateway", owner(), "203.0.113.7"), Caller("api-gateway", None, "203.0.113.7")):
        answer = await request(app, "GET", "/internal/work", headers=shown(caller))
        assert (answer.status, answer.json()["error_code"]) == (403, "FORBIDDEN")
