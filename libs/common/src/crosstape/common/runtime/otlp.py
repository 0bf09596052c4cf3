"""Spans to an OpenTelemetry collector. This module alone imports OpenTelemetry's SDK; it is imported when used."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

log = structlog.get_logger(__name__)


def open_provider(service: str, origin: str, batch_seconds: float) -> TracerProvider:
    """Sends what `tracing` has sampled, as spans of `service`; a batch has `batch_seconds`, then it is dropped."""
    # The SDK says with every batch that the collector is away: we say it once.
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    resource = Resource.create({"service.name": service, "service.namespace": "crosstape"})
    provider = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter(f"{origin.rstrip('/')}/v1/traces", timeout=batch_seconds)
    provider.add_span_processor(BatchSpanProcessor(Reporting(exporter)))
    return provider


class Reporting(SpanExporter):
    """Logs when the collector takes no more, and when it does again."""

    def __init__(self, exporter: SpanExporter):
        self._exporter = exporter
        self._is_away = False

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._exporter.export(spans)
        is_away = result is not SpanExportResult.SUCCESS
        if is_away and not self._is_away:
            log.warning("traces_dropped", advice="is CROSSTAPE_OTLP_ENDPOINT a collector that takes OTLP over HTTP?")
        elif self._is_away and not is_away:
            log.info("traces_back")
        self._is_away = is_away
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._exporter.force_flush(timeout_millis)
