"""Accounts: registration, logins, API keys."""

from __future__ import annotations

from msgspec import Struct

from crosstape.client.calls import Call, get


class Message(Struct, frozen=True):
    """A sentence."""

    message: str


class Tokens(Struct, frozen=True, kw_only=True):
    """What a login gives. `expires_in` is the access token's life in seconds; a refresh token is good once."""

    access_token: str
    refresh_token: str
    token_type: str = "bearer"  # noqa: S105  # the scheme's name
    expires_in: float = 900


class Info(Struct, frozen=True):
    """A greeting to whoever is logged in; `timestamp` is UTC without a zone."""

    message: str
    timestamp: str


class User(Struct, frozen=True):
    """An account."""

    username: str
    role: str


def register(username: str, password: str) -> Call[Message]:
    """Make an account. Raises Conflict when the name is taken."""
    body = {"username": username, "password": password}
    return Call("POST", "/register", Message, body=body, is_anonymous=True)


def login(username: str, password: str) -> Call[Tokens]:
    """Log in. The client goes on with these tokens, and refreshes them by itself."""
    body = {"username": username, "password": password}
    return Call("POST", "/login", Tokens, body=body, is_anonymous=True)


def refresh(refresh_token: str) -> Call[Tokens]:
    """New tokens for old. Sent once, since a refresh token that was used and shows up again ends the whole login. After
    a lost answer the SDK has no other to show."""
    return Call("POST", "/refresh", Tokens, body={"refresh_token": refresh_token}, is_anonymous=True)


def change_password(current_password: str, new_password: str) -> Call[Tokens]:
    """Change the caller's password. Ends all their logins; the client goes on with the tokens of a new one."""
    body = {"current_password": current_password, "new_password": new_password}
    return Call("POST", "/password", Tokens, body=body)


def logoff() -> Call[Message]:
    """End this login, its refresh token included."""
    return Call("POST", "/logoff", Message, ends_session=True)


def unregister() -> Call[Message]:
    """Delete the caller's account, with all its tokens and API keys; its open orders are cancelled within seconds."""
    return Call("DELETE", "/unregister", Message, ends_session=True)


def info() -> Call[Info]:
    """A greeting, if the credential is good."""
    return get("/info", Info)


def users() -> Call[list[User]]:
    """Every account; for admins."""
    return get("/users", list[User])
