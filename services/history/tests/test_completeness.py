"""Completeness, watermarks and the audit: what is missing is seen and stays visible."""

from __future__ import annotations

import hashlib
import time

import msgspec
import pytest
from aiokafka.partitioner import DefaultPartitioner

from crosstape.common.bus.consumer import Share
from crosstape.common.bus.topics import TRADES, market_key
from crosstape.common.market.bar import Interval, fold_bars
from crosstape.common.market.ledger import Coverage, Gap, GapState
from crosstape.common.market.trade import Trade
from crosstape.common.testing.builders import make_trade
from crosstape.common.testing.strategies import START
from crosstape.history.api import missing
from crosstape.history.api.ledger import Ledger, LedgerGap, lasts
from crosstape.history.api.spans import Spans
from crosstape.history.store import Store
from services.history.tests.conftest import Client
from services.history.tests.harness import FakeExchanges, Sink, new_symbol

SECOND = 10**9
OPEN = START // SECOND


def at(symbol: str, trade_id: int, second: int) -> Trade:
    return make_trade(trade_id, symbol=symbol, time=START + second * SECOND)


def partition(symbol: str, partitions: int) -> int:
    """Where the bus puts the trades of a market of binance in a topic of so many partitions."""
    places = list(range(partitions))
    return int(DefaultPartitioner()(market_key("binance", symbol), places, places))


def gap(symbol: str, first: int | None, last: int | None, seconds: tuple[int, int], state: GapState) -> Gap:
    start, end = (START + second * SECOND for second in seconds)
    return Gap("binance", symbol, first, last, start, end, "disconnect", state, 0, START)


async def statuses(client: Client, symbol: str, minutes: int) -> tuple[list[str], list[list[int]]]:
    body = (await client(f"/api/v1/completeness/binance/{symbol}?start={OPEN}&end={OPEN + 60 * minutes}")).json
    return [minute["status"] for minute in body["minutes"]], body["missing_ids"]


async def test_each_minute_says_what_is_known_of_it(client: Client, sink: Sink, symbol: str) -> None:
    await sink.insert([at(symbol, i, s) for i, s in ((1, 5), (2, 6), (3, 130), (6, 310), (7, 320))])
    await sink.close_all()
    await sink.writer.store_events(
        [
            Coverage("binance", symbol, START, START + 100 * SECOND),
            Coverage("binance", symbol, START + 90 * SECOND, START + 240 * SECOND),
            gap(symbol, None, None, (130, 140), GapState.OPEN),
            msgspec.structs.replace(gap(symbol, None, None, (130, 140), GapState.REPAIRED), time=START + 1),
        ]
    )
    found, missing = await statuses(client, symbol, 8)
    assert found == ["complete", "quiet", "gap", "gap", "gap", "gap", "unknown", "unknown"]
    assert missing == [[4, 5]]
    await sink.insert([at(symbol, 4, 131), at(symbol, 5, 132)])
    await sink.close_all()
    found, missing = await statuses(client, symbol, 8)
    assert found == ["complete", "quiet", "repaired", "quiet", "quiet", "unknown", "unknown", "unknown"]
    assert missing == []


async def test_consecutive_ids_vouch_for_minutes_that_nobody_was_connected_in(
    client: Client, sink: Sink, symbol: str
) -> None:
    await sink.insert([at(symbol, i, s) for i, s in ((1, 30), (2, 70), (3, 200), (4, 250))])
    await sink.close_all()
    found, _ = await statuses(client, symbol, 5)
    assert found == ["unknown", "complete", "quiet", "complete", "unknown"]


async def test_an_open_gap_whose_teller_died_ends_when_the_tape_has_its_ids(
    client: Client, sink: Sink, symbol: str
) -> None:
    await sink.insert([at(symbol, i, i) for i in (1, 2, 5, 6)])
    await sink.writer.store_events(
        [Coverage("binance", symbol, START, START + 60 * SECOND), gap(symbol, 3, 4, (2, 5), GapState.OPEN)]
    )
    assert await statuses(client, symbol, 1) == (["gap"], [[3, 4]])
    await sink.insert([at(symbol, 3, 3), at(symbol, 4, 4)])
    await sink.close_all()
    assert await statuses(client, symbol, 1) == (["repaired"], [])


async def test_an_open_outage_ends_when_the_history_vouches_for_its_interval(
    client: Client, sink: Sink, symbol: str
) -> None:
    await sink.insert([at(symbol, 1, 70)])
    await sink.close_all()
    await sink.writer.store_events(
        [
            Coverage("binance", symbol, START, START + 20 * SECOND),
            gap(symbol, None, None, (20, 30), GapState.OPEN),
            Coverage("binance", symbol, START + 30 * SECOND, START + 60 * SECOND),
        ]
    )
    assert (await statuses(client, symbol, 1))[0] == ["gap"]
    await sink.writer.store_events([Coverage("binance", symbol, START + 10 * SECOND, START + 40 * SECOND)])
    assert (await statuses(client, symbol, 1))[0] == ["repaired"]


@pytest.mark.parametrize(("state", "is_lost"), [(GapState.OPEN, True), (GapState.REPAIRED, False)])
def test_what_the_bus_lost_lacks_until_it_is_repaired_though_its_time_was_vouched_for(
    *, state: GapState, is_lost: bool
) -> None:
    lost = LedgerGap(-1, -1, 3, 4, "bus", state)
    assert lasts(lost, Ledger((0, 10), [(0, 10)], [lost]), Spans([(0, 10)])) is is_lost


async def test_ids_the_exchange_calls_absent_are_not_missing(client: Client, sink: Sink, symbol: str) -> None:
    await sink.insert([at(symbol, 1, 5), at(symbol, 9, 6)])
    await sink.writer.store_events([gap(symbol, 3, 4, (5, 6), GapState.ABSENT)])
    assert (await statuses(client, symbol, 1))[1] == [[2, 2], [5, 8]]
    await sink.writer.store_events([gap(symbol, 2, 8, (5, 6), GapState.ABSENT)])
    assert (await statuses(client, symbol, 1))[1] == []


async def test_holes_of_many_pages_are_all_told(
    client: Client, sink: Sink, symbol: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(missing, "PAGE_HOLES", 2)
    await sink.insert([at(symbol, 3 * n, 9 * n) for n in range(1, 7)])
    found, holes = await statuses(client, symbol, 1)
    assert holes == [[3 * n + 1, 3 * n + 2] for n in range(1, 6)]
    assert found == ["gap"]


@pytest.mark.parametrize(("partitions", "minutes_ago"), [(TRADES.partitions, 2), (2 * TRADES.partitions, 1)])
async def test_a_minute_is_quiet_only_when_its_partition_is_stored_that_far(
    client: Client, store: Store, symbol: str, partitions: int, minutes_ago: int
) -> None:
    sink = Sink(store, Share(partitions, range(partitions)))
    minute = int(time.time()) // 60 * 60 - 60 * minutes_ago
    await sink.writer.store_events([Coverage("binance", symbol, minute * SECOND, (minute + 60) * SECOND)])

    async def status_after_a_trade_in(other: str) -> str:
        await sink.insert([make_trade(1, symbol=other, time=(minute + 59) * SECOND)])
        await sink.close_all()
        target = f"/api/v1/completeness/binance/{symbol}?start={minute}&end={minute + 60}"
        [found] = (await client(target)).json["minutes"]
        return str(found["status"])

    others = [new_symbol() for _ in range(300)]
    near = [other for other in others if partition(other, partitions // 2) == partition(symbol, partitions // 2)]
    stranger = next(other for other in near if partition(other, partitions) != partition(symbol, partitions))
    neighbour = next(other for other in near if partition(other, partitions) == partition(symbol, partitions))
    assert await status_after_a_trade_in(stranger) == "unknown"
    assert await status_after_a_trade_in(neighbour) == "quiet"


async def test_a_gap_that_cannot_be_filled_stays_visible(client: Client, sink: Sink, symbol: str) -> None:
    await sink.insert([at(symbol, 1, 180)])
    await sink.close_all()
    await sink.writer.store_events(
        [
            Coverage("binance", symbol, START, START + 180 * SECOND),
            gap(symbol, None, None, (70, 80), GapState.UNFILLABLE),
        ]
    )
    assert (await statuses(client, symbol, 3))[0] == ["quiet", "gap", "quiet"]


async def test_a_gap_that_one_ingestor_could_not_fill_and_another_did_is_repaired(
    client: Client, sink: Sink, symbol: str
) -> None:
    await sink.insert([at(symbol, number, 20 * number) for number in range(1, 9)])
    await sink.close_all()
    await sink.writer.store_events([gap(symbol, 4, 5, (80, 100), GapState.UNFILLABLE)])
    assert (await statuses(client, symbol, 3))[0][1] == "repaired"


async def test_pages_of_minutes_join(client: Client, sink: Sink, symbol: str) -> None:
    await sink.insert([at(symbol, i, i * 60) for i in (0, 1, 4, 5)])
    await sink.close_all()
    seen, missing, cursor = [], set(), ""
    while cursor is not None:
        extra = f"&cursor={cursor}" if cursor else ""
        body = (
            await client(f"/api/v1/completeness/binance/{symbol}?start={OPEN}&end={OPEN + 360}&limit=2{extra}")
        ).json
        seen += [minute["timestamp"] - OPEN for minute in body["minutes"]]
        missing |= {tuple(ids) for ids in body["missing_ids"]}
        cursor = body["next_cursor"]
    assert seen == list(range(0, 360, 60))
    assert missing == {(2, 3)}


async def test_a_range_over_a_month_is_refused(client: Client, symbol: str) -> None:
    answer = await client(f"/api/v1/completeness/binance/{symbol}?start=0&end=3000000")
    assert answer.status == 422
    assert "31 days" in answer.json["message"]


async def test_without_a_start_it_is_the_last_hour(client: Client, symbol: str) -> None:
    minutes = (await client(f"/api/v1/completeness/binance/{symbol}?end={OPEN}")).json["minutes"]
    assert [minute["timestamp"] - OPEN for minute in minutes] == list(range(-3600, 0, 60))


async def test_watermarks_name_the_newest_trade_and_the_holes(client: Client, sink: Sink, symbol: str) -> None:
    trades = [at(symbol, i, s) for i, s in ((1, 5), (2, 6), (5, 70), (9, 200))]
    trades = [msgspec.structs.replace(trade, exchange="kraken") for trade in trades]
    await sink.insert(trades[:3])
    await sink.close_all()
    await sink.insert(trades[3:])
    unseen = (await client("/internal/watermarks/kraken")).json["markets"]
    await client(f"/api/v1/ohlcv/kraken/{symbol}")
    assert unseen == [
        {
            "symbol": symbol,
            "newest_trade_id": 9,
            "newest_time": START + 200 * SECOND,
            "holes": [
                [3, 4, START + 6 * SECOND, START + 70 * SECOND],
                [6, 8, START + 70 * SECOND, START + 200 * SECOND],
            ],
        }
    ]


async def test_closed_minutes_of_several_markets_are_one_answer_without_the_open_ones(
    client: Client, sink: Sink, symbol: str
) -> None:
    other = new_symbol()
    await sink.insert([at(symbol, 1, 5), at(symbol, 2, 65), at(other, 1, 66)])
    await sink.close_all()
    await sink.insert([at(symbol, 3, 6)])
    await sink.close_all()
    await sink.insert([at(symbol, 4, 130), at(other, 2, 130)])
    target = f"/internal/closed_minutes/binance?symbols={symbol}&symbols={other}&symbols=NO-NE&since="
    bars = (await client(f"{target}{OPEN}")).json["bars"]
    assert {(bar["symbol"], bar["timestamp"] - OPEN, bar["trades"], bar["status"]) for bar in bars} == {
        (symbol, 0, 2, "revised"),
        (symbol, 60, 1, "final"),
        (other, 60, 1, "final"),
    }
    rest = (await client(f"/api/v1/ohlcv/binance/{symbol}?start={OPEN}&end={OPEN + 120}&numbers=string")).json["bars"]
    assert [bar | {"symbol": symbol} for bar in rest] == [bar for bar in bars if bar["symbol"] == symbol]
    later = (await client(f"{target}{OPEN + 60}")).json["bars"]
    assert {bar["timestamp"] for bar in later} == {OPEN + 60}


async def test_of_trades_without_numbers_the_time_is_named_that_nobody_vouched_for_nor_gave_up(
    client: Client, sink: Sink, exchanges: FakeExchanges, symbol: str
) -> None:
    exchanges.lists["bybit"] = []

    def vouched(start: int, end: int) -> Coverage:
        return Coverage("bybit", symbol, (now - start) * SECOND, (now - end) * SECOND)

    def lost(start: int, end: int, state: GapState) -> Gap:
        first, last, told = (now - start) * SECOND, (now - end) * SECOND, now * SECOND
        return Gap("bybit", symbol, None, None, first, last, "restart", state, 0, told)

    async def uncovered() -> list[list[int]]:
        found = (await client("/internal/watermarks/bybit")).json["uncovered"][symbol]
        return [[start // SECOND - now, end // SECOND - now] for start, end in found]

    now = int(time.time())
    trade = make_trade("uuid-1", exchange="bybit", symbol=symbol, time=(now - 500) * SECOND)
    await sink.insert([trade])
    [[start, end]] = await uncovered()
    assert start == -500
    assert 0 <= end < 60

    await sink.writer.store_events([vouched(400, 300), vouched(350, 250), vouched(200, 100), vouched(90, 90)])
    await sink.writer.store_events([lost(90, 60, GapState.UNFILLABLE), lost(50, 40, GapState.OPEN)])
    *inner, [start, end] = await uncovered()
    assert inner == [[-250, -200], [-100, -90]]
    assert start == -60
    assert 0 <= end < 60


async def test_of_trades_without_numbers_what_the_bus_lost_is_named_until_it_is_repaired(
    client: Client, sink: Sink, exchanges: FakeExchanges, symbol: str
) -> None:
    exchanges.lists["bybit"] = []
    lost = Gap("bybit", symbol, None, None, START, START + SECOND, "bus", GapState.OPEN, 0, START)
    other = msgspec.structs.replace(lost, start=START + SECOND, cause="disconnect")
    await sink.insert([make_trade("uuid-1", exchange="bybit", symbol=symbol, time=START)])
    await sink.writer.store_events([lost, other, Coverage("bybit", symbol, START, START + 20 * SECOND)])
    assert (await client("/internal/watermarks/bybit")).json["lost_on_bus"] == {symbol: [[START, START + SECOND]]}
    await sink.writer.store_events([msgspec.structs.replace(lost, state=GapState.REPAIRED, time=START + 1)])
    assert (await client("/internal/watermarks/bybit")).json["lost_on_bus"] == {}


async def test_a_market_that_was_last_vouched_for_long_ago_is_uncovered_since(
    client: Client, sink: Sink, exchanges: FakeExchanges, symbol: str
) -> None:
    exchanges.lists["bybit"] = []
    await sink.insert([make_trade("uuid-1", exchange="bybit", symbol=symbol, time=START)])
    await sink.writer.store_events([Coverage("bybit", symbol, START, START + 20 * SECOND)])
    [[start, end]] = (await client("/internal/watermarks/bybit")).json["uncovered"][symbol]
    assert start == START + 20 * SECOND
    assert end > start


async def test_the_audit_recomputes_compares_and_hashes(client: Client, sink: Sink, symbol: str) -> None:
    trades = [at(symbol, i, i * 7) for i in range(1, 40)]
    await sink.insert(trades)
    await sink.close_all()
    span = "start=2025-07-01&end=2025-07-02"
    lines = (await client(f"/internal/verify/binance/{symbol}?{span}")).body.splitlines()
    report = msgspec.json.decode(lines[-1])
    minutes, seconds = fold_bars(trades, Interval.M1), fold_bars(trades, Interval.S1)
    canonical = "".join(
        f"binance|{symbol}|60|{b.open_time}|{b.open}|{b.high}|{b.low}|{b.close}|{b.volume}|{b.volume_delta}|"
        f"{b.volume_unknown}|{b.trades}|{b.first_trade_id}|{b.last_trade_id}\n"
        for b in minutes
    )
    assert report == {
        "result": "ok",
        "bars": len(minutes) + len(seconds),
        "mismatches": [],
        "missing_ids": [],
        "sha256": {"2025-07-01": hashlib.sha256(canonical.encode()).hexdigest()},
    }
    assert set(msgspec.json.decode(lines[0])) == {"checked_until", "bars"}


async def test_the_audit_finds_a_bar_that_its_trades_do_not_say(
    client: Client, sink: Sink, symbol: str, monkeypatch: object
) -> None:
    from crosstape.history.api import verify

    monkeypatch.setattr(verify, "CLOSING_SECONDS", 0)
    await sink.insert([at(symbol, 1, 1)])
    await sink.close_all()
    await sink.insert([at(symbol, 2, 2)])
    report = msgspec.json.decode((await client(f"/internal/verify/binance/{symbol}")).body.splitlines()[-1])
    assert report["result"] == "mismatch"
    assert [(m["interval"], m["open_time"] - OPEN) for m in report["mismatches"]] == [(60, 0), (1, 2)]


async def test_a_feed_is_as_old_as_its_newest_bar_or_word_and_the_tape_is_not_looked_through(sink: Sink) -> None:
    now, market = time.time_ns(), new_symbol()
    await sink.insert([make_trade(1, exchange="trading", symbol=market, time=now - 2 * SECOND)])
    assert "trading" not in dict(await sink.store.rows("feeds"))
    await sink.close_all()
    await sink.writer.store_events([Coverage("silent", market, now - 60 * SECOND, now - 20 * SECOND)])
    ages = dict(await sink.store.rows("feeds"))
    assert 0 <= ages["trading"] < 60_000
    assert 20_000 <= ages["silent"] < 60_000
    tables = await sink.store._run(lambda client: client.query("EXPLAIN ESTIMATE " + sink.store._sql("feeds")))
    assert {table for _, table, *_ in tables.result_rows} == {"bars", "coverage"}


async def test_status_tells_of_the_store_and_of_each_feed(client: Client, sink: Sink, symbol: str) -> None:
    now = time.time_ns()
    await sink.writer.store_events([Coverage("binance", symbol, now - 60 * SECOND, now - SECOND)])
    body = (await client("/internal/status")).json
    assert body["database"]["status"] == "up"
    assert body["feeds"]["binance"]["status"] == "up"
    assert body["feeds"]["binance"]["last_event_age_ms"] < 60_000
    assert body["feeds"]["okx"] == {"status": "down", "last_event_age_ms": None}
