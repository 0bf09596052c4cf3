"""Traces over the real platform: from an exchange's frame to store and subscriber, and from the gateway to a query."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import websockets
from aiohttp import web
from msgspec import Struct
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SentSpan

from crosstape.cli.ports import LOOPBACK
from tests.e2e.door import Door
from tests.e2e.stack import until
from tests.engines.plugin import Broker, Valkey

pytestmark = pytest.mark.e2e

CLIENTS_TRACE = "c1" * 16


class Span(Struct, frozen=True):
    """A span that a service sent; ids as hex, times in ns since the epoch."""

    service: str
    name: str
    kind: int
    trace: str
    id: str
    parent: str
    links: tuple[str, ...]
    attributes: dict[str, Any]
    begun: int
    ended: int


class Collector:
    """An OTLP/HTTP receiver; a context manager."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.bodies: list[bytes] = []

    async def __aenter__(self) -> Collector:
        app = web.Application(client_max_size=16 * 1024 * 1024)
        app.router.add_post("/v1/traces", self._take)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, 0).start()
        self.url = f"http://{LOOPBACK}:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.bodies.append(body)
        for of_process in ExportTraceServiceRequest.FromString(body).resource_spans:
            service = next(a.value.string_value for a in of_process.resource.attributes if a.key == "service.name")
            self.spans += [_span(service, span) for scope in of_process.scope_spans for span in scope.spans]
        return web.Response(content_type="application/x-protobuf")

    def find(self, service: str, name: str) -> list[Span]:
        """Spans of a service, by name."""
        return [span for span in self.spans if (span.service, span.name) == (service, name)]


def _span(service: str, sent: SentSpan) -> Span:
    attributes = {one.key: getattr(one.value, one.value.WhichOneof("value") or "") for one in sent.attributes}
    return Span(
        service,
        sent.name,
        sent.kind,
        sent.trace_id.hex(),
        sent.span_id.hex(),
        sent.parent_span_id.hex(),
        tuple(link.trace_id.hex() for link in sent.links),
        attributes,
        sent.start_time_unix_nano,
        sent.end_time_unix_nano,
    )


@pytest_asyncio.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    async with Collector() as collector:
        monkeypatch.setenv("CROSSTAPE_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("CROSSTAPE_TRACE_RATIO", "1")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        yield collector


async def test_a_trade_and_a_request_can_each_be_followed_through_the_platform(
    collector: Collector, platform_broker: Broker, valkey: Valkey, tmp_path: Path
) -> None:
    async with Door(platform_broker, valkey, tmp_path, rate="200") as door:
        token = (await door.new_user())[1]["access_token"]
        url = f"ws://{LOOPBACK}:{door.gateway.port}/ws/v1/stream"
        async with websockets.connect(url, additional_headers={"Authorization": f"Bearer {token}"}) as socket:
            subscribe = '{"action":"subscribe","channels":["trades:binance:BTC-USDT"]}'
            await socket.send(subscribe)
            async with asyncio.timeout(30):
                while (message := json.loads(await socket.recv()))["type"] != "trade":
                    if message["type"] == "error":  # the hub asks to try again while it lacks the exchange's markets
                        await asyncio.sleep(0.2)
                        await socket.send(subscribe)
            trade_id = int(message["trade_id"])
            answer = await door.ask(
                "GET",
                "/api/v1/trades/binance/BTC-USDT?limit=7",
                token=token,
                headers={"traceparent": f"00-{CLIENTS_TRACE}-00f067aa0ba902b7-01", "X-Request-ID": "followed"},
            )
            assert answer.status == 200, answer.body
            await until(
                lambda: _are_whole(collector, trade_id),
                describe=lambda: sorted({(span.service, span.name) for span in collector.spans}),
            )

    published, sent, stored, told = _way_of(collector, trade_id) or pytest.fail("the trade's trace is gone")
    assert sent.parent == published.id
    assert sent.attributes["messaging.system"] == "kafka"
    assert sent.attributes["messaging.destination.name"] == "trades"
    assert published.attributes["crosstape.exchange"] == "binance"
    assert published.attributes["crosstape.symbol"] == "BTC-USDT"
    assert stored.parent == sent.id or sent.trace in stored.links
    assert any(query.parent == stored.id for query in collector.find("history", "insert trades"))
    assert told.parent == sent.id
    assert told.attributes["crosstape.subscribers"] == 1

    gateway, history, query = _way_of_request(collector) or pytest.fail("the request's trace is gone")
    assert gateway.trace == history.trace == query.trace != CLIENTS_TRACE
    assert (gateway.parent, gateway.links) == ("", (CLIENTS_TRACE,))
    assert history.name == gateway.name == "GET /api/v1/trades/{exchange}/{symbol}"
    assert gateway.attributes["http.response.status_code"] == history.attributes["http.response.status_code"] == 200
    # History may say that it is done after the gateway does: each ends its span behind the last byte that it sends.
    assert gateway.begun <= history.begun <= query.begun < query.ended <= min(history.ended, gateway.ended)
    assert query.attributes["db.system.name"] == "clickhouse"

    everything = b"".join(collector.bodies)
    assert not [ours for ours in (token.encode(), b"SELECT", b"limit=7", b"alice") if ours in everything]


async def _are_whole(collector: Collector, trade_id: int) -> bool:
    return _way_of(collector, trade_id) is not None and _way_of_request(collector) is not None


def _way_of(collector: Collector, trade_id: int) -> tuple[Span, Span, Span, Span] | None:
    """The spans that published, sent, stored and told a trade."""
    for published in collector.find("ingestor", "publish trades"):
        facts = published.attributes
        if facts["crosstape.first_trade_id"] <= trade_id <= facts["crosstape.last_trade_id"]:
            sent, stored, told = (
                [span for span in collector.find(service, name) if published.trace in (span.trace, *span.links)]
                for service, name in (
                    ("ingestor", "send trades"),
                    ("history", "store trades"),
                    ("stream-hub", "fan out"),
                )
            )
            if sent and stored and told:
                return published, sent[0], stored[0], told[0]
    return None


def _way_of_request(collector: Collector) -> tuple[Span, Span, Span] | None:
    """The spans of our request in the gateway, in history, and of its last query."""
    parents = {span.id: span for span in collector.spans}
    for query in reversed(collector.spans):
        history = parents.get(query.parent)
        gateway = parents.get(history.parent) if history else None
        if history and gateway and gateway.attributes.get("crosstape.request_id") == "followed":
            return gateway, history, query
    return None
