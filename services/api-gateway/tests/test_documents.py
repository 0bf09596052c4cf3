"""One OpenAPI document for the platform, and its pages without the internet."""

from __future__ import annotations

import asyncio
import gzip
import re
from typing import Any

import pytest

from crosstape.api_gateway import docs
from crosstape.api_gateway import document as fetched
from crosstape.api_gateway.openapi import Components, ServiceDocument, platform_document
from crosstape.api_gateway.responses import components, error_codes
from crosstape.api_gateway.routes import ROUTES, UNLIMITED, Route
from crosstape.common.errors import SymbolNotFound
from crosstape.common.identity.services import HISTORY
from crosstape.common.market.instrument import Instrument
from crosstape.common.symbols import SymbolTable

asynchronous = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.integration]

BARS = {"type": "object", "properties": {"bars": {"type": "array", "items": {"$ref": "#/components/schemas/Bar"}}}}
DESCRIBED = {
    "openapi": "3.1.0",
    "paths": {
        "/api/v1/ohlcv/{exchange}/{symbol}": {
            "get": {
                "summary": "Bars, says history",
                "parameters": [
                    {"name": "exchange", "in": "path", "required": True, "schema": {"type": "string"}},
                    {"name": "limit", "in": "query", "schema": {"type": "integer", "examples": [5]}},
                ],
                "responses": {
                    "200": {
                        "description": "ok",
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Bars"}}},
                    },
                    "422": {
                        "description": "Validation Error",
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Oops"}}},
                    },
                    "502": {"description": "exchange"},
                },
            }
        },
        "/internal/status": {"get": {"responses": {"200": {"description": "secret"}}}},
    },
    "components": {"schemas": {"Bars": BARS, "Bar": {"type": "object"}, "Oops": {"type": "object"}}},
}


EXCHANGES = Route(pattern="/exchanges", upstream=HISTORY, summary="Exchanges there are")


def references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*(references(child) for child in node.values()))
    return set().union(*(references(child) for child in node)) if isinstance(node, list) else set()


async def document_of(gateway: Any, service: Any, scripted: Any) -> Any:
    service.answers["/openapi.json"] = scripted(200, DESCRIBED)
    return (await gateway.ask("/openapi.json")).json


async def knows_bars(gateway: Any) -> bool:
    return "Bars" in (await gateway.ask("/openapi.json")).json["components"]["schemas"]


class TestDocument:
    pytestmark = asynchronous

    async def test_it_has_every_public_route_and_no_internal_one(
        self, gateway: Any, service: Any, scripted: Any
    ) -> None:
        document = await document_of(gateway, service, scripted)
        assert document["openapi"].startswith("3.1")
        own = {"/health", "/health/ready", "/health/live", "/ping"}
        public = {route.pattern for route in ROUTES if not route.is_socket}
        assert set(document["paths"]) == own | public | {"/echo", "/other"}

    async def test_a_service_describes_its_own_routes(self, gateway: Any, service: Any, scripted: Any) -> None:
        document = await document_of(gateway, service, scripted)
        operation = document["paths"]["/api/v1/ohlcv/{exchange}/{symbol}"]["get"]
        assert operation["summary"] == "Bars, says history"
        assert document["components"]["schemas"]["Bars"] == BARS
        assert {"Bar", "Error"} <= document["components"]["schemas"].keys()
        assert "Oops" not in document["components"]["schemas"], "no answer uses it any more"
        exchange, limit = operation["parameters"]
        assert exchange["example"] == "binance"
        assert "example" not in limit, "history gave one"

    async def test_every_error_is_the_contracts(self, gateway: Any, service: Any, scripted: Any) -> None:
        document = await document_of(gateway, service, scripted)
        for path, methods in document["paths"].items():
            for operation in methods.values():
                errors = {status: body for status, body in operation["responses"].items() if int(status) >= 400}
                assert {"422", "500"} <= errors.keys(), path
                for status, response in errors.items():
                    assert response == {"$ref": f"#/components/responses/Error{status}"}, (path, status)
                for status, response in operation["responses"].items():
                    if int(status) < 400:
                        told = {"X-Request-ID", "X-Process-Time", "RateLimit-Limit", "RateLimit-Remaining"}
                        assert told <= response["headers"].keys(), path
        for name, response in document["components"]["responses"].items():
            content = response["content"]["application/json"]
            assert content["schema"] == {"$ref": "#/components/schemas/Error"}
            assert content["example"]["error_code"] in error_codes()[int(name.removeprefix("Error"))]
            assert {"X-Request-ID", "X-Process-Time", "RateLimit-Remaining"} <= response["headers"].keys()

    async def test_every_operation_says_who_may(self, gateway: Any, service: Any, scripted: Any) -> None:
        document = await document_of(gateway, service, scripted)
        assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
        paths = document["paths"]
        assert paths["/login"]["post"]["security"] == paths["/ping"]["get"]["security"] == []
        assert paths["/exchanges"]["get"]["security"] == [{}, {"bearer": ["market:read"]}]
        assert paths["/api/v1/trades/{exchange}/{symbol}"]["get"]["security"] == [{"bearer": ["market:read"]}]
        assert paths["/orders/twap"]["post"]["security"] == [{"bearer": ["orders:write"]}]
        assert paths["/info"]["get"]["security"] == [{"bearer": []}]
        for path, methods in paths.items():
            for operation in methods.values():
                assert isinstance(operation["security"], list), path
                assert ("429" in operation["responses"]) is (path not in UNLIMITED), path
                if operation["security"] not in ([], [{}, {"bearer": []}]):
                    assert "401" in operation["responses"], path

    async def test_every_reference_leads_somewhere(self, gateway: Any, service: Any, scripted: Any) -> None:
        document = await document_of(gateway, service, scripted)
        for reference in references(document):
            node = document
            for part in reference.removeprefix("#/").split("/"):
                node = node[part]

    async def test_it_is_there_while_the_service_is_not_and_keeps_what_it_knew(
        self, open_service: Any, open_gateway: Any, eventually: Any, scripted: Any
    ) -> None:
        service, server = await open_service()
        service.answers["/openapi.json"] = scripted(200, b"nonsense")
        gateway = await open_gateway(server.port)
        short = (await gateway.ask("/openapi.json")).json
        assert {route.pattern for route in ROUTES if not route.is_socket} <= short["paths"].keys()
        names = [p["name"] for p in short["paths"]["/klines/{exchange}/{symbol}"]["get"]["parameters"]]
        assert names == ["exchange", "symbol"]
        assert short["paths"]["/exchanges"]["get"]["summary"] == "Exchanges there are"

        service.answers["/openapi.json"] = scripted(200, DESCRIBED)
        await eventually(lambda: knows_bars(gateway))
        await server.stop()
        assert await knows_bars(gateway)
        await server.start()

    async def test_a_service_that_hangs_keeps_nobody_waiting_for_what_is_known(
        self, open_service: Any, open_gateway: Any, scripted: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        service, server = await open_service()
        gateway = await open_gateway(server.port)
        known = await document_of(gateway, service, scripted)
        may_answer = asyncio.Event()

        async def hang(scope: Any, receive: Any, send: Any) -> None:
            await may_answer.wait()
            await scripted(200, DESCRIBED)(scope, receive, send)

        monkeypatch.setattr(fetched, "_FETCH_SECONDS", 30.0)
        service.answers["/openapi.json"] = hang
        async with asyncio.timeout(5):
            assert (await gateway.ask("/openapi.json")).json == known
        may_answer.set()

    @pytest.mark.parametrize("page", ["/docs", "/redoc"])
    async def test_pages_need_no_other_host(self, gateway: Any, service: Any, page: str) -> None:
        reply = await gateway.ask(page)
        text = reply.body.decode()
        assert reply.status == 200
        assert not re.search(r"https?:|//[a-z]|<script>|\son\w+=", text), "foreign hosts and inline scripts"
        policy = dict(part.strip().split(" ", 1) for part in reply.headers["Content-Security-Policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["connect-src"] == "'self'"
        assert not re.search(r"https?:|\*", " ".join(policy.values()))
        linked = re.findall(r'(?:href|src)="([^"]+)"', text)
        assert len(linked) == 4
        for path in linked:
            asset = await gateway.ask(path, headers={"Accept-Encoding": "identity"})
            assert (asset.status, bool(asset.body)) == (200, True), path
            if "start-" in path:
                assert b"/openapi.json" in asset.body
                assert b"http" not in asset.body


class TestAssets:
    pytestmark = asynchronous

    async def test_no_request_waits_for_a_file_to_be_compressed(
        self, gateway: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delattr(gzip, "compress")
        path = "/docs/assets/swagger-ui-bundle.js"
        packed = await gateway.ask(path, headers={"Accept-Encoding": "gzip"})
        plain = await gateway.ask(path, headers={"Accept-Encoding": "identity"})
        assert packed.headers["Content-Encoding"] == "gzip"
        assert "Content-Encoding" not in plain.headers
        assert gzip.decompress(packed.body) == plain.body
        assert packed.headers["ETag"] != plain.headers["ETag"]

    async def test_a_page_that_has_a_file_is_not_sent_it_again(self, gateway: Any) -> None:
        first = await gateway.ask("/docs/assets/redoc.css")
        assert first.headers["Cache-Control"] == "no-cache"
        again = await gateway.ask("/docs/assets/redoc.css", headers={"If-None-Match": f"W/{first.headers['ETag']}"})
        assert (first.status, again.status, again.body) == (200, 304, b"")

    async def test_metrics_tell_files_from_what_nobody_has(self, gateway: Any) -> None:
        await gateway.ask("/docs/assets/redoc.css")
        text = (await gateway.ask("/metrics")).body.decode()
        assert 'method="GET",route="/docs/assets/redoc.css",status="200"' in text

    @pytest.mark.parametrize("name", ["gcra.lua", "description.md", "__init__.py", "..%2Fmain.py", ""])
    async def test_what_is_no_file_of_the_pages_is_not_served(self, gateway: Any, name: str) -> None:
        assert (await gateway.ask(f"/docs/assets/{name}")).status == 404


@pytest.mark.parametrize(
    ("accepted", "expected"),
    [
        ("gzip, deflate, br", True),
        ("br;q=1.0, GZIP; q=0.5", True),
        ("", False),
        ("identity", False),
        ("gzip;q=0", False),
        ("br, gzip; q=0.000", False),
    ],
)
def test_gzip_is_for_those_who_want_it(accepted: str, expected: bool) -> None:
    assert docs.takes_gzip(accepted) is expected


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ('"a"', True),
        ('W/"a"', True),
        ('"b", W/"a"', True),
        ("*", True),
        ('"b"', False),
        ('"a-gzip"', False),
        ("", False),
    ],
)
def test_a_file_is_known_by_its_tag_in_any_spelling(known: str, expected: bool) -> None:
    assert docs.has_it('"a"', known) is expected


def test_the_example_of_404_is_what_an_unknown_symbol_is_told() -> None:
    table = SymbolTable("binance", [Instrument("binance", f"BTC{quote}", "BTC", quote) for quote in ("USDT", "USDC")])
    with pytest.raises(SymbolNotFound) as told:
        table.resolve("BTC-USX")
    example = components()["responses"]["Error404"]["content"]["application/json"]["example"]
    assert example["message"] == told.value.message
    assert example["details"] == told.value.details


def test_schemas_of_one_name_and_two_meanings_stay_apart() -> None:
    ours = {"paths": {}, "components": {"schemas": {"Error": {}}}}
    answer = {"description": "ok", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
    theirs = ServiceDocument(
        {"/exchanges": {"get": {"responses": {"200": answer}}}}, Components({"Error": {"type": "integer"}})
    )
    document = platform_document(ours, {HISTORY: theirs}, [EXCHANGES], anonymous_read=True)
    assert document["components"]["schemas"]["history_Error"] == {"type": "integer"}
    assert document["components"]["schemas"]["Error"]["required"][0] == "success"
    content = document["paths"]["/exchanges"]["get"]["responses"]["200"]["content"]
    assert content["application/json"]["schema"] == {"$ref": "#/components/schemas/history_Error"}
