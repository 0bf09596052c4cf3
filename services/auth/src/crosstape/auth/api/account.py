"""One's own account: register, log in and off, refresh, change the password, unregister."""

from __future__ import annotations

import datetime as dt

from fastapi import APIRouter

from crosstape.auth.api.bodies import Credentials, Info, Login, Message, PasswordChange, Refresh, Registration
from crosstape.auth.api.errors import answers
from crosstape.auth.resources import Context
from crosstape.common.errors import Forbidden, Unauthenticated
from crosstape.common.identity.principal import Caller, Principal
from crosstape.common.web.bodies import StrictJsonRoute
from crosstape.common.web.identity import VerifiedBy

router = APIRouter(tags=["account"], route_class=StrictJsonRoute)


@router.post("/register", summary="Make an account", responses=answers(409))
async def register(context: Context, caller: VerifiedBy, body: Registration) -> Message:
    await context.accounts.register(body.username, body.password, caller.address)
    return Message(message="User registered successfully")


@router.post("/login", summary="Log in", responses=answers())
async def login(context: Context, caller: VerifiedBy, body: Credentials) -> Login:
    return Login.of(await context.accounts.login(body.username, body.password, caller.address))


@router.post("/refresh", summary="New tokens for a refresh token", responses=answers())
async def refresh(context: Context, caller: VerifiedBy, body: Refresh) -> Login:
    return Login.of(await context.sessions.refresh(body.refresh_token, caller.address))


@router.post("/logoff", summary="End this login", responses=answers(403))
async def logoff(context: Context, caller: VerifiedBy) -> Message:
    await context.sessions.end(login_of(caller), caller.address)
    return Message(message="Logged off")


@router.post("/password", summary="Change the password", responses=answers(403))
async def password(context: Context, caller: VerifiedBy, body: PasswordChange) -> Login:
    """Ends every login of the account and answers with the tokens of a new one. API keys stay."""
    tokens = await context.accounts.change_password(
        login_of(caller), body.current_password, body.new_password, caller.address
    )
    return Login.of(tokens)


@router.delete("/unregister", summary="Delete this account", responses=answers(403))
async def unregister(context: Context, caller: VerifiedBy) -> Message:
    """Ends its logins and API keys at once, and cancels its open orders within seconds; what they filled stays."""
    await context.accounts.unregister(login_of(caller), caller.address)
    return Message(message="User unregistered successfully")


@router.get("/info", summary="Who am I", responses=answers())
async def info(context: Context, caller: VerifiedBy) -> Info:
    user = await context.accounts.check(principal_of(caller))
    now = dt.datetime.fromtimestamp(context.clock(), dt.UTC)
    return Info(message=f"Hello {user.username}! This is info data", timestamp=now.strftime("%Y-%m-%dT%H:%M:%S"))


def principal_of(caller: Caller) -> Principal:
    """Who calls. Raises Unauthenticated."""
    if caller.principal is None:
        raise Unauthenticated("This needs a Bearer token: log in (POST /login), or use an API key.")
    return caller.principal


def login_of(caller: Caller) -> Principal:
    """Who calls, by a login: an API key may not change the account it belongs to. Raises Forbidden for one."""
    principal = principal_of(caller)
    if not principal.session_id:
        raise Forbidden("This needs a login (POST /login): an API key may not change its account.")
    return principal
