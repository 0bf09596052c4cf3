"""Walks through a paged history that behaves as each exchange documents its own."""

from __future__ import annotations

import datetime as dt

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crosstape.common.market.instrument import Instrument
from crosstape.exchanges import DIALECTS
from crosstape.exchanges.dialect import HistoryQuery

MILLISECOND = 1_000_000
EPOCH = 1_700_000_000_000
"""Milliseconds of the first trade."""

Tape = list[tuple[int, int]]
"""(id, ms), oldest first: the whole history of a market."""


def iso(ms):
    return f"{dt.datetime.fromtimestamp(ms // 1_000, dt.UTC):%Y-%m-%dT%H:%M:%S}.{ms % 1_000:03d}000Z"


def binance(tape: Tape, request):
    """`historicalTrades`: `limit` trades from `fromId` on; `aggTrades`: the first from `startTime` on."""
    if request.path.endswith("aggTrades"):
        return [{"f": i} for i, ms in tape if ms >= int(request.params["startTime"])][:1]
    rows = [row for row in tape if row[0] >= int(request.params["fromId"])][: int(request.params["limit"])]
    return [{"id": i, "price": "1", "qty": "1", "time": ms, "isBuyerMaker": True} for i, ms in rows]


def kraken(tape: Tape, request):
    """`Trades`: `count` trades after the instant `since` (ns), and the instant of the last one."""
    rows = [row for row in tape if row[1] * MILLISECOND > int(request.params["since"])][: int(request.params["count"])]
    trades = [["1", "1", msgspec.Raw(f"{ms // 1000}.{ms % 1000:03d}".encode()), "b", "l", "", i] for i, ms in rows]
    last = rows[-1][1] * MILLISECOND if rows else int(request.params["since"])
    return {"error": [], "result": {"PAIR": trades, "last": str(last)}}


def coinbasepro(tape: Tape, request):
    """`/trades`: `limit` trades with ids below `after`, newest first."""
    rows = [row for row in reversed(tape) if row[0] < int(request.params.get("after", 1 << 62))]
    return [
        {"trade_id": i, "side": "buy", "size": "1", "price": "1", "time": iso(ms)}
        for i, ms in rows[: int(request.params["limit"])]
    ]


def okx(tape: Tape, request):
    """`history-trades`: `limit` trades below an id (type 1) or a time (type 2), newest first."""
    column = 0 if request.params["type"] == "1" else 1
    rows = [row for row in reversed(tape) if row[column] < int(request.params["after"])]
    data = [
        {"tradeId": str(i), "px": "1", "sz": "1", "side": "buy", "ts": str(ms)}
        for i, ms in rows[: int(request.params["limit"])]
    ]
    return {"code": "0", "msg": "", "data": data}


EXCHANGES = {
    "binance": (binance, 2_300),
    "kraken": (kraken, 2_300),
    "coinbasepro": (coinbasepro, 2_300),
    "okx": (okx, 250),
}


def walk(exchange, tape, query):
    """Every page of `query`, read from what the exchange would answer."""
    dialect, (answer, _) = DIALECTS[exchange], EXCHANGES[exchange]
    for _ in range(60):
        body = msgspec.json.encode(answer(tape, dialect.history(query)))
        page = dialect.decode_history(query, body, 1)
        yield page
        if page.cursor is None:
            return
        assert page.cursor != query.cursor
        query = msgspec.structs.replace(query, cursor=page.cursor)
    raise AssertionError("the walk does not end")


@st.composite
def tapes(draw, longest):
    """Ids 1..n; times that stand still or go on."""
    length = draw(st.integers(1, longest))
    per_instant = draw(st.integers(1, 40))
    step = draw(st.integers(1, 50))
    return [(i + 1, EPOCH + i // per_instant * step) for i in range(length)]


def query_of(exchange, tape, first, last, *, by_id):
    instrument = Instrument(exchange, "BTCUSDT", "BTC", "USDT")
    start, end = (tape[i - 1][1] * MILLISECOND for i in (first, last))
    return HistoryQuery(instrument, first if by_id else None, last if by_id else None, start, end)


@pytest.mark.parametrize("exchange", EXCHANGES)
@settings(max_examples=25)
@given(data=st.data(), by_id=st.booleans())
def test_the_pages_hold_every_wanted_trade_and_say_that_nothing_is_missing(exchange, data, by_id):
    tape = data.draw(tapes(EXCHANGES[exchange][1]))
    first = data.draw(st.integers(1, len(tape)))
    last = data.draw(st.integers(first, len(tape)))
    query = query_of(exchange, tape, first, last, by_id=by_id)
    pages = list(walk(exchange, tape, query))
    ids = [trade.trade_id for page in pages for trade in page.trades]
    assert set(range(first, last + 1)) <= set(ids)
    times = {trade.trade_id: trade.time for page in pages for trade in page.trades}
    assert all(times[i] == ms * MILLISECOND for i, ms in tape if i in times)
    assert pages[-1].reaches_back
    if exchange != "kraken":  # asks for a page's last instant again, as others may have traded in it
        assert len(ids) == len(set(ids))


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_an_old_time_is_found_without_walking_through_all_that_came_since(exchange):
    tape = [(i, EPOCH + i * 10) for i in range(1, 100_001)]
    query = query_of(exchange, tape, 5_000, 5_050, by_id=False)
    pages = list(walk(exchange, tape, query))
    assert {t.trade_id for p in pages for t in p.trades} >= set(range(5_000, 5_051))
    assert pages[-1].reaches_back
    assert len(pages) <= 12


@pytest.mark.parametrize("length", [1, 999, 1_001, 2_001, 50_000])
def test_before_a_markets_first_trade_nothing_is_missing(length):
    tape = [(i, EPOCH + i * 10) for i in range(1, length + 1)]
    query = HistoryQuery(Instrument("coinbasepro", "BTC-USD", "BTC", "USD"), None, None, 1, 2)
    assert list(walk("coinbasepro", tape, query))[-1].reaches_back


@pytest.mark.parametrize("exchange", EXCHANGES)
@pytest.mark.parametrize("first", [15, 20, 25])
def test_a_history_that_ends_before_the_wanted_ids_tells_how_far_it_goes(exchange, first):
    tape = [(i, EPOCH + i) for i in range(1, 20)]
    start = (EPOCH + first) * MILLISECOND
    query = HistoryQuery(Instrument(exchange, "BTCUSDT", "BTC", "USDT"), first, 25, start, 1 << 62)
    pages = list(walk(exchange, tape, query))
    assert pages[-1].reaches_back
    ids = {trade.trade_id for page in pages for trade in page.trades}
    assert max(ids, default=0) <= 19
    assert set(range(first, 20)) <= ids


@pytest.mark.parametrize("exchange", ["coinbasepro", "okx"])
def test_ids_older_than_the_history_are_not_called_absent(exchange):
    tape = [(i, EPOCH + i) for i in range(100, 120)]
    query = HistoryQuery(Instrument(exchange, "BTCUSDT", "BTC", "USDT"), 50, 110, EPOCH * MILLISECOND, 1 << 62)
    pages = list(walk(exchange, tape, query))
    assert {t.trade_id for p in pages for t in p.trades} == set(range(100, 111))
    assert not pages[-1].reaches_back


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_an_id_that_the_exchange_left_out_is_known_to_be_absent(exchange):
    tape = [(i, EPOCH + i) for i in range(1, 60) if i not in (30, 31)]
    query = HistoryQuery(
        Instrument(exchange, "BTCUSDT", "BTC", "USDT"), 29, 32, (EPOCH + 29) * MILLISECOND, (EPOCH + 32) * MILLISECOND
    )
    pages = list(walk(exchange, tape, query))
    assert {t.trade_id for p in pages for t in p.trades} & {29, 30, 31, 32} == {29, 32}
    assert pages[-1].reaches_back
