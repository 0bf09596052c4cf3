"""No interval of the limit's length ever sees more than the limit, and a refusal is honoured."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstape.exchanges.dialect import RateLimit
from crosstape.exchanges.rate_limit import TokenBucket


def sent_at(bucket, asks, until=math.inf):
    """When the requests of `asks` (s, weight) are sent, one after the other, as long as that is before `until`."""
    now, sent = 0.0, []
    for at, weight in asks:
        now = max(now, at)
        while now < until and (wait := bucket.take(weight, now)) > 0:
            now += wait
        if now >= until:
            return sent
        sent.append(now)
    return sent


@given(
    weight=st.integers(10, 100),
    asks=st.lists(st.tuples(st.floats(0, 5), st.integers(1, 10)), min_size=1, max_size=150),
)
def test_no_window_sees_more_than_the_limit_but_for_one_heavy_request(weight, asks):
    at, costs = list(itertools.accumulate(pause for pause, _ in asks)), [cost for _, cost in asks]
    sent = list(zip(sent_at(TokenBucket(RateLimit(weight, 10)), zip(at, costs, strict=True)), costs, strict=True))
    for begin, _ in sent:
        assert sum(cost for at, cost in sent if begin <= at < begin + 10 - 1e-6) <= weight + 10


def test_a_request_heavier_than_the_bucket_is_sent_and_those_after_it_pay_for_it():
    bucket = TokenBucket(RateLimit(100, 10))
    assert sent_at(bucket, [(1, 100), (1, 1)]) == [1, pytest.approx(1 + 91 / 9)]


def test_a_refusal_holds_everything_back_until_it_ends():
    bucket = TokenBucket(RateLimit(100, 10))
    bucket.block(30, now=100)
    bucket.block(5, now=100)
    assert bucket.take(1, now=110) == 20
    assert bucket.take(1, now=130) == pytest.approx(1 / 9)
    assert bucket.blocked_for(131) == 0


@given(
    weight=st.integers(10, 100),
    block=st.floats(1, 60),
    asked=st.lists(st.floats(0, 80), min_size=1, max_size=150).map(sorted),
)
def test_what_a_refusal_held_back_is_not_sent_in_one_burst_at_its_end(weight, block, asked):
    bucket = TokenBucket(RateLimit(weight, 10))
    before = sent_at(bucket, [(at, 1) for at in asked], until=10)
    bucket.block(block, now=10)
    sent = sent_at(bucket, [(max(at, 10), 1) for at in asked[len(before) :]])
    assert len(before) + len(sent) == len(asked)
    assert all(at >= 10 + block for at in sent)
    for begin in sent:
        assert sum(begin <= at < begin + 10 - 1e-6 for at in sent) <= weight
