"""The bars routes: the seeds' bodies to the letter, cursors, bounds, times and fills."""

from __future__ import annotations

import datetime as dt
import json
import time
from decimal import Decimal

import pytest

from crosstape.common.market.instrument import Instrument
from crosstape.common.market.ledger import Coverage
from crosstape.common.market.trade import TakerSide
from crosstape.common.testing.builders import make_trade
from crosstape.common.testing.strategies import START
from crosstape.common.web.layout import Layout
from crosstape.history.api.cursor import BarCursor, TradeCursor, encode_cursor
from services.history.tests.conftest import Client
from services.history.tests.harness import FakeExchanges, Sink

SECOND = 10**9
OPEN = START // SECOND


@pytest.fixture
async def traded(sink: Sink, symbol: str) -> str:
    """Minutes 0, 1 and 3 have bars, minute 2 has none. The answer is the market's native spelling."""
    times = [1, 30, 61, 200]
    await sink.insert(
        [
            make_trade(
                i, symbol=symbol, time=START + t * SECOND, price=f"16542.{i}0", quantity="0.10", side=TakerSide.SELL
            )
            for i, t in enumerate(times)
        ]
    )
    await sink.close_all()
    return symbol.replace("-", "").lower()


async def test_seed_0_s_body(client: Client, traded: str, symbol: str) -> None:
    answer = await client(f"/api/v1/ohlcv/binance/{traded}?start={OPEN}&limit=1")
    body = json.loads(answer.body, parse_float=Decimal)
    assert answer.status == 200
    assert list(body) == ["exchange", "symbol", "canonical", "bars", "next_cursor"]
    assert (body["exchange"], body["symbol"], body["canonical"]) == ("binance", traded, symbol)
    assert body["bars"] == [
        {
            "timestamp": OPEN,
            "open": Decimal("16542.0"),
            "high": Decimal("16542.1"),
            "low": Decimal("16542.0"),
            "close": Decimal("16542.1"),
            "volume": Decimal("0.2"),
            "volume_delta": Decimal("-0.2"),
            "trades": 2,
            "status": "final",
            "revision": 0,
            "volume_unknown": 0,
        }
    ]
    assert "deprecation" not in answer.headers
    assert "x-request-id" in answer.headers


async def test_numbers_can_be_strings(client: Client, traded: str) -> None:
    answer = await client(f"/api/v1/ohlcv/binance/{traded}?start={OPEN}&limit=1&numbers=string")
    [bar] = answer.json["bars"]
    assert (bar["close"], bar["volume_delta"], bar["trades"]) == ("16542.1", "-0.2", 2)


async def test_without_start_the_latest_bars_come_oldest_first(client: Client, traded: str) -> None:
    body = (await client(f"/api/v1/ohlcv/binance/{traded}?limit=2")).json
    assert [bar["timestamp"] - OPEN for bar in body["bars"]] == [60, 180]
    assert body["next_cursor"] is None


async def test_usd_finds_the_usdt_market_and_says_so(client: Client, traded: str, symbol: str) -> None:
    asked = symbol.replace("USDT", "USD")
    body = (await client(f"/api/v1/ohlcv/binance/{asked}?start={OPEN}")).json
    assert (body["symbol"], body["canonical"], body["quote_alias"], len(body["bars"])) == (asked, symbol, "USDT", 3)


@pytest.mark.parametrize(
    "target",
    [
        "/api/v1/ohlcv?symbol=BINANCE:{}&start=2025-07-01T00:00:00Z",
        "/api/v1/ohlcv/latest?symbol=BINANCE:{}",
        "/klines/binance/{}?start_date=2025-01-01&end_date=2025-01-02",
    ],
)
async def test_bodies_that_the_seeds_fixed_say_so_in_a_header(
    client: Client, traded: str, symbol: str, target: str
) -> None:
    aliased = await client(target.format(symbol.replace("USDT", "USD")))
    assert (aliased.status, aliased.headers["x-quote-alias"]) == (200, "USDT")
    assert "x-quote-alias" not in (await client(target.format(symbol))).headers


@pytest.mark.parametrize(("quote", "told"), [("USD", "USDT"), ("USDT", None)])
async def test_seed_2_s_fields_can_say_so_too(
    client: Client, traded: str, symbol: str, quote: str, told: str | None
) -> None:
    asked = symbol.replace("USDT", quote)
    target = f"/api/v1/ohlcv?symbol=BINANCE:{asked}&start=2025-07-01T00:00:00Z&fields=quote_alias,trades"
    candles = (await client(target)).json["data"]
    assert [(candle["quote_alias"], candle["trades"]) for candle in candles] == [(told, 2), (told, 1), (told, 1)]


@pytest.mark.parametrize("kind", ["ohlcv", "trades"])
async def test_a_file_says_so_in_a_header(client: Client, traded: str, symbol: str, kind: str) -> None:
    asked = symbol.replace("USDT", "USD")
    answer = await client(f"/api/v1/{kind}/binance/{asked}?start={OPEN}", accept="text/csv")
    assert (answer.status, answer.headers["x-quote-alias"]) == (200, "USDT")


@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_cursors_walk_over_every_bar_once(client: Client, traded: str, limit: int) -> None:
    seen, cursor = [], ""
    while cursor is not None:
        extra = f"&cursor={cursor}" if cursor else ""
        body = (await client(f"/api/v1/ohlcv/binance/{traded}?start={OPEN}&limit={limit}{extra}")).json
        seen += [bar["timestamp"] - OPEN for bar in body["bars"]]
        cursor = body["next_cursor"]
    assert seen == [0, 60, 180]


async def test_seed_2_s_body_has_exactly_its_keys(client: Client, traded: str) -> None:
    asked = f"BINANCE:{traded.upper()}"
    answer = await client(
        f"/api/v1/ohlcv?symbol={asked}&start=2025-07-01T00:00:00Z&end=2025-07-01T00:10:00Z&limit=2&offset=1"
    )
    body = json.loads(answer.body, parse_float=Decimal)
    assert list(body) == ["success", "data", "metadata"]
    assert body["success"] is True
    assert body["data"][0] == {
        "candle_time": "2025-07-01T00:01:00",
        "symbol": asked,
        "open": Decimal("16542.2"),
        "high": Decimal("16542.2"),
        "low": Decimal("16542.2"),
        "close": Decimal("16542.2"),
        "volume": Decimal("0.1"),
    }
    metadata = body["metadata"]
    assert list(metadata) == ["total_records", "limit", "offset", "has_more", "query_time_ms", "timestamp"]
    assert {k: metadata[k] for k in ("total_records", "limit", "offset", "has_more")} == {
        "total_records": 3,
        "limit": 2,
        "offset": 1,
        "has_more": False,
    }


async def test_seed_2_s_fields_can_be_more(client: Client, traded: str) -> None:
    body = (
        await client(
            f"/api/v1/ohlcv?symbol=BINANCE:{traded}&start=20250701-0000&fields=volume_delta,trades&interval=5m"
        )
    ).json
    assert [(c["volume_delta"], c["trades"]) for c in body["data"]] == [(-0.4, 4)]
    assert body["metadata"]["total_records"] == 1


async def test_latest_is_the_newest_bar_or_404(client: Client, traded: str, exchanges: FakeExchanges) -> None:
    body = (await client(f"/api/v1/ohlcv/latest?symbol=BINANCE:{traded}")).json
    assert [candle["candle_time"] for candle in body["data"]] == ["2025-07-01T00:03:00"]
    assert (body["metadata"]["total_records"], body["metadata"]["limit"]) == (1, 1)
    missing = await client("/api/v1/ohlcv/latest?symbol=BINANCE:BTCUSDT")
    assert (missing.status, missing.json["error_code"]) == (404, "DATA_NOT_FOUND")


async def test_the_legacy_form_is_answered_with_deprecation(client: Client, traded: str) -> None:
    for target in (
        f"/api/v1/ohlcv/binance/{traded}?start=20250701-0000",
        f"/api/v1/trades/binance/{traded}?start=20250701-0000",
    ):
        assert (await client(target)).headers["deprecation"] == "true"


@pytest.mark.parametrize(
    "text", ["2025-07-01", "2025/07/01T00:00:00", "01-07-2025T00:00:00", "2025-7-1T00:00:00", "invalid-time"]
)
async def test_seed_2_s_invalid_times_get_its_sentence(client: Client, text: str) -> None:
    answer = await client(f"/api/v1/ohlcv?symbol=BINANCE:BTCUSDT&start={text}")
    assert (answer.status, answer.json["error_code"]) == (422, "INVALID_TIME_FORMAT")
    assert answer.json["detail"] == (
        f"Invalid time format: {text}. Expected ISO 8601 format (e.g., 2025-07-01T00:00:00Z, "
        "2025-07-01T00:00:00+03:00) or legacy format (YYYYMMDD-HHmm)"
    )


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("limit=0", "limit"),
        ("limit=-1", "limit"),
        ("limit=10001", "limit"),
        ("limit=1_000", "limit"),
        ("limit=999999999999999999999", "limit"),
        ("offset=10000001", "offset"),
        ("interval=7m", "interval"),
        ("end=2024-01-01T00:00:00Z", "end"),
        ("fields=secret", "fields"),
        ("interval=1s&end=2025-09-01T00:00:00Z", "31 days"),
    ],
)
async def test_what_is_out_of_bounds_is_422_and_named(client: Client, query: str, parameter: str) -> None:
    answer = await client(f"/api/v1/ohlcv?symbol=BINANCE:BTCUSDT&start=2025-07-01T00:00:00Z&{query}")
    assert (answer.status, answer.json["error_code"]) == (422, "VALIDATION_ERROR")
    assert parameter in json.dumps(answer.json)


async def test_a_symbol_that_one_exchange_alone_has_need_not_name_it(
    client: Client, traded: str, exchanges: FakeExchanges
) -> None:
    exchanges.lists |= {"kraken": [Instrument("kraken", "XBTUSDT", "BTC", "USDT")], "okx": [], "bybit": []}
    body = (await client(f"/api/v1/ohlcv?symbol={traded}&start=2025-07-01T00:00:00Z")).json
    assert [candle["symbol"] for candle in body["data"]] == [traded] * 3
    assert (await client(f"/api/v1/ohlcv/latest?symbol={traded}")).json["data"][0]["symbol"] == traded
    answer = await client("/api/v1/ohlcv?symbol=BTCUSDT&start=2025-07-01T00:00:00Z")
    assert (answer.status, answer.json["error_code"]) == (404, "SYMBOL_NOT_FOUND")
    assert answer.json["details"] == {"suggestions": ["BINANCE:BTCUSDT", "KRAKEN:BTCUSDT"]}


async def test_an_offset_of_ten_million_is_answered(client: Client, traded: str) -> None:
    answer = await client(f"/api/v1/ohlcv?symbol=BINANCE:{traded}&start=2025-07-01T00:00:00Z&offset=10000000")
    assert (answer.status, answer.json["data"], answer.json["metadata"]["has_more"]) == (200, [], False)


@pytest.mark.parametrize("name", ["nope", "..%2f..%2fetc", "' OR 1=1", "file()", "BTC%00USDT", "\\"])
async def test_names_that_are_none_are_refused_before_any_query(client: Client, name: str) -> None:
    from urllib.parse import quote

    answer = await client(f"/api/v1/ohlcv/binance/{quote(name)}")
    assert answer.status in (404, 422)
    assert answer.json["error_code"] in ("SYMBOL_NOT_FOUND", "VALIDATION_ERROR")
    assert (await client(f"/api/v1/ohlcv/{quote(name)}/BTCUSDT")).status == 404


@pytest.mark.parametrize("kind", ["ohlcv", "trades"])
@pytest.mark.parametrize(
    "cursor", ["x", "====", "kqFiAQ", "kqFizmhjLg!", "k6F0AaA", encode_cursor(TradeCursor(1 << 63, "x" * 300))]
)
async def test_forged_cursors_are_422(client: Client, kind: str, cursor: str) -> None:
    wrong = {encode_cursor(BarCursor(1)): "trades"}.get(cursor, kind)
    answer = await client(f"/api/v1/{wrong}/binance/BTCUSDT?start=0&cursor={cursor}")
    if (kind, cursor) not in {("ohlcv", "kqFiAQ"), ("trades", "k6F0AaA")}:
        assert (answer.status, answer.json["error_code"]) == (422, "VALIDATION_ERROR")


async def test_a_month_is_whole_however_many_empty_ones_come_before_it(client: Client, sink: Sink, symbol: str) -> None:
    days = [dt.datetime(2025, month, day, tzinfo=dt.UTC) for month in (2, 3, 4) for day in (1, 15, 28)]
    await sink.insert([make_trade(i, symbol=symbol, time=int(t.timestamp()) * SECOND) for i, t in enumerate(days)])
    await sink.close_all()
    spelling = symbol.replace("-", "")
    start = "start=2025-01-01T00:00:00Z&end=2025-07-01T00:00:00Z&interval=1M"
    for limit in (1, 2, 3, 4, 10_000):
        bars = (await client(f"/api/v1/ohlcv/binance/{spelling}?{start}&limit={limit}")).json["bars"]
        assert [bar["trades"] for bar in bars] == [3, 3, 3][:limit]
        candles = (await client(f"/api/v1/ohlcv?symbol=BINANCE:{spelling}&{start}&limit={limit}&fields=trades")).json
        assert [candle["trades"] for candle in candles["data"]] == [3, 3, 3][:limit]


async def test_empty_intervals_are_filled_only_where_somebody_listened(
    client: Client, sink: Sink, traded: str, symbol: str
) -> None:
    target = f"/api/v1/ohlcv/binance/{traded}?start={OPEN}&end={OPEN + 300}"
    unheard = (await client(f"{target}&fill=ffill")).json["bars"]
    assert [bar["timestamp"] - OPEN for bar in unheard] == [0, 60, 180]
    await sink.writer.store_events([Coverage("binance", symbol, START, START + 240 * SECOND)])
    filled = (await client(f"{target}&fill=ffill")).json["bars"]
    assert [bar["timestamp"] - OPEN for bar in filled] == [0, 60, 120, 180]
    assert [bar.get("filled", False) for bar in filled] == [False, False, True, False]
    assert filled[2]["status"] == "final"
    assert (filled[2]["open"], filled[2]["close"], filled[2]["volume"], filled[2]["trades"]) == (16542.2, 16542.2, 0, 0)
    zero = (await client(f"{target}&fill=zero&limit=3")).json
    assert (zero["bars"][2]["close"], zero["bars"][2]["filled"]) == (0, True)
    rest = (await client(f"{target}&fill=zero&limit=3&cursor={zero['next_cursor']}")).json
    assert [bar["timestamp"] - OPEN for bar in rest["bars"]] == [180]
    before = (await client(f"/api/v1/ohlcv/binance/{traded}?start={OPEN + 120}&end={OPEN + 180}&fill=ffill")).json
    assert [bar["close"] for bar in before["bars"]] == [16542.2]


@pytest.mark.parametrize("layout", list(Layout))
async def test_a_file_begins_at_the_cursor_and_is_refused_what_it_cannot_have(
    client: Client, traded: str, layout: Layout
) -> None:
    target = f"/api/v1/ohlcv/binance/{traded}?start={OPEN}"
    cursor = (await client(f"{target}&limit=1")).json["next_cursor"]
    answer = await client(f"{target}&cursor={cursor}", accept=layout.value)
    rest = await client(f"/api/v1/ohlcv/binance/{traded}?start={OPEN + 60}", accept=layout.value)
    assert (answer.status, answer.body) == (200, rest.body)
    refused = await client(f"{target}&fill=zero", accept=layout.value)
    assert (refused.status, refused.json["error_code"]) == (422, "VALIDATION_ERROR")
    assert "leave fill out" in refused.json["message"]


async def test_a_range_without_rows_is_200_and_empty(client: Client, traded: str) -> None:
    for target in (
        f"/api/v1/ohlcv/binance/{traded}?start=0&end=60",
        f"/api/v1/ohlcv/binance/{traded}?start=5&end=5",
        f"/api/v1/ohlcv/binance/{traded}?start=2100-01-01T00:00:00Z",
        f"/api/v1/trades/binance/{traded}?start=0&end=60",
    ):
        answer = await client(target)
        assert (answer.status, answer.json.get("bars", answer.json.get("trades"))) == (200, [])


@pytest.mark.parametrize("interval", ["1s", "1m", "3d", "1w", "1M"])
@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("1970-01-01T00:00:00%2B03:00", "2025-08-01T00:00:00Z"),
        ("2025-01-01T00:00:00Z", "2106-02-07T06:28:15Z"),
        ("2025-01-01T00:00:00Z", "2150-01-01T00:00:00Z"),
    ],
)
async def test_times_beyond_what_the_store_holds_bound_nothing(
    client: Client, traded: str, interval: str, start: str, end: str
) -> None:
    span = f"start={start}&end={end}&interval={interval}"
    bars = (await client(f"/api/v1/ohlcv/binance/{traded}?{span}")).json["bars"]
    assert sum(bar["trades"] for bar in bars) == 4
    if interval != "1s":
        body = (await client(f"/api/v1/ohlcv?symbol=BINANCE:{traded}&{span}")).json
        assert (len(body["data"]), body["metadata"]["total_records"]) == (len(bars), len(bars))


async def test_a_range_before_1970_is_empty(client: Client, traded: str) -> None:
    span = "start=1970-01-01T00:00:00%2B03:00&end=1970-01-01T00:00:00%2B02:00"
    for kind, name in (("ohlcv", "bars"), ("completeness", "minutes")):
        answer = await client(f"/api/v1/{kind}/binance/{traded}?{span}")
        assert (answer.status, answer.json[name]) == (200, [])


async def test_a_year_of_seconds_costs_its_page(client: Client, traded: str) -> None:
    started = time.perf_counter()
    body = (
        await client(f"/api/v1/ohlcv/binance/{traded}?start={OPEN}&end={OPEN + 31_536_000}&interval=1s&limit=2")
    ).json
    assert [bar["timestamp"] - OPEN for bar in body["bars"]] == [1, 30]
    assert time.perf_counter() - started < 5
