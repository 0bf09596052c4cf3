"""Limits: the rule, what they count by, and what a client is told."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from crosstape.api_gateway.address import UNKNOWN, Addresses, normal
from crosstape.api_gateway.rates import Rate, take, verdict
from crosstape.common.identity.principal import Role, Scope

asynchronous = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.integration]


def bearer(credential: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {credential}"}


def test_a_rate_is_written_as_people_say_it() -> None:
    assert Rate.parse("20/s burst 60") == Rate(20, 60, 50_000)
    assert str(Rate.parse("0.5/s burst 20")) == "0.5/s burst 20"
    for wrong in ("20", "20/s", "0/s burst 1", "1/s burst 0", "-1/s burst 5", "20/m burst 60", "1e9/s burst 5"):
        with pytest.raises(ValueError, match=r"rate|written"):
            Rate.parse(wrong)


@given(st.integers(1, 50), st.integers(1, 1_000_000), st.lists(st.tuples(st.integers(0, 3_000_000), st.integers(1, 5))))
def test_no_more_passes_than_burst_and_rate_allow_and_what_waits_as_told_passes(
    burst: int, interval: int, requests: list[tuple[int, int]]
) -> None:
    rate = Rate(1_000_000 / interval, burst, interval)
    full_at, now, passed = 0.0, 0, 0
    for pause, wanted in requests:
        now += pause
        cost = min(wanted, burst)
        full_at, debt, early = take(full_at, now, rate, cost)
        told = verdict(rate, debt, early)
        assert 0 <= told.remaining <= burst
        assert debt <= burst * interval
        if early:
            assert told.retry_after >= 1
            assert take(full_at, now + early, rate, cost)[2] == 0
        else:
            passed += cost
        assert passed <= burst + now // interval + 1


class TestAnswers:
    pytestmark = asynchronous

    async def test_an_empty_bucket_is_429_and_says_when(self, open_platform: Any) -> None:
        platform = await open_platform(limit_user="0.01/s burst 3", limit_anonymous="1000/s burst 1000")
        headers = bearer(platform.auth.token(sub="u429"))
        replies = [await platform.gateway.ask("/exchanges", headers=headers) for _ in range(4)]
        assert [int(reply.headers["RateLimit-Remaining"]) for reply in replies] == [2, 1, 0, 0]
        assert {reply.headers["RateLimit-Limit"] for reply in replies} == {"3"}
        refused = replies[-1]
        assert (refused.status, refused.json["error_code"]) == (429, "RATE_LIMITED")
        assert 90 <= int(refused.headers["Retry-After"]) <= 100
        assert int(refused.headers["RateLimit-Reset"]) >= 290
        assert len(platform.service.seen) <= 4
        assert (await platform.gateway.ask("/exchanges")).status == 200, "others have their own"
        assert (await platform.gateway.ask("/health", headers=headers)).status == 200, "health is not counted"
        text = (await platform.gateway.ask("/metrics", headers=headers)).body.decode()
        assert 'crosstape_gateway_limited_total{bucket="user"}' in text
        assert "crosstape_gateway_limiter_shared 1.0" in text

    @pytest.mark.parametrize("path", ["/health", "/health/live", "/health/ready"])
    async def test_health_tells_of_the_caller_s_full_bucket_and_takes_nothing(
        self, open_platform: Any, path: str
    ) -> None:
        platform = await open_platform(limit_anonymous="0.01/s burst 11", limit_quant="0.01/s burst 33")
        quant = bearer(platform.auth.token(Role.QUANT))
        assert (await platform.gateway.ask("/exchanges", headers=quant)).headers["RateLimit-Remaining"] == "32"
        for shown, limit in (({}, "11"), (quant, "33"), (bearer("nonsense"), "11"), ({"Authorization": "x"}, "11")):
            reply = await platform.gateway.ask(path, headers=shown)
            assert reply.status == 200
            told = [reply.headers[f"RateLimit-{name}"] for name in ("Limit", "Remaining", "Reset")]
            assert told == [limit, limit, "0"]
        assert (await platform.gateway.ask("/exchanges", headers=quant)).headers["RateLimit-Remaining"] == "31"

    async def test_of_refused_reads_at_most_one_a_second_reaches_the_service(self, open_platform: Any) -> None:
        platform = await open_platform(limit_user="0.01/s burst 3")
        headers = bearer(platform.auth.token(sub="u-hammering"))
        began = time.monotonic()
        statuses = [(await platform.gateway.ask("/exchanges", headers=headers)).status for _ in range(40)]
        assert statuses == [200] * 3 + [429] * 37
        assert len(platform.service.seen) <= 3 + 1 + (time.monotonic() - began)

    async def test_what_changes_something_or_costs_more_waits_for_the_limit(self, open_platform: Any) -> None:
        platform = await open_platform(limit_quant="0.01/s burst 5")
        headers = bearer(platform.auth.token(Role.QUANT, sub="u-waiting"))
        assert (await platform.gateway.ask("/klines/okx/BTC-USDT", headers=headers)).status == 200
        for path, method in (("/klines/okx/BTC-USDT", "GET"), ("/orders/twap", "POST"), ("/orders/1", "DELETE")):
            body = b"{}" if method == "POST" else None
            assert (await platform.gateway.ask(path, method, data=body, headers=headers)).status == 429
        assert len(platform.service.seen) == 1

    async def test_an_account_has_one_bucket_whatever_credential_it_shows(self, open_platform: Any) -> None:
        platform = await open_platform(limit_quant="0.01/s burst 3")
        keys = [platform.auth.api_key(Scope.MARKET_READ, name=f"bucket{n:02}", user_id="u-keys") for n in range(3)]
        credentials = [*keys, platform.auth.token(Role.QUANT, sub="u-keys")]
        replies = [await platform.gateway.ask("/exchanges", headers=bearer(shown)) for shown in credentials]
        assert [reply.status for reply in replies] == [200, 200, 200, 429]

    async def test_tiers_and_accounts_have_buckets_of_their_own(self, open_platform: Any) -> None:
        platform = await open_platform(
            limit_anonymous="1/s burst 11",
            limit_user="1/s burst 22",
            limit_quant="1/s burst 33",
            limit_admin="1/s burst 44",
        )
        auth = platform.auth
        shown = {
            "anonymous": {},
            "user": bearer(auth.token()),
            "quant": bearer(auth.token(Role.QUANT)),
            "admin": bearer(auth.token(Role.ADMIN)),
            "key": bearer(auth.api_key(Scope.MARKET_READ, name="tierkey0")),
        }
        limits = {
            who: (await platform.gateway.ask("/exchanges", headers=headers)).headers["RateLimit-Limit"]
            for who, headers in shown.items()
        }
        assert limits == {"anonymous": "11", "user": "22", "quant": "33", "admin": "44", "key": "33"}

    async def test_what_costs_more_takes_more(self, open_platform: Any) -> None:
        platform = await open_platform(limit_quant="0.01/s burst 100")
        headers = bearer(platform.auth.token(Role.QUANT, sub="u-cost"))
        path = "/api/v1/trades/okx/BTC-USDT"
        for asked, accept, left in (
            (path, "application/json", 99), (path, "text/csv", 79), (path, "application/vnd.apache.arrow.stream", 59),
            ("/klines/okx/BTC-USDT", "text/csv", 54), ("/nope", "*/*", 53), (path, "application/json, text/csv", 52),
        ):  # fmt: skip
            reply = await platform.gateway.ask(asked, headers={**headers, "Accept": accept})
            assert int(reply.headers["RateLimit-Remaining"]) == left, (asked, accept)

    async def test_logins_have_a_small_bucket_of_their_own(self, open_platform: Any) -> None:
        platform = await open_platform(limit_login="0.01/s burst 3", trusted_proxies="127.0.0.1")
        here, there = {"X-Forwarded-For": "2001:db8:1:2::5"}, {"X-Forwarded-For": "2001:db8:1:3::5"}
        statuses = [
            (await platform.gateway.ask(path, "POST", data=b"{}", headers=here)).status
            for path in ("/login", "/register", "/login", "/login")
        ]
        assert statuses == [200, 200, 200, 429]
        same_network = {"X-Forwarded-For": "2001:db8:1:2:ffff::9"}
        assert (await platform.gateway.ask("/login", "POST", data=b"{}", headers=same_network)).status == 429
        assert (await platform.gateway.ask("/login", "POST", data=b"{}", headers=there)).status == 200
        assert (await platform.gateway.ask("/exchanges", headers=here)).status == 200

    async def test_guessing_ends_in_429_and_costs_the_auth_service_little(self, open_platform: Any) -> None:
        platform = await open_platform(limit_failures="0.01/s burst 5", trusted_proxies="127.0.0.1")
        platform.auth.questions = 0
        here = {"X-Forwarded-For": "203.0.113.77"}
        known = bearer(platform.auth.api_key(Scope.MARKET_READ, name="knownkey"))
        assert (await platform.gateway.ask("/exchanges", headers={**here, **known})).status == 200
        statuses = []
        for number in range(50):
            guess = bearer(f"ctk_aaaaaaaa_{number:064}")
            statuses.append((await platform.gateway.ask("/exchanges", headers={**here, **guess})).status)
        assert statuses == [401] * 5 + [429] * 45
        assert platform.auth.questions <= 7
        reply = await platform.gateway.ask("/exchanges", headers={**here, **bearer("abc")})
        assert (reply.status, reply.json["error_code"]) == (429, "RATE_LIMITED")
        assert reply.headers["RateLimit-Remaining"] == "0"
        for good in (known, bearer(platform.auth.token())):
            assert (await platform.gateway.ask("/exchanges", headers={**here, **good})).status == 200, "a neighbour"
        assert (await platform.gateway.ask("/exchanges", headers=bearer("abc"))).status == 401, "another address"

    async def test_a_forwarding_header_of_a_stranger_changes_nothing(self, open_platform: Any) -> None:
        platform = await open_platform(limit_anonymous="0.01/s burst 3", trusted_proxies="10.0.0.0/8")
        async with Redis.from_url(platform.valkey.url) as redis:
            await redis.delete("crosstape:{limit}:address:127.0.0.1")
        statuses = [
            (await platform.gateway.ask("/exchanges", headers={"X-Forwarded-For": f"203.0.113.{n}"})).status
            for n in range(5)
        ]
        assert statuses == [200, 200, 200, 429, 429]
        async with Redis.from_url(platform.valkey.url) as redis:
            await redis.delete("crosstape:{limit}:address:127.0.0.1")


def test_addresses_have_one_spelling() -> None:
    assert normal("::ffff:192.0.2.1") == "192.0.2.1"
    assert normal("2001:DB8:0:0::1") == "2001:db8::1"
    assert normal("fe80::1%eth0") == "fe80::1"
    for nonsense in ("", "localhost", "1.2.3.4.5", "1.2.3.4\r\nX: y", "x" * 10_000, "٣.٣.٣.٣"):
        assert normal(nonsense) == UNKNOWN


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("203.0.113.9", [b"1.1.1.1"], "203.0.113.9"),
        ("10.0.0.1", [b"1.1.1.1"], "1.1.1.1"),
        ("10.0.0.1", [b"6.6.6.6, 1.1.1.1"], "1.1.1.1"),
        ("10.0.0.1", [b"6.6.6.6", b"1.1.1.1, 10.0.0.2"], "1.1.1.1"),
        ("10.0.0.1", [b"6.6.6.6, garbage"], "10.0.0.1"),
        ("10.0.0.1", [b"6.6.6.6, garbage, 10.0.0.7"], "10.0.0.7"),
        ("10.0.0.1", [b""], "10.0.0.1"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [b"1.1.1.1:5555"], "1.1.1.1"),
        ("10.0.0.1", [b"[2001:db8::5]:443"], "2001:db8::5"),
        ("::ffff:10.0.0.1", [b"2001:db8::5"], "2001:db8::5"),
        ("10.0.0.1", [b"10.0.0.3, 10.0.0.2"], "10.0.0.3"),
    ],
)
def test_the_client_is_the_rightmost_address_that_is_no_trusted_proxy(
    peer: str, forwarded: list[bytes], expected: str
) -> None:
    assert Addresses(["10.0.0.0/8"]).of((peer, 1), forwarded) == expected


def test_no_address_is_never_an_empty_one() -> None:
    assert Addresses([]).of(None, []) == Addresses(["::/0"]).of(("", 0), []) == UNKNOWN
