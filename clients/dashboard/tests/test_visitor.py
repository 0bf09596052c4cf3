"""For whom the web app asks."""

from __future__ import annotations

from crosstape.dashboard.visitor import made_for


def test_whoever_stands_before_us_follows_whom_it_named() -> None:
    assert made_for(["203.0.113.9", "10.0.0.3"], "10.0.0.4") == {"X-Forwarded-For": "203.0.113.9, 10.0.0.3, 10.0.0.4"}
    assert made_for([], "203.0.113.9") == {"X-Forwarded-For": "203.0.113.9"}


def test_a_visitor_on_this_machine_is_not_named() -> None:
    assert made_for([], None) == {}
