"""A sampled request's span, from its head to the last byte of its answer.

What a client says of a trace of its own decides nothing: neither whether its request is sampled, nor under which id.
A sampled `traceparent` of a client becomes a link of ours, and goes no further: services continue our trace alone.
"""

from __future__ import annotations

from opentelemetry.trace import Span, SpanKind
from starlette.types import Scope

from crosstape.api_gateway.headers import Header
from crosstape.api_gateway.metrics import method_label
from crosstape.api_gateway.turn import Turn
from crosstape.common import tracing

_HEADER = tracing.HEADER.encode()


def begin(turn: Turn, scope: Scope) -> None:
    """Give the turn its span, which is the active one for the rest of this task."""
    shown = [value for name, value in scope["headers"] if name == _HEADER]
    client = tracing.read(shown[0].decode("latin-1")) if len(shown) == 1 else None
    method = method_label(scope["method"])
    turn.span = tracing.start(
        method,
        kind=SpanKind.SERVER,
        links=[client] if client else [],
        attributes={"http.request.method": method, "crosstape.request_id": turn.request_id},
    )
    tracing.activate(turn.span)


def end(span: Span, route: str, method: str, status: int) -> None:
    """The answer is complete; `status` 0 is one that never began."""
    span.update_name(f"{method_label(method)} {route}")
    span.set_attribute("http.route", route)
    if status:
        tracing.answered(span, status)
    else:
        tracing.failed(span, "cut")
    span.end()


def to_service(span: Span) -> Header:
    """The header by which a service continues the trace."""
    return (_HEADER, tracing.written(span.get_span_context()).encode())
