"""Traces: where a span begins, whether it is sampled at all, and how its context travels.

Whether a trace is sampled is decided by chance where it begins; what follows only asks whether what it continues is.
So what is not sampled makes no span at all, and while nobody exports (`enable` was not called) asking is all it costs.
Spans carry no SQL, no parameters, no path that a client wrote, nothing of a person; of an error only its type.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from random import random

from opentelemetry.context import Context, attach
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    get_current_span,
    set_span_in_context,
    use_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

HEADER = "traceparent"
"""W3C Trace Context's name, in HTTP and in Kafka."""

Attributes = Mapping[str, AttributeValue]

_NOTHING: AbstractContextManager[Span] = nullcontext(INVALID_SPAN)
_format = TraceContextTextMapPropagator()
_tracer: Tracer | None = None
_ratio = 0.0


def enable(tracer: Tracer, ratio: float) -> None:
    """From now on `ratio` (0 to 1) of all traces that begin here are sampled, and those that come from elsewhere
    continued."""
    global _tracer, _ratio
    _tracer, _ratio = tracer, ratio


def disable() -> None:
    """From now on there are no spans."""
    global _tracer, _ratio
    _tracer, _ratio = None, 0.0


def is_enabled() -> bool:
    """Whether there can be spans."""
    return _tracer is not None


def is_sampled() -> bool:
    """Whether the trace that begins here and now is one of the sampled ones."""
    return random() < _ratio


def active() -> SpanContext | None:
    """The sampled span that is active, if one is."""
    if _tracer is None:
        return None
    context = get_current_span().get_span_context()
    return context if context.trace_flags.sampled else None


def start(
    name: str,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    parent: SpanContext | None = None,
    links: Sequence[SpanContext] = (),
    attributes: Attributes | None = None,
    begun: int | None = None,
) -> Span:
    """A span of what is known to be sampled, with a trace of its own unless it has a `parent`; `end` it.

    `begun` is when it began, ns since the epoch, if not now.
    """
    if _tracer is None:
        return INVALID_SPAN
    context = Context() if parent is None else set_span_in_context(NonRecordingSpan(parent), Context())
    return _tracer.start_span(
        name, context, kind, attributes, [Link(link) for link in links], begun, record_exception=False
    )


def activate(span: Span) -> None:
    """`span` is the active one for the rest of this task."""
    attach(set_span_in_context(span))


@contextmanager
def activated(span: Span) -> Iterator[Span]:
    """`span` is the active one within, and ends there."""
    with use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield span
        except BaseException as error:
            failed(span, type(error).__name__)
            raise


def failed(span: Span, kind: str) -> None:
    """Mark `span` as failed: `kind` is a type of error, or an HTTP status."""
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR))


def answered(span: Span, status: int) -> None:
    """Note the HTTP status of the answer in a server's `span`."""
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        failed(span, str(status))


def trace(name: str, *, begun: int | None = None) -> AbstractContextManager[Span]:
    """The first span of a new trace, active within; one that records nothing when the trace is not sampled."""
    return activated(start(name, begun=begun)) if is_sampled() else _NOTHING


def step(
    name: str, *, kind: SpanKind = SpanKind.INTERNAL, attributes: Attributes | None = None
) -> AbstractContextManager[Span]:
    """A span within the active one, active within; one that records nothing when none is."""
    parent = active()
    return _NOTHING if parent is None else activated(start(name, kind=kind, parent=parent, attributes=attributes))


def batch(name: str, contexts: Sequence[SpanContext], *, attributes: Attributes) -> AbstractContextManager[Span]:
    """One span for many records at once, of which `contexts` are sampled; one that records nothing when none is.

    It is in the first one's trace, so that this one is whole, and linked with all of them.
    """
    if not contexts:
        return _NOTHING
    return activated(start(name, kind=SpanKind.CONSUMER, parent=contexts[0], links=contexts[1:], attributes=attributes))


def own(facts: Attributes) -> Attributes:
    """`facts` as attributes that OpenTelemetry has no name for."""
    return {f"crosstape.{name}": value for name, value in facts.items()}


def written(context: SpanContext) -> str:
    """A span's context as `traceparent`."""
    carrier: dict[str, str] = {}
    _format.inject(carrier, set_span_in_context(NonRecordingSpan(context), Context()))
    return carrier[HEADER]


def read(text: str) -> SpanContext | None:
    """The span that a `traceparent` names; None for one that is not sampled, and for anything else."""
    if _tracer is None:
        return None
    context = get_current_span(_format.extract({HEADER: text}, Context())).get_span_context()
    return context if context.is_valid and context.trace_flags.sampled else None


def found(headers: Sequence[tuple[str, bytes]]) -> SpanContext | None:
    """The sampled span that a Kafka record's headers name."""
    for name, value in headers:
        if name == HEADER:
            return read(value.decode("latin-1"))
    return None
