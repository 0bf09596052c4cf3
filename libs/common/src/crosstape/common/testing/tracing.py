"""This process's spans, kept in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from crosstape.common import tracing


@contextmanager
def traced(ratio: float = 1.0) -> Iterator[InMemorySpanExporter]:
    """Within, `ratio` of the traces that begin are sampled; `get_finished_spans` of what it yields are theirs."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(ALWAYS_ON, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.enable(provider.get_tracer("test"), ratio)
    try:
        yield exporter
    finally:
        tracing.disable()
