"""Traces at the edge: a client decides nothing about ours, and learns nothing of them."""

from __future__ import annotations

from typing import Any

import pytest

from crosstape.common import tracing
from crosstape.common.testing.tracing import traced

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="session")]

PATH = "/binance/symbols"
ROUTE = "/{exchange}/symbols"
CLIENTS_TRACE = "c1" * 16
CLIENTS = {"traceparent": f"00-{CLIENTS_TRACE}-00f067aa0ba902b7-01", "tracestate": "a=b", "baggage": "user=alice"}


async def test_nothing_of_a_clients_trace_reaches_a_service_while_ours_is_not_sampled(platform: Any) -> None:
    assert (await platform.gateway.ask(PATH, headers=CLIENTS)).status == 200
    with traced(0.0) as exporter:
        assert (await platform.gateway.ask(PATH, headers=CLIENTS)).status == 200
    assert exporter.get_finished_spans() == ()
    assert [seen.header(name.encode()) for seen in platform.service.seen for name in CLIENTS] == [[]] * 6


async def test_a_sampled_request_is_a_trace_of_ours_that_the_service_continues(platform: Any) -> None:
    with traced() as exporter:
        answer = await platform.gateway.ask(f"{PATH}?limit=7", headers={**CLIENTS, "X-Request-ID": "mine"})
        (span,) = exporter.get_finished_spans()
    assert not {*CLIENTS} & {name.lower() for name in answer.headers}
    (seen,) = platform.service.seen
    assert [seen.header(b"tracestate"), seen.header(b"baggage")] == [[], []]
    assert seen.header(b"traceparent") == [tracing.written(span.get_span_context()).encode()]
    assert CLIENTS_TRACE not in seen.header(b"traceparent")[0].decode()
    assert [f"{link.context.trace_id:032x}" for link in span.links] == [CLIENTS_TRACE]
    assert (span.parent, span.name) == (None, f"GET {ROUTE}")
    assert span.attributes == {
        "http.request.method": "GET",
        "http.route": ROUTE,
        "http.response.status_code": 200,
        "crosstape.request_id": "mine",
    }


async def test_what_a_service_fails_at_is_a_failed_span(platform: Any, scripted: Any) -> None:
    platform.service.answers[PATH] = scripted(500, {})
    with traced() as exporter:
        status = (await platform.gateway.ask(PATH)).status
        (span,) = exporter.get_finished_spans()
    assert span.attributes is not None
    assert span.attributes["http.response.status_code"] == status >= 500
    assert not span.status.is_ok
