"""Market data over REST: what is asked, and what becomes of the answers."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import polars as pl
import pyarrow as pa
import pytest

from crosstape.client import AsyncClient, Bar, ConnectionFailed, MissingLibrary, Trade, UnexpectedAnswer, dataframes
from libs.client.tests.scripted_platform import Answer, Asked, ScriptedPlatform

BARS = "GET /api/v1/ohlcv/binance/BTC-USDT"
START = dt.datetime(2025, 7, 1, tzinfo=dt.UTC)

# Written as text: the numbers are what the test is about.
BAR_TEXT = (
    '{"timestamp":%d,"open":16542.3,"high":16559.20,"low":16521.9,"close":16533.1,"volume":4500.230000000000000001,'
    '"volume_delta":-150.78,"trades":7,"status":"final","revision":0,"volume_unknown":0}'
)


def bar_page(*timestamps: int, cursor: str | None = None) -> Answer:
    bars = ",".join(BAR_TEXT % timestamp for timestamp in timestamps)
    following = "null" if cursor is None else f'"{cursor}"'
    text = f'{{"exchange":"binance","symbol":"BTC-USDT","bars":[{bars}],"next_cursor":{following}}}'
    return Answer(raw=text.encode())


def query(target: str) -> dict[str, list[str]]:
    return parse_qs(urlsplit(target).query)


async def test_numbers_keep_every_digit(platform: ScriptedPlatform, client: AsyncClient) -> None:
    platform.on(BARS, bar_page(1672531200))
    [bar] = await client.ohlcv("binance", "BTC-USDT").all()
    assert str(bar.volume) == "4500.230000000000000001"
    assert bar.volume_delta == Decimal("-150.78")
    assert bar.open_time == dt.datetime(2023, 1, 1, tzinfo=dt.UTC)
    with pytest.raises(AttributeError):
        bar.open = Decimal(0)  # type: ignore[misc]


async def test_pages_are_followed_as_they_are_read(platform: ScriptedPlatform, client: AsyncClient) -> None:
    platform.on(BARS, bar_page(0, 60, cursor="b"), bar_page(120, cursor="c"), bar_page(180))
    seen: list[int] = []
    asked: list[int] = []
    async for bar in client.ohlcv("binance", "BTC-USDT", start=START, end="2025-07-02T00:00:00Z"):
        seen.append(bar.timestamp)
        asked.append(len(platform.asked))
    assert seen == [0, 60, 120, 180]
    assert asked == [1, 1, 2, 3]
    queries = [query(target) for target in platform.targets()]
    assert [found.get("cursor") for found in queries] == [None, ["b"], ["c"]]
    assert {found["start"][0] for found in queries} == {"2025-07-01T00:00:00Z"}


async def test_a_limit_counts_over_all_pages(platform: ScriptedPlatform, client: AsyncClient) -> None:
    platform.on(BARS, bar_page(0, 60, cursor="b"), bar_page(120, 180, cursor="c"))
    bars = await client.ohlcv("binance", "BTC-USDT", start=0, limit=3).all()
    assert [bar.timestamp for bar in bars] == [0, 60, 120]
    assert len(platform.asked) == 2


async def test_without_a_start_the_latest_rows_are_asked_for(platform: ScriptedPlatform, client: AsyncClient) -> None:
    platform.on(BARS, bar_page(0))
    await client.ohlcv("binance", "BTC-USDT", limit=5).all()
    assert query(platform.targets()[0]) == {"interval": ["1m"], "limit": ["5"]}


async def test_more_of_the_latest_than_the_platform_gives_is_refused_instead_of_cut(client: AsyncClient) -> None:
    for rows in (client.ohlcv, client.trades):
        with pytest.raises(ValueError, match="give a start"):
            rows("binance", "BTC-USDT", limit=10_001)


async def test_a_slash_inside_a_symbol_is_part_of_it(platform: ScriptedPlatform, client: AsyncClient) -> None:
    platform.on(
        "GET /api/v1/trades/kraken/XBT%2FUSD", Answer({"exchange": "kraken", "symbol": "XBT/USD", "trades": []})
    )
    assert await client.trades("kraken", "XBT/USD").all() == []


async def test_trades_have_numbers_or_text_as_ids(platform: ScriptedPlatform, client: AsyncClient) -> None:
    text = (
        '{"exchange":"bybit","symbol":"x","trades":['
        '{"trade_id":7,"timestamp":1672531200.123456,"price":0.10,"quantity":1,"side":"sell"},'
        '{"trade_id":"a-b","timestamp":1672531201,"price":0.1,"quantity":1e-8,"side":"unknown"}],"next_cursor":null}'
    )
    platform.on("GET /api/v1/trades/bybit/x", Answer(raw=text.encode()))
    first, second = await client.trades("bybit", "x").all()
    assert first == Trade(7, Decimal("1672531200.123456"), Decimal("0.10"), Decimal(1), "sell")
    assert first.time.microsecond == 123456
    assert second.trade_id == "a-b"


async def test_completeness_pages_tell_the_missing_ids(platform: ScriptedPlatform, client: AsyncClient) -> None:
    minute = {
        "timestamp": 60,
        "status": "gap",
        "cause": "sequence",
        "trades": 3,
        "first_trade_id": 1,
        "last_trade_id": 9,
    }
    page = {"exchange": "okx", "symbol": "x", "minutes": [minute], "missing_ids": [[4, 8]], "next_cursor": None}
    platform.on("GET /api/v1/completeness/okx/x", Answer(page))
    [found] = [page async for page in client.completeness("okx", "x", start=60, end=120).pages()]
    assert found.missing_ids == ((4, 8),)
    assert found.minutes[0].cause == "sequence"


async def test_the_other_routes_are_asked_as_the_contract_writes_them(
    platform: ScriptedPlatform, client: AsyncClient
) -> None:
    kline = {"timestamp": 1, "date": "d", "open": 1, "high": 1, "low": 1, "close": 1, "volume": 1}
    candle = {"candle_time": "2025-07-01T00:00:00", "symbol": "BINANCE:BTCUSDT.P"} | dict.fromkeys(
        ("open", "high", "low", "close", "volume"), 1.5
    )
    metadata = {"total_records": 1, "limit": 1, "offset": 0, "has_more": False, "query_time_ms": 1.2}
    candles = {"success": True, "data": [candle], "metadata": metadata | {"timestamp": "2025-11-13T10:30:45.123Z"}}
    platform.on("GET /exchanges", Answer({"exchanges": ["binance"]}))
    platform.on("GET /okx/symbols", Answer({"symbols": ["BTC-USDT"]}))
    platform.on("GET /klines/binance/BTC-USD", Answer([kline]))
    platform.on("GET /api/v1/ohlcv", Answer(candles))
    platform.on("GET /api/v1/ohlcv/latest", Answer(candles))
    platform.on("GET /health", Answer({"status": "healthy", "version": "1", "timestamp": "2025-11-13T10:30:45.123Z"}))

    assert (await client.exchanges()).exchanges == ("binance",)
    assert (await client.symbols("okx", spelling="canonical")).symbols == ("BTC-USDT",)
    day = dt.date(2025, 1, 7)
    assert len(await client.klines("binance", "BTC-USD", start_date=dt.date(2025, 1, 1), end_date=day)) == 1
    [found] = (await client.candles("BINANCE:BTCUSDT.P", start=START, limit=1)).data
    assert found.open_time == START
    assert (await client.latest_candle("BINANCE:BTCUSDT.P")).data == (found,)
    assert (await client.health()).status == "healthy"
    assert platform.targets() == [
        "/exchanges",
        "/okx/symbols?format=canonical",
        "/klines/binance/BTC-USD?interval=1d&start_date=2025-01-01&end_date=2025-01-07",
        "/api/v1/ohlcv?symbol=BINANCE%3ABTCUSDT.P&start=2025-07-01T00%3A00%3A00Z&interval=1m&limit=1&offset=0",
        "/api/v1/ohlcv/latest?symbol=BINANCE%3ABTCUSDT.P&interval=1m",
        "/health",
    ]


def arrow_bars() -> bytes:
    """An export as history makes it."""
    price = pa.decimal128(38, 18)
    columns = {"timestamp": pa.array([0, 60], pa.int64()).cast(pa.timestamp("s", "UTC"))}
    for name in ("open", "high", "low", "close", "volume", "volume_delta"):
        columns[name] = pa.array([Decimal("0.1"), Decimal("16542.3")], price)
    columns["trades"] = pa.array([1, 2])
    columns["status"] = pa.array(["final", "revised"])
    columns["revision"] = pa.array([0, 1])
    columns["volume_unknown"] = pa.array([Decimal(0), Decimal(0)], price)
    table = pa.table(columns)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def bars_or_arrow(asked: Asked) -> Answer:
    if asked.accept == "application/vnd.apache.arrow.stream":
        return Answer(raw=arrow_bars())
    return bar_page(0, 60)


async def test_a_whole_range_becomes_a_frame_by_an_arrow_export(
    platform: ScriptedPlatform, client: AsyncClient
) -> None:
    platform.script(BARS, bars_or_arrow)
    rows = client.ohlcv("binance", "BTC-USDT", start=0)
    frame = await rows.to_pandas()
    assert frame["close"].tolist() == [0.1, 16542.3]
    assert str(frame["timestamp"].dtype) == "datetime64[ns, UTC]"
    assert platform.asked[-1].accept == "application/vnd.apache.arrow.stream"
    assert "limit" not in platform.targets()[-1]
    exact = await rows.to_pandas(exact=True)
    assert exact["close"][1] == Decimal("16542.3")


async def test_frames_of_rows_and_of_exports_have_the_same_columns(
    platform: ScriptedPlatform, client: AsyncClient
) -> None:
    platform.script(BARS, bars_or_arrow)
    export, latest = client.ohlcv("binance", "BTC-USDT", start=0), client.ohlcv("binance", "BTC-USDT")
    for exact in (False, True):
        exported, made = await export.to_pandas(exact=exact), await latest.to_pandas(exact=exact)
        assert dict(exported.dtypes) == dict(made.dtypes)
        polars_exported, polars_made = await export.to_polars(exact=exact), await latest.to_polars(exact=exact)
        assert polars_exported.schema == polars_made.schema
    assert (await latest.to_polars())["close"].dtype == pl.Float64


async def test_no_rows_make_a_frame_with_all_columns(platform: ScriptedPlatform, client: AsyncClient) -> None:
    platform.on(BARS, bar_page())
    frame = await client.ohlcv("binance", "BTC-USDT").to_pandas()
    assert len(frame) == 0
    assert list(frame.columns)[:2] == ["timestamp", "open"]


async def test_a_library_that_is_not_there_is_named_before_anything_is_asked(
    platform: ScriptedPlatform, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr(dataframes.importlib, "import_module", refuse)
    with pytest.raises(MissingLibrary, match=r'pip install "crosstape-client\[polars\]"'):
        await client.ohlcv("binance", "BTC-USDT").to_polars()
    assert platform.asked == []


async def test_an_export_is_saved_as_the_file_it_is(
    platform: ScriptedPlatform, client: AsyncClient, tmp_path: Path
) -> None:
    platform.on(BARS, Answer(raw=b"PAR1"))
    await client.ohlcv("binance", "BTC-USDT", start=0).save(tmp_path / "bars.parquet")
    assert (tmp_path / "bars.parquet").read_bytes() == b"PAR1"
    assert platform.asked[0].accept == "application/vnd.apache.parquet"


async def test_an_export_that_breaks_off_leaves_no_file(
    platform: ScriptedPlatform, client: AsyncClient, tmp_path: Path
) -> None:
    platform.on(BARS, Answer(raw=b"timestamp,op", cut=True))
    with pytest.raises(ConnectionFailed, match="broke off"):
        await client.ohlcv("binance", "BTC-USDT", start=0).save(tmp_path / "bars.csv")
    assert list(tmp_path.iterdir()) == []


async def test_what_cannot_be_exported_is_refused(client: AsyncClient, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="whole ranges"):
        await client.ohlcv("binance", "BTC-USDT", limit=3).save(tmp_path / "bars.csv")
    with pytest.raises(ValueError, match="must end in"):
        await client.ohlcv("binance", "BTC-USDT", start=0).save(tmp_path / "bars.xlsx")


async def test_an_answer_of_another_shape_is_said_to_be_one(platform: ScriptedPlatform, client: AsyncClient) -> None:
    platform.on("GET /exchanges", Answer({"hello": "I am another server"}))
    with pytest.raises(UnexpectedAnswer, match="GET /exchanges"):
        await client.exchanges()


def test_bars_have_the_fields_that_rest_shows() -> None:
    shown = ("timestamp", "open", "high", "low", "close", "volume", "volume_delta", "trades", "status", "revision")
    assert Bar.__struct_fields__[: len(shown)] == shown
