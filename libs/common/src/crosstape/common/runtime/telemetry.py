"""Traces of a process: on when its settings name a collector, and the last of them sent when it ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from crosstape.common import tracing
from crosstape.common.runtime.settings import ServiceSettings

FLUSH_SECONDS = 3.0
"""What the last spans may take when the process ends; a collector that is away does not hold it up."""


@contextmanager
def exported(service: str, settings: ServiceSettings) -> Iterator[None]:
    """Within, sampled spans of `service` are sent to the settings' collector; at the end those that still wait.

    Without a collector nothing is sampled and OpenTelemetry's SDK is not even imported.
    """
    if not settings.otlp_endpoint:
        yield
        return
    from crosstape.common.runtime.otlp import open_provider  # noqa: PLC0415 - half a second, for those who use it

    provider = open_provider(service, settings.otlp_endpoint, FLUSH_SECONDS)
    tracing.enable(provider.get_tracer("crosstape"), settings.trace_ratio)
    try:
        yield
    finally:
        tracing.disable()
        flushing = threading.Thread(target=provider.shutdown, name="last spans", daemon=True)
        flushing.start()
        flushing.join(FLUSH_SECONDS)
