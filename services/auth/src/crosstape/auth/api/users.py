"""What administrators see and change of others' accounts, and what our services ask of them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from crosstape.auth.api.bodies import AbsentUsers, Account, RoleChange, UserIds
from crosstape.auth.api.errors import answers
from crosstape.auth.resources import Context
from crosstape.common.identity.authenticator import ABSENT_USERS_PATH
from crosstape.common.identity.principal import Role, Scope
from crosstape.common.web.bodies import StrictJsonRoute
from crosstape.common.web.identity import VerifiedBy

router = APIRouter(tags=["users"], route_class=StrictJsonRoute)

Username = Annotated[str, Path(description="whose role it is", max_length=64, examples=["bob"])]


@router.get("/users", summary="All accounts (admin)", responses=answers(403))
async def users(context: Context, caller: VerifiedBy) -> list[Account]:
    await context.accounts.check(caller.require(Scope.ADMIN))
    return [Account(username=user.username, role=Role(user.role)) for user in await context.accounts.users()]


@router.patch(
    "/users/{username}",
    summary="Give an account another role (admin)",
    responses=answers(403, 404, 409),
)
async def change_role(context: Context, caller: VerifiedBy, username: Username, body: RoleChange) -> Account:
    """Ends every login of the account; its API keys keep what the new role may still do."""
    admin = await context.accounts.check(caller.require(Scope.ADMIN))
    user = await context.accounts.change_role(username, body.role, caller.address, by=admin.username)
    return Account(username=user.username, role=Role(user.role))


@router.post(ABSENT_USERS_PATH, include_in_schema=False)
async def absent(context: Context, body: UserIds) -> AbsentUsers:
    return AbsentUsers(absent=await context.accounts.absent(body.user_ids))
