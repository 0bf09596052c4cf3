"""Guessing: slowed down for who guesses, cheap for us, and not for the owner."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis

from crosstape.auth.throttle import ACCOUNT, ADDRESS, REGISTRATIONS, Attempt, Policy, Throttle
from crosstape.common.errors import RateLimited, Unauthenticated
from services.auth.tests.conftest import NO_REDIS
from services.auth.tests.harness import PASSWORD, Auth, Clock, is_error

STRANGERS, OWNERS = "192.0.2.66", "203.0.113.9"
FREE_ADDRESS = Policy(free=1_000_000, drain=1.0, cap=1.0)


@pytest.mark.parametrize("policy", [ACCOUNT, ADDRESS])
def test_delays_double_up_to_the_cap(policy: Policy) -> None:
    count, delays = 0.0, []
    for _ in range(policy.free + 10):
        count, delay = policy.after_failure(count, 0)
        delays.append(delay)
    assert delays[: policy.free] == [0.0] * policy.free
    assert delays[policy.free : policy.free + 5] == [1, 2, 4, 8, 16]
    assert delays[-1] == policy.cap


@given(st.lists(st.floats(0, 10_000), max_size=60), st.sampled_from([ACCOUNT, ADDRESS]))
def test_however_long_somebody_guesses_the_cap_holds_and_quiet_forgives(waits: list[float], policy: Policy) -> None:
    count = 0.0
    for wait in waits:
        count, delay = policy.after_failure(count, wait)
        assert 0 <= delay <= policy.cap
        assert 1 <= count <= policy.most
    forgiven, delay = policy.after_failure(count, policy.most * policy.drain)
    assert (forgiven, delay) == (1, 0)


def local(clock: Clock, account: Policy = ACCOUNT, address: Policy = ADDRESS) -> Throttle:
    return Throttle("login", Redis.from_url(NO_REDIS), account, address, clock)


@pytest.fixture
def slowed(quick_auth: Auth) -> Auth:
    """The service, whose delays pass with the test's own clock: a second is over soon on a busy machine."""
    accounts, clock = quick_auth.resources.accounts, quick_auth.clock
    accounts._logins, accounts._registrations = local(clock), local(clock, REGISTRATIONS, REGISTRATIONS)
    return quick_auth


async def fail(throttle: Throttle, attempt: Attempt) -> float:
    await throttle.check(attempt)
    return await throttle.failed(attempt)


async def test_without_redis_this_process_counts_for_itself(clock: Clock) -> None:
    throttle = local(clock)
    attempt = Attempt("bob", STRANGERS)
    for _ in range(ACCOUNT.free):
        assert await fail(throttle, attempt) == 0
    for expected in (1, 2, 4, 8, 16, 30, 30):
        assert await fail(throttle, attempt) == expected
        with pytest.raises(RateLimited) as refused:
            await throttle.check(attempt)
        assert refused.value.headers["Retry-After"] == str(expected)
        clock.now += expected


async def test_a_guesser_from_many_addresses_is_slowed_by_the_account(clock: Clock) -> None:
    throttle = local(clock)
    hashed = 0
    for second in range(300):
        for host in range(4):
            try:
                await fail(throttle, Attempt("bob", f"192.0.2.{(second * 4 + host) % 250}"))
                hashed += 1
            except RateLimited:
                pass
        clock.now += 1
    assert hashed <= 20


async def test_a_guesser_of_many_accounts_is_slowed_by_the_address(clock: Clock) -> None:
    throttle = local(clock)
    hashed = 0
    for second in range(300):
        try:
            await fail(throttle, Attempt(f"user-{second}", STRANGERS))
            hashed += 1
        except RateLimited:
            pass
        clock.now += 1
    assert hashed <= 45


async def test_strangers_do_not_keep_the_owner_waiting_where_the_owner_is_known(clock: Clock) -> None:
    throttle = local(clock)
    await throttle.succeeded(Attempt("bob", OWNERS))
    for number in range(50):
        await throttle.failed(Attempt("bob", f"192.0.2.{number}"))
    with pytest.raises(RateLimited):
        await throttle.check(Attempt("bob", STRANGERS))
    await throttle.check(Attempt("bob", OWNERS))
    for _ in range(ACCOUNT.free + 1):
        await throttle.failed(Attempt("bob", OWNERS))
    with pytest.raises(RateLimited):
        await throttle.check(Attempt("bob", OWNERS))


async def test_the_owner_elsewhere_waits_no_longer_than_the_cap(clock: Clock) -> None:
    throttle = local(clock)
    for number in range(200):
        await throttle.failed(Attempt("bob", f"192.0.2.{number}"))
    clock.now += ACCOUNT.cap
    await throttle.check(Attempt("bob", OWNERS))


async def test_a_success_clears_the_account_and_not_the_address(clock: Clock) -> None:
    throttle = local(clock)
    for number in range(ADDRESS.free + 1):
        await throttle.failed(Attempt(f"user-{number // 5}", STRANGERS))
    await throttle.succeeded(Attempt("user-0", STRANGERS))
    with pytest.raises(RateLimited):
        await throttle.check(Attempt("user-0", STRANGERS))
    await throttle.check(Attempt("user-0", OWNERS))


async def test_a_throttled_login_is_429_with_retry_after_even_with_the_right_password(slowed: Auth) -> None:
    name = await slowed.register()
    wrong, right = ({"username": name, "password": text} for text in ("wrong", PASSWORD))
    answers = [await slowed.ask("POST", "/login", wrong) for _ in range(ACCOUNT.free + 2)]
    assert [answer.status for answer in answers] == [401] * (ACCOUNT.free + 1) + [429]
    refused = await slowed.ask("POST", "/login", right)
    is_error(refused, 429, "RATE_LIMITED")
    assert refused.headers["retry-after"] == "1"
    assert (await slowed.audited()).count(("throttled", name)) == 1
    assert (await slowed.ask("POST", "/login", {**right, "username": name.upper()})).status == 429


async def test_an_unknown_name_is_throttled_like_a_known_one(slowed: Auth) -> None:
    wrong = {"username": f"nobody-{uuid.uuid4().hex}", "password": "wrong"}
    answers = [await slowed.ask("POST", "/login", wrong) for _ in range(ACCOUNT.free + 2)]
    assert [answer.status for answer in answers] == [401] * (ACCOUNT.free + 1) + [429]


async def test_a_stolen_token_does_not_help_to_guess_the_password(slowed: Auth) -> None:
    _, token = await slowed.member()
    change = {"current_password": "a guess", "new_password": "another uncommon phrase"}
    statuses = [(await slowed.ask("POST", "/password", change, by=token)).status for _ in range(ACCOUNT.free + 2)]
    assert statuses == [401] * (ACCOUNT.free + 1) + [429]


async def test_registrations_from_one_address_are_throttled(slowed: Auth) -> None:
    statuses = []
    for _ in range(22):
        body = {"username": f"user-{uuid.uuid4().hex[:12]}", "password": PASSWORD}
        statuses.append((await slowed.ask("POST", "/register", body)).status)
    assert statuses == [200] * 21 + [429]


async def test_simultaneous_guesses_do_not_slip_through(slowed: Auth, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = 0
    matches = slowed.resources.hasher.matches

    async def counted(password: str, known: str | None) -> bool:
        nonlocal hashed
        hashed += 1
        return await matches(password, known)

    monkeypatch.setattr(slowed.resources.hasher, "matches", counted)
    name = await slowed.register()
    body = {"username": name, "password": "wrong"}
    await asyncio.gather(*(slowed.ask("POST", "/login", body) for _ in range(30)))
    assert hashed <= ACCOUNT.free + 1 + 4


@pytest.mark.integration
async def test_replicas_share_their_counts_and_agree_with_the_rules(redis_url: str) -> None:
    async with Redis.from_url(redis_url) as redis:
        first, second = (Throttle("login", redis, ACCOUNT, FREE_ADDRESS) for _ in range(2))
        attempt = Attempt("bob", STRANGERS)
        delays = [await throttle.failed(attempt) for throttle in (first, second) * 7]
        assert delays == [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 30, 30, 30, 30]
        with pytest.raises(RateLimited) as refused:
            await second.check(attempt)
        assert refused.value.details["retry_after"] in (29, 30)
        counts = [key_of("login", attempt), f"crosstape:throttle:login:{attempt.keys[2]}"]
        assert all([await redis.ttl(key) > 0 for key in counts]), "of the account and of the address"
        await second.succeeded(attempt)
        await first.check(attempt)


@pytest.mark.integration
async def test_with_redis_too_a_known_address_counts_apart_and_time_forgives(redis_url: str) -> None:
    slow = Policy(free=2, drain=60.0, cap=30.0, first=30.0)
    quick = Policy(free=2, drain=0.05, cap=1.0)
    stranger = Attempt("bob", STRANGERS)
    async with Redis.from_url(redis_url) as redis:
        throttle, forgiving = (
            Throttle(kind, redis, policy, FREE_ADDRESS) for kind, policy in (("slow", slow), ("quick", quick))
        )
        await throttle.succeeded(Attempt("bob", OWNERS))
        for _ in range(4):
            await throttle.failed(stranger)
            await forgiving.failed(stranger)
        with pytest.raises(RateLimited):
            await throttle.check(Attempt("bob", "192.0.2.1"))
        await throttle.check(Attempt("bob", OWNERS))
        assert await redis.exists(key_of("slow", stranger))
        async with asyncio.timeout(10):
            while await redis.exists(key_of("quick", stranger)):
                await asyncio.sleep(0.02)
        assert await forgiving.failed(stranger) == 0


def key_of(kind: str, attempt: Attempt) -> str:
    """Where the account's failures are counted."""
    return f"crosstape:throttle:{kind}:{attempt.keys[0]}"


@pytest.mark.integration
async def test_two_thousand_guesses_cost_a_handful_of_hashes(
    shared_auth: Auth, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = 0
    matches = shared_auth.resources.hasher.matches

    async def counted(password: str, known: str | None) -> bool:
        nonlocal hashed
        hashed += 1
        return await matches(password, known)

    monkeypatch.setattr(shared_auth.resources.hasher, "matches", counted)
    name = await shared_auth.register()
    outcomes = {"refused": 0, "wrong": 0}

    async def guess(number: int) -> None:
        try:
            await shared_auth.resources.accounts.login(name, f"guess {number}", f"192.0.2.{number % 250}")
        except RateLimited:
            outcomes["refused"] += 1
        except Unauthenticated:
            outcomes["wrong"] += 1

    for start in range(0, 2_000, 20):
        await asyncio.gather(*(guess(start + number) for number in range(20)))
    assert sum(outcomes.values()) == 2_000
    assert hashed == outcomes["wrong"] < 15
    assert (await shared_auth.audited()).count(("login_failed", name)) == hashed
