"""No interval of the limit's length ever sees more than the limit, and a refusal is honoured."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstape.exchanges.dialect import RateLimit
from crosstape.exchanges.rate_limit import TokenBucket


@given(
    weight=st.integers(10, 100),
    asks=st.lists(st.tuples(st.floats(0, 5), st.integers(1, 10)), min_size=1, max_size=150),
)
def test_no_window_sees_more_than_the_limit_but_for_one_heavy_request(weight, asks):
    bucket, now, sent = TokenBucket(RateLimit(weight, 10)), 0.0, []
    for pause, cost in asks:
        now += pause
        sent.append((now + bucket.reserve(cost, now), cost))
    for begin, _ in sent:
        assert sum(cost for at, cost in sent if begin <= at < begin + 10 - 1e-6) <= weight + 10


@given(st.lists(st.integers(1, 250), min_size=2, max_size=50))
def test_requests_are_sent_in_the_order_they_came(costs):
    bucket = TokenBucket(RateLimit(100, 10))
    waits = [bucket.reserve(cost, 1.0) for cost in costs]
    assert waits == sorted(waits)


def test_a_refusal_holds_everything_back_until_it_ends():
    bucket = TokenBucket(RateLimit(100, 10))
    bucket.block(30, now=100)
    bucket.block(5, now=100)
    assert bucket.reserve(1, now=110) == pytest.approx(20)
    assert bucket.blocked_for(131) == 0
