"""What strangers send: every case is an answer in the contract's form, and nothing gets by."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crosstape.common.identity.internal import HEADER, InternalTokens
from crosstape.common.identity.principal import Caller
from crosstape.common.identity.services import AUTH
from libs.common.tests.asgi import request
from services.auth.tests.harness import PASSWORD, Auth, is_error

GOOD = {
    "/register": {"username": "mallory", "password": PASSWORD},
    "/login": {"username": "mallory", "password": PASSWORD},
    "/refresh": {"refresh_token": "x"},
}
BODIES = {
    "nothing": b"",
    "truncated": b'{"username":"mal',
    "a list": b"[]",
    "null": b"null",
    "a string": b'"mallory"',
    "NaN": b'{"username":NaN,"password":NaN,"refresh_token":NaN}',
    "1e400": b'{"username":1e400,"password":1e400,"refresh_token":1e400}',
    "numbers": b'{"username":1,"password":2,"refresh_token":3}',
    "objects": b'{"username":{},"password":{},"refresh_token":{"$gt":""}}',
    "nulls": b'{"username":null,"password":null,"refresh_token":null}',
    "a lone surrogate": b'{"username":"\\ud800","password":"\\ud800","refresh_token":"\\ud800"}',
    "null bytes": b'{"username":"a\\u0000b","password":"abcdefgh\\u0000","refresh_token":"a\\u0000"}',
    "invalid UTF-8": b'{"username":"\xff","password":"\xff","refresh_token":"\xff"}',
    "nested 100,000 deep": b"[" * 100_000,
    "nested 100,000 deep, inside": b'{"username":' + b"[" * 100_000,
    "nested 100,000 deep, in the ignored role": b'{"username":"mallory","password":"long enough","role":'
    + b"[" * 100_000,
    "200 KB of name": json.dumps(
        {"username": "x" * 200_000, "password": "y" * 200_000, "refresh_token": "z" * 200_000}
    ).encode(),
    "a form": b"username=mallory&password=secret",
}


@pytest.mark.parametrize("path", GOOD)
@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_a_hostile_body_is_a_validation_error(quick_auth: Auth, path: str, body: bytes) -> None:
    answer = await quick_auth.ask("POST", path, body)
    is_error(answer, 422, "VALIDATION_ERROR")
    assert len(answer.body) < 5_000


@pytest.mark.parametrize("path", GOOD)
async def test_unknown_and_repeated_names_are_refused(quick_auth: Auth, path: str) -> None:
    for name in ("is_admin", "id", "credentials_version", "__proto__", "scopes"):
        is_error(await quick_auth.ask("POST", path, {**GOOD[path], name: True}), 422, "VALIDATION_ERROR")
    first = next(iter(GOOD[path]))
    repeated = json.dumps(GOOD[path]).replace("{", f'{{"{first}": "somebody", ', 1).encode()
    is_error(await quick_auth.ask("POST", path, repeated), 422, "VALIDATION_ERROR")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_a_body_that_does_not_say_it_is_json_is_refused(quick_auth: Auth, content_type: str) -> None:
    headers = {HEADER: quick_auth.tokens.mint(AUTH, Caller("api-gateway", None, "192.0.2.1"))}
    body = json.dumps(GOOD["/login"]).encode()
    answer = await request(quick_auth.app, "POST", "/login", body, {**headers, "Content-Type": content_type})
    is_error(answer, 422, "VALIDATION_ERROR")


async def test_a_refused_body_repeats_no_secret(quick_auth: Auth) -> None:
    body = {"username": "x", "password": "hunter2hunter2", "more": "hunter2hunter2"}
    answer = await quick_auth.ask("POST", "/register", body)
    assert answer.status == 422
    assert b"hunter2" not in answer.body


@pytest.mark.parametrize("name", ["' OR 1=1 --", "admin'--", "%", "_____", "admin\u202e", "\u0430dmin", "../../etc"])
async def test_a_hostile_name_is_nobody(quick_auth: Auth, name: str) -> None:
    is_error(await quick_auth.ask("POST", "/login", {"username": name, "password": PASSWORD}), 401, "UNAUTHENTICATED")
    is_error(
        await quick_auth.ask("POST", "/register", {"username": name, "password": PASSWORD}), 422, "VALIDATION_ERROR"
    )
    admin = await quick_auth.admin()
    answer = await quick_auth.ask("PATCH", f"/users/{name}", {"role": "admin"}, by=admin)
    is_error(answer, 404, "NOT_FOUND" if "/" in name else "DATA_NOT_FOUND")


async def test_what_a_path_may_not_hold_is_nobodys_name_either(quick_auth: Auth) -> None:
    admin = await quick_auth.admin()
    for name in ("a\x00b", "x" * 10_000, "\ud800", "é" * 64):
        answer = await quick_auth.ask("PATCH", f"/users/{name}", {"role": "user"}, by=admin)
        assert answer.status in (404, 422), name
    for key_id in ("a\x00b", "x" * 10_000, "' OR 1=1", "\ud800"):
        answer = await quick_auth.ask("DELETE", f"/api-keys/{key_id}", by=admin)
        assert answer.status in (404, 422), key_id


PATHS = [
    "/register",
    "/login",
    "/refresh",
    "/logoff",
    "/info",
    "/users",
    "/api-keys",
    "/openapi.json",
    "/internal/api-key",
    "/internal/users/absent",
    "/x",
]


@pytest.mark.parametrize("path", PATHS)
async def test_nobody_gets_in_without_our_services_word(quick_auth: Auth, path: str) -> None:
    admin = await quick_auth.principal(await quick_auth.admin())
    caller = Caller("api-gateway", admin, "192.0.2.1")
    foreign = InternalTokens("api-gateway", ["another secret, as long as is asked for"])
    shown = {
        "nothing": {},
        "a principal as JSON": {HEADER: '{"username":"admin"}'},
        "signed by another secret": {HEADER: foreign.mint(AUTH, caller)},
        "meant for another service": {HEADER: quick_auth.tokens.mint("history", caller)},
        "the access token itself": {HEADER: await quick_auth.admin()},
        "in the wrong header": {"Authorization": f"Bearer {await quick_auth.admin()}", "X-User-Id": "admin"},
    }
    for name, headers in shown.items():
        for method in ("GET", "POST"):
            answer = await request(quick_auth.app, method, path, b"{}", headers)
            assert answer.status == 401, (name, method)
            is_error(answer, 401, "UNAUTHENTICATED")


async def test_probes_and_the_key_set_are_open(quick_auth: Auth) -> None:
    for path in ("/livez", "/readyz", "/metrics", "/.well-known/jwks.json"):
        assert (await request(quick_auth.app, "GET", path)).status == 200


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from([*GOOD, "/password", "/api-keys", "/internal/api-key"]),
    body=st.dictionaries(
        st.sampled_from(["username", "password", "refresh_token", "name", "scopes", "api_key", "new_password", "x"]),
        json_values,
        max_size=4,
    )
    | json_values,
)
async def test_whatever_is_sent_the_answer_is_one_of_the_documented(quick_auth: Auth, path: str, body: object) -> None:
    answer = await quick_auth.ask("POST", path, json.dumps(body).encode())
    assert answer.status in (200, 201, 401, 403, 409, 422, 429)
    json.loads(answer.body)
