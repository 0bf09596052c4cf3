"""Who is calling and what they may do."""

from __future__ import annotations

import enum

from msgspec import Struct

from crosstape.common.errors import Forbidden, Unauthenticated


class Role(enum.StrEnum):
    """What an account is; an operator gives it, never the account's owner."""

    USER = "user"
    QUANT = "quant"
    ADMIN = "admin"


class Scope(enum.StrEnum):
    """What a credential may be used for."""

    MARKET_READ = "market:read"
    ORDERS_READ = "orders:read"
    ORDERS_WRITE = "orders:write"
    ADMIN = "admin"


_ANY_ROLE = frozenset({Scope.MARKET_READ, Scope.ORDERS_READ, Scope.ORDERS_WRITE})
ROLE_SCOPES = {Role.USER: _ANY_ROLE, Role.QUANT: _ANY_ROLE, Role.ADMIN: _ANY_ROLE | {Scope.ADMIN}}
"""The most a credential of an account may carry; a login carries all of it, an API key a part."""


class Principal(Struct, frozen=True, kw_only=True):
    """An account, as one of its credentials shows it.

    A login has a `session_id`, an API key an `api_key_id`; the other is empty. `credentials_version` is the account's
    when the login's token was issued, or the API key was last asked about: a change of password or role raises it,
    which ends the logins, and makes everybody ask about the API keys again.
    `expires_at` is in Unix seconds, 0 for never.
    """

    user_id: str
    username: str
    role: Role
    scopes: frozenset[Scope]
    session_id: str = ""
    api_key_id: str = ""
    credentials_version: int
    expires_at: int


class Caller(Struct, frozen=True):
    """Who stands behind a request that one of our services sends to another.

    `service` is the sender. A request passed on for somebody has the `address` it came from, and their `principal`
    unless they are anonymous; a request of the service's own has neither.
    """

    service: str
    principal: Principal | None = None
    address: str = ""

    @property
    def is_service(self) -> bool:
        """Whether the sending service asks for itself."""
        return self.principal is None and not self.address

    def require(self, scope: Scope) -> Principal:
        """The principal. Raises Unauthenticated when there is none, and Forbidden when it lacks `scope`."""
        if self.principal is None:
            raise Unauthenticated("This needs a Bearer token: log in (POST /login), or use an API key.")
        if scope not in self.principal.scopes:
            raise Forbidden(f"This credential lacks the scope {scope.value}.", {"required_scope": scope.value})
        return self.principal
