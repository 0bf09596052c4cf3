"""Filled pages: what an empty interval is while it may yet fill, and months, which are as long as they are."""

from __future__ import annotations

import datetime as dt

from crosstape.common.market.ledger import Coverage
from crosstape.common.testing.builders import make_trade
from services.history.tests.conftest import Client
from services.history.tests.harness import Sink

SECOND = 10**9


def month(number: int) -> int:
    """The open (Unix s) of a month, counted from January 2020."""
    return int(dt.datetime(2020 + number // 12, number % 12 + 1, 1, tzinfo=dt.UTC).timestamp())


async def test_filled_months_are_whole_and_as_many_as_asked_for(client: Client, sink: Sink, symbol: str) -> None:
    times = [month(n) + day * 86_400 for n in (1, 2, 63) for day in (1, 14, 26)]
    await sink.insert([make_trade(i, symbol=symbol, time=second * SECOND) for i, second in enumerate(times)])
    await sink.close_all()
    await sink.writer.store_events([Coverage("binance", symbol, month(0) * SECOND, month(64) * SECOND)])
    target = f"/api/v1/ohlcv/binance/{symbol}?interval=1M&end={month(64)}&fill=zero"
    trades = {month(n): 3 if n in (1, 2, 63) else 0 for n in range(64)}
    for limit in (1, 2, 3, 60, 64):
        seen: dict[int, int] = {}
        cursor: str | None = ""
        while cursor is not None:
            page = f"&cursor={cursor}" if cursor else ""
            body = (await client(f"{target}&start={month(0)}&limit={limit}{page}")).json
            assert len(body["bars"]) <= limit
            seen |= {bar["timestamp"]: bar["trades"] for bar in body["bars"]}
            cursor = body["next_cursor"]
        assert seen == trades
        latest = (await client(f"{target}&limit={limit}")).json["bars"]
        assert {bar["timestamp"]: bar["trades"] for bar in latest} == dict([*trades.items()][-limit:])


async def test_an_empty_interval_is_provisional_while_nothing_later_is_closed(
    client: Client, sink: Sink, symbol: str
) -> None:
    opened = int(dt.datetime(2100, 1, 1, tzinfo=dt.UTC).timestamp())
    await sink.writer.store_events([Coverage("binance", symbol, opened * SECOND, (opened + 120) * SECOND)])
    target = f"/api/v1/ohlcv/binance/{symbol}?start={opened}&end={opened + 120}&fill=zero"
    bars = (await client(target)).json["bars"]
    assert [(bar["timestamp"] - opened, bar["status"]) for bar in bars] == [(0, "provisional"), (60, "provisional")]
