"""A request's span, where the gateway's request is sampled."""

from __future__ import annotations

from opentelemetry.trace import SpanContext, SpanKind
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from crosstape.common import tracing

_HEADER = tracing.HEADER.encode()


class ContinuedTrace:
    """Plain ASGI middleware: continues the sampled trace that a request's `traceparent` names.

    Belongs behind VerifiedCaller, so that only the platform's own services can have anything traced. The span has the
    route's pattern, never the path, which a client wrote.
    """

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        parent = _parent(scope) if scope["type"] == "http" else None
        if parent is None:
            await self._app(scope, receive, send)
            return
        method: str = scope["method"]
        attributes = {"http.request.method": method}
        span = tracing.start(method, kind=SpanKind.SERVER, parent=parent, attributes=attributes)

        async def send_noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                tracing.answered(span, message["status"])
            await send(message)

        with tracing.activated(span):
            try:
                await self._app(scope, receive, send_noted)
            finally:
                if route := getattr(scope.get("route"), "path_format", ""):
                    span.update_name(f"{method} {route}")
                    span.set_attribute("http.route", route)


def _parent(scope: Scope) -> SpanContext | None:
    if not tracing.is_enabled():
        return None
    for name, value in scope["headers"]:
        if name == _HEADER:
            return tracing.read(value.decode("latin-1"))
    return None
