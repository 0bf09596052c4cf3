"""Filled pages: what an empty interval is while it may yet fill, and months, which are as long as they are."""

from __future__ import annotations

import datetime as dt

import msgspec

from crosstape.common.market.ledger import Coverage, Gap, GapState
from crosstape.common.testing.builders import make_trade
from crosstape.common.testing.strategies import START
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
    for limit, first in ((1, 56), (2, 40), (3, 0), (60, 0), (64, 0)):
        seen: dict[int, int] = {month(n): trades[month(n)] for n in range(first)}
        cursor: str | None = ""
        while cursor is not None:
            page = f"&cursor={cursor}" if cursor else ""
            body = (await client(f"{target}&start={month(first)}&limit={limit}{page}")).json
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


async def test_a_minute_whose_trades_are_stored_and_not_in_a_bar_yet_is_not_filled(
    client: Client, sink: Sink, symbol: str
) -> None:
    opened = START // SECOND
    times = [(1, 5), (3, 125), (2, 65)]
    first, last, late = (make_trade(n, symbol=symbol, time=START + at * SECOND) for n, at in times)
    await sink.writer.store_events([Coverage("binance", symbol, START, START + 300 * SECOND)])
    await sink.insert([first, last])
    await sink.close_all()
    span = f"binance/{symbol}?start={opened}&end={opened + 180}"

    async def told() -> tuple[list[int], list[int], list[str]]:
        bars = [(await client(f"/api/v1/ohlcv/{span}&fill=zero&interval={one}")).json["bars"] for one in ("1m", "1s")]
        minutes = (await client(f"/api/v1/completeness/{span}")).json["minutes"]
        return *([bar["timestamp"] - opened for bar in page] for page in bars), [one["status"] for one in minutes]

    await sink.insert([late])
    assert await told() == (
        [0, 120],
        [second for second in range(180) if second != 65],
        ["complete", "unknown", "complete"],
    )
    await sink.close_all()
    assert await told() == ([0, 60, 120], [*range(180)], ["complete"] * 3)


async def test_an_interval_whose_trades_are_lost_is_not_filled(client: Client, sink: Sink, symbol: str) -> None:
    opened = START // SECOND
    trades = [
        make_trade(n, symbol=symbol, time=START + at * SECOND) for n, at in ((1, 5), (2, 130), (5, 250), (6, 310))
    ]
    await sink.insert(trades)
    await sink.close_all()
    lost = Gap(
        "binance",
        symbol,
        None,
        None,
        START + 61 * SECOND,
        START + 70 * SECOND,
        "malformed",
        GapState.UNFILLABLE,
        0,
        START,
    )
    repaired = msgspec.structs.replace(
        lost, start=START + 361 * SECOND, end=START + 362 * SECOND, state=GapState.REPAIRED
    )
    heard = Coverage("binance", symbol, START, START + 480 * SECOND)
    await sink.writer.store_events([heard, lost, repaired])
    target = f"/api/v1/ohlcv/binance/{symbol}?start={opened}&end={opened + 480}&fill=zero"
    bars = (await client(target)).json["bars"]
    assert [((bar["timestamp"] - opened) // 60, bar.get("filled", False)) for bar in bars] == [
        (0, False),
        (2, False),
        (4, False),
        (5, False),
        (6, True),
        (7, True),
    ]
