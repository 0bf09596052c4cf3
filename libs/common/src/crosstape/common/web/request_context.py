"""X-Request-ID and X-Process-Time on every answer, and the request's id in every log line written for it."""

from __future__ import annotations

import re
import secrets
import time

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_VALID_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class RequestContext:
    """Plain ASGI middleware: a valid incoming X-Request-ID is echoed, anything else replaced by a new one.

    Add it last: then it stands around every other one. Only what logs and answers 500 stands outside still, where
    Starlette puts it: `install_error_handlers` gives those answers their headers by `context_headers`.
    """

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = request_id_of(scope)
        scope.setdefault("state", {}).update(request_id=request_id, started=time.perf_counter())

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = [(name.encode(), value.encode()) for name, value in context_headers(scope).items()]
                names = {name for name, _ in own}
                message["headers"] = [(n, v) for n, v in message.get("headers", []) if n.lower() not in names] + own
            await send(message)

        structlog.contextvars.bind_contextvars(request_id=request_id)  # for good: the task is the request's own
        await self._app(scope, receive, send_with_headers)


def context_headers(scope: Scope) -> dict[str, str]:
    """The headers of an answer to a request that passed RequestContext; none of one that did not."""
    state = scope.get("state", {})
    if "request_id" not in state:
        return {}
    return {"x-request-id": state["request_id"], "x-process-time": f"{time.perf_counter() - state['started']:.6f}"}


def request_id_of(scope: Scope) -> str:
    """The request's valid X-Request-ID, or a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and (shown := valid_request_id(value)):
            return shown
    return secrets.token_hex(16)


def valid_request_id(value: bytes) -> str | None:
    """An X-Request-ID's value, None when it may not be echoed."""
    return value.decode() if _VALID_ID.fullmatch(value) else None
