"""The exchange's own candles and its symbols: asked once, kept, derived where a length is lacking."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from crosstape.common.errors import ValidationFailed
from crosstape.common.market.bar import Interval
from crosstape.common.market.instrument import Instrument
from crosstape.history.api.klines import source_interval
from crosstape.history.api.markets import Markets
from crosstape.history.api.spans import Spans
from crosstape.history.store import Store
from services.history.tests.conftest import Client
from services.history.tests.harness import FakeExchanges


async def test_seed_1_s_list_and_the_second_call_does_not_touch_the_exchange(
    client: Client, exchanges: FakeExchanges, symbol: str
) -> None:
    target = f"/klines/binance/{symbol}?start_date=2025-01-01&end_date=2025-01-07&interval=1d"
    answer = await client(target)
    body = json.loads(answer.body, parse_float=Decimal)
    day = 1735689600000 // 86_400_000
    assert body[0] == {
        "timestamp": 1735689600000,
        "date": "2025-01-01 00:00:00",
        "open": day,
        "high": day + 2,
        "low": Decimal("0.5"),
        "close": Decimal("1.1"),
        "volume": 10,
    }
    assert [k["date"][:10] for k in body] == [f"2025-01-0{d}" for d in range(1, 8)]
    assert list(body[0]) == ["timestamp", "date", "open", "high", "low", "close", "volume"]
    assert (await client(target)).body == answer.body
    assert len(exchanges.asked) == 1
    await client(f"/klines/binance/{symbol}?start_date=2025-01-01&end_date=2025-01-09&interval=1d")
    assert [(end - start) // 86_400_000 for _, start, end in exchanges.asked] == [7, 2]


async def test_the_open_candle_is_shown_and_not_kept(client: Client, exchanges: FakeExchanges, symbol: str) -> None:
    first = (await client(f"/klines/binance/{symbol}?interval=1m")).json
    again = (await client(f"/klines/binance/{symbol}?interval=1m")).json
    assert len(first) == len({k["timestamp"] for k in first})
    assert len(again) >= 500
    assert len(exchanges.asked) == 2
    _, start, end = exchanges.asked[1]
    assert end - start <= 2 * 60_000 + 5_000


async def test_a_length_the_exchange_lacks_is_made_of_a_shorter_one(
    client: Client, exchanges: FakeExchanges, symbol: str
) -> None:
    body = (await client(f"/klines/binance/{symbol}?start_date=2025-01-01&end_date=2025-01-01&interval=4h")).json
    assert [(k["date"][11:13], k["volume"], k["close"]) for k in body] == [
        (f"{h:02d}", 40, 1.1) for h in range(0, 24, 4)
    ]
    assert {interval for interval, _, _ in exchanges.asked} == {Interval.H1}


async def test_a_length_nothing_makes_up_is_refused_and_the_others_named(
    client: Client, exchanges: FakeExchanges, symbol: str
) -> None:
    exchanges.offered = [Interval.H1]
    answer = await client(f"/klines/binance/{symbol}?interval=5m")
    assert answer.status == 422
    assert "1h" in answer.json["message"]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("start_date=2025-02-01&end_date=2025-01-01", "VALIDATION_ERROR"),
        ("start_date=2000-01-01&interval=1m", "VALIDATION_ERROR"),
        ("start_date=01-01-2025", "INVALID_TIME_FORMAT"),
        ("start_date=1735689600", "INVALID_TIME_FORMAT"),
    ],
)
async def test_ranges_are_checked(client: Client, symbol: str, query: str, code: str) -> None:
    answer = await client(f"/klines/binance/{symbol}?{query}")
    assert (answer.status, answer.json["error_code"]) == (422, code)


def test_weeks_and_months_are_made_of_days() -> None:
    assert source_interval(Interval.W1, [Interval.M1, Interval.D1, Interval.D3]) is Interval.D1
    assert source_interval(Interval.MO1, [Interval.H1, Interval.D1, Interval.W1]) is Interval.D1
    with pytest.raises(ValidationFailed):
        source_interval(Interval.S1, [Interval.M1])


async def test_symbols_are_native_or_canonical(client: Client, exchanges: FakeExchanges) -> None:
    exchanges.lists["bybit"] = [Instrument("bybit", "XBTUSD", "BTC", "USD")]
    assert (await client("/bybit/symbols")).json == {"symbols": ["XBTUSD"]}
    assert (await client("/bybit/symbols?format=canonical")).json == {"symbols": ["BTC-USD"]}
    assert (await client("/exchanges")).json == {"exchanges": ["binance", "kraken", "okx", "bybit"]}


async def test_a_kept_list_answers_while_the_exchange_is_away(
    store: Store, exchanges: FakeExchanges, symbol: str
) -> None:
    for _ in range(2):
        markets = Markets(["binance"], exchanges.markets, store)
        assert (await markets.resolve("Binance", symbol.replace("-", "/"))).symbol == symbol
        exchanges.lists.clear()


async def test_an_exchange_that_is_away_is_502(client: Client) -> None:
    answer = await client("/okx/symbols")
    assert (answer.status, answer.json["error_code"]) == (502, "EXCHANGE_ERROR")


def test_spans_say_what_they_lack() -> None:
    spans = Spans([(10, 20), (20, 25), (30, 40), (32, 35)])
    assert list(spans) == [(10, 25), (30, 40)]
    assert spans.lacking(0, 50) == [(0, 10), (25, 30), (40, 50)]
    assert spans.lacking(12, 24) == []
    assert spans.lacking(24, 31) == [(25, 30)]
    assert Spans([]).lacking(1, 2) == [(1, 2)]
    assert spans.covers(11, 25)
    assert not spans.covers(24, 31)
