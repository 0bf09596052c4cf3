"""What comes in and what goes out, as JSON; every bound stands in the document too."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from crosstape.auth.passwords import FEWEST_CHARACTERS, MOST_BYTES
from crosstape.auth.sessions import Tokens
from crosstape.auth.tables import ApiKey
from crosstape.auth.usernames import PATTERN, RULE
from crosstape.common.identity.authenticator import MOST_USERS
from crosstape.common.identity.principal import Role, Scope
from crosstape.common.time import iso_milliseconds

_NO_NULL = r"^[^\u0000]*$"
_VISIBLE = r"^[^\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]+$"

Shown = Annotated[str, Field(min_length=1, max_length=256, pattern=_NO_NULL)]
"""A name or a secret as somebody typed it: whether it is right is not a question of form."""
NewPassword = Annotated[
    str,
    Field(min_length=FEWEST_CHARACTERS, max_length=MOST_BYTES, pattern=_NO_NULL),
    WithJsonSchema(
        {
            "type": "string",
            "format": "password",
            "minLength": FEWEST_CHARACTERS,
            "maxLength": MOST_BYTES,
            "pattern": _NO_NULL,
            "description": f"at least {FEWEST_CHARACTERS} characters and at most {MOST_BYTES} bytes; "
            "not a common password, not the username",
        }
    ),
]
NewUsername = Annotated[
    str, WithJsonSchema({"type": "string", "pattern": PATTERN, "description": RULE, "examples": ["bob"]})
]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Registration(_Body):
    """A new account. Fields but these are refused."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"username": "bob", "password": "mypassword"}]})

    username: NewUsername
    password: NewPassword
    role: Any = Field(None, description="ignored: a new account's role is `user`", deprecated=True)


class Credentials(_Body):
    """A name and its password."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"username": "alice", "password": "secret"}]})

    username: Shown
    password: Shown


class Refresh(_Body):
    """The newest refresh token of a login."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"refresh_token": "the one that login answered"}]})

    refresh_token: Annotated[str, Field(min_length=1, max_length=256, pattern=_NO_NULL)]


class PasswordChange(_Body):
    """The old password and the new one."""

    current_password: Shown
    new_password: NewPassword


class RoleChange(_Body):
    """What an account becomes."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"role": "quant"}]})

    role: Role


class NewApiKey(_Body):
    """What a key may do, and how long."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "backtests", "scopes": ["market:read"], "expires_at": "2030-07-01T00:00:00Z"}]
        }
    )

    name: Annotated[str, Field(min_length=1, max_length=64, pattern=_VISIBLE, description="for you to know it by")]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=16, description="of those your role has")]
    expires_at: Annotated[str, Field(max_length=64)] | None = Field(
        None,
        description="ISO 8601 (no zone means UTC), in the future; null: never. `YYYYMMDD-HHMM` is deprecated",
        json_schema_extra={"format": "date-time"},
    )


class ApiKeyText(_Body):
    """A key that somebody showed a door of the platform."""

    api_key: Annotated[str, Field(max_length=256)]


class UserIds(_Body):
    """Whom one of our services asks about."""

    user_ids: Annotated[
        list[Annotated[str, Field(max_length=64, pattern=_NO_NULL)]], Field(min_length=1, max_length=MOST_USERS)
    ]


class Message(BaseModel):
    """It is done."""

    message: str


class Login(BaseModel):
    """The tokens of a login: the access token for `Authorization: Bearer`, the refresh token for POST /refresh."""

    access_token: str
    token_type: Literal["bearer"] = "bearer"  # noqa: S105
    expires_in: int = Field(description="life of the access token in seconds")
    refresh_token: str = Field(description="good for one use; a second use ends the login")

    @classmethod
    def of(cls, tokens: Tokens) -> Login:
        return cls(access_token=tokens.access_token, expires_in=tokens.expires_in, refresh_token=tokens.refresh_token)


class Info(BaseModel):
    """A greeting; the time is UTC."""

    message: str
    timestamp: str


class Account(BaseModel):
    """Somebody."""

    username: str
    role: Role


class AbsentUsers(BaseModel):
    """Those whose accounts were deleted."""

    absent: list[str]


class ApiKeyInfo(BaseModel):
    """A key, without what proves it."""

    id: str
    name: str
    prefix: str = Field(description="how the key begins")
    scopes: list[Scope]
    created_at: str
    expires_at: str | None
    last_used_at: str | None = Field(description="to the minute")

    @classmethod
    def of(cls, key: ApiKey) -> ApiKeyInfo:
        return cls(**_shown(key))


class CreatedApiKey(ApiKeyInfo):
    """A new key; this answer is the only one that ever holds it."""

    api_key: str

    @classmethod
    def with_text(cls, key: ApiKey, text: str) -> CreatedApiKey:
        return cls(**_shown(key), api_key=text)


def _shown(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "prefix": f"ctk_{key.id}",
        "scopes": key.scopes.split(),
        "created_at": _time(key.created_at),
        "expires_at": _time(key.expires_at),
        "last_used_at": _time(key.last_used_at),
    }


def _time(seconds: int | None) -> str | None:
    return None if seconds is None else iso_milliseconds(dt.datetime.fromtimestamp(seconds, dt.UTC))
