"""The operator's commands, on the database and the Redis of the settings: `python -m crosstape.auth.admin --help`."""

from __future__ import annotations

import asyncio
import datetime as dt
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer
from sqlalchemy import select

from crosstape.auth import audit as log
from crosstape.auth.audit import Event
from crosstape.auth.keyring import live_keys, rotate
from crosstape.auth.resources import Resources, open_resources
from crosstape.auth.settings import StoreSettings
from crosstape.auth.tables import AuditEvent
from crosstape.common.errors import PlatformError, WrongSetting
from crosstape.common.identity.principal import Role
from crosstape.common.runtime.logging import configure_logging
from crosstape.common.runtime.settings import read_settings

OPERATOR = "operator"

app = typer.Typer(help="Accounts and signing keys.", no_args_is_help=True, add_completion=False)
users = typer.Typer(help="Accounts.", no_args_is_help=True)
keys = typer.Typer(help="The keys that sign access tokens.", no_args_is_help=True)
app.add_typer(users, name="users")
app.add_typer(keys, name="keys")

Name = Annotated[str, typer.Argument(help="Username.")]


@users.command("list")
def list_users() -> None:
    """Every account and its role."""

    async def work(resources: Resources) -> None:
        for user in await resources.accounts.users():
            typer.echo(f"{user.username}\t{user.role}\tsince {_time(user.created_at)}")

    _run(work)


@users.command("add")
def add_user(name: Name, role: Role = Role.USER) -> None:
    """Make an account; its password is asked for, or read from standard input."""
    password = _password()
    _run(lambda resources: resources.accounts.add(name, password, role, by=OPERATOR))
    typer.echo(f"{name} is a {role.value} now")


@users.command("role")
def change_role(name: Name, role: Role) -> None:
    """Give another role; ends the account's logins."""

    async def work(resources: Resources) -> None:
        await resources.accounts.change_role(name, role, by=OPERATOR)

    _run(work)
    typer.echo(f"{name} is a {role.value} now")


@users.command("password")
def set_password(name: Name) -> None:
    """Give a new password, asked for or read from standard input; ends the account's logins."""
    password = _password()
    _run(lambda resources: resources.accounts.set_password(name, password, by=OPERATOR))
    typer.echo(f"{name} has a new password")


@users.command("remove")
def remove_user(name: Name) -> None:
    """Delete an account, its logins and its API keys; its open orders are cancelled within seconds."""
    _run(lambda resources: resources.accounts.remove(name, by=OPERATOR))
    typer.echo(f"{name} is removed")


@keys.command("list")
def list_keys() -> None:
    """The published signing keys, the newest last."""

    async def work(resources: Resources) -> None:
        async with resources.database.reading() as db:
            for key in await live_keys(db, resources.clock()):
                end = "" if key.retires_at is None else f"\tretires {_time(key.retires_at)}"
                typer.echo(f"{key.kid}\tsigns from {_time(key.signs_from)}{end}")

    _run(work)


@keys.command("rotate")
def rotate_keys() -> None:
    """Publish a new signing key; it signs as soon as every service knows it, and no token in use becomes invalid."""

    async def work(resources: Resources, settings: StoreSettings) -> None:
        async with resources.database.preparing() as db:
            key = await rotate(db, resources.sealer, resources.clock(), settings.access_token_seconds)
            log.record(db, resources.clock(), Event.SIGNING_KEY_ROTATED, kid=key.kid, by=OPERATOR)
        typer.echo(f"{key.kid} signs from {_time(key.signs_from)}")

    settings = read_settings(StoreSettings)
    _run(lambda resources: work(resources, settings))


@app.command("audit")
def show_audit(
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many of the newest events.")] = 50,
) -> None:
    """The newest security events, the newest last."""

    async def work(resources: Resources) -> None:
        async with resources.database.reading() as db:
            newest = select(AuditEvent).order_by(AuditEvent.id.desc()).limit(limit)
            for row in reversed((await db.scalars(newest)).all()):
                typer.echo(f"{_time(row.time)}\t{row.event}\t{row.username or '-'}\t{row.address or '-'}\t{row.detail}")

    _run(work)


def _run(work: Callable[[Resources], Awaitable[None]]) -> None:
    """Do `work`; what its user can mend is one line on stderr and exit code 1."""
    settings = read_settings(StoreSettings)
    configure_logging("auth-admin", level="WARNING", log_format="console")

    async def all_of_it() -> None:
        resources = open_resources(settings)
        try:
            await work(resources)
        finally:
            await resources.close()

    try:
        asyncio.run(all_of_it())
    except (PlatformError, WrongSetting) as error:
        sys.stderr.write(f"error: {error}\n")
        raise typer.Exit(1) from None


def _password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    password: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    return password


def _time(seconds: int) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")


if __name__ == "__main__":
    app()
