"""How a login stays valid: one refresh at a time, each to its end, and never with a token that was used."""

from __future__ import annotations

import asyncio
import gc

import pytest

from crosstape.client.accounts import Tokens
from crosstape.client.credentials import Credentials
from crosstape.client.errors import ApiError, ConnectionFailed, RateLimited, Unauthenticated, Unavailable


class Auth:
    """Answers a refresh when it is `let`; `shown` are the refresh tokens it was shown."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.asked = asyncio.Event()
        self.let = asyncio.Event()
        self.failure: Exception | None = None

    async def refresh(self, token: str) -> Tokens:
        self.shown.append(token)
        self.asked.set()
        await self.let.wait()
        if self.failure is not None:
            raise self.failure
        return tokens(f"{token}+")


def tokens(name: str, expires_in: float = 900) -> Tokens:
    return Tokens(access_token=f"access {name}", refresh_token=name, expires_in=expires_in)


def logged_in(auth: Auth, expires_in: float) -> Credentials:
    credentials = Credentials(None, auth.refresh)
    credentials.keep(tokens("1", expires_in))
    return credentials


async def test_a_refresh_goes_on_when_who_asked_for_it_is_cancelled() -> None:
    auth = Auth()
    credentials = logged_in(auth, expires_in=0)
    asking = asyncio.create_task(credentials.bearer())
    await auth.asked.wait()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    auth.let.set()
    assert await credentials.bearer() == "access 1+"
    assert auth.shown == ["1"]


async def test_nobody_waits_for_the_next_token_while_the_last_one_is_good() -> None:
    auth = Auth()
    credentials = logged_in(auth, expires_in=15)
    assert await credentials.bearer() == "access 1"
    await auth.asked.wait()
    assert await credentials.bearer() == "access 1"
    auth.let.set()
    await others_are_over()
    assert await credentials.bearer() == "access 1+"
    assert auth.shown == ["1"]


async def test_a_refresh_that_nobody_waited_for_and_that_failed_is_no_complaint_of_asyncio() -> None:
    complaints: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context["message"]))
    auth = Auth()
    auth.failure = ConnectionFailed("no answer")
    auth.let.set()
    credentials = logged_in(auth, expires_in=15)
    assert await credentials.bearer() == "access 1"
    await others_are_over()
    credentials.keep(tokens("2"))
    gc.collect()
    assert complaints == []


async def others_are_over() -> None:
    while len(asyncio.all_tasks()) > 1:
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    "failure",
    [RateLimited("RATE_LIMITED", "busy"), Unavailable("SERVICE_UNAVAILABLE", "away"), ConnectionFailed("no answer")],
)
async def test_a_token_is_shown_as_long_as_it_is_good_while_none_newer_can_be_had(failure: Exception) -> None:
    auth = Auth()
    auth.failure = failure
    auth.let.set()
    assert await logged_in(auth, expires_in=15).bearer() == "access 1"
    with pytest.raises(type(failure)):
        await logged_in(auth, expires_in=0).bearer()


@pytest.mark.parametrize("failure", [Unauthenticated("UNAUTHENTICATED", "ended"), None])
async def test_what_comes_of_an_old_logins_refresh_leaves_the_new_one_alone(failure: ApiError | None) -> None:
    auth = Auth()
    auth.failure = failure
    credentials = logged_in(auth, expires_in=900)
    renewing = asyncio.create_task(credentials.renew("access 1"))
    await auth.asked.wait()
    credentials.keep(tokens("2"))
    auth.let.set()
    assert await renewing
    assert await credentials.bearer() == "access 2"
    auth.failure = None
    assert await credentials.renew("access 2")
    assert await credentials.bearer() == "access 2+"


async def test_a_new_logins_token_is_renewed_while_an_old_ones_refresh_runs() -> None:
    auth = Auth()
    credentials = logged_in(auth, expires_in=900)
    old = asyncio.create_task(credentials.renew("access 1"))
    await auth.asked.wait()
    credentials.keep(tokens("2"))
    auth.asked.clear()
    new = asyncio.create_task(credentials.renew("access 2"))
    await auth.asked.wait()
    auth.let.set()
    assert all(await asyncio.gather(old, new))
    assert await credentials.bearer() == "access 2+"
