"""Refresh tokens: one use each, whoever comes first, and what a second use means."""

from __future__ import annotations

import asyncio

from sqlalchemy import func, select

from crosstape.auth.tables import LoginSession, RefreshToken, Revocation, SigningKey
from crosstape.auth.upkeep import forget
from services.auth.tests.harness import Auth, decoded, is_error


async def refresh(auth: Auth, token: str) -> dict[str, str]:
    answer = await auth.ask("POST", "/refresh", {"refresh_token": token})
    assert answer.status == 200, answer.body
    return dict(answer.json())


async def test_a_refresh_gives_new_tokens_of_the_same_login(auth: Auth) -> None:
    first = await auth.login(await auth.register())
    second = await refresh(auth, first["refresh_token"])
    assert second["refresh_token"] != first["refresh_token"]
    assert decoded(second["access_token"]).sid == decoded(first["access_token"]).sid
    assert (await auth.ask("GET", "/info", by=second["access_token"])).status == 200
    await refresh(auth, second["refresh_token"])


async def test_a_second_use_ends_the_whole_login(auth: Auth) -> None:
    name = await auth.register()
    first, other = await auth.login(name), await auth.login(name)
    second = await refresh(auth, first["refresh_token"])
    again = await auth.ask("POST", "/refresh", {"refresh_token": first["refresh_token"]})
    is_error(again, 401, "UNAUTHENTICATED")
    is_error(await auth.ask("POST", "/refresh", {"refresh_token": second["refresh_token"]}), 401, "UNAUTHENTICATED")
    is_error(await auth.ask("GET", "/info", by=second["access_token"]), 401, "UNAUTHENTICATED")
    assert ("refresh_reused", name) in await auth.audited()
    await refresh(auth, other["refresh_token"])


async def test_of_simultaneous_refreshes_exactly_one_wins_and_the_login_ends(auth: Auth) -> None:
    tokens = await auth.login(await auth.register())
    body = {"refresh_token": tokens["refresh_token"]}
    answers = await asyncio.gather(*(auth.ask("POST", "/refresh", body) for _ in range(6)))
    won = [answer for answer in answers if answer.status == 200]
    assert len(won) == 1
    assert {answer.status for answer in answers} == {200, 401}
    is_error(
        await auth.ask("POST", "/refresh", {"refresh_token": won[0].json()["refresh_token"]}), 401, "UNAUTHENTICATED"
    )


async def test_refreshing_and_logging_off_at_once_is_an_answer_either_way(auth: Auth) -> None:
    for _ in range(5):
        tokens = await auth.login(await auth.register())
        refreshed, off = await asyncio.gather(
            auth.ask("POST", "/refresh", {"refresh_token": tokens["refresh_token"]}),
            auth.ask("POST", "/logoff", by=tokens["access_token"]),
        )
        assert off.status == 200
        assert refreshed.status in (200, 401)
        if refreshed.status == 200:
            is_error(await auth.ask("GET", "/info", by=refreshed.json()["access_token"]), 401, "UNAUTHENTICATED")


async def test_an_unknown_refresh_token_and_an_access_token_in_its_place_are_refused(auth: Auth) -> None:
    tokens = await auth.login(await auth.register())
    for token in ("x", "0" * 43, tokens["refresh_token"][:-1]):
        is_error(await auth.ask("POST", "/refresh", {"refresh_token": token}), 401, "UNAUTHENTICATED")
    await refresh(auth, tokens["refresh_token"])


async def test_a_refresh_token_expires_but_each_use_gives_it_its_whole_life(auth: Auth) -> None:
    life = 30 * 86_400
    tokens = await auth.login(await auth.register())
    auth.clock.now += life - 1
    tokens = await refresh(auth, tokens["refresh_token"])
    auth.clock.now += life - 1
    tokens = await refresh(auth, tokens["refresh_token"])
    auth.clock.now += life
    is_error(await auth.ask("POST", "/refresh", {"refresh_token": tokens["refresh_token"]}), 401, "UNAUTHENTICATED")


async def test_what_has_expired_is_forgotten_and_nothing_else(auth: Auth) -> None:
    async def counts() -> list[int | None]:
        async with auth.resources.database.reading() as db:
            tables = (LoginSession, RefreshToken, Revocation, SigningKey)
            return [await db.scalar(select(func.count()).select_from(table)) for table in tables]

    ended = await auth.login(await auth.register())
    await auth.ask("POST", "/logoff", by=ended["access_token"])
    kept = await auth.login(await auth.register())
    await refresh(auth, kept["refresh_token"])
    await forget(auth.resources.database, auth.clock())
    assert await counts() == [1, 2, 1, 1]
    auth.clock.now += 2000
    await forget(auth.resources.database, auth.clock())
    assert await counts() == [1, 2, 0, 1]
    auth.clock.now += 30 * 86_400
    await forget(auth.resources.database, auth.clock())
    assert await counts() == [0, 0, 0, 1]
