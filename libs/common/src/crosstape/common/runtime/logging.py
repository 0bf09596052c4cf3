"""One structured log format for every process."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import msgspec
import structlog
from opentelemetry.trace import format_span_id, format_trace_id
from structlog.typing import EventDict

from crosstape.common import tracing

_encoder = msgspec.json.Encoder(enc_hook=str)


def configure_logging(service: str, *, level: str, log_format: str) -> None:
    """JSON lines (or console lines for people) on stderr, each with `service`, whichever thread writes it.

    Where a sampled trace is active, a line has its `trace_id` and `span_id`. What libraries log through the standard
    module comes out in the same format, from WARNING up.
    """

    def name_service(logger: Any, method: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    shared: list[Any] = [
        name_service,
        structlog.contextvars.merge_contextvars,
        _with_trace,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: Any
    if log_format == "console":
        # Where rich is installed, the default shows local variables, and with them passwords and tokens.
        renderer = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    else:
        shared.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer(serializer=lambda event, **_: _line(event))
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    # aiokafka repeats every failed attempt several times a second; what matters of it, common.bus says once. Of a query
    # that found no ClickHouse history says so; its client and what that sends by would each say it once more.
    for library in ("aiokafka", "clickhouse_connect", "urllib3"):
        logging.getLogger(library).setLevel(logging.CRITICAL)


def _with_trace(logger: Any, method: str, event: EventDict) -> EventDict:
    if (context := tracing.active()) is not None:
        event["trace_id"] = format_trace_id(context.trace_id)
        event["span_id"] = format_span_id(context.span_id)
    return event


def _line(event: dict[str, Any]) -> str:
    try:
        return _encoder.encode(event).decode()
    except UnicodeEncodeError:  # a lone surrogate in something a client sent
        return json.dumps(event, default=str)
