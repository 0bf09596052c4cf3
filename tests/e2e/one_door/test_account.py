"""The account routes as a stranger sees them over HTTP: what seed 1 shows, and what a mature service refuses."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest

from tests.e2e.door import PASSWORD, Door, assert_refused
from tests.e2e.stack import until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="package")]

NEEDS_LOGIN = [
    ("GET", "/info"),
    ("GET", "/users"),
    ("POST", "/logoff"),
    ("DELETE", "/unregister"),
    ("POST", "/password"),
    ("PATCH", "/users/alice"),
    ("GET", "/api-keys"),
    ("POST", "/api-keys"),
    ("DELETE", "/api-keys/abc"),
    ("GET", "/orders"),
    ("POST", "/orders/twap"),
    ("GET", "/orders/abc"),
    ("DELETE", "/orders/abc"),
    ("GET", "/api/v1/ohlcv/binance/btcusdt"),
    ("GET", "/api/v1/trades/binance/btcusdt"),
    ("GET", "/api/v1/completeness/binance/btcusdt"),
]
OPEN = ["/health", "/health/ready", "/health/live", "/ping", "/exchanges", "/binance/symbols", "/openapi.json", "/docs"]


async def ended(door: Door, token: str, path: str = "/info") -> None:
    """Within the second that docs/how-to/rotate-keys.md tells (five of a busy machine), the credential opens nothing:
    word of that runs beside the answer that ended it."""

    async def is_refused() -> bool:
        return (await door.ask("GET", path, token=token)).status == 401

    await until(is_refused, seconds=5, every=0.02, describe=lambda: f"{path} knows a credential that was ended")
    assert_refused(await door.ask("GET", path, token=token), 401, "UNAUTHENTICATED")


async def test_an_account_lives_as_the_seed_shows(door: Door) -> None:
    registered = await door.ask("POST", "/register", json={"username": "bob", "password": "mypassword of bob"})
    assert (registered.status, registered.json) == (200, {"message": "User registered successfully"})
    login = await door.ask("POST", "/login", json={"username": "bob", "password": "mypassword of bob"})
    assert login.status == 200
    assert set(login.json) == {"access_token", "token_type", "expires_in", "refresh_token"}
    assert (login.json["token_type"], login.json["expires_in"]) == ("bearer", 900)
    token = login.json["access_token"]
    info = await door.ask("GET", "/info", token=token)
    assert info.status == 200
    assert info.json["message"] == "Hello bob! This is info data"
    dt.datetime.fromisoformat(info.json["timestamp"])
    gone = await door.ask("DELETE", "/unregister", token=token)
    assert gone.status == 200
    await ended(door, token)
    again = await door.ask("POST", "/login", json={"username": "bob", "password": "mypassword of bob"})
    assert_refused(again, 401, "UNAUTHENTICATED")


async def test_the_open_orders_of_a_deleted_account_are_cancelled(door: Door) -> None:
    order = {
        "symbol": "BTC-USDT", "side": "buy", "total_quantity": 1, "limit_price": 1, "duration": 3600, "interval": 60
    }  # fmt: skip
    (_, leaves), (_, stays), admin = await door.new_user(), await door.new_user(), await door.admin()
    names = {}
    for token in (leaves["access_token"], stays["access_token"]):
        names[token] = f"/orders/{(await door.order(token, order))['order_id']}"
    assert (await door.ask("DELETE", "/unregister", token=leaves["access_token"])).status == 200
    gone: dict[str, Any] = {}

    async def is_over() -> bool:
        gone.update((await door.ask("GET", names[leaves["access_token"]], token=admin)).json)
        return bool(gone["status"] != "open")

    await until(is_over, describe=lambda: gone)
    assert (gone["status"], gone["close_reason"]) == ("cancelled", "cancelled")
    here = await door.ask("GET", names[stays["access_token"]], token=stays["access_token"])
    assert here.json["status"] == "open"


@pytest.mark.parametrize(("method", "path"), NEEDS_LOGIN, ids=lambda part: str(part).strip("/").replace("/", "-"))
async def test_without_a_credential_it_is_401(door: Door, method: str, path: str) -> None:
    unsigned = "eyJhbGciOiJub25lIn0.e30."  # pragma: allowlist secret
    for token in ("", unsigned, f"ctk_{'a' * 16}_{'b' * 43}"):
        answer = await door.ask(method, path, token=token, json={} if method in ("POST", "PATCH") else None)
        assert_refused(answer, 401, "UNAUTHENTICATED")
        assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("path", OPEN)
async def test_open_routes_need_no_credential(door: Door, path: str) -> None:
    answer = await door.ask("GET", path)
    assert answer.status == 200
    assert answer.headers["X-Request-ID"] and float(answer.headers["X-Process-Time"]) >= 0


async def test_a_taken_name_is_409_in_any_case_or_form(door: Door) -> None:
    name, _ = await door.new_user()
    for spelling in (name, name.upper(), name.replace("a", "ａ")):
        answer = await door.ask("POST", "/register", json={"username": spelling, "password": PASSWORD})
        assert_refused(answer, 409, "CONFLICT")


async def test_a_role_in_the_body_gives_none(door: Door) -> None:
    answer = await door.ask("POST", "/register", json={"username": "mallory", "password": PASSWORD, "role": "admin"})
    assert answer.status == 200
    token = (await door.login("mallory"))["access_token"]
    assert_refused(await door.ask("GET", "/users", token=token), 403, "FORBIDDEN")
    listed = await door.ask("GET", "/users", token=await door.admin())
    assert {"username": "mallory", "role": "user"} in listed.json
    assert {"username": "admin", "role": "admin"} in listed.json


async def test_wrong_user_and_wrong_password_look_the_same(door: Door) -> None:
    name, _ = await door.new_user()
    wrong = await door.ask("POST", "/login", json={"username": name, "password": "not the password"})
    nobody = await door.ask("POST", "/login", json={"username": "nobody-of-this-name", "password": PASSWORD})
    assert_refused(wrong, 401, "UNAUTHENTICATED")
    assert {**wrong.json, "timestamp": ""} == {**nobody.json, "timestamp": ""}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"username": "carol"},
        {"username": "carol", "password": "short"},
        {"username": "carol", "password": "password"},
        {"username": "", "password": PASSWORD},
        {"username": "ca\x00rol", "password": PASSWORD},
        {"username": "carol\u202eadmin", "password": PASSWORD},
        {"username": "c" * 1000, "password": PASSWORD},
        {"username": "carol", "password": "x" * 100_000},
        {"username": ["carol"], "password": PASSWORD},
        [],
        "carol",
    ],
    ids=lambda body: str(body)[:40],
)
async def test_an_account_that_cannot_be_is_422(door: Door, body: object) -> None:
    assert_refused(await door.ask("POST", "/register", json=body), 422, "VALIDATION_ERROR")


async def test_logoff_ends_the_session_at_once_and_no_other(door: Door) -> None:
    name, first = await door.new_user()
    second = await door.login(name)
    assert (await door.ask("POST", "/logoff", token=first["access_token"])).status == 200
    await ended(door, first["access_token"])
    refreshed = await door.ask("POST", "/refresh", json={"refresh_token": first["refresh_token"]})
    assert_refused(refreshed, 401, "UNAUTHENTICATED")
    assert (await door.ask("GET", "/info", token=second["access_token"])).status == 200


async def test_a_refresh_token_works_once_and_its_reuse_ends_the_session(door: Door) -> None:
    _, login = await door.new_user()
    first = await door.ask("POST", "/refresh", json={"refresh_token": login["refresh_token"]})
    assert first.status == 200
    assert (await door.ask("GET", "/info", token=first.json["access_token"])).status == 200
    reused = await door.ask("POST", "/refresh", json={"refresh_token": login["refresh_token"]})
    assert_refused(reused, 401, "UNAUTHENTICATED")
    newest = await door.ask("POST", "/refresh", json={"refresh_token": first.json["refresh_token"]})
    assert_refused(newest, 401, "UNAUTHENTICATED")
    await ended(door, first.json["access_token"])


async def test_a_new_password_ends_every_session_and_key(door: Door) -> None:
    name, login = await door.new_user()
    token = login["access_token"]
    body = {"current_password": "not the password", "new_password": "another good one"}
    assert (await door.ask("POST", "/password", token=token, json=body)).status in (401, 403, 422)
    changed = await door.ask("POST", "/password", token=token, json=body | {"current_password": PASSWORD})
    assert changed.status == 200
    await ended(door, token)
    assert (await door.ask("GET", "/info", token=changed.json["access_token"])).status == 200
    old = await door.ask("POST", "/login", json={"username": name, "password": PASSWORD})
    assert_refused(old, 401, "UNAUTHENTICATED")


async def test_a_role_change_takes_effect_on_the_next_request(door: Door) -> None:
    name, login = await door.new_user()
    admin = await door.admin()
    assert (await door.ask("PATCH", f"/users/{name}", token=admin, json={"role": "admin"})).status == 200
    await ended(door, login["access_token"], "/users")
    promoted = (await door.login(name))["access_token"]
    assert (await door.ask("GET", "/users", token=promoted)).status == 200
    assert_refused(await door.ask("DELETE", "/unregister", token=promoted), 403, "FORBIDDEN")
    assert (await door.ask("PATCH", f"/users/{name}", token=admin, json={"role": "user"})).status == 200
    await ended(door, promoted, "/users")
    unknown = await door.ask("PATCH", "/users/nobody-of-this-name", token=admin, json={"role": "user"})
    assert unknown.status == 404
    wrong = await door.ask("PATCH", f"/users/{name}", token=admin, json={"role": "emperor"})
    assert_refused(wrong, 422, "VALIDATION_ERROR")


async def test_an_api_key_reads_with_its_scopes_until_it_is_revoked(door: Door) -> None:
    _, login = await door.new_user()
    token = login["access_token"]
    made = await door.ask("POST", "/api-keys", token=token, json={"name": "laptop", "scopes": ["market:read"]})
    assert made.status in (200, 201), made.body
    key = made.json["api_key"]
    assert key.startswith("ctk_")
    listed = await door.ask("GET", "/api-keys", token=token)
    assert key.rpartition("_")[2].encode() not in listed.body
    bars = await door.ask("GET", "/api/v1/ohlcv/binance/btcusdt", token=key)
    assert bars.status == 200, bars.body
    assert_refused(await door.ask("GET", "/orders", token=key), 403, "FORBIDDEN")
    assert_refused(await door.ask("GET", "/api-keys", token=key), 403, "FORBIDDEN")
    stranger = (await door.new_user())[1]["access_token"]
    key_id = made.json["id"]
    assert (await door.ask("DELETE", f"/api-keys/{key_id}", token=stranger)).status == 404
    assert (await door.ask("DELETE", f"/api-keys/{key_id}", token=token)).status == 200
    await ended(door, key, "/api/v1/ohlcv/binance/btcusdt")


async def test_a_key_has_no_scope_that_its_account_lacks(door: Door) -> None:
    _, login = await door.new_user()
    body = {"name": "more", "scopes": ["market:read", "admin"]}
    made = await door.ask("POST", "/api-keys", token=login["access_token"], json=body)
    assert made.status in (403, 422)


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/no/such/route", 404, "NOT_FOUND"),
        ("GET", "/login", 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/info", 405, "METHOD_NOT_ALLOWED"),
        ("PUT", "/api-keys", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/internal/status", 404, "NOT_FOUND"),
        ("POST", "/internal/api-key", 404, "NOT_FOUND"),
    ],
)
async def test_unknown_paths_and_methods(door: Door, method: str, path: str, status: int, code: str) -> None:
    answer = await door.ask(method, path)
    assert_refused(answer, status, code)
    assert status != 405 or answer.headers["Allow"]


async def test_a_large_body_is_413(door: Door) -> None:
    answer = await door.ask("POST", "/login", json={"username": "alice", "password": "x" * 10_000_000})
    assert_refused(answer, 413, "PAYLOAD_TOO_LARGE")


async def test_guessing_a_password_is_slowed_and_the_owner_is_told_when_to_come_back(door: Door) -> None:
    name, _ = await door.new_user()
    answer = await door.ask("POST", "/login", json={"username": name, "password": "a wrong one"})
    attempts = 1
    while answer.status == 401 and attempts < 100:
        answer = await door.ask("POST", "/login", json={"username": name, "password": "a wrong one"})
        attempts += 1
    assert_refused(answer, 429, "RATE_LIMITED")
    assert 1 <= int(answer.headers["Retry-After"]) <= 3600
