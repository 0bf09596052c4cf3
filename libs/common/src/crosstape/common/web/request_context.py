"""X-Request-ID and X-Process-Time on every answer, and the request's id in every log line written for it."""

from __future__ import annotations

import re
import secrets
import time
from typing import Any

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_VALID_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class RequestContext:
    """Plain ASGI middleware: a valid incoming X-Request-ID is echoed, anything else replaced by a new one.

    Wrap the finished app: `RequestContext(app)`. Added by `app.add_middleware` it would stand inside the part of
    Starlette that answers 500, and those answers would lack the headers.
    """

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = request_id_of(scope)
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own: list[tuple[bytes, Any]] = [
                    (b"x-request-id", request_id.encode()),
                    (b"x-process-time", f"{time.perf_counter() - started:.6f}".encode()),
                ]
                names = {name for name, _ in own}
                message["headers"] = [(n, v) for n, v in message.get("headers", []) if n.lower() not in names] + own
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await self._app(scope, receive, send_with_headers)


def request_id_of(scope: Scope) -> str:
    """The request's valid X-Request-ID, or a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and (shown := valid_request_id(value)):
            return shown
    return secrets.token_hex(16)


def valid_request_id(value: bytes) -> str | None:
    """An X-Request-ID's value, None when it may not be echoed."""
    return value.decode() if _VALID_ID.fullmatch(value) else None
