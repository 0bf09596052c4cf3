"""What the chart is handed: all bars to a chart that has none, the newest to one that has the others."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

from clients.dashboard.tests.samples import NOON, bar, order
from crosstape.dashboard.chart.payload import TAIL_BARS, Have, key_of, payload
from crosstape.dashboard.follower import Link
from crosstape.dashboard.market import Market, MarketState


def state(count: int = 100) -> MarketState:
    bars = tuple(bar(NOON + 60 * number, "1", close="10.25") for number in range(count))
    return MarketState(Market("binance", "BTC-USDT", "1m"), Link("live"), bars, 1, Decimal(count), ())


def test_a_chart_without_bars_gets_them_all_and_one_that_has_them_the_newest() -> None:
    now = state()
    whole = payload(now, [], Have())
    tail = payload(now, [], Have(key_of(now)))
    assert (whole["whole"], len(whole["rows"])) == (True, 100)
    assert (tail["whole"], tail["rows"]) == (False, whole["rows"][-TAIL_BARS:])


def test_it_is_json_with_the_running_delta_and_the_places_of_the_price() -> None:
    made = payload(state(2), [], Have())
    assert json.loads(json.dumps(made)) == made
    assert made["rows"] == [[NOON, 10.25, 10.25, 10.25, 10.25, 1.0, 1.0, 1.0], [NOON + 60, *[10.25] * 4, 1.0, 1.0, 2.0]]
    assert made["precision"] == 2


def test_cvd_is_named_after_where_its_sum_begins() -> None:
    minutes = state()
    days = replace(minutes, market=replace(minutes.market, interval="1d"))
    assert [payload(shown, [], Have())["panes"][-1] for shown in (minutes, days)] == [
        "CVD (UTC day)",
        "CVD (from the first bar)",
    ]


def test_fills_within_a_bar_are_one_mark() -> None:
    made = payload(state(), [order(1, 59, 61)], Have())
    assert made["markers"] == [
        {"time": NOON, "side": "buy", "fills": 2},
        {"time": NOON + 60, "side": "buy", "fills": 1},
    ]


def test_the_benchmark_runs_from_the_orders_start_to_its_end() -> None:
    assert payload(state(), [order(1, closed=125)], Have())["benchmarks"] == [
        {"id": "twap_1", "from": NOON, "to": NOON + 120, "price": 10.5}
    ]
    assert payload(state(), [order(1)], Have())["benchmarks"][0]["to"] == NOON + 99 * 60
    assert payload(state(), [order(1, twap=None)], Have())["benchmarks"] == []


def test_what_the_browser_says_is_not_trusted_to_have_a_form() -> None:
    assert Have.of(None) == Have.of("text") == Have.of({"older_than": "x"}) == Have()
    assert Have.of({"have": "k", "older_than": 5}) == Have("k", 5)
