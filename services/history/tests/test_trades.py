"""The tape's route and the exports: cursors under inserts, ids of both kinds, one content in every layout."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crosstape.common.errors import DatabaseConnectionError
from crosstape.common.market.trade import TakerSide, Trade
from crosstape.common.testing.builders import make_trade
from crosstape.common.testing.strategies import START
from crosstape.common.web.layout import Layout
from crosstape.history.api import export
from services.history.tests.conftest import Client
from services.history.tests.harness import Sink

SECOND = 10**9
OPEN = START // SECOND


def numbered(symbol: str, first: int, count: int) -> list[Trade]:
    sides = list(TakerSide)
    return [
        make_trade(
            i,
            symbol=symbol,
            time=START + i * SECOND + 123_456_789,
            price=f"{i + 1}.50",
            quantity="0.000000010",
            side=sides[i % 3],
        )
        for i in range(first, first + count)
    ]


def texts(symbol: str) -> list[Trade]:
    return [
        make_trade(f"{name}", symbol=symbol, time=START + 5 * SECOND + (n // 3) * 1_000_000)
        for n, name in enumerate(["b,x", 'a"q', "c d", "b", "a", "7f-1"])
    ]


async def walk(client: Client, symbol: str, limit: int, between: list[list[Trade]], sink: Sink) -> list[int | str]:
    seen: list[int | str] = []
    cursor: str | None = ""
    while cursor is not None:
        extra = f"&cursor={cursor}" if cursor else ""
        body = (await client(f"/api/v1/trades/binance/{symbol}?start={OPEN}&limit={limit}{extra}")).json
        seen += [trade["trade_id"] for trade in body["trades"]]
        cursor = body["next_cursor"]
        if between:
            await sink.insert(between.pop())
    return seen


async def test_a_trade_as_the_contract_shows_it(client: Client, sink: Sink, symbol: str) -> None:
    await sink.insert(numbered(symbol, 0, 3))
    answer = await client(f"/api/v1/trades/binance/{symbol}?start={OPEN}&limit=2")
    body = json.loads(answer.body, parse_float=Decimal)
    assert body["trades"][1] == {
        "trade_id": 1,
        "timestamp": Decimal(f"{OPEN + 1}.123456"),
        "price": Decimal("2.5"),
        "quantity": Decimal("0.00000001"),
        "side": list(TakerSide)[1].name.lower(),
    }
    assert b"0.00000001" in answer.body
    for span in (f"start={OPEN}&limit=2", "limit=2"):
        quoted = json.loads(
            (await client(f"/api/v1/trades/binance/{symbol}?{span}&numbers=string")).body, parse_float=Decimal
        )["trades"]
        assert all(isinstance(trade["timestamp"], Decimal) for trade in quoted), "a time is no price"
        assert (quoted[-1]["price"], quoted[0]["quantity"][:4]) == (f"{quoted[-1]['trade_id'] + 1}.5", "0.00")
    latest = (await client(f"/api/v1/trades/binance/{symbol}?limit=2")).json
    assert [trade["trade_id"] for trade in latest["trades"]] == [1, 2]


@pytest.mark.parametrize("limit", [1, 2, 5])
async def test_cursors_give_every_trade_once_while_others_arrive(
    client: Client, sink: Sink, symbol: str, limit: int
) -> None:
    await sink.insert(numbered(symbol, 0, 7))
    later = [numbered(symbol, 0, 7), numbered(symbol, 7, 3)]
    assert await walk(client, symbol, limit, later, sink) == list(range(10))


@pytest.mark.parametrize("limit", [1, 2, 4])
async def test_cursors_hold_for_ids_that_are_texts(client: Client, sink: Sink, symbol: str, limit: int) -> None:
    await sink.insert(texts(symbol))
    seen = await walk(client, symbol, limit, [], sink)
    assert sorted(map(str, seen)) == sorted(str(trade.trade_id) for trade in texts(symbol))


@pytest.mark.parametrize("ids", ["numbers", "texts"])
async def test_every_layout_holds_the_same_trades(
    client: Client, sink: Sink, symbol: str, ids: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "PAGE_ROWS", 2)
    await sink.insert(numbered(symbol, 0, 7) if ids == "numbers" else texts(symbol))
    target = f"/api/v1/trades/binance/{symbol}?start={OPEN}"
    rows = json.loads((await client(target)).body, parse_float=str, parse_int=str)["trades"]
    table = list(csv.DictReader(io.StringIO((await client(target, accept="text/csv")).body.decode())))
    assert table == rows
    arrow = await client(target, accept="application/vnd.apache.arrow.stream")
    parquet = await client(target, accept="application/vnd.apache.parquet")
    assert arrow.headers["content-type"] == "application/vnd.apache.arrow.stream"
    columns = pa.ipc.open_stream(arrow.body).read_all()
    assert columns.to_pylist() == pq.read_table(io.BytesIO(parquet.body)).to_pylist()
    assert columns["price"].to_pylist() == [Decimal(row["price"]) for row in rows]
    assert columns["trade_id"].to_pylist() == [row["trade_id"] for row in rows]
    assert columns["timestamp"].cast(pa.int64())[0].as_py() // 1000 == int(Decimal(rows[0]["timestamp"]) * 1_000_000)


async def test_every_layout_holds_the_same_bars(
    client: Client, sink: Sink, symbol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "PAGE_ROWS", 40)
    await sink.insert(numbered(symbol, 0, 150))
    await sink.close_all()
    for interval in ("1s", "1m", "5m"):
        target = f"/api/v1/ohlcv/binance/{symbol}?start={OPEN}&interval={interval}"
        rows = json.loads((await client(target)).body, parse_float=str, parse_int=str)["bars"]
        table = list(csv.DictReader(io.StringIO((await client(target, accept="text/csv")).body.decode())))
        assert table == rows
        columns = pa.ipc.open_stream(
            (await client(target, accept="application/vnd.apache.arrow.stream")).body
        ).read_all()
        assert columns["volume"].to_pylist() == [Decimal(row["volume"]) for row in rows]
        assert columns["trades"].to_pylist() == [int(row["trades"]) for row in rows]
        assert {columns.schema.field(name).type for name in ("trades", "revision")} == {pa.int64()}


async def test_an_export_of_nothing_still_has_its_columns(client: Client, symbol: str) -> None:
    answer = await client(f"/api/v1/trades/binance/{symbol}?start=0&end=60", accept="text/csv")
    assert (answer.status, answer.body.decode().strip()) == (200, '"trade_id","timestamp","price","quantity","side"')


@pytest.mark.parametrize("kind", ["trades", "ohlcv"])
@pytest.mark.parametrize("layout", list(Layout))
async def test_an_export_that_the_database_cannot_begin_is_an_error_like_any_other(
    client: Client, sink: Sink, symbol: str, kind: str, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*query: object, **parameters: object) -> None:
        raise DatabaseConnectionError("away")

    await client(f"/api/v1/{kind}/binance/{symbol}")
    monkeypatch.setattr(sink.store, "arrow", away)
    monkeypatch.setattr(sink.store, "text", away)
    answer = await client(f"/api/v1/{kind}/binance/{symbol}", accept=layout.value)
    assert (answer.status, answer.json["error_code"]) == (503, "DATABASE_CONNECTION_ERROR")
