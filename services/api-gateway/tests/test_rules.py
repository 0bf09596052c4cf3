"""The pure rules: routes, paths, headers, breaker."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from crosstape.api_gateway.breaker import Breaker, BreakerState
from crosstape.api_gateway.failures import UpstreamFailed, is_contract_error, replacement
from crosstape.api_gateway.headers import to_client, to_service
from crosstape.api_gateway.routes import RouteTable, segments_of
from crosstape.common.errors import MethodNotAllowed, PlatformError, ValidationFailed
from crosstape.common.web.errors import error_body


@pytest.mark.parametrize(
    ("path", "pattern", "passed_on"),
    [
        (b"/exchanges", "/exchanges", "/exchanges"),
        (b"/binance/symbols", "/{exchange}/symbols", "/binance/symbols"),
        (b"/klines/okx/BTC-USDT", "/klines/{exchange}/{symbol}", "/klines/okx/BTC-USDT"),
        (b"/api/v1/ohlcv/latest", "/api/v1/ohlcv/latest", "/api/v1/ohlcv/latest"),
        (b"/api/v1/trades/kraken/XBT/USD", "/api/v1/trades/{exchange}/{symbol}", "/api/v1/trades/kraken/XBT/USD"),
        (b"/api/v1/trades/kraken/XBT%2fUSD", "/api/v1/trades/{exchange}/{symbol}", "/api/v1/trades/kraken/XBT%2FUSD"),
        (
            b"/api/v1/trades/okx/BTC%2FUSDT%3AUSDT",
            "/api/v1/trades/{exchange}/{symbol}",
            "/api/v1/trades/okx/BTC%2FUSDT:USDT",
        ),
        ("/api/v1/trades/binance/币安人生USDT".encode(), "/api/v1/trades/{exchange}/{symbol}", None),
        (b"/%65xchanges", "/exchanges", "/exchanges"),
    ],
)
def test_a_path_finds_its_route_and_is_encoded_anew(path: bytes, pattern: str, passed_on: str | None) -> None:
    target = RouteTable().find("GET", segments_of(path) or ("",))
    assert target
    assert target.route.pattern == pattern
    assert passed_on is None or target.path == passed_on
    assert target.path.isascii()


@pytest.mark.parametrize(
    "path",
    [
        b"//exchanges", b"/exchanges/", b"/./exchanges", b"/x/../exchanges", b"/%2e%2e/exchanges", b"/..%2fexchanges",
        b"/x%2f..%2f..%2fetc", b"/%2fexchanges", b"exchanges", b"*", b"http://evil/exchanges", b"", b"/",
        b"/api%2fv1/ohlcv", b"/a%2fsymbols", b"/api/v1/trades/binance/a/b/c", b"/api/v1/trades/bin%2fance/BTC",
        b"/internal/status", b"/internal/symbols", b"/%69nternal/symbols", b"/livez/x", b"/%252e%252e/exchanges",
    ],
)  # fmt: skip
def test_a_path_that_is_not_clean_finds_nothing(path: bytes) -> None:
    segments = segments_of(path)
    assert segments is None or RouteTable().find("GET", segments) is None


@pytest.mark.parametrize(
    "path",
    [
        b"/exchanges%00", b"/klines/binance/BTC%0d%0aX: y", b"/klines/binance/BTC%20USD", b"/klines/binance/%ff",
        b"/klines/binance/%e2%80%aeBTC", b"/klines/binance/%ed%a0%80", b"/klines/binance/a%5c..%5cb",
        b"/klines/binance/" + b"A" * 65,
    ],
)  # fmt: skip
def test_a_path_with_what_no_name_has_is_malformed(path: bytes) -> None:
    with pytest.raises(ValidationFailed):
        RouteTable().find("GET", segments_of(path) or ("",))


_PIECES = st.sampled_from(
    [b"/", b"klines", b"api", b"v1", b"trades", b"binance", b"symbols", b"BTC", b"USD", b".", b"..", b"%2e", b"%2F",
     b"%00", b"%25", b"%", b"%0a", b"?", b"#", b"@", b":", b"\\", b" ", b"%ff", b"%E5%B8%81", b";", b"//"]
)  # fmt: skip


@given(st.lists(_PIECES, max_size=12).map(b"".join))
@example(b"/klines/binance/BTC%2FUSD")
def test_what_is_asked_of_a_service_is_what_was_checked(raw_path: bytes) -> None:
    try:
        segments = segments_of(raw_path)
        target = RouteTable().find("GET", segments) if segments else None
    except ValidationFailed:
        return
    if segments and target:
        asked = target.path.split("/")
        assert asked[0] == ""
        assert tuple(unquote(segment) for segment in asked[1:]) == segments
        assert not {"", ".", ".."} & set(unquote(target.path)[1:].split("/"))
        assert target.path.isascii()
        assert not set("?#\\ ") & set(target.path)


def test_another_method_is_refused_with_those_there_are() -> None:
    with pytest.raises(MethodNotAllowed) as refused:
        RouteTable().find("DELETE", ("exchanges",))
    assert refused.value.headers == {"Allow": "GET, HEAD"}


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_an_order_that_is_named_as_a_path_of_ours_can_be_read_and_cancelled(method: str) -> None:
    target = RouteTable().find(method, ("orders", "twap"))
    assert target
    assert (target.route.pattern, target.path) == ("/orders/{order_id}", "/orders/twap")


def test_a_method_that_no_pattern_of_the_path_has_is_refused_with_those_of_all() -> None:
    with pytest.raises(MethodNotAllowed) as refused:
        RouteTable().find("PATCH", ("orders", "twap"))
    assert refused.value.headers == {"Allow": "DELETE, GET, HEAD, POST"}


def test_what_only_the_edge_may_state_does_not_pass_to_a_service() -> None:
    forged = [
        (b"host", b"evil"), (b"connection", b"keep-alive, X-Secret"), (b"x-secret", b"1"), (b"te", b"trailers"),
        (b"transfer-encoding", b"chunked"), (b"x-internal-role", b"admin"), (b"x-user-id", b"1"),
        (b"x-auth-scope", b"all"), (b"forwarded", b"for=1"), (b"x-forwarded-for", b"1"), (b"x-real-ip", b"1"),
        (b"x-request-id", b"theirs"), (b"upgrade", b"h2c"), (b"expect", b"100-continue"),
        (b"x-crosstape-identity", b"t"), (b"x_crosstape_identity", b"t"), (b"authorization", b"Bearer t"),
        (b"x-original-url", b"/internal"), (b"via", b"1.1 x"), (b"x-forwarded-host", b"evil"),
        (b"true-client-ip", b"1.2.3.4"), (b"x_forwarded_for", b"1"), (b"content-length", b"3"),
    ]  # fmt: skip
    kept = [(b"accept", b"text/csv"), (b"cookie", b"a=b")]
    assert to_service([*forged, *kept]) == kept


def test_an_answer_does_not_say_how_we_are_built() -> None:
    headers = [(b"server", b"uvicorn"), (b"date", b"now"), (b"x-internal-host", b"h"), (b"etag", b"1")]
    assert to_client(headers) == [(b"etag", b"1")]


def test_breaker_opens_after_failures_in_a_row_and_lets_one_probe_decide() -> None:
    breaker = Breaker(failures=3, open_seconds=5)
    for _ in range(2):
        breaker.failed(0)
    breaker.succeeded()
    for _ in range(2):
        breaker.failed(0)
    assert breaker.admits(0)
    breaker.failed(0)
    assert not breaker.admits(4.9)
    assert breaker.retry_after(0.5) == 5
    assert breaker.admits(5)
    assert not breaker.admits(5), "a second request while the probe is under way"
    breaker.failed(5)
    assert not breaker.admits(9.9)
    assert breaker.admits(10)
    breaker.abandoned()
    assert breaker.admits(10), "the probe's client left: the next request probes"
    breaker.succeeded()
    assert breaker.state is BreakerState.CLOSED
    assert breaker.admits(10)


def test_a_probes_answer_that_begins_closes_the_breaker_and_one_that_breaks_off_counts() -> None:
    breaker = Breaker(failures=2, open_seconds=5)
    breaker.failed(0)
    breaker.began()
    breaker.failed(0)
    assert breaker.state is BreakerState.OPEN, "what began proves nothing about what failed meanwhile"
    assert breaker.admits(5)
    breaker.began()
    assert breaker.admits(5)
    breaker.failed(6)
    breaker.failed(6)
    assert not breaker.admits(6)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (error_body(ValidationFailed("no")), True),
        (b'{"detail":"Not Found"}', False),
        (b"Internal Server Error", False),
        (b"", False),
        (b'{"success":true,"error_code":"X","message":"","details":{},"timestamp":"","detail":""}', False),
        (b"[" * 100_000, False),
        (b"\xff", False),
    ],
)
def test_only_the_contracts_error_passes(body: bytes, expected: bool) -> None:
    assert is_contract_error(body) is expected


@pytest.mark.parametrize(
    ("status", "code"),
    [(307, "INTERNAL_ERROR"), (400, "VALIDATION_ERROR"), (404, "NOT_FOUND"), (405, "METHOD_NOT_ALLOWED"),
     (413, "PAYLOAD_TOO_LARGE"), (500, "INTERNAL_ERROR"), (502, "SERVICE_UNAVAILABLE"), (503, "SERVICE_UNAVAILABLE"),
     (504, "UPSTREAM_TIMEOUT")],
)  # fmt: skip
def test_a_foreign_error_becomes_one_of_ours(status: int, code: str) -> None:
    answer = replacement("history", status)
    error = answer.answer if isinstance(answer, UpstreamFailed) else answer
    assert isinstance(error, PlatformError)
    assert error.error_code == code
