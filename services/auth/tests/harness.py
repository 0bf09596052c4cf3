"""What stands in for the gateway: it reads access tokens and passes on who calls from where."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import jwt
import msgspec
from fastapi import FastAPI
from sqlalchemy import select

from crosstape.auth.resources import Resources
from crosstape.auth.tables import AuditEvent
from crosstape.common.identity.access import AUDIENCE, Claims, JwkSet, public_keys, read_access_token
from crosstape.common.identity.authenticator import JWKS_PATH
from crosstape.common.identity.internal import HEADER, InternalTokens
from crosstape.common.identity.principal import Caller, Principal, Scope
from crosstape.common.identity.services import AUTH
from crosstape.common.testing.identity import INTERNAL_SECRET
from libs.common.tests.asgi import Answer, request

PASSWORD = "an uncommon phrase"
ADDRESS = "203.0.113.7"


class Clock:
    """Starts at the present and moves by hand."""

    def __init__(self) -> None:
        self.now = float(int(time.time()))

    def __call__(self) -> float:
        return self.now


@dataclass
class Auth:
    """The service, in this process, behind a stand-in for the gateway."""

    app: FastAPI
    resources: Resources
    clock: Clock
    tokens: InternalTokens = field(default_factory=lambda: InternalTokens("api-gateway", [INTERNAL_SECRET]))

    async def ask(
        self, method: str, path: str, body: Any = None, *, by: str | Principal | None = None, address: str = ADDRESS
    ) -> Answer:
        """The answer to a request `by` an access token or a principal, or by nobody; `body` is JSON, or bytes."""
        principal = await self.principal(by) if isinstance(by, str) else by
        headers = {HEADER: self.tokens.mint(AUTH, Caller("api-gateway", principal, address))}
        content = b""
        if body is not None:
            content = body if isinstance(body, bytes) else msgspec.json.encode(body)
            headers["Content-Type"] = "application/json"
        return await request(self.app, method, path, content, headers)

    async def key_set(self) -> JwkSet:
        return msgspec.json.decode((await request(self.app, "GET", JWKS_PATH)).body, type=JwkSet)

    async def principal(self, token: str) -> Principal:
        """Who an access token shows, by the published keys; its times are compared to the test's own clock."""
        claims = decoded(token)
        if abs(self.clock.now - time.time()) < 30:
            return read_access_token(token, public_keys(await self.key_set()))
        return Principal(
            user_id=claims.sub,
            username=claims.name,
            role=claims.role,
            scopes=frozenset(map(Scope, claims.scope.split())),
            session_id=claims.sid,
            credentials_version=claims.ver,
            expires_at=claims.exp,
        )

    async def register(self, name: str = "", password: str = PASSWORD) -> str:
        """A new account; its name."""
        name = name or new_name()
        address = f"198.51.100.{uuid.uuid4().int % 250}"
        answer = await self.ask("POST", "/register", {"username": name, "password": password}, address=address)
        assert answer.status == 200, answer.body
        return name

    async def login(self, name: str, password: str = PASSWORD, address: str = ADDRESS) -> dict[str, Any]:
        """The tokens of a new login."""
        answer = await self.ask("POST", "/login", {"username": name, "password": password}, address=address)
        assert answer.status == 200, answer.body
        return dict(answer.json())

    async def member(self) -> tuple[str, str]:
        """A new account that is logged in: its name and its access token."""
        name = await self.register()
        return name, (await self.login(name))["access_token"]

    async def admin(self) -> str:
        """An access token of the admin."""
        return str((await self.login("admin", PASSWORD))["access_token"])

    async def audited(self) -> list[tuple[str, str]]:
        """Events and usernames of the audit log, in order."""
        async with self.resources.database.reading() as db:
            rows = await db.scalars(select(AuditEvent).order_by(AuditEvent.id))
            return [(row.event, row.username) for row in rows]


def decoded(token: str) -> Claims:
    """The claims of an access token, whoever signed it."""
    payload = jwt.decode(token, options={"verify_signature": False}, audience=AUDIENCE)
    return msgspec.convert(payload, Claims)


def new_name() -> str:
    return f"user-{uuid.uuid4().hex[:12]}"


def is_error(answer: Answer, status: int, code: str) -> str:
    """Assert the contract's error body; its message."""
    body = answer.json()
    assert (answer.status, body["error_code"]) == (status, code), body
    assert list(body) == ["success", "error_code", "message", "details", "timestamp", "detail"]
    if status == 401:
        assert answer.headers["www-authenticate"] == "Bearer"
    return str(body["message"])
