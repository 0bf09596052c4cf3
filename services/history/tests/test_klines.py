"""The exchange's own candles and its symbols: asked once, kept, derived where a length is lacking."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import Callable
from decimal import Decimal
from types import SimpleNamespace

import pytest

from crosstape.common.errors import ValidationFailed
from crosstape.common.market.bar import Interval
from crosstape.common.market.instrument import Instrument
from crosstape.exchanges.dialect import Kline
from crosstape.history.api.klines import settled_until, source_interval
from crosstape.history.api.markets import Markets
from crosstape.history.api.newest_klines import FRESH_SECONDS, MOST_MARKETS, NewestKlines
from crosstape.history.api.spans import Spans
from crosstape.history.exchanges import Exchanges
from crosstape.history.store import Store
from services.history.tests.conftest import Client
from services.history.tests.harness import FakeExchanges

SECOND, MINUTE, DAY = 1_000, 60_000, 86_400_000
"""In ms."""

SetNow = Callable[[str], None]


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> SetNow:
    """Sets the time that the route sees."""

    def set_now(moment: str) -> None:
        clock = SimpleNamespace(time_ns=lambda: _ms(moment) * 1_000_000)
        monkeypatch.setattr("crosstape.history.api.klines.time", clock)

    return set_now


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest candles are asked for each time, as when some seconds have passed."""
    monkeypatch.setattr(NewestKlines, "find", lambda self, place, start: None)


def _ms(moment: str) -> int:
    return int(dt.datetime.fromisoformat(moment + "Z").timestamp() * 1_000)


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


async def test_a_week_of_minutes_is_one_call(client: Client, symbol: str) -> None:
    body = (await client(f"/klines/binance/{symbol}?start_date=2025-01-01&end_date=2025-01-07&interval=1m")).json
    first = _ms("2025-01-01T00:00:00")
    assert [kline["timestamp"] for kline in body] == [first + n * MINUTE for n in range(10_080)]


async def test_what_came_before_an_exchange_failed_is_kept(
    client: Client, store: Store, exchanges: FakeExchanges, symbol: str
) -> None:
    target = f"/klines/binance/{symbol}?start_date=2025-01-01&end_date=2025-01-02&interval=1m"
    exchanges.fails_after = 2
    assert (await client(target)).json["error_code"] == "EXCHANGE_ERROR"
    came = exchanges.asked[-1][1]
    exchanges.asked, exchanges.fails_after = [], None
    assert [kline["timestamp"] for kline in (await client(target)).json] == [
        _ms("2025-01-01T00:00:00") + n * MINUTE for n in range(2_880)
    ]
    assert min(start for _, start, _ in exchanges.asked) == came > _ms("2025-01-01T00:00:00")
    place = {"exchange": "binance", "symbol": symbol, "interval": "1m"}
    whole = (_ms("2025-01-01T00:00:00"), _ms("2025-01-03T00:00:00"))
    assert await store.rows("kline_ranges", **place, start=0, end=_ms("2027-01-01T00:00:00")) == [whole]


async def test_a_range_that_takes_too_long_is_an_error_that_says_what_to_do(
    client: Client, exchanges: FakeExchanges, symbol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*asked: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(exchanges, "klines", never)
    monkeypatch.setattr("crosstape.history.api.klines.REQUEST_SECONDS", 0.01)
    async with asyncio.timeout(30):
        answer = await client(f"/klines/binance/{symbol}?start_date=2025-01-01&end_date=2025-01-02")
    assert (answer.status, answer.json["error_code"]) == (502, "EXCHANGE_ERROR")
    assert "Ask again" in answer.json["message"]


@pytest.mark.usefixtures("forgetful")
async def test_the_open_candle_is_shown_and_not_kept(
    client: Client, exchanges: FakeExchanges, symbol: str, at: SetNow
) -> None:
    at("2026-03-01T12:00:30")
    first = (await client(f"/klines/binance/{symbol}?interval=1m")).json
    at("2026-03-01T12:00:40")
    again = (await client(f"/klines/binance/{symbol}?interval=1m")).json
    assert [k["date"] for k in first[-2:]] == ["2026-03-01 11:59:00", "2026-03-01 12:00:00"]
    assert len(first) == len({k["timestamp"] for k in first}) == 500
    assert again == first
    assert [(start, end) for _, start, end in exchanges.asked[1:]] == [
        (_ms("2026-03-01T12:00:00"), _ms("2026-03-01T12:00:40"))
    ]


@pytest.mark.usefixtures("forgetful")
async def test_a_call_after_which_no_candle_is_settled_stores_nothing_and_the_range_grows_by_the_next(
    client: Client, store: Store, symbol: str, at: SetNow, monkeypatch: pytest.MonkeyPatch
) -> None:
    inserted: list[str] = []
    insert = store.insert

    async def count(table: str, rows: object) -> None:
        inserted.append(table)
        await insert(table, rows)

    monkeypatch.setattr(store, "insert", count)
    target = f"/klines/binance/{symbol}?start_date=2026-03-01T10:00:00&interval=1h"
    for milliseconds in range(0, 100, 20):
        at(f"2026-03-01T12:30:00.{milliseconds:03d}")
        await client(target)
    assert [name for name in inserted if name.startswith("kline")] == ["klines", "kline_ranges"]
    at("2026-03-01T13:30:00")
    await client(target)
    place = {"exchange": "binance", "symbol": symbol, "interval": "1h"}
    whole = (_ms("2026-03-01T10:00:00"), _ms("2026-03-01T13:00:00"))
    assert await store.rows("kline_ranges", **place, start=0, end=_ms("2027-01-01T00:00:00")) == [whole]


async def test_who_asks_again_and_again_does_not_ask_the_exchange(
    client: Client, exchanges: FakeExchanges, symbol: str, at: SetNow
) -> None:
    for milliseconds in range(0, 100, 20):
        at(f"2026-03-01T12:30:00.{milliseconds:03d}")
        body = (await client(f"/klines/binance/{symbol}?interval=1h")).json
        assert (len(body), body[-1]["date"]) == (500, "2026-03-01 12:00:00")
    assert len(exchanges.asked) == 1
    for end, dates in (("12:00:00", ["11:00:00"]), ("12:00:01", ["11:00:00", "12:00:00"])):
        span = f"start_date=2026-03-01T11:00:00&end_date=2026-03-01T{end}"
        body = (await client(f"/klines/binance/{symbol}?interval=1h&{span}")).json
        assert [k["date"] for k in body] == [f"2026-03-01 {date}" for date in dates]
    assert len(exchanges.asked) == 1


async def test_who_asks_less_of_the_newest_candles_does_not_hide_the_rest(
    client: Client, symbol: str, at: SetNow
) -> None:
    at("2026-03-01T12:00:05")
    target = f"/klines/binance/{symbol}?interval=1m&start_date=2026-03-01T11:58:00"
    less = (await client(f"{target}&end_date=2026-03-01T11:59:30")).json
    assert [k["date"][11:] for k in less] == ["11:58:00", "11:59:00"]
    assert [k["date"][11:] for k in (await client(target)).json] == ["11:58:00", "11:59:00", "12:00:00"]


def test_newest_candles_are_remembered_for_some_seconds_of_so_many_markets() -> None:
    now = 0.0
    newest = NewestKlines(lambda: now)
    klines = [Kline(t, "1", "1", "1", "1", "1") for t in (10, 20)]
    newest.remember(("binance", "X", "1m"), 10, klines)
    assert newest.find(("binance", "X", "1m"), 10) == klines
    assert newest.find(("binance", "X", "1m"), 11) == klines[1:]
    assert newest.find(("binance", "X", "1m"), 9) is None
    assert newest.find(("binance", "X", "5m"), 10) is None
    now = FRESH_SECONDS + 1
    assert newest.find(("binance", "X", "1m"), 10) is None
    for n in range(MOST_MARKETS + 1):
        newest.remember((f"{n}",), 10, klines)
    assert [n for n in range(MOST_MARKETS + 1) if newest.find((f"{n}",), 10) is None] == [0]


@pytest.mark.usefixtures("forgetful")
async def test_a_candle_that_ended_a_moment_ago_is_answered_and_asked_again(
    client: Client, exchanges: FakeExchanges, symbol: str, at: SetNow
) -> None:
    target = f"/klines/binance/{symbol}?start_date=2026-03-01&end_date=2026-03-01"
    for moment, asked in (("00:00:09.999", 1), ("00:00:10", 2), ("00:00:11", 2)):
        at(f"2026-03-02T{moment}")
        assert [k["date"] for k in (await client(target)).json] == ["2026-03-01 00:00:00"]
        assert len(exchanges.asked) == asked


def test_candles_are_settled_some_seconds_after_they_ended() -> None:
    assert settled_until(Interval.M1, [], 10 * MINUTE + 9_999) == 9 * MINUTE
    assert settled_until(Interval.M1, [], 10 * MINUTE + 10_000) == 10 * MINUTE
    february, march = _ms("2026-02-01T00:00:00"), _ms("2026-03-01T00:00:00")
    assert settled_until(Interval.MO1, [], march + 9 * SECOND) == february
    assert settled_until(Interval.MO1, [], march + 10 * SECOND) == march
    thursday = Kline(7 * DAY, "1", "1", "1", "1", "1")
    assert settled_until(Interval.W1, [thursday], 13 * DAY) == thursday.open_time
    assert settled_until(Interval.W1, [thursday], 14 * DAY + 10_000) == 11 * DAY


async def test_a_length_the_exchange_lacks_is_made_of_a_shorter_one(
    client: Client, exchanges: FakeExchanges, symbol: str
) -> None:
    body = (await client(f"/klines/binance/{symbol}?start_date=2025-01-01&end_date=2025-01-01&interval=4h")).json
    assert [(k["date"][11:13], k["volume"], k["close"]) for k in body] == [
        (f"{h:02d}", 40, 1.1) for h in range(0, 24, 4)
    ]
    assert {interval for interval, _, _ in exchanges.asked} == {Interval.H1}


@pytest.mark.parametrize(
    ("query", "dates", "volumes"),
    [
        ("interval=1w&start_date=2025-01-01&end_date=2025-01-10", ["2025-01-06 00:00:00"], [70]),
        (
            "interval=4h&start_date=2025-01-01T15:00:00&end_date=2025-01-01T23:00:00",
            ["2025-01-01 16:00:00", "2025-01-01 20:00:00"],
            [40, 40],
        ),
        ("interval=4h&start_date=2025-01-01T17:00:00&end_date=2025-01-01T20:00:00", [], []),
        (
            "interval=4h&start_date=2025-01-01T16:00:00&end_date=2025-01-01",
            ["2025-01-01 16:00:00", "2025-01-01 20:00:00"],
            [40, 40],
        ),
        ("interval=1w&start_date=2026-02-16", ["2026-02-16 00:00:00", "2026-02-23 00:00:00"], [70, 40]),
    ],
    ids=[
        "a week that goes on after the end",
        "hours that do",
        "none opens",
        "the rest of the last day",
        "the open one",
    ],
)
async def test_made_up_candles_are_those_that_open_in_the_range(
    client: Client, symbol: str, at: SetNow, query: str, dates: list[str], volumes: list[int]
) -> None:
    at("2026-02-26T12:00:00")
    for _ in range(2):
        body = (await client(f"/klines/binance/{symbol}?{query}")).json
        assert [k["date"] for k in body] == dates
        assert [k["volume"] for k in body] == volumes


async def test_months_made_of_days_need_no_dates(client: Client, symbol: str, at: SetNow) -> None:
    at("2026-02-26T12:00:00")
    body = (await client(f"/klines/binance/{symbol}?interval=1M")).json
    assert [k["date"] for k in body[-2:]] == ["2026-01-01 00:00:00", "2026-02-01 00:00:00"]
    assert len(body) == 500 * 31 * 12 // 365


def test_the_reach_is_that_of_the_exchange_s_dialect() -> None:
    exchanges = Exchanges("")
    assert [exchanges.klines_reach(exchange) for exchange in ("kraken", "binance", "gate")] == [720, None, None]


class TestShortReach:
    """An exchange that gives its newest 720 candles only, on 26 February 2026 at noon."""

    @pytest.fixture(autouse=True)
    def short_reach(self, exchanges: FakeExchanges, at: SetNow) -> None:
        at("2026-02-26T12:00:00")
        exchanges.reach = 720
        exchanges.oldest = _ms("2026-02-26T00:00:00") - 719 * DAY

    async def test_what_it_no_longer_gives_is_refused_and_never_called_complete(
        self, client: Client, symbol: str
    ) -> None:
        for end in ("2020-03-01", "2025-01-01", "2026-02-26"):
            for _ in range(2):
                answer = await client(f"/klines/binance/{symbol}?start_date=2020-01-01&end_date={end}")
                assert (answer.status, answer.json["error_code"]) == (422, "VALIDATION_ERROR")
                assert answer.json["details"]["first"] == "2024-03-09T00:00:00Z"
                assert "binance gives candles of 1d from 2024-03-09T00:00:00Z on" in answer.json["message"]
        body = (await client(f"/klines/binance/{symbol}?start_date=2024-03-09")).json
        assert len(body) == 720

    async def test_what_is_kept_is_answered_when_it_no_longer_gives_it(
        self, client: Client, exchanges: FakeExchanges, symbol: str, at: SetNow
    ) -> None:
        target = f"/klines/binance/{symbol}?start_date=2024-03-09"
        kept = (await client(target)).json
        at("2026-12-26T12:00:00")
        exchanges.oldest = _ms("2026-01-01T00:00:00")
        assert (await client(target)).json[:719] == kept[:719]

    async def test_a_market_younger_than_the_reach_is_complete(
        self, client: Client, exchanges: FakeExchanges, symbol: str
    ) -> None:
        exchanges.oldest = 0
        target = f"/klines/binance/{symbol}?start_date=2020-01-01&end_date=2020-03-01"
        assert (await client(target)).status == 200
        assert (await client(target)).status == 200
        assert len(exchanges.asked) == 1

    @pytest.mark.parametrize("interval", ["1d", "1w", "1M"])
    async def test_without_dates_it_is_asked_for_no_more_than_it_gives(
        self, client: Client, exchanges: FakeExchanges, symbol: str, interval: str
    ) -> None:
        answer = await client(f"/klines/binance/{symbol}?interval={interval}")
        assert answer.status == 200
        assert answer.json[-1]["timestamp"] >= _ms("2026-02-01T00:00:00")
        assert [start >= exchanges.oldest + DAY for _, start, _ in exchanges.asked] == [True]


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
        ("start_date=2025-01-02&end_date=2025-01-01", "VALIDATION_ERROR"),
        ("start_date=2025-01-01T12:00:00&end_date=2025-01-01T11:59:59", "VALIDATION_ERROR"),
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
    exchanges.lists["elsewhere"] = [Instrument("elsewhere", "XBTUSD", "BTC", "USD")]  # no other test knows it
    assert (await client("/elsewhere/symbols")).json == {"symbols": ["XBTUSD"]}
    assert (await client("/elsewhere/symbols?format=canonical")).json == {"symbols": ["BTC-USD"]}
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
