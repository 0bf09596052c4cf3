"""A table of hostile requests, sent as bytes to the whole platform: each is refused in the contract's words, and what
it aimed at is untouched. Hostile tokens that need a signing key stand in libs/common/tests/test_identity_tokens.py."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from typing import Any

import pytest
import pytest_asyncio
import websockets

from tests.e2e.door import PASSWORD, Door
from tests.e2e.stack import until

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="package")]

ORDER = '{"symbol":"BTC-USD","side":"buy","total_quantity":%s,"limit_price":30000,"duration":5,"interval":1}'


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def token(door: Door) -> str:
    """Of an ordinary account."""
    access_token: str = (await door.new_user())[1]["access_token"]
    return access_token


async def send(door: Door, request: bytes) -> tuple[int, bytes, bytes]:
    """Status, head and body of the first answer to `request`; the connection is ours alone."""
    reader, writer = await asyncio.open_connection("127.0.0.1", door.gateway.port)
    try:
        writer.write(request)
        async with asyncio.timeout(20):
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            body = await reader.readexactly(int(length[1])) if length else b""
    finally:
        writer.close()
    return int(head.split(b" ", 2)[1]), head, body


def get(target: str, *headers: str) -> bytes:
    lines = [f"GET {target} HTTP/1.1", "Host: a", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def post(target: str, body: str | bytes, *headers: str) -> bytes:
    content = body if isinstance(body, bytes) else body.encode()
    lines = [f"POST {target} HTTP/1.1", "Host: a", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, f"Content-Length: {len(content)}", "", ""]).encode("latin-1") + content


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def unsigned(algorithm: str, **claims: object) -> str:
    payload = {"sub": "1", "name": "admin", "role": "admin", "scope": "admin", "exp": 1 << 40, **claims}
    return f"{part({'alg': algorithm, 'typ': 'JWT', 'kid': 'foreign'})}.{part(payload)}.{'A' * 86}"


def bearer(value: str) -> str:
    return f"Authorization: Bearer {value}"


PATHS = {
    "internal path": "/internal/status",
    "double slash": "//internal/status",
    "dots": "/exchanges/../internal/status",
    "encoded dots": "/%2e%2e/internal/status",
    "encoded slash": "/..%2finternal/status",
    "encoded slash inside": "/internal%2fstatus",
    "twice encoded": "/%252e%252e%252finternal/status",
    "backslash": "/..\\internal\\status",
    "absolute form": "http://127.0.0.1/internal/status",
    "line end in the path": "/exchanges%0d%0aX-Evil:%201",
    "null byte in the path": "/binance%00/symbols",
    "overlong UTF-8": "/%c0%ae%c0%ae/internal/status",
    "right-to-left override": "/%e2%80%aebinance/symbols",
}
QUERIES = {
    "SQL in the symbol": "/api/v1/ohlcv?symbol=BINANCE:BTCUSDT'%20OR%201=1--&start=2025-01-01T00:00:00Z",
    "SQL in the interval": "/api/v1/ohlcv/latest?symbol=BINANCE:BTCUSDT&interval=1m;DROP%20TABLE%20trades",
    "SQL in a time": "/api/v1/ohlcv?symbol=BINANCE:BTCUSDT&start=2025-01-01T00:00:00Z'--",
    "huge limit": f"/api/v1/ohlcv?symbol=BINANCE:BTCUSDT&start=2025-01-01T00:00:00Z&limit={10**30}",
    "negative limit": "/api/v1/ohlcv?symbol=BINANCE:BTCUSDT&start=2025-01-01T00:00:00Z&limit=-1",
    "huge offset": f"/api/v1/ohlcv?symbol=BINANCE:BTCUSDT&start=2025-01-01T00:00:00Z&offset={10**30}",
    "limit that is no number": "/api/v1/ohlcv?symbol=BINANCE:BTCUSDT&start=2025-01-01T00:00:00Z&limit=NaN",
    "null byte in the query": "/api/v1/ohlcv/latest?symbol=BINANCE:BTC%00USDT",
    "endless symbol": f"/api/v1/ohlcv/latest?symbol={'A' * 1000}",
    "year 9999": "/klines/binance/BTC-USDT?start_date=0001-01-01&end_date=9999-12-31&interval=1m",
}
Q_QUERIES = {
    "forged cursor": "/api/v1/trades/binance/btcusdt?cursor=eyJhIjoxfQ",
    "SQL in the cursor": "/api/v1/ohlcv/binance/btcusdt?cursor='%20OR%20''='",
    "unknown fill": "/api/v1/ohlcv/binance/btcusdt?fill=../../etc/passwd",
    "SQL in the exchange": "/api/v1/trades/binance'--/btcusdt",
    "an order of SQL": "/orders/x'%20OR%20'1'='1",
}
CREDENTIALS = {
    "alg none": [bearer(unsigned("none"))],
    "alg none, without a signature": [bearer(unsigned("none").rpartition(".")[0] + ".")],
    "alg HS256": [bearer(unsigned("HS256"))],
    "foreign kid": [bearer(unsigned("EdDSA"))],
    "kid that is a path": [bearer(f"{part({'alg': 'EdDSA', 'kid': '../../dev/null'})}.{part({})}.AAAA")],
    "kid that is a list": [bearer(f"{part({'alg': 'EdDSA', 'kid': ['a']})}.{part({})}.AAAA")],
    "token of 10 KB": [bearer("A" * 10_000)],
    "deep JSON in the token": [bearer(f"{base64.urlsafe_b64encode(b'[' * 2000).decode()}.e30.AAAA")],
    "API key of nobody": [bearer(f"ctk_{'0' * 16}_{'A' * 43}")],
    "API key with SQL": [bearer("ctk_' OR 1=1--_" + "A" * 43)],
    "Basic": ["Authorization: Basic YWRtaW46YWRtaW4="],
    "two credentials": [bearer("a"), bearer("b")],
    "internal header": ["X-Crosstape-Identity: " + unsigned("HS256")],
    "internal header, other case": ["x-CROSSTAPE-identity: " + unsigned("none"), "X-User: admin", "X-Role: admin"],
}
BODIES: dict[str, tuple[str, str | bytes]] = {
    "NaN": ("/orders/twap", ORDER % "NaN"),
    "Infinity": ("/orders/twap", ORDER % "Infinity"),
    "1e400": ("/orders/twap", ORDER % "1e400"),
    "negative zero": ("/orders/twap", ORDER % "-0"),
    "a number of 10,000 digits": ("/orders/twap", ORDER % ("9" * 10_000)),
    "deep JSON": ("/orders/twap", "[" * 100_000),
    "deep objects": ("/login", '{"a":' * 20_000),
    "lone surrogate": ("/login", '{"username":"\\ud800","password":"x"}'),
    "null byte": ("/login", '{"username":"a\\u0000","password":"x"}'),
    "the same name twice": ("/login", '{"username":"a","username":"b","password":"x"}'),
    "no UTF-8": ("/login", b'{"username":"\xff","password":"x"}'),
    "a list instead": ("/login", "[]"),
    "mixed directions in a name": ("/register", json.dumps({"username": "adm\u202ein", "password": PASSWORD})),
    "letters of two scripts": ("/register", json.dumps({"username": "аdmin", "password": PASSWORD})),
}  # fmt: skip
WIRE = {
    "two lengths": b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "length and chunks": b"POST /login HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": b"GET /ping HTTP/1.1\r\nHost : a\r\n\r\n",
    "line folding": b"GET /ping HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n",
    "a bare line end in a header": b"GET /ping HTTP/1.1\r\nHost: a\r\nX: a\rY: b\r\n\r\n",
    "no HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "a path of 100 KB": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    "headers of 100 KB": b"GET /ping HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
    "a thousand headers": b"GET /ping HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * 5_000 + b"\r\n",
    "CONNECT": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: a\r\n\r\n",
    "TRACE": b"TRACE /ping HTTP/1.1\r\nHost: a\r\n\r\n",
}


def assert_refused(status: int, body: bytes, allowed: set[int]) -> None:
    assert status in allowed, (status, body[:500])
    answer: dict[str, Any] = json.loads(body)
    assert answer["success"] is False and answer["error_code"] and answer["message"]
    for ours in (b"Traceback", b".py", b"sqlite", b"SELECT", b"DB::", b"site-packages"):
        assert ours not in body


@pytest.mark.parametrize("case", PATHS)
async def test_a_path_leads_nowhere_else(door: Door, case: str) -> None:
    status, head, body = await send(door, get(PATHS[case]))
    assert_refused(status, body, {400, 404, 422})
    assert b"x-evil" not in head.lower()


@pytest.mark.parametrize("case", QUERIES)
async def test_a_query_is_a_value_and_never_a_command(door: Door, case: str) -> None:
    status, _, body = await send(door, get(QUERIES[case]))
    assert_refused(status, body, {404, 422})


@pytest.mark.parametrize("case", Q_QUERIES)
async def test_a_query_of_somebody_known_is_no_command_either(door: Door, token: str, case: str) -> None:
    status, _, body = await send(door, get(Q_QUERIES[case], bearer(token)))
    assert_refused(status, body, {404, 422})


@pytest.mark.parametrize("case", CREDENTIALS)
async def test_a_forged_credential_is_401(door: Door, case: str) -> None:
    status, head, body = await send(door, get("/users", *CREDENTIALS[case]))
    assert_refused(status, body, {401})
    assert b"www-authenticate: bearer" in head.lower()


@pytest.mark.parametrize("case", BODIES)
async def test_a_body_that_cannot_be_is_422(door: Door, token: str, case: str) -> None:
    path, body = BODIES[case]
    credential = [bearer(token)] if path.startswith("/orders") else []
    status, _, answer = await send(door, post(path, body, *credential))
    assert_refused(status, answer, {422})


@pytest.mark.parametrize("case", WIRE)
async def test_what_is_no_request_is_refused(door: Door, case: str) -> None:
    status, _, body = await send(door, WIRE[case])
    assert_refused(status, body, {400, 404, 405, 414, 431})


async def test_a_changed_claim_breaks_the_signature(door: Door, token: str) -> None:
    head, payload, signature = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    forged = f"{head}.{part({**claims, 'role': 'admin', 'scope': 'admin'})}.{signature}"
    status, _, body = await send(door, get("/users", bearer(forged)))
    assert_refused(status, body, {401})


async def test_another_accounts_orders_do_not_exist(door: Door, token: str) -> None:
    owner = (await door.new_user())[1]["access_token"]
    order = json.loads(ORDER % "0.5") | {"order_id": "mine-alone"}
    await door.order(owner, order)
    for method in ("GET", "DELETE"):
        answer = await door.ask(method, "/orders/mine-alone", token=token)
        assert (answer.status, answer.json["error_code"]) == (404, "ORDER_NOT_FOUND")
    assert (await door.ask("GET", "/orders", token=token)).json == []
    assert (await door.ask("GET", "/orders/mine-alone", token=owner)).status == 200


async def test_a_page_of_another_origin_opens_no_socket(door: Door, token: str) -> None:
    url = f"ws://127.0.0.1:{door.gateway.port}/ws"
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(url, origin=websockets.Origin("https://evil.example"))
    assert refused.value.response.status_code == 403
    async with websockets.connect(url) as socket:
        await socket.send('{"action":"ping"}')
        assert json.loads(await socket.recv())["type"] == "pong"


async def test_a_socket_without_a_credential_is_closed_4401(nameless: asyncio.Task[int | None]) -> None:
    async with asyncio.timeout(60):
        assert await nameless == 4401


async def test_it_all_left_the_platform_well(door: Door) -> None:
    parts = ("api", "database", "bus", "cache", "history", "auth", "stream-hub", "twap-engine", "feed:binance")
    checks: dict[str, Any] = {}

    async def are_up() -> bool:
        checks.update((await door.ask("GET", "/health/ready")).json["checks"])
        return all(checks.get(name, {}).get("status") == "up" for name in parts)

    await until(are_up, describe=lambda: checks)
