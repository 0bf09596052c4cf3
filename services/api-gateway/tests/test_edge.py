"""What every answer of the edge has, and what it refuses: over a socket."""

from __future__ import annotations

import re
from typing import Any

import aiohttp
import pytest
import structlog

from crosstape.api_gateway.passage import Passages

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.integration]

ERROR_KEYS = ["success", "error_code", "message", "details", "timestamp", "detail"]


def assert_error(reply: Any, status: int, code: str) -> None:
    """`reply` is the contract's error, to the letter, with the headers of every answer."""
    assert (reply.status, reply.json["error_code"]) == (status, code)
    assert list(reply.json) == ERROR_KEYS
    assert reply.json["success"] is False
    assert reply.json["detail"] == reply.json["message"]
    assert isinstance(reply.json["details"], dict)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", reply.json["timestamp"])
    headers = {name.lower(): value for name, value in reply.headers.items()}
    assert headers["content-type"] == "application/json"
    assert_headers(headers)


def assert_headers(headers: dict[str, str]) -> None:
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,64}", headers["x-request-id"])
    assert 0 <= float(headers["x-process-time"]) < 10
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "server" not in headers


def assert_limit_headers(headers: dict[str, str]) -> None:
    assert 0 <= int(headers["ratelimit-remaining"]) < int(headers["ratelimit-limit"])
    assert int(headers["ratelimit-reset"]) >= 0


@pytest.mark.parametrize("path", [b"/ping", b"/exchanges", b"/nope", b"/docs", b"/metrics", b"/livez"])
async def test_every_answer_has_the_common_headers(gateway: Any, service: Any, path: bytes) -> None:
    headers = (await gateway.raw_path(path)).headers
    assert_headers(headers)
    if path in (b"/metrics", b"/livez"):
        assert "ratelimit-limit" not in headers, "probes are not counted"
    else:
        assert_limit_headers(headers)


@pytest.mark.parametrize(
    ("request_line", "status", "code"),
    [
        (b"GET /nope", 404, "NOT_FOUND"),
        (b"GET /", 404, "NOT_FOUND"),
        (b"GET /internal/status", 404, "NOT_FOUND"),
        (b"GET //exchanges", 404, "NOT_FOUND"),
        (b"GET /exchanges/", 404, "NOT_FOUND"),
        (b"GET /../exchanges", 404, "NOT_FOUND"),
        (b"GET /docs/assets/../../settings.py", 404, "NOT_FOUND"),
        (b"GET /docs/assets/..%2f..%2fsettings.py", 404, "NOT_FOUND"),
        (b"GET /docs/assets/nothing.js", 404, "NOT_FOUND"),
        (b"GET /klines/binance/..%2f..%2finternal%2fstatus", 404, "NOT_FOUND"),
        (b"GET /klines/binance/%2e%2e", 404, "NOT_FOUND"),
        (b"GET /klines/binance/BTC%00", 422, "VALIDATION_ERROR"),
        (b"GET /klines/binance/BTC%0d%0aX-Evil:%201", 422, "VALIDATION_ERROR"),
        (b"GET /klines/binance/%ed%a0%80", 422, "VALIDATION_ERROR"),
        (b"GET /metric%73", 404, "NOT_FOUND"),
        (b"GET /%6Divez", 404, "NOT_FOUND"),
        (b"GET /readyz%3F", 404, "NOT_FOUND"),
        (b"GET /%70ing", 404, "NOT_FOUND"),
        (b"GET /ping%00", 422, "VALIDATION_ERROR"),
        (b"GET /exchanges?" + b"a" * 4096, 414, "VALIDATION_ERROR"),
        (b"GET /" + b"a" * 5000, 414, "VALIDATION_ERROR"),
        (b"DELETE /exchanges", 405, "METHOD_NOT_ALLOWED"),
        (b"OPTIONS /exchanges", 405, "METHOD_NOT_ALLOWED"),
        (b"POST /ping", 405, "METHOD_NOT_ALLOWED"),
        (b"GET /echo", 405, "METHOD_NOT_ALLOWED"),
    ],
)
async def test_a_refused_request_answers_the_contracts_error_and_reaches_no_service(
    gateway: Any, service: Any, request_line: bytes, status: int, code: str
) -> None:
    reply = await gateway.raw(request_line + b" HTTP/1.1\r\nHost: gateway\r\n\r\n")
    assert_error(reply, status, code)
    assert service.seen == []


async def test_405_says_which_methods_there_are(gateway: Any, service: Any) -> None:
    assert (await gateway.ask("/exchanges", "POST")).headers["Allow"] == "GET, HEAD"
    assert (await gateway.ask("/echo")).headers["Allow"] == "POST"
    assert "GET" in (await gateway.ask("/ping", "POST")).headers["Allow"]


async def test_headers_over_the_limit_are_refused(gateway: Any, service: Any) -> None:
    reply = await gateway.raw_path(b"/exchanges", b"X-Long: " + b"a" * 17_000 + b"\r\n")
    assert_error(reply, 431, "VALIDATION_ERROR")


async def test_an_absolute_target_stays_here_whatever_host_it_names(gateway: Any, service: Any) -> None:
    reply = await gateway.raw_path(b"http://169.254.169.254/exchanges")
    assert reply.status == 200
    asked = [seen for seen in service.seen if seen.raw_path == b"/exchanges"]
    assert len(asked) == 1
    assert b"169.254.169.254" not in b"".join(asked[0].header(b"host"))


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /ping HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /ping HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /ping HTTP/1.1\nHost: a\n\n",
        b"GET /ping HTTP/1.1\r\nHost : a\r\n\r\n",
        b"GET /p\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /exchanges?a=\xc3\xa9 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        b"CONNECT evil:443 HTTP/1.1\r\nHost: evil\r\n\r\n",
        b"GARBAGE\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_refused(gateway: Any, service: Any, request_bytes: bytes) -> None:
    assert_error(await gateway.raw(request_bytes), 400, "VALIDATION_ERROR")


@pytest.mark.parametrize("request_id", ["a", "trace-1.B_2", "x" * 64])
async def test_a_valid_request_id_is_echoed_and_passed_on(gateway: Any, service: Any, request_id: str) -> None:
    reply = await gateway.ask("/exchanges", headers={"X-Request-ID": request_id})
    assert reply.headers["X-Request-ID"] == request_id
    assert service.seen[-1].header(b"x-request-id") == [request_id.encode()]


@pytest.mark.parametrize("request_id", [b"", b"x" * 65, b"a b", b"\xc3\xa9", b"a;b", b"<script>"])
async def test_an_invalid_request_id_is_replaced(gateway: Any, service: Any, request_id: bytes) -> None:
    reply = await gateway.raw_path(b"/exchanges", b"X-Request-ID: " + request_id + b"\r\n")
    assert re.fullmatch(r"[0-9a-f]{32}", reply.headers["x-request-id"])
    asked = next(seen for seen in service.seen if seen.raw_path == b"/exchanges")
    assert asked.header(b"x-request-id") == [reply.headers["x-request-id"].encode()]


@pytest.mark.parametrize("path", ["/ping", "/exchanges", "/nope", "/docs"])
async def test_head_is_get_without_a_body(gateway: Any, service: Any, path: str) -> None:
    got, head = await gateway.ask(path), await gateway.ask(path, "HEAD")
    assert (head.status, head.body) == (got.status, b"")
    assert head.headers["Content-Type"] == got.headers["Content-Type"]


async def test_browsers_of_other_origins_may_call_only_where_settings_say_so(gateway: Any, open_gateway: Any) -> None:
    origin = {"Origin": "https://desk.example"}
    assert "Access-Control-Allow-Origin" not in (await gateway.ask("/ping", headers=origin)).headers
    opened = await open_gateway(1, cors_origins="https://desk.example/")
    allowed = await opened.ask("/ping", headers=origin)
    assert allowed.headers["Access-Control-Allow-Origin"] == "https://desk.example"
    exposed = set(allowed.headers["Access-Control-Expose-Headers"].split(", "))
    assert {"X-Request-ID", "X-Next-Cursor", "X-Quote-Alias"} <= exposed
    other = await opened.ask("/ping", headers={"Origin": "https://evil.example"})
    assert "Access-Control-Allow-Origin" not in other.headers
    asked = {"Access-Control-Request-Method": "GET"}
    may = await opened.ask("/orders", "OPTIONS", headers={**origin, **asked})
    assert (may.status, may.headers["Access-Control-Allow-Origin"]) == (200, "https://desk.example")
    for refused in ({"Origin": "https://evil.example", **asked}, {**origin, "Access-Control-Request-Method": "PUT"}):
        reply = await opened.ask("/orders", "OPTIONS", headers=refused)
        assert_error(reply, 400, "VALIDATION_ERROR")
        assert "Access-Control-Allow-Origin" not in reply.headers


async def test_metrics_count_by_route_pattern_and_never_by_what_a_client_wrote(gateway: Any, service: Any) -> None:
    await gateway.ask("/klines/secretexchange/SECRETSYMBOL")
    await gateway.ask("/secretpath")
    await gateway.ask("/ping", "FROBNICATE")
    text = (await gateway.ask("/metrics")).body.decode()
    assert 'route="/klines/{exchange}/{symbol}",status="200"' in text
    assert 'method="GET",route="unknown",status="404"' in text
    assert "crosstape_gateway_breaker_state" in text
    assert not re.search("secret|FROBNICATE", text, re.IGNORECASE)


async def test_a_fault_of_ours_after_the_beginning_of_an_answer_is_logged_once(
    gateway: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*asked: Any) -> None:
        send = asked[-1]
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        raise LookupError("a fault of ours")

    monkeypatch.setattr(Passages, "forward", fail)
    with structlog.testing.capture_logs() as lines, pytest.raises(aiohttp.ClientPayloadError):
        await gateway.ask("/exchanges")
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["unhandled_error"]
