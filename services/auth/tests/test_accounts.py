"""The account routes, as the contract shows them, on both databases."""

from __future__ import annotations

import asyncio
import re
import time

import msgspec
import pytest
import structlog

from crosstape.common.identity.authenticator import ABSENT_USERS_PATH, MOST_USERS
from crosstape.common.identity.principal import ROLE_SCOPES, Principal, Role
from crosstape.common.identity.services import AUTH
from crosstape.common.testing.identity import own_headers
from libs.common.tests.asgi import Answer, request
from services.auth.tests.harness import PASSWORD, Auth, decoded, is_error, new_name


async def test_seed_1s_bob_registers_logs_in_and_is_greeted(auth: Auth) -> None:
    bob = {"username": "bob", "password": "mypassword"}
    registered = await auth.ask("POST", "/register", bob)
    assert (registered.status, registered.json()) == (200, {"message": "User registered successfully"})
    tokens = (await auth.ask("POST", "/login", bob)).json()
    assert set(tokens) == {"access_token", "token_type", "expires_in", "refresh_token"}
    assert (tokens["token_type"], tokens["expires_in"]) == ("bearer", 900)
    info = (await auth.ask("GET", "/info", by=tokens["access_token"])).json()
    assert info["message"] == "Hello bob! This is info data"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", info["timestamp"])


async def test_an_access_token_says_who_and_how_long(auth: Auth) -> None:
    name = await auth.register()
    claims = decoded((await auth.login(name))["access_token"])
    assert (claims.name, claims.role, claims.ver) == (name, Role.USER, 1)
    assert claims.exp - claims.iat == 900
    assert set(claims.scope.split()) == set(ROLE_SCOPES[Role.USER])
    assert claims.jti != decoded((await auth.login(name))["access_token"]).jti


@pytest.mark.parametrize("role", ["admin", {"a": [1]}, None, 7])
async def test_registration_makes_a_user_whatever_role_it_asks_for(auth: Auth, role: object) -> None:
    name = new_name()
    answer = await auth.ask("POST", "/register", {"username": name, "password": PASSWORD, "role": role})
    assert answer.status == 200
    assert decoded((await auth.login(name))["access_token"]).role is Role.USER


async def test_a_name_is_taken_in_any_case_and_width(auth: Auth) -> None:
    await auth.register("Alice.B")
    for name in ("alice.b", "ALICE.B", "\uff21\uff2c\uff29\uff23\uff25.b", "Alice.B"):
        answer = await auth.ask("POST", "/register", {"username": name, "password": PASSWORD})
        is_error(answer, 409, "CONFLICT")
        await auth.login(name)


async def test_of_simultaneous_registrations_of_one_name_one_succeeds(auth: Auth) -> None:
    body = {"username": new_name(), "password": PASSWORD}
    answers = await asyncio.gather(*(auth.ask("POST", "/register", body) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [200] + [409] * 7


async def test_a_wrong_name_and_a_wrong_password_answer_alike(auth: Auth) -> None:
    name = await auth.register()
    wrong = [
        await auth.ask("POST", "/login", {"username": username, "password": "not the password"})
        for username in (name, new_name(), "no such\tname", "x" * 256)
    ]
    messages = {is_error(answer, 401, "UNAUTHENTICATED") for answer in wrong}
    assert messages == {"The username or the password is wrong."}
    assert len({len(answer.body) for answer in wrong}) == 1


async def test_an_unknown_name_costs_an_argon2_verification_too(auth: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    verified = []
    verify = auth.resources.hasher._verify

    def counted(password: str, known: str) -> bool:
        verified.append(known.split("$")[:4])
        return verify(password, known)

    monkeypatch.setattr(auth.resources.hasher, "_verify", counted)
    name = await auth.register()
    for username in (name, new_name()):
        await auth.ask("POST", "/login", {"username": username, "password": "not the password"})
    assert len(verified) == 2
    assert verified[0] == verified[1]


async def test_logoff_ends_the_login_and_its_refresh_token(auth: Auth) -> None:
    name = await auth.register()
    ended, other = await auth.login(name), await auth.login(name)
    assert (await auth.ask("POST", "/logoff", by=ended["access_token"])).json() == {"message": "Logged off"}
    is_error(await auth.ask("GET", "/info", by=ended["access_token"]), 401, "UNAUTHENTICATED")
    is_error(await auth.ask("POST", "/logoff", by=ended["access_token"]), 401, "UNAUTHENTICATED")
    is_error(await auth.ask("POST", "/refresh", {"refresh_token": ended["refresh_token"]}), 401, "UNAUTHENTICATED")
    assert (await auth.ask("GET", "/info", by=other["access_token"])).status == 200


async def test_unregister_deletes_the_account_and_the_name_is_free_again(auth: Auth) -> None:
    name = await auth.register()
    tokens = await auth.login(name)
    key = await auth.ask("POST", "/api-keys", {"name": "k", "scopes": ["market:read"]}, by=tokens["access_token"])
    assert (await auth.ask("DELETE", "/unregister", by=tokens["access_token"])).status == 200
    is_error(await auth.ask("GET", "/info", by=tokens["access_token"]), 401, "UNAUTHENTICATED")
    is_error(await auth.ask("POST", "/refresh", {"refresh_token": tokens["refresh_token"]}), 401, "UNAUTHENTICATED")
    is_error(await auth.ask("POST", "/login", {"username": name, "password": PASSWORD}), 401, "UNAUTHENTICATED")
    with pytest.raises(Exception, match="unknown, expired or revoked"):
        await auth.resources.api_keys.principal(key.json()["api_key"])
    await auth.register(name)


async def asked_by_a_service(auth: Auth, body: object) -> Answer:
    headers = {**own_headers(AUTH), "Content-Type": "application/json"}
    return await request(auth.app, "POST", ABSENT_USERS_PATH, msgspec.json.encode(body), headers)


async def test_our_services_learn_whose_accounts_are_gone(auth: Auth) -> None:
    stays, leaves, is_removed = [await auth.principal((await auth.member())[1]) for _ in range(3)]
    user_ids = [one.user_id for one in (leaves, stays, is_removed)] + ["nobody", stays.username]
    before = await asked_by_a_service(auth, {"user_ids": user_ids})
    assert (before.status, before.json()) == (200, {"absent": []})
    await auth.ask("DELETE", "/unregister", by=leaves)
    await auth.resources.accounts.remove(is_removed.username)
    await auth.register(leaves.username)  # somebody else's, though of the same name
    after = await asked_by_a_service(auth, {"user_ids": user_ids})
    assert after.json() == {"absent": [leaves.user_id, is_removed.user_id]}


async def test_a_database_that_knows_nobody_calls_nobody_deleted_and_says_so_once(quick_auth: Auth) -> None:
    of_another = [new_name(), new_name()]
    with structlog.testing.capture_logs() as told:
        for _ in range(2):
            assert await quick_auth.resources.accounts.absent(of_another) == []
    told_of = [entry["user_id"] for entry in told if entry["event"] == "user_unknown"]
    assert sorted(told_of) == sorted(of_another)


async def test_only_services_ask_whose_accounts_are_gone_and_about_so_many_at_once(quick_auth: Auth) -> None:
    _, token = await quick_auth.member()
    for by in (None, token, await quick_auth.admin()):
        answer = await quick_auth.ask("POST", ABSENT_USERS_PATH, {"user_ids": ["x"]}, by=by)
        is_error(answer, 403, "FORBIDDEN")
    is_error(await request(quick_auth.app, "POST", ABSENT_USERS_PATH, b'{"user_ids":["x"]}'), 401, "UNAUTHENTICATED")
    most = [f"{number:064}" for number in range(MOST_USERS)]
    assert (await asked_by_a_service(quick_auth, {"user_ids": most})).status == 200
    for wrong in ([], [*most, "x"], ["x" * 65], ["\x00"], [1], "x", None):
        is_error(await asked_by_a_service(quick_auth, {"user_ids": wrong}), 422, "VALIDATION_ERROR")


async def test_an_admin_cannot_unregister(auth: Auth) -> None:
    is_error(await auth.ask("DELETE", "/unregister", by=await auth.admin()), 403, "FORBIDDEN")


async def test_only_an_admin_lists_users(auth: Auth) -> None:
    name, token = await auth.member()
    is_error(await auth.ask("GET", "/users"), 401, "UNAUTHENTICATED")
    is_error(await auth.ask("GET", "/users", by=token), 403, "FORBIDDEN")
    listed = (await auth.ask("GET", "/users", by=await auth.admin())).json()
    assert listed == [{"username": "admin", "role": "admin"}, {"username": name, "role": "user"}]


async def test_a_new_role_ends_the_logins_that_had_the_old_one(auth: Auth) -> None:
    name, token = await auth.member()
    admin = await auth.admin()
    answer = await auth.ask("PATCH", f"/users/{name.upper()}", {"role": "quant"}, by=admin)
    assert (answer.status, answer.json()) == (200, {"username": name, "role": "quant"})
    is_error(await auth.ask("GET", "/info", by=token), 401, "UNAUTHENTICATED")
    again = await auth.login(name)
    assert decoded(again["access_token"]).role is Role.QUANT
    assert (await auth.ask("PATCH", f"/users/{name}", {"role": "quant"}, by=admin)).status == 200
    assert (await auth.ask("GET", "/info", by=again["access_token"])).status == 200


async def test_roles_are_an_admins_to_give(auth: Auth) -> None:
    name, token = await auth.member()
    is_error(await auth.ask("PATCH", f"/users/{name}", {"role": "admin"}, by=token), 403, "FORBIDDEN")
    is_error(await auth.ask("PATCH", f"/users/{name}", {"role": "admin"}), 401, "UNAUTHENTICATED")
    admin = await auth.admin()
    is_error(await auth.ask("PATCH", f"/users/{new_name()}", {"role": "user"}, by=admin), 404, "DATA_NOT_FOUND")
    is_error(await auth.ask("PATCH", f"/users/{name}", {"role": "root"}, by=admin), 422, "VALIDATION_ERROR")


async def test_the_last_admin_stays_one(auth: Auth) -> None:
    admin = await auth.admin()
    is_error(await auth.ask("PATCH", "/users/admin", {"role": "user"}, by=admin), 409, "CONFLICT")
    second, _ = await auth.member()
    assert (await auth.ask("PATCH", f"/users/{second}", {"role": "admin"}, by=admin)).status == 200
    accounts = auth.resources.accounts
    outcomes = await asyncio.gather(
        *(accounts.change_role(name, Role.USER) for name in ("admin", second)), return_exceptions=True
    )
    assert sum(isinstance(outcome, Exception) for outcome in outcomes) == 1
    assert [user.role for user in await accounts.users()].count("admin") == 1


async def test_a_new_password_ends_every_login_and_opens_one(auth: Auth) -> None:
    name = await auth.register()
    mine, elsewhere = await auth.login(name), await auth.login(name)
    change = {"current_password": PASSWORD, "new_password": "another uncommon phrase"}
    fresh = (await auth.ask("POST", "/password", change, by=mine["access_token"])).json()
    for ended in (mine, elsewhere):
        is_error(await auth.ask("GET", "/info", by=ended["access_token"]), 401, "UNAUTHENTICATED")
        refreshed = await auth.ask("POST", "/refresh", {"refresh_token": ended["refresh_token"]})
        is_error(refreshed, 401, "UNAUTHENTICATED")
    assert (await auth.ask("GET", "/info", by=fresh["access_token"])).status == 200
    assert (await auth.ask("POST", "/refresh", {"refresh_token": fresh["refresh_token"]})).status == 200
    is_error(await auth.ask("POST", "/login", {"username": name, "password": PASSWORD}), 401, "UNAUTHENTICATED")
    await auth.login(name, "another uncommon phrase")


async def test_a_password_changes_only_for_who_knows_it_and_to_a_good_one(auth: Auth) -> None:
    name, token = await auth.member()
    guess = {"current_password": "a guess", "new_password": "another uncommon phrase"}
    is_error(await auth.ask("POST", "/password", guess, by=token), 401, "UNAUTHENTICATED")
    for weak in ("password1", "12345678", name, name.upper()):
        change = {"current_password": PASSWORD, "new_password": weak}
        is_error(await auth.ask("POST", "/password", change, by=token), 422, "VALIDATION_ERROR")
    await auth.login(name)


async def test_a_login_with_old_argon2_parameters_is_hashed_anew(auth: Auth) -> None:
    name = await auth.register()
    hasher = auth.resources.hasher
    stronger = type(hasher)(memory_kib=16, passes=2)
    auth.resources.accounts._hasher = stronger
    await auth.login(name)
    user = next(user for user in await auth.resources.accounts.users() if user.username == name)
    assert "m=16,t=2,p=1" in user.password_hash
    assert not stronger.is_outdated(user.password_hash)
    await auth.login(name)
    stronger.close()


async def test_a_principal_that_names_nobody_is_refused(auth: Auth) -> None:
    nobody = Principal(
        user_id="nobody",
        username="nobody",
        role=Role.ADMIN,
        scopes=ROLE_SCOPES[Role.ADMIN],
        session_id="none",
        credentials_version=1,
        expires_at=int(time.time()) + 60,
    )
    for method, path in (("GET", "/info"), ("GET", "/users"), ("POST", "/logoff"), ("DELETE", "/unregister")):
        is_error(await auth.ask(method, path, by=nobody), 401, "UNAUTHENTICATED")


async def test_security_events_are_in_the_audit_log(auth: Auth) -> None:
    name, token = await auth.member()
    await auth.ask("POST", "/login", {"username": name, "password": "wrong"})
    await auth.ask("POST", "/login", {"username": "no-such-account", "password": "wrong"})
    created = await auth.ask("POST", "/api-keys", {"name": "k", "scopes": ["market:read"]}, by=token)
    await auth.ask("DELETE", f"/api-keys/{created.json()['id']}", by=token)
    await auth.ask("PATCH", f"/users/{name}", {"role": "quant"}, by=await auth.admin())
    again = (await auth.login(name))["access_token"]
    change = {"current_password": PASSWORD, "new_password": "another uncommon phrase"}
    fresh = (await auth.ask("POST", "/password", change, by=again)).json()["access_token"]
    await auth.ask("POST", "/logoff", by=fresh)
    last = (await auth.login(name, "another uncommon phrase"))["access_token"]
    await auth.ask("DELETE", "/unregister", by=last)
    assert await auth.audited() == [
        ("registered", "admin"),
        ("registered", name),
        ("login", name),
        ("login_failed", name),
        ("login_failed", ""),
        ("api_key_created", name),
        ("api_key_revoked", name),
        ("login", "admin"),
        ("role_changed", name),
        ("login", name),
        ("password_changed", name),
        ("logoff", name),
        ("login", name),
        ("unregistered", name),
    ]
