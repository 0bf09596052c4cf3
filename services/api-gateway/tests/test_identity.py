"""Who may call what: credentials, scopes, what is passed on, and what happens while Redis or auth is away."""

from __future__ import annotations

import base64
import json
import re
import time
from typing import Any

import jwt
import pytest
import structlog
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from redis.asyncio import Redis

from crosstape.common.identity.internal import HEADER, InternalTokens
from crosstape.common.identity.principal import Caller, Role, Scope
from crosstape.common.identity.revocations import CHANNEL, COUNT_KEY, KEY, api_key_entry, session_entry, user_entry
from crosstape.common.testing.identity import INTERNAL_SECRET
from crosstape.common.web.identity import VerifiedCaller

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.integration]

OPEN = "/exchanges"
QUANT = "/api/v1/trades/binance/BTC-USDT"


def bearer(credential: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {credential}"}


def caller_at(service: Any, audience: str) -> Caller:
    """Whom the service was shown with its latest request."""
    (token,) = service.seen[-1].header(HEADER.lower().encode())
    return InternalTokens(audience, [INTERNAL_SECRET]).verify(token.decode())


async def revoke(url: str, entry: str) -> None:
    async with Redis.from_url(url) as redis:
        until = time.time() + 900
        await redis.zadd(KEY, {entry: until})
        await redis.incr(COUNT_KEY)
        await redis.publish(CHANNEL, f"{until} {entry}")


async def test_a_service_is_shown_who_calls_and_from_where_but_never_the_credential(platform: Any) -> None:
    gateway, service, auth = platform.gateway, platform.service, platform.auth
    assert (await gateway.ask(QUANT, headers=bearer(auth.token(Role.QUANT)))).status == 200
    caller = caller_at(service, "history")
    assert (caller.service, caller.address) == ("api-gateway", "127.0.0.1")
    assert caller.principal
    assert (caller.principal.username, caller.principal.role) == ("alice", Role.QUANT)
    assert not service.seen[-1].header(b"authorization")
    assert (await gateway.ask("/info", headers=bearer(auth.token()))).json == {"path": "/info"}, "the auth service's"


async def test_an_anonymous_request_is_shown_as_that_of_an_address_and_never_as_a_services_own(platform: Any) -> None:
    assert (await platform.gateway.ask(OPEN)).status == 200
    caller = caller_at(platform.service, "history")
    assert caller == Caller("api-gateway", None, "127.0.0.1")
    assert not caller.is_service


@pytest.mark.parametrize(
    ("method", "path", "audience"),
    [
        ("GET", "/orders", "twap-engine"),
        ("GET", "/api/v1/book/binance/BTC-USDT", "stream-hub"),
        ("GET", OPEN, "history"),
    ],
)
async def test_each_service_gets_a_token_of_its_own(platform: Any, method: str, path: str, audience: str) -> None:
    assert (await platform.gateway.ask(path, method, headers=bearer(platform.auth.token()))).status == 200
    assert caller_at(platform.service, audience).service == "api-gateway"


def forged(auth: Any) -> dict[str, str]:
    """Everything that looks like a credential and is none."""
    good = auth.token()
    head, payload, signature = good.split(".")
    public = auth.key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    pem = auth.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    claims = jwt.decode(good, options={"verify_signature": False})

    def raw(header: dict[str, Any], body: dict[str, Any] = claims) -> str:
        parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, body)]
        return ".".join([*parts, signature])

    def signed(body: dict[str, Any], **header: Any) -> str:
        return jwt.encode(body, auth.key, algorithm="EdDSA", headers={"kid": "k1", **header})

    def without(*names: str) -> dict[str, Any]:
        return {name: value for name, value in claims.items() if name not in names}

    def hmac(key: bytes) -> str:
        body = ".".join(
            base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
            for part in ({"alg": "HS256", "kid": "k1", "typ": "JWT"}, claims)
        )
        mac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(body.encode(), key)
        return f"{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"

    now = int(time.time())
    return {
        "alg none": raw({"alg": "none", "kid": "k1"}).rpartition(".")[0] + ".",
        "alg nOnE": raw({"alg": "nOnE", "kid": "k1"}),
        "hmac keyed with the public key": hmac(public),
        "hmac keyed with the public key's PEM": hmac(pem),
        "another key under our kid": auth.token(key=Ed25519PrivateKey.generate()),
        "a foreign kid": auth.token(key_id="k2"),
        "a path as kid": auth.token(key_id="../../k1"),
        "sql as kid": auth.token(key_id="k1' OR 1=1 --"),
        "no kid": jwt.encode(claims, auth.key, algorithm="EdDSA"),
        "a kid that is no text": raw({"alg": "EdDSA", "kid": ["k1"]}),
        "jku": signed(claims, kid="k9", jku="http://127.0.0.1:1/keys"),
        "an unknown crit": signed(claims, crit=["x"], x=1),
        "expired": auth.token(exp=now - 60, iat=now - 960),
        "not yet valid": signed({**claims, "nbf": now + 600}),
        "no exp": signed(without("exp")),
        "no sub": signed(without("sub")),
        "no jti": signed(without("jti")),
        "another audience": signed({**claims, "aud": "elsewhere"}),
        "another issuer": signed({**claims, "iss": "elsewhere"}),
        "an unknown role": signed({**claims, "role": "root"}),
        "an unknown scope": signed({**claims, "scope": "everything"}),
        "no scope at all": signed(without("scope")),
        "tampered payload": f"{head}.{payload[:-2]}AA.{signature}",
        "tampered signature": f"{head}.{payload}.{signature[:-4]}AAAA",
        "cut": good[:-10],
        "not a token": "abc",
        "deep json": ".".join([base64.urlsafe_b64encode(b"[" * 3000).decode().rstrip("="), payload, signature]),
        "too long": good + "A" * 5000,
        "an internal token": InternalTokens("api-gateway", [INTERNAL_SECRET]).mint("history", Caller("api-gateway")),
        "an unknown api key": "ctk_aaaaaaaa_" + "0" * 64,
        "a malformed api key": "ctk_x",
    }


async def test_no_forged_credential_is_taken_on_an_open_or_a_closed_route(platform: Any) -> None:
    for what, credential in forged(platform.auth).items():
        for path in (OPEN, QUANT, "/info", "/ping", "/nope"):
            reply = await platform.gateway.ask(path, headers=bearer(credential))
            assert (reply.status, reply.json["error_code"]) == (401, "UNAUTHENTICATED"), (what, path)
            assert reply.headers["WWW-Authenticate"] == "Bearer"
            assert "RateLimit-Remaining" in reply.headers
            assert credential not in reply.body.decode()
    assert platform.service.seen == []


@pytest.mark.parametrize(
    "lines",
    [
        b"Authorization: Basic YWxpY2U6cGFzc3dvcmQ=\r\n",
        b"Authorization: Bearer\r\n",
        b"Authorization: Bearer   \r\n",
        b"Authorization: Digest x\r\n",
        b"Authorization:\r\n",
        b"Authorization: Bearer\xc2\xa0x\r\n",
        b"Authorization: Bearer %TOKEN%\r\nAuthorization: Bearer %TOKEN%\r\n",
        b"Authorization: Bearer %TOKEN%\r\nauthorization: Basic x\r\n",
    ],
)
async def test_only_one_bearer_header_counts_as_a_credential(platform: Any, lines: bytes) -> None:
    token = platform.auth.token().encode()
    reply = await platform.gateway.raw_path(OPEN.encode(), lines.replace(b"%TOKEN%", token))
    assert (reply.status, reply.json["error_code"]) == (401, "UNAUTHENTICATED")
    assert platform.service.seen == []


async def test_the_schemes_case_does_not_matter(platform: Any) -> None:
    token = platform.auth.token()
    assert (await platform.gateway.ask("/info", headers={"Authorization": f"bEARER {token}"})).status == 200


async def test_logins_do_not_look_at_the_header_so_that_an_expired_token_can_be_refreshed(platform: Any) -> None:
    expired = platform.auth.token(exp=int(time.time()) - 60)
    for path in ("/login", "/register", "/refresh"):
        assert (await platform.gateway.ask(path, "POST", data=b"{}", headers=bearer(expired))).status == 200


ROUTES_BY_SCOPE = {
    Scope.MARKET_READ: [("GET", QUANT), ("GET", OPEN), ("GET", "/api/v1/completeness/okx/BTC-USDT")],
    Scope.ORDERS_READ: [("GET", "/orders"), ("GET", "/orders/1")],
    Scope.ORDERS_WRITE: [("POST", "/orders/twap"), ("DELETE", "/orders/1")],
    Scope.ADMIN: [("GET", "/users"), ("PATCH", "/users/bob")],
}


@pytest.mark.parametrize("held", list(Scope))
async def test_a_key_reaches_the_routes_of_its_scope_and_no_other(platform: Any, held: Scope) -> None:
    key = platform.auth.api_key(held, name=f"k{list(Scope).index(held):07}")
    for needed, routes in ROUTES_BY_SCOPE.items():
        for method, path in routes:
            reply = await platform.gateway.ask(path, method, headers=bearer(key))
            if needed is held:
                assert reply.status == 200, (needed, path)
            else:
                assert (reply.status, reply.json["error_code"]) == (403, "FORBIDDEN"), (needed, path)
                assert reply.json["details"] == {"required_scope": needed.value}
    assert platform.auth.questions == 1, "a verified key is remembered"


async def test_without_a_credential_only_open_routes_answer(platform: Any) -> None:
    closed = [
        ("GET", QUANT), ("GET", "/api/v1/ohlcv/binance/BTC-USDT"), ("GET", "/info"), ("GET", "/users"),
        ("POST", "/logoff"), ("POST", "/password"), ("DELETE", "/unregister"), ("GET", "/api-keys"),
        ("POST", "/api-keys"), ("DELETE", "/api-keys/1"), ("GET", "/orders"), ("POST", "/orders/twap"),
        ("DELETE", "/orders/1"), ("PATCH", "/users/bob"),
    ]  # fmt: skip
    for method, path in closed:
        reply = await platform.gateway.ask(path, method)
        assert (reply.status, reply.json["error_code"]) == (401, "UNAUTHENTICATED"), path
    assert platform.service.seen == []
    for path in (OPEN, "/binance/symbols", "/klines/okx/BTC-USDT", "/api/v1/ohlcv", "/api/v1/book/okx/BTC-USDT"):
        assert (await platform.gateway.ask(path)).status == 200, path


async def test_a_user_is_no_admin(platform: Any) -> None:
    user, admin = platform.auth.token(Role.USER), platform.auth.token(Role.ADMIN)
    assert (await platform.gateway.ask("/users", headers=bearer(user))).status == 403
    assert (await platform.gateway.ask("/users", headers=bearer(admin))).status == 200


async def test_an_operator_can_close_the_market_data(open_platform: Any) -> None:
    platform = await open_platform(anonymous_read=False)
    assert (await platform.gateway.ask(OPEN)).status == 401
    assert (await platform.gateway.ask("/ping")).status == 200
    assert (await platform.gateway.ask("/login", "POST", data=b"{}")).status == 200
    assert (await platform.gateway.ask(OPEN, headers=bearer(platform.auth.token()))).status == 200
    document = (await platform.gateway.ask("/openapi.json")).json
    assert document["paths"]["/exchanges"]["get"]["security"] == [{"bearer": ["market:read"]}]


SPOOFED = [
    "X-Crosstape-Identity", "x-crosstape-anything", "X_Crosstape_Identity", "X-User-Id", "X-Auth-Scope",
    "X-Internal-Role", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "Forwarded", "X-Real-IP",
    "True-Client-IP",
    "CF-Connecting-IP", "X-Original-URL", "X-Rewrite-URL", "Via", "Proxy-Authorization", "TE", "X-HTTP-Method-Override",
]  # fmt: skip


async def test_nothing_a_client_says_of_itself_reaches_a_service(platform: Any) -> None:
    forged_token = InternalTokens("api-gateway", [INTERNAL_SECRET]).mint("history", Caller("api-gateway"))
    headers = "".join(f"{name}: {forged_token}\r\n" for name in SPOOFED).encode()
    await platform.gateway.raw_path(OPEN.encode(), headers)
    seen = platform.service.seen[-1]
    names = {name.decode().lower() for name, _ in seen.headers}
    assert not names & {name.lower() for name in SPOOFED} - {"x-crosstape-identity"}
    assert caller_at(platform.service, "history") == Caller("api-gateway", None, "127.0.0.1"), "ours, and only ours"


async def test_a_revoked_credential_ends_at_once(platform: Any, eventually: Any) -> None:
    gateway, auth, url = platform.gateway, platform.auth, platform.valkey.url
    login, version = auth.token(sid="gone"), auth.token(sub="u9", ver=1)
    key = auth.api_key(Scope.MARKET_READ, name="revoked00")
    for credential, entry in (
        (login, session_entry("gone")), (key, api_key_entry("revoked00")), (version, user_entry("u9", 2)),
    ):  # fmt: skip
        assert (await gateway.ask(QUANT, headers=bearer(credential))).status == 200
        if credential == key:
            del auth.api_keys[key]
        await revoke(url, entry)

        async def is_refused(credential: str = credential) -> bool:
            return bool((await gateway.ask(QUANT, headers=bearer(credential))).status == 401)

        await eventually(is_refused)
    assert (await gateway.ask(QUANT, headers=bearer(auth.token(sub="u9", ver=2)))).status == 200


async def test_while_redis_is_away_only_what_cannot_harm_is_answered(
    open_platform: Any, own_valkey: Any, eventually: Any
) -> None:
    platform = await open_platform(own=own_valkey)
    gateway, token = platform.gateway, bearer(platform.auth.token(Role.ADMIN))
    assert (await gateway.ask("/orders", headers=token)).status == 200
    own_valkey.kill()

    async def orders_are_refused() -> bool:
        return bool((await gateway.ask("/orders", headers=token)).status == 503)

    await eventually(orders_are_refused)
    for method, path in (
        ("GET", "/orders"),
        ("POST", "/orders/twap"),
        ("GET", "/users"),
        ("POST", "/logoff"),
        ("GET", "/info"),
    ):
        reply = await gateway.ask(path, method, headers=token)
        assert (reply.status, reply.json["error_code"]) == (503, "SERVICE_UNAVAILABLE"), path
        assert "revoked" in reply.json["message"]
        assert reply.headers["Retry-After"]
    for method, path in (("GET", QUANT), ("GET", OPEN), ("POST", "/login"), ("POST", "/refresh"), ("GET", "/ping")):
        reply = await gateway.ask(path, method, headers=token)
        assert reply.status == 200, path
        assert "RateLimit-Remaining" in reply.headers, "counted here meanwhile"
    assert (await gateway.ask("/users", headers=bearer("abc"))).status == 401

    await own_valkey.restart()
    async with Redis.from_url(own_valkey.url) as redis:
        await redis.setnx(COUNT_KEY, 0)  # as auth does, should it be lost

    async def orders_are_back() -> bool:
        return bool((await gateway.ask("/orders", headers=token)).status == 200)

    await eventually(orders_are_back)


async def test_tokens_outlive_the_auth_service_unknown_api_keys_do_not(
    open_service: Any, open_gateway: Any, auth: Any, eventually: Any
) -> None:
    _, history = await open_service()
    away = await open_gateway(history.port, auth_url="http://127.0.0.1:1")
    reply = await away.ask(OPEN, headers=bearer(auth.api_key(Scope.MARKET_READ)))
    assert (reply.status, reply.json["error_code"]) == (503, "SERVICE_UNAVAILABLE")
    assert "RateLimit-Remaining" in reply.headers
    assert (await away.ask(OPEN)).status == 200
    reply = await away.ask("/login", "POST", data=b"{}")
    assert (reply.status, reply.json["details"]) == (503, {"service": "auth"})


async def test_a_service_that_is_not_there_is_503_and_says_which(open_service: Any, open_gateway: Any) -> None:
    _, history = await open_service()
    gateway = await open_gateway(history.port)
    reply = await gateway.ask("/api/v1/book/okx/BTC-USDT")
    assert (reply.status, reply.json["details"]) == (503, {"service": "stream-hub"})


async def test_a_service_that_does_not_believe_the_gateway_is_to_blame_and_not_the_caller(
    open_service: Any, open_gateway: Any
) -> None:
    """Their secrets differ: nobody's credential is wrong."""
    tokens = InternalTokens("history", ["x" * 32])
    service, server = await open_service(lambda app: VerifiedCaller(app, tokens))
    gateway = await open_gateway(server.port)
    with structlog.testing.capture_logs() as lines:
        replies = [await gateway.ask(OPEN) for _ in range(2)]
    for reply in replies:
        assert (reply.status, reply.json["error_code"]) == (503, "SERVICE_UNAVAILABLE")
        assert not {"www-authenticate", "x-crosstape-identity"} & {name.lower() for name in reply.headers}
    assert service.seen == []
    assert [line["cause"] for line in lines if line["event"] == "identity_refused"] == ["signature"], "said once"
    text = (await gateway.ask("/metrics")).body.decode()
    assert re.search(r'upstream_failures_total\{reason="identity",upstream="history"\} [1-9]', text)
