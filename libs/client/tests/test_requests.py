"""Requests: credentials, retries, errors."""

from __future__ import annotations

import asyncio
import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstape.client import (
    ApiError,
    AsyncClient,
    Conflict,
    ConnectionFailed,
    OrderNotFound,
    RateLimited,
    SymbolNotFound,
    TwapOrder,
    Unauthenticated,
    Unavailable,
    ValidationFailed,
)
from crosstape.client.errors import api_error
from crosstape.client.retry import LONGEST_SECONDS, RETRIES, backoff, request_pause
from crosstape.client.times import time_text
from libs.client.tests.scripted_platform import Answer, Asked, ScriptedPlatform, refusal

EXCHANGES = Answer({"exchanges": ["okx"]})


def tokens(number: int, expires_in: float = 900) -> Answer:
    return Answer(
        {
            "access_token": f"access-{number}",
            "token_type": "bearer",
            "expires_in": expires_in,
            "refresh_token": f"refresh-{number}",
        }
    )


async def test_an_error_answer_is_an_exception_of_its_code(platform: ScriptedPlatform, client: AsyncClient) -> None:
    details = {"suggestions": ["BTC-USDT", "BTC-USDC"]}
    platform.on("GET /klines/okx/BTCC", refusal(404, "SYMBOL_NOT_FOUND", details=details))
    with pytest.raises(SymbolNotFound) as caught:
        await client.klines("okx", "BTCC")
    error = caught.value
    assert (error.error_code, error.status, error.request_id) == ("SYMBOL_NOT_FOUND", 404, "req-1")
    assert error.suggestions == ["BTC-USDT", "BTC-USDC"]
    assert str(error) == "SYMBOL_NOT_FOUND: SYMBOL_NOT_FOUND it is."


async def test_a_foreign_error_page_has_the_code_of_its_status(platform: ScriptedPlatform, client: AsyncClient) -> None:
    platform.on("GET /exchanges", Answer(raw=b"<html>Bad gateway</html>", status=502))
    with pytest.raises(Unavailable, match="Bad gateway"):
        await client.exchanges()


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, ValidationFailed), (409, Conflict), (422, ValidationFailed), (500, Unavailable), (520, Unavailable)],
)
def test_an_answer_without_a_body_has_the_class_of_its_status(status: int, kind: type[ApiError]) -> None:
    assert type(api_error(status, {}, b"")) is kind


async def test_a_read_is_sent_again_while_the_platform_is_busy(platform: ScriptedPlatform, client: AsyncClient) -> None:
    platform.on("GET /exchanges", refusal(503, "DATABASE_ERROR"), refusal(429, "RATE_LIMITED"), EXCHANGES)
    assert (await client.exchanges()).exchanges == ("okx",)
    assert len(platform.asked) == 3


async def test_a_broken_answer_to_a_read_is_asked_for_again(platform: ScriptedPlatform, client: AsyncClient) -> None:
    platform.on("GET /exchanges", Answer(raw=b'{"exch', cut=True), EXCHANGES)
    assert (await client.exchanges()).exchanges == ("okx",)


async def test_retry_after_is_honoured(platform: ScriptedPlatform, client: AsyncClient) -> None:
    platform.on("GET /exchanges", refusal(429, "RATE_LIMITED", headers={"Retry-After": "1"}), EXCHANGES)
    started = time.monotonic()
    await client.exchanges()
    assert time.monotonic() - started >= 1


async def test_a_long_retry_after_is_told_instead_of_waited_for(
    platform: ScriptedPlatform, client: AsyncClient
) -> None:
    platform.on("GET /exchanges", refusal(429, "RATE_LIMITED", headers={"Retry-After": "3600"}))
    with pytest.raises(RateLimited) as caught:
        await client.exchanges()
    assert caught.value.retry_after == 3600
    assert len(platform.asked) == 1


async def test_retries_end(platform: ScriptedPlatform, client: AsyncClient) -> None:
    platform.on("GET /exchanges", refusal(503, "DATABASE_ERROR"))
    with pytest.raises(Unavailable):
        await client.exchanges()
    assert len(platform.asked) == 1 + RETRIES


async def test_what_is_not_safe_is_sent_once(platform: ScriptedPlatform, client: AsyncClient) -> None:
    platform.on("DELETE /orders/a", refusal(503, "SERVICE_UNAVAILABLE"))
    with pytest.raises(Unavailable):
        await client.cancel_order("a")
    assert len(platform.asked) == 1


async def test_an_admin_says_whose_order_is_meant(platform: ScriptedPlatform, client: AsyncClient) -> None:
    platform.on("GET /orders", Answer([]))
    for method in ("GET", "DELETE"):
        platform.on(f"{method} /orders/a", refusal(404, "ORDER_NOT_FOUND"))
    await client.orders(username="bob")
    with pytest.raises(OrderNotFound):
        await client.order("a", username="bob")
    with pytest.raises(OrderNotFound):
        await client.cancel_order("a", username="bob")
    assert [asked.target for asked in platform.asked] == [f"/orders{one}?username=bob" for one in ("", "/a", "/a")]


async def test_an_order_without_an_id_is_repeated_under_the_same_one(
    platform: ScriptedPlatform, client: AsyncClient
) -> None:
    accepted = Answer({"message": "TWAP order accepted", "order_id": "x"})
    failures = Answer(raw=b"", cut=True), refusal(503, "SERVICE_UNAVAILABLE"), refusal(408, "VALIDATION_ERROR")
    platform.on("POST /orders/twap", *failures, accepted)
    order = TwapOrder(
        symbol="BTC-USD",
        side="buy",
        total_quantity=Decimal("0.10"),
        limit_price=Decimal("30000.5"),
        duration=5,
        interval=1,
    )
    assert (await client.submit_twap(order)).order_id == "x"
    bodies = {asked.body for asked in platform.asked}
    assert len(platform.asked) == 4
    assert len(bodies) == 1
    assert b'"total_quantity":0.10,"limit_price":30000.5' in bodies.pop()


async def test_several_orders_are_sent_as_a_list(platform: ScriptedPlatform, client: AsyncClient) -> None:
    receipt = {"message": "TWAP order accepted", "order_id": "a"}
    body = receipt | {"orders": [receipt, receipt | {"order_id": "b"}]}
    platform.on("POST /orders/twap", Answer(body))
    common = {"symbol": "BTC-USD", "side": "buy", "total_quantity": Decimal(1), "limit_price": Decimal(2)}
    orders = [TwapOrder(order_id=name, duration=5, interval=1, **common) for name in "ab"]  # type: ignore[arg-type]
    assert [order.order_id for order in (await client.submit_twap(*orders)).orders] == ["a", "b"]
    with pytest.raises(ValueError, match="no order"):
        await client.submit_twap()


async def test_an_order_is_read_with_its_fills(platform: ScriptedPlatform, client: AsyncClient) -> None:
    fill = '{"price":2611.01,"quantity":0.16666666666666666,"timestamp":"2025-02-11T21:22:55.756847"}'
    text = (
        '{"order_id":"twap_001","username":"admin","symbol":"ETH-USD","side":"buy","duration":60,"interval":1,'
        f'"total_quantity":1.0,"limit_price":2615.0,"status":"open","executions":[{fill}]}}'
    )
    platform.on("GET /orders/twap_001", Answer(raw=text.encode()))
    [execution] = (await client.order("twap_001")).executions
    assert str(execution.quantity) == "0.16666666666666666"


async def test_a_quote_that_stands_in_for_the_one_asked_for_is_told(
    platform: ScriptedPlatform, client: AsyncClient
) -> None:
    platform.on(
        "POST /orders/twap",
        Answer({"message": "TWAP order accepted", "order_id": "a", "quote_aliases": {"okx": "USDT"}}),
    )
    markets = [
        {"exchange": "kraken", "symbol": "BTC-USD"},
        {"exchange": "okx", "symbol": "BTC-USDT", "quote_alias": "USDT"},
    ]
    order = {
        "order_id": "a", "username": "al", "symbol": "BTC-USD", "side": "buy", "duration": 5, "interval": 1,
        "total_quantity": 1, "limit_price": 2, "status": "open", "executions": [], "markets": markets,
    }  # fmt: skip
    platform.on("GET /orders/a", Answer(order))
    asked = TwapOrder(
        symbol="BTC-USD", side="buy", total_quantity=Decimal(1), limit_price=Decimal(2), duration=5, interval=1
    )
    assert (await client.submit_twap(asked)).quote_aliases == {"okx": "USDT"}
    assert [(one.exchange, one.quote_alias) for one in (await client.order("a")).markets] == [
        ("kraken", None),
        ("okx", "USDT"),
    ]


async def test_what_an_order_cost_and_was_warned_of_is_told(platform: ScriptedPlatform, client: AsyncClient) -> None:
    warnings = ["limit_price is 300.0 % worse than the market's 1: it protects little."]
    platform.on("POST /orders/twap", Answer({"message": "TWAP order accepted", "order_id": "a", "warnings": warnings}))
    text = (
        '{"order_id":"a","username":"al","symbol":"BTC-USD","side":"buy","duration":5,"interval":1,"total_quantity":1,'
        '"limit_price":4,"status":"open","executions":[],"notional":1.50,"fees":0.0015,"arrival_price":1,'
        f'"warnings":["{warnings[0]}"],"executions_left_out":7}}'
    )
    platform.on("GET /orders/a", Answer(raw=text.encode()))
    asked = TwapOrder(
        symbol="BTC-USD", side="buy", total_quantity=Decimal(1), limit_price=Decimal(4), duration=5, interval=1
    )
    assert (await client.submit_twap(asked)).warnings == tuple(warnings)
    order = await client.order("a")
    assert (str(order.notional), str(order.fees), order.arrival_price) == ("1.50", "0.0015", 1)
    assert (order.warnings, order.executions_left_out) == (tuple(warnings), 7)


async def test_nobody_there_is_one_clear_error() -> None:
    async with AsyncClient("http://127.0.0.1:1") as client:
        with pytest.raises(ConnectionFailed, match=r"http://127\.0\.0\.1:1"):
            await client.exchanges()


async def test_the_credential_is_shown_and_a_stranger_shows_none(platform: ScriptedPlatform) -> None:
    platform.on("GET /exchanges", EXCHANGES)
    for credential in ({"api_key": "ctk_1_a"}, {"token": "jwt"}, {}):
        async with AsyncClient(platform.url, **credential) as client:
            await client.exchanges()
    assert [asked.bearer for asked in platform.asked] == ["ctk_1_a", "jwt", ""]
    with pytest.raises(ValueError, match="not both"):
        AsyncClient(platform.url, api_key="a", token="b")


async def test_a_login_is_shown_and_renewed_when_it_is_refused(platform: ScriptedPlatform) -> None:
    platform.on("POST /login", tokens(1))
    platform.on("POST /refresh", tokens(2))
    platform.script("GET /info", lambda asked: info_for(asked, "access-2"))
    async with AsyncClient(platform.url) as client:
        await client.login("alice", "secret")
        assert (await client.info()).message == "Hello alice!"
    assert [(asked.target, asked.bearer) for asked in platform.asked] == [
        ("/login", ""),
        ("/info", "access-1"),
        ("/refresh", ""),
        ("/info", "access-2"),
    ]
    assert platform.asked[2].body == b'{"refresh_token":"refresh-1"}'


async def test_requests_at_the_same_time_refresh_once(platform: ScriptedPlatform) -> None:
    """A refresh token that is used twice would end the login."""
    platform.on("POST /login", tokens(1))
    platform.on("POST /refresh", tokens(2))
    platform.script("GET /info", lambda asked: info_for(asked, "access-2"))
    async with AsyncClient(platform.url) as client:
        await client.login("alice", "secret")
        await asyncio.gather(*(client.info() for _ in range(10)))
    assert platform.targets().count("/refresh") == 1


async def test_a_token_is_renewed_before_it_expires(platform: ScriptedPlatform) -> None:
    platform.on("POST /login", tokens(1, expires_in=1))
    platform.on("POST /refresh", tokens(2))
    platform.on("GET /exchanges", EXCHANGES)
    async with AsyncClient(platform.url) as client:
        await client.login("alice", "secret")
        await client.exchanges()
    assert platform.targets() == ["/login", "/refresh", "/exchanges"]


async def test_a_read_waits_for_a_token_while_auth_is_busy(platform: ScriptedPlatform) -> None:
    platform.on("POST /login", tokens(1, expires_in=0))
    platform.on("POST /refresh", refusal(503, "DATABASE_ERROR"), tokens(2))
    platform.on("GET /exchanges", EXCHANGES)
    async with AsyncClient(platform.url) as client:
        await client.login("alice", "secret")
        await client.exchanges()
    assert platform.targets() == ["/login", "/refresh", "/refresh", "/exchanges"]


@pytest.mark.parametrize("failed", [refusal(503, "DATABASE_ERROR"), Answer(raw=b"{", cut=True)], ids=["busy", "away"])
async def test_a_refused_read_waits_for_a_new_token_while_auth_is_busy_or_away(
    platform: ScriptedPlatform, failed: Answer
) -> None:
    platform.on("POST /login", tokens(1))
    platform.on("POST /refresh", failed, tokens(2))
    platform.script("GET /info", lambda asked: info_for(asked, "access-2"))
    async with AsyncClient(platform.url) as client:
        await client.login("alice", "secret")
        await client.info()
    assert platform.targets() == ["/login", *["/info", "/refresh"] * 2, "/info"]


async def test_a_login_that_ended_is_said_to_have(platform: ScriptedPlatform) -> None:
    platform.on("POST /login", tokens(1))
    platform.on("POST /refresh", refusal(401, "UNAUTHENTICATED"))
    platform.on("GET /info", refusal(401, "UNAUTHENTICATED"))
    async with AsyncClient(platform.url) as client:
        await client.login("alice", "secret")
        for _ in range(2):
            with pytest.raises(Unauthenticated):
                await client.info()
    assert platform.targets() == ["/login", "/info", "/refresh", "/info"]


async def test_after_logging_off_nothing_is_shown(platform: ScriptedPlatform) -> None:
    platform.on("POST /login", tokens(1))
    platform.on("POST /logoff", Answer({"message": "Logged off"}))
    platform.on("GET /exchanges", EXCHANGES)
    async with AsyncClient(platform.url) as client:
        await client.login("alice", "secret")
        await client.logoff()
        await client.exchanges()
    assert platform.asked[-1].bearer == ""


async def test_accounts_and_keys_are_asked_as_the_contract_writes_them(
    platform: ScriptedPlatform, client: AsyncClient
) -> None:
    key = {
        "id": "0a",
        "name": "backtests",
        "prefix": "ctk_0a",
        "scopes": ["market:read"],
        "created_at": "2025-11-13T10:30:45.123Z",
        "expires_at": None,
        "last_used_at": None,
    }
    platform.on("POST /register", Answer({"message": "User registered successfully"}), refusal(409, "CONFLICT"))
    platform.on("POST /api-keys", Answer(key | {"api_key": "ctk_0a_secret"}, status=201))
    platform.on("GET /api-keys", Answer([key]))
    platform.on("DELETE /api-keys/0a", Answer({"message": "API key revoked"}))
    platform.on("GET /users", Answer([{"username": "alice", "role": "user"}]))
    assert (await client.register("bob", "mypassword")).message == "User registered successfully"
    with pytest.raises(Conflict):
        await client.register("bob", "mypassword")
    assert (await client.create_api_key("backtests", expires_at=1893456000)).api_key == "ctk_0a_secret"
    assert [found.prefix for found in await client.api_keys()] == ["ctk_0a"]
    assert (await client.revoke_api_key("0a")).message == "API key revoked"
    assert (await client.users())[0].role == "user"
    assert (
        platform.asked[2].body == b'{"name":"backtests","scopes":["market:read"],"expires_at":"2030-01-01T00:00:00Z"}'
    )


def info_for(asked: Asked, bearer: str) -> Answer:
    if asked.bearer != bearer:
        return refusal(401, "UNAUTHENTICATED")
    return Answer({"message": "Hello alice!", "timestamp": "2025-01-07T12:00:00"})


@given(st.integers(0, RETRIES - 1), st.integers(0, 100), st.floats(0, 1, exclude_max=True))
def test_no_pause_is_shorter_than_retry_after_nor_much_longer(attempt: int, retry_after: int, chance: float) -> None:
    pause = request_pause(attempt, 429, retry_after, chance)
    if retry_after > LONGEST_SECONDS:
        assert pause is None
    else:
        assert pause is not None
        assert retry_after <= pause <= retry_after + LONGEST_SECONDS


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_backing_off_is_capped(attempt: int, chance: float) -> None:
    assert 0 <= backoff(attempt, chance) < LONGEST_SECONDS


@given(st.datetimes(timezones=st.just(None)))
def test_a_naive_datetime_means_utc(moment: object) -> None:
    import datetime as dt

    assert isinstance(moment, dt.datetime)
    text = time_text(moment)
    assert dt.datetime.fromisoformat(text) == moment.replace(tzinfo=dt.UTC)


def test_unix_seconds_keep_their_fraction() -> None:
    assert time_text(Decimal("1672531200.123456")) == "2023-01-01T00:00:00.123456Z"
    assert time_text(0) == "1970-01-01T00:00:00Z"
    assert time_text("20250701-0000") == "20250701-0000"


async def test_a_raw_request_is_sent_once_and_its_answer_returned_whatever_it_is(
    platform: ScriptedPlatform, client: AsyncClient
) -> None:
    platform.on("GET /anything", refusal(503, "DATABASE_ERROR"))
    answer = await client.send("GET", "/anything?limit=1")
    assert (answer.status, answer.headers["X-Request-ID"]) == (503, "req-1")
    assert b"DATABASE_ERROR" in answer.body
    assert [(asked.target, asked.bearer) for asked in platform.asked] == [("/anything?limit=1", "ctk_1_key")]


async def test_a_raw_request_that_nobody_answers_is_a_failed_connection(free_port: int) -> None:
    async with AsyncClient(f"http://127.0.0.1:{free_port}") as client:
        with pytest.raises(ConnectionFailed):
            await client.send("GET", "/health")
