"""API keys: credentials for programs, with scopes and an expiry."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from crosstape.client.accounts import Message
from crosstape.client.calls import Call, get, path
from crosstape.client.times import Time, time_text

Scope = Literal["market:read", "orders:read", "orders:write", "admin"]


class ApiKey(Struct, frozen=True, kw_only=True):
    """A key as the list shows it, without what proves it; `last_used_at` is exact to the minute."""

    id: str
    name: str
    prefix: str
    scopes: tuple[str, ...]
    created_at: dt.datetime
    expires_at: dt.datetime | None
    last_used_at: dt.datetime | None


class NewApiKey(ApiKey, frozen=True, kw_only=True):
    """A new key. `api_key` is what to authenticate with; no other answer ever holds it."""

    api_key: str


def create_api_key(
    name: str, *, scopes: Sequence[Scope] = ("market:read",), expires_at: Time | None = None
) -> Call[NewApiKey]:
    """Make a key with a part of the caller's scopes, good until `expires_at` or for ever. Needs a login."""
    until = None if expires_at is None else time_text(expires_at)
    body = {"name": name, "scopes": list(scopes), "expires_at": until}
    return Call("POST", "/api-keys", NewApiKey, body=body)


def api_keys() -> Call[list[ApiKey]]:
    """The caller's keys."""
    return get("/api-keys", list[ApiKey])


def revoke_api_key(key_id: str) -> Call[Message]:
    """End a key at once."""
    return Call("DELETE", path("api-keys", key_id), Message)
