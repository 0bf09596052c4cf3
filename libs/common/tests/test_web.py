"""How every service answers: the contract's error body, request ids, and nothing of ours in what a client sees."""

import datetime as dt
import json
from typing import Annotated

import pytest
import structlog
from fastapi import FastAPI, HTTPException, Query
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, FiniteFloat
from starlette.types import ASGIApp

from crosstape.common import errors
from crosstape.common.errors import DataNotFound, InvalidTimeFormat, PlatformError, RateLimited
from crosstape.common.runtime.health import Check, Health
from crosstape.common.web.bodies import StrictJsonRoute
from crosstape.common.web.errors import error_body, install_error_handlers
from crosstape.common.web.operations import operations_routes
from crosstape.common.web.request_context import RequestContext
from libs.common.tests.asgi import Answer, request

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, PlatformError)]
CODES = {
    "VALIDATION_ERROR": 422,
    "INVALID_TIME_FORMAT": 422,
    "DATA_NOT_FOUND": 404,
    "SYMBOL_NOT_FOUND": 404,
    "EXCHANGE_NOT_FOUND": 404,
    "ORDER_NOT_FOUND": 404,
    "NOT_FOUND": 404,
    "UNAUTHENTICATED": 401,
    "FORBIDDEN": 403,
    "CONFLICT": 409,
    "RATE_LIMITED": 429,
    "METHOD_NOT_ALLOWED": 405,
    "PAYLOAD_TOO_LARGE": 413,
    "EXCHANGE_ERROR": 502,
    "DATABASE_ERROR": 503,
    "DATABASE_CONNECTION_ERROR": 503,
    "DATABASE_QUERY_ERROR": 503,
    "DATABASE_TIMEOUT_ERROR": 503,
    "SERVICE_UNAVAILABLE": 503,
    "UPSTREAM_TIMEOUT": 504,
    "INTERNAL_ERROR": 500,
}


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid")
    symbol: str
    quantity: FiniteFloat


def make_app() -> ASGIApp:
    app = FastAPI()
    app.router.route_class = StrictJsonRoute
    install_error_handlers(app)

    @app.post("/orders")
    async def orders(order: Order) -> dict[str, str]:
        return {"symbol": order.symbol}

    @app.get("/bars")
    async def bars(limit: Annotated[int, Query(ge=1, le=10_000)] = 1) -> dict[str, int]:
        return {"limit": limit}

    @app.get("/fails/{kind}")
    async def fails(kind: str) -> None:
        if kind == "unforeseen":
            raise RuntimeError("SELECT * FROM trades at clickhouse-0.internal, /srv/crosstape/main.py")
        if kind == "http":
            raise HTTPException(503, "clickhouse-0.internal is away")
        if kind == "unauthenticated":
            raise DataNotFound("nothing", headers={"Retry-After": "1"})
        if kind == "RATE_LIMITED":
            raise RateLimited("a message", retry_after=1)
        raise next(k for k in KINDS if k.error_code == kind)("a message")

    app.add_middleware(RequestContext)
    return app


app = make_app()


def assert_is_contract_error(answer: Answer, status: int, code: str) -> dict[str, object]:
    body = answer.json()
    assert (answer.status, body["error_code"]) == (status, code)
    assert list(body) == ["success", "error_code", "message", "details", "timestamp", "detail"]
    assert body["success"] is False
    assert body["detail"] == body["message"] != ""
    assert isinstance(body["details"], dict)
    dt.datetime.strptime(body["timestamp"], "%Y-%m-%dT%H:%M:%S.%f%z")
    assert len(body["timestamp"]) == len("2025-11-13T10:30:45.123Z")
    assert answer.headers["content-type"] == "application/json"
    assert float(answer.headers["x-process-time"]) >= 0
    assert answer.headers["x-request-id"]
    for secret in (b"Traceback", b".py", b"internal,", b".internal", b"SELECT", b"/work", b"site-packages"):
        assert secret not in answer.body
    return body  # type: ignore[no-any-return]


def test_the_kinds_of_error_have_the_contracts_codes_and_statuses() -> None:
    assert {kind.error_code: kind.status for kind in KINDS} == CODES


@pytest.mark.parametrize("code", sorted(set(CODES) - {"INVALID_TIME_FORMAT", "INTERNAL_ERROR"}))
async def test_a_platform_error_answers_with_its_code_and_status(code: str) -> None:
    answer = await request(app, "GET", f"/fails/{code}")
    assert assert_is_contract_error(answer, CODES[code], code)["message"] == "a message"


async def test_an_errors_headers_are_sent() -> None:
    assert (await request(app, "GET", "/fails/unauthenticated")).headers["retry-after"] == "1"


async def test_an_unknown_route_is_a_404_of_the_contract() -> None:
    assert_is_contract_error(await request(app, "GET", "/nowhere"), 404, "NOT_FOUND")


async def test_a_wrong_method_is_a_405_of_the_contract_and_says_what_is_allowed() -> None:
    answer = await request(app, "DELETE", "/orders")
    assert_is_contract_error(answer, 405, "METHOD_NOT_ALLOWED")
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize("kind", ["unforeseen", "http"])
async def test_what_nobody_foresaw_is_a_500_that_tells_nothing_of_ours(kind: str) -> None:
    answer = await request(app, "GET", f"/fails/{kind}", headers={"X-Request-ID": "mine"})
    assert_is_contract_error(answer, 500, "INTERNAL_ERROR")
    assert answer.headers["x-request-id"] == "mine"


async def test_the_log_line_of_what_nobody_foresaw_names_the_request() -> None:
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        await request(app, "GET", "/fails/unforeseen", headers={"X-Request-ID": "mine"})
    assert [(line["event"], line["request_id"], line["path"]) for line in lines] == [
        ("unhandled_error", "mine", "/fails/unforeseen")
    ]


@pytest.mark.parametrize(
    "limit", ["0", "-1", "1" + "0" * 21, "9" * 5_000, "NaN", "Infinity", "1e400", "", "%ED%A0%80", "١x"]
)
async def test_a_limit_that_is_none_is_a_validation_error_that_names_it(limit: str) -> None:
    body = assert_is_contract_error(
        await request(app, "GET", "/bars", query=f"limit={limit}".encode()), 422, "VALIDATION_ERROR"
    )
    assert "limit" in str(body["message"])


BODIES = {
    "NaN": b'{"symbol":"BTC","quantity":NaN}',
    "Infinity": b'{"symbol":"BTC","quantity":Infinity}',
    "-Infinity": b'{"symbol":"BTC","quantity":-Infinity}',
    "1e400": b'{"symbol":"BTC","quantity":1e400}',
    "an integer of 5,000 digits": b'{"symbol":"BTC","quantity":' + b"9" * 5_000 + b"}",
    "a lone surrogate as a value": b'{"symbol":"\\ud800","quantity":1}',
    "a lone surrogate as a name": b'{"symbol":"BTC","quantity":1,"\\ud800":1}',
    "a long name": b'{"symbol":"BTC","quantity":1,"' + b"x" * 100_000 + b'":1}',
    "invalid UTF-8": b'{"symbol":"\xff","quantity":1}',
    "truncated": b'{"symbol":"BT',
    "nothing": b"",
    "nested 100,000 deep": b"[" * 100_000,
    "nested 100,000 deep, inside": b'{"symbol":' + b"[" * 100_000,
    "a list": b"[]",
    "null": b"null",
    "a name twice": b'{"symbol":"BTC","symbol":"ETH","quantity":1}',
    "a name twice, inside": b'{"symbol":"BTC","quantity":1,"more":[{"x":1,"x":1}]}',
    "a name twice, once escaped": b'{"symbol":"BTC","s\\u0079mbol":"ETH","quantity":1}',
    "20,000 unknown names": json.dumps({f"n{i}": 1 for i in range(20_000)}).encode(),
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_a_hostile_body_is_a_validation_error_with_an_encodable_body(body: bytes) -> None:
    answer = await request(app, "POST", "/orders", body, {"Content-Type": "application/json"})
    assert_is_contract_error(answer, 422, "VALIDATION_ERROR")
    assert len(answer.body) < 10_000


async def test_a_good_body_is_read() -> None:
    body = b'{"symbol":"\\u00e9\\ud83d\\ude00","quantity":1e3}'
    answer = await request(app, "POST", "/orders", body, {"Content-Type": "application/json"})
    assert (answer.status, answer.json()) == (200, {"symbol": "é😀"})


@pytest.mark.parametrize(
    "path", ["/\ud800", "/a\x00b", "/" + "x" * 10_000, "/../../etc/passwd", "/😀", "/\u202e", "//"]
)
async def test_a_hostile_path_is_a_404_with_an_encodable_body(path: str) -> None:
    answer = await request(app, "GET", path)
    assert_is_contract_error(answer, 404, "NOT_FOUND")
    assert len(answer.body) < 2_000


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(categories=["L", "Cs", "Cc"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(categories=["L", "Cs"])), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(st.text(st.characters(categories=["L", "Cs", "Cc"])), st.dictionaries(st.text(), json_like, max_size=3))
def test_whatever_an_error_says_its_body_is_valid_json(message: str, details: dict[str, object]) -> None:
    body = json.loads(error_body(DataNotFound(message, details)).decode())
    assert set(body) == {"success", "error_code", "message", "details", "timestamp", "detail"}


def test_a_wrong_time_answers_with_seed_2s_detail() -> None:
    assert json.loads(error_body(InvalidTimeFormat("invalid-time")))["detail"] == (
        "Invalid time format: invalid-time. Expected ISO 8601 format (e.g., 2025-07-01T00:00:00Z, "
        "2025-07-01T00:00:00+03:00) or legacy format (YYYYMMDD-HHmm)"
    )


async def test_a_valid_request_id_is_echoed() -> None:
    answer = await request(app, "GET", "/bars", headers={"X-Request-ID": "abc-123_x.y"})
    assert (answer.status, answer.headers["x-request-id"]) == (200, "abc-123_x.y")


@pytest.mark.parametrize("sent", ["", "a b", "x" * 65, "a\r\nSet-Cookie: x", "é", "a\n", "{}", "x" * 10_000])
async def test_any_other_request_id_is_replaced(sent: str) -> None:
    answer = await request(app, "GET", "/bars", headers={"X-Request-ID": sent})
    assert len(answer.headers["x-request-id"]) == 32
    assert answer.headers["x-request-id"].isalnum()


async def test_every_request_gets_an_id_of_its_own_and_its_time() -> None:
    first, second = [await request(app, "GET", "/bars") for _ in range(2)]
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert 0 <= float(first.headers["x-process-time"]) < 60


def operations(health: Health) -> ASGIApp:
    return FastAPI(routes=operations_routes(health))


async def test_a_process_is_not_ready_until_all_it_needs_is_up() -> None:
    health = Health(needs=("bus", "store"))
    health.watch("bus", lambda: Check(is_up=True, detail={"lag_ms": 3}))
    answer = await request(operations(health), "GET", "/readyz")
    assert answer.status == 503
    assert answer.json() == {
        "status": "not ready",
        "checks": {"bus": {"lag_ms": 3, "status": "up"}, "store": {"reason": "starting", "status": "down"}},
    }
    health.watch("store", lambda: Check(is_up=True))
    assert (await request(operations(health), "GET", "/readyz")).status == 200


async def test_a_part_that_is_not_needed_may_be_down() -> None:
    health = Health()
    health.watch("kraken", lambda: Check(is_up=False))
    answer = await request(operations(health), "GET", "/readyz")
    assert (answer.status, answer.json()["checks"]["kraken"]["status"]) == (200, "down")


async def test_a_live_process_says_so_and_shows_its_metrics() -> None:
    routes = operations(Health(needs=("bus",)))
    assert (await request(routes, "GET", "/livez")).json() == {"status": "ok"}
    assert b"process_cpu_seconds_total" in (await request(routes, "GET", "/metrics")).body
