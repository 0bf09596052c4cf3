"""Traces: nothing while off or unsampled; over the bus and HTTP one trace; sent when the process ends at the latest."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import structlog
from aiokafka import AIOKafkaConsumer
from fastapi import FastAPI
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext

from crosstape.common import tracing
from crosstape.common.bus.connection import BusSettings
from crosstape.common.bus.consumer import Consumer
from crosstape.common.bus.follower import Follower
from crosstape.common.bus.producer import Producer
from crosstape.common.bus.topics import TRADES, market_key
from crosstape.common.identity.internal import HEADER, InternalTokens
from crosstape.common.identity.principal import Caller
from crosstape.common.market.trade import Source, batch_trades
from crosstape.common.runtime.otlp import Reporting
from crosstape.common.testing.builders import make_trade
from crosstape.common.testing.tracing import traced
from crosstape.common.web.continued_trace import ContinuedTrace
from crosstape.common.web.identity import VerifiedCaller
from libs.common.tests.asgi import request
from tests.engines.plugin import Broker

CLIENTS = f"00-{'c1' * 16}-{'d2' * 8}-01"
PATIENCE = 30.0


def names(exporter: InMemorySpanExporter) -> list[str]:
    return [span.name for span in exporter.get_finished_spans()]


def context(span: ReadableSpan) -> SpanContext:
    found = span.get_span_context()
    assert found is not None
    return found


def test_the_ratio_is_decided_where_a_trace_begins_and_what_follows_keeps_to_it() -> None:
    with traced(0.0) as exporter:
        with tracing.trace("a"), tracing.step("b"):
            assert tracing.active() is None
        assert names(exporter) == []
    with traced(0.25) as exporter:
        for _ in range(2_000):
            with tracing.trace("a"), tracing.step("b"):
                pass
        spans = exporter.get_finished_spans()
    assert names(exporter).count("a") == names(exporter).count("b") == pytest.approx(500, abs=120)
    assert {context(span).trace_id for span in spans if span.name == "b"} == {
        context(span).trace_id for span in spans if span.name == "a"
    }


def test_a_failure_leaves_its_type_and_nothing_of_its_text() -> None:
    with traced() as exporter:
        with pytest.raises(ValueError, match="secret"), tracing.trace("a"):
            raise ValueError("secret")
        (span,) = exporter.get_finished_spans()
    assert span.attributes == {"error.type": "ValueError"}
    assert not span.status.is_ok
    assert "secret" not in span.to_json()


@pytest.mark.parametrize("text", ["", "00", "x" * 55, CLIENTS[:-2] + "00", "00-" + "0" * 32 + CLIENTS[35:], "é"])
def test_what_names_no_sampled_span_is_nothing(text: str) -> None:
    with traced():
        assert tracing.read(text) is None
        context = tracing.read(CLIENTS)
        assert context is not None
        assert tracing.written(context) == CLIENTS
    assert tracing.read(CLIENTS) is None


def test_one_span_for_many_records_is_in_the_first_ones_trace_and_linked_with_the_others() -> None:
    with traced() as exporter:
        with tracing.batch("store", [], attributes={}):
            pass
        contexts = [tracing.start(name).get_span_context() for name in "ab"]
        with tracing.batch("store", contexts, attributes={}):
            pass
        (span,) = exporter.get_finished_spans()
    assert span.parent == contexts[0]
    assert [link.context for link in span.links] == contexts[1:]


@pytest.mark.integration
def test_log_lines_within_a_sampled_trace_name_it() -> None:
    script = """
import structlog
from opentelemetry.sdk.trace import TracerProvider
from crosstape.common import tracing
from crosstape.common.runtime.logging import configure_logging
configure_logging("s", level="info", log_format="json")
log = structlog.get_logger("x")
log.info("before")
tracing.enable(TracerProvider().get_tracer("t"), 1)
with tracing.trace("a") as span:
    log.info("within", expected=f"{span.get_span_context().trace_id:032x}")
log.info("after")
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True)
    before, within, after = (json.loads(line) for line in result.stderr.splitlines())
    assert within["trace_id"] == within["expected"]
    assert len(within["span_id"]) == 16
    assert "trace_id" not in {*before, *after}


# --- over HTTP


async def test_a_service_continues_the_trace_of_who_proves_who_they_are_and_of_nobody_else() -> None:
    tokens = InternalTokens("history", ["x" * 32])
    app = FastAPI()

    @app.get("/bars/{symbol}")
    async def bars(symbol: str) -> str:
        with tracing.step("query"):
            return symbol

    app.add_middleware(ContinuedTrace)
    app.add_middleware(VerifiedCaller, tokens=tokens)
    shown = {"traceparent": CLIENTS, HEADER: InternalTokens("gateway", ["x" * 32]).mint("history", Caller("gateway"))}
    with traced() as exporter:
        assert (await request(app, "GET", "/bars/SECRET", headers={"traceparent": CLIENTS})).status == 401
        assert (await request(app, "GET", "/bars/SECRET", headers={HEADER: shown[HEADER]})).status == 200
        assert names(exporter) == []
        assert (await request(app, "GET", "/bars/SECRET", headers=shown)).status == 200
        query, server = exporter.get_finished_spans()
    assert (query.name, server.name) == ("query", "GET /bars/{symbol}")
    assert query.parent == context(server)
    assert tracing_header(server.parent) == CLIENTS
    assert server.attributes == {
        "http.request.method": "GET",
        "http.route": "/bars/{symbol}",
        "http.response.status_code": 200,
    }
    assert "SECRET" not in server.to_json() + query.to_json()


def tracing_header(parent: SpanContext | None) -> str:
    assert parent is not None
    return tracing.written(parent)


# --- over the bus


async def sent_headers(broker: Broker, key: bytes, count: int) -> list[Sequence[tuple[str, bytes]]]:
    """The headers of the records of `key`, as Kafka has them."""
    consumer = AIOKafkaConsumer(TRADES.name, bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    found: list[Sequence[tuple[str, bytes]]] = []
    try:
        async with asyncio.timeout(PATIENCE):
            while len(found) < count:
                message = await consumer.getone()
                if message.key == key:
                    found.append(message.headers)
    finally:
        await consumer.stop()
    return found


@pytest.mark.integration
async def test_only_what_is_sampled_has_a_header_and_both_readers_hand_it_on(broker: Broker) -> None:
    exchange = uuid.uuid4().hex
    key = market_key(exchange, "BTC-USDT")
    settings = BusSettings(broker.bootstrap)
    records = [batch_trades([make_trade(number, exchange=exchange)], Source.STREAM) for number in range(3)]
    async with Producer(settings) as producer, Consumer(settings, [TRADES], group=exchange) as consumer:
        await producer.deliver(TRADES, key, records[0])
        with traced(0.0), tracing.trace("publish"):
            await producer.deliver(TRADES, key, records[1])
        with traced() as exporter:
            with tracing.trace("publish"):
                await producer.send(TRADES, key, records[2])
            await producer.flush()
            spans = {span.name: span for span in exporter.get_finished_spans()}
            sending = context(spans["send trades"])
            assert spans["send trades"].parent == context(spans["publish"])
            attributes = spans["send trades"].attributes or {}
            assert attributes["messaging.destination.name"] == "trades"
            assert "messaging.kafka.offset" in attributes
            async with asyncio.timeout(PATIENCE):
                async for batch in consumer.batches(max_records=1_000, max_age=0.05):
                    if records[2] in batch.records[TRADES.name]:
                        break
            assert (sending.trace_id, sending.span_id) in [(c.trace_id, c.span_id) for c in batch.contexts]
            async with Follower(settings, {TRADES: 3_600.0}) as follower, asyncio.timeout(PATIENCE):
                seen: dict[int, SpanContext | None] = {}
                async for arrivals in follower.arrivals():
                    seen |= {records.index(r.value): r.context for r in arrivals.records if r.value in records}
                    if len(seen) == len(records):
                        break
    assert seen[0] is seen[1] is None
    assert seen[2] is not None
    assert (seen[2].trace_id, seen[2].span_id) == (sending.trace_id, sending.span_id)
    headers = await sent_headers(broker, key, 3)
    assert [len(of_it) for of_it in headers] == [0, 0, 1]


# --- a process


class Collector:
    """An OTLP/HTTP receiver on a thread; a context manager."""

    def __init__(self) -> None:
        self.requests: list[ExportTraceServiceRequest] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.requests.append(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Collector:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def run_process(**environment: str) -> tuple[str, float]:
    """What the process of service_under_test.py that makes one span prints, and how long it took to end."""
    script = Path(__file__).with_name("service_under_test.py")
    with subprocess.Popen(
        [sys.executable, str(script), "traces"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={f"CROSSTAPE_{name.upper()}": value for name, value in environment.items()},
    ) as process:
        assert process.stdout is not None
        output = ""
        while "ending" not in output:
            line = process.stdout.readline()
            assert line, output
            output += line
        started = time.monotonic()
        output += process.stdout.read()
        assert process.wait() == 0, output
        return output, time.monotonic() - started


@pytest.mark.integration
def test_the_last_spans_are_sent_when_a_process_ends() -> None:
    with Collector() as collector:
        output, _ = run_process(otlp_endpoint=collector.url, trace_ratio="1")
    assert "with the SDK" in output
    (request,) = collector.requests
    (of_process,) = request.resource_spans
    attributes = {one.key: one.value.string_value for one in of_process.resource.attributes}
    assert attributes["service.name"] == "under-test"
    assert [span.name for scope in of_process.scope_spans for span in scope.spans] == ["some work"]


@pytest.mark.integration
def test_without_a_collector_the_sdk_is_not_even_imported() -> None:
    assert "without the SDK" in run_process(trace_ratio="1")[0]


@pytest.mark.integration
def test_a_collector_that_is_away_does_not_hold_up_the_end() -> None:
    output, seconds = run_process(otlp_endpoint="http://127.0.0.1:9", trace_ratio="1")
    assert "with the SDK" in output
    assert seconds < 10


class Switch(SpanExporter):
    """Takes spans while `is_there`."""

    is_there = True

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS if self.is_there else SpanExportResult.FAILURE


def test_a_collector_that_goes_away_and_comes_back_is_two_log_lines_however_many_spans() -> None:
    switch = Switch()
    exporter = Reporting(switch)
    with structlog.testing.capture_logs() as lines:
        for switch.is_there in (True, False, False, False, True, True):
            exporter.export([])
    assert [line["event"] for line in lines] == ["traces_dropped", "traces_back"]
