"""HTTP with an exchange that fails and floods, over a real server on the loopback."""

from __future__ import annotations

import aiohttp
import pytest
from aiohttp import web

from crosstape.common.errors import ExchangeError
from crosstape.common.market.bar import Interval
from crosstape.common.market.instrument import Instrument
from crosstape.exchanges import DIALECTS, rest
from crosstape.exchanges.dialect import HistoryQuery, HttpRequest
from crosstape.exchanges.rest import ExchangeRest, resolve
from libs.exchanges.tests.conftest import SNAPSHOT

SPOT = Instrument("binance", "BTCUSDT", "BTC", "USDT")


@pytest.fixture
def short_pauses(monkeypatch):
    """What is asked again is asked soon."""
    monkeypatch.setattr(rest, "FIRST_BACKOFF", 0.02)


def test_addresses_are_real_without_an_origin_and_mounted_with_one():
    binance = DIALECTS["binance"]
    assert resolve(binance, "spot.rest", None) == "https://api.binance.com"
    assert resolve(binance, "spot.rest", "http://127.0.0.1:9000") == "http://127.0.0.1:9000/binance/spot.rest"
    assert resolve(binance, "spot.stream", "http://sim:9000/") == "ws://sim:9000/binance/spot.stream"
    assert resolve(binance, "perpetual.stream", "https://sim") == "wss://sim/binance/perpetual.stream"


def test_every_address_a_dialect_uses_is_listed():
    for dialect in DIALECTS.values():
        assert {r.address for r in dialect.markets()} <= set(dialect.rate_limits) <= set(dialect.addresses)
        assert all(url.startswith(("https://", "wss://")) for url in dialect.addresses.values())


@pytest.mark.usefixtures("short_pauses")
async def test_failures_that_may_pass_are_asked_again(exchange, client):
    exchange.answer = lambda request, number: web.Response(status=502) if number < 3 else web.Response(text=SNAPSHOT)
    snapshot = await client().book_snapshot(SPOT)
    assert (snapshot.last_id, len(exchange.requests)) == (1, 3)
    assert exchange.requests[0].path == "/binance/spot.rest/api/v3/depth"
    assert exchange.requests[0].query["symbol"] == "BTCUSDT"


async def test_a_failure_that_stays_ends_at_the_deadline_without_naming_our_hosts(exchange, client):
    exchange.answer = lambda request, number: web.Response(status=500)
    with pytest.raises(ExchangeError, match="binance failed: status 500") as error:
        await client(deadline=0.4).book_snapshot(SPOT)
    assert "127.0.0.1" not in error.value.message


async def test_an_exchange_that_does_not_answer_is_an_exchange_error(exchange):
    async with aiohttp.ClientSession() as session:
        with pytest.raises(ExchangeError, match="no answer"):
            await ExchangeRest(DIALECTS["binance"], "http://127.0.0.1:9", session, deadline=0.2).book_snapshot(SPOT)


async def test_a_wrong_request_is_asked_once_and_says_what_the_exchange_said(exchange, client):
    exchange.answer = lambda request, number: web.Response(status=400, text='{"code":-1121,"msg":"Invalid symbol."}')
    with pytest.raises(ExchangeError, match="Invalid symbol"):
        await client().book_snapshot(SPOT)
    assert len(exchange.requests) == 1


async def test_a_redirect_is_not_followed(exchange, client):
    exchange.answer = lambda request, number: web.Response(status=302, headers={"Location": "http://169.254.169.254/"})
    with pytest.raises(ExchangeError, match="status 302"):
        await client().book_snapshot(SPOT)
    assert len(exchange.requests) == 1


async def test_a_body_is_given_as_it_was_sent(exchange, client):
    assert await client().body(HttpRequest("spot.rest", "/any", {"a": "b"})) == SNAPSHOT.encode()
    assert exchange.requests[0].query["a"] == "b"


async def test_an_answer_longer_than_the_bound_is_given_up(exchange, client, monkeypatch):
    monkeypatch.setattr(rest, "LONGEST_BODY", 10_000)
    exchange.answer = lambda request, number: web.Response(body=b"[" * 20_000)
    with pytest.raises(ExchangeError, match="longer than"):
        await client().book_snapshot(SPOT)


@pytest.mark.parametrize("body", ["<html>maintenance</html>", "[" * 100_000, "", '{"lastUpdateId":"x"}'])
async def test_an_answer_that_cannot_be_read_is_an_exchange_error(exchange, client, body):
    exchange.answer = lambda request, number: web.Response(text=body)
    with pytest.raises(ExchangeError, match="cannot be read"):
        await client().book_snapshot(SPOT)


async def test_markets_whose_names_no_symbol_can_hold_are_left_out(exchange, client):
    def product(base, quote="USD"):
        return (
            f'{{"id":"{base}-{quote}","base_currency":"{base}","quote_currency":"{quote}","quote_increment":"0.01",'
            '"base_increment":"0.01","status":"online"}'
        )

    names = ["BTC", "A/B", "A B", "", "x" * 40, "..\\\\", "A:B", "A\u200bB", "A\\u0000"]
    exchange.answer = lambda request, number: web.Response(
        text=f"[{product('x' * 32, 'y' * 32)},{','.join(map(product, names))}]"
    )
    assert [i.base for i in await client("coinbasepro").markets()] == ["BTC"]


async def test_history_is_walked_page_by_page(exchange, client):
    def page(request, number):
        first = int(request.query["fromId"])
        ids = range(first, min(first + 1_000, 2_501))
        rows = (f'{{"id":{i},"price":"1","qty":"1","time":{i},"isBuyerMaker":true}}' for i in ids)
        return web.Response(text=f"[{','.join(rows)}]")

    exchange.answer = page
    query = HistoryQuery(SPOT, 1, 2_500, 0, 2_500_000_000)
    pages = [page async for page in client(now=lambda: 7).trade_history(query)]
    assert [t.trade_id for p in pages for t in p.trades] == list(range(1, 2_501))
    assert len(pages) == 3
    assert pages[-1].reaches_back
    assert {t.time_received for p in pages for t in p.trades} == {7}


@pytest.mark.parametrize("price", ["NaN", "-1", "1e1000000", "0", ""])
async def test_a_trade_that_no_tape_can_hold_is_set_apart_and_keeps_no_other_out(exchange, client, price):
    def page(request, number):
        prices = {i: price if i == 2 else "1" for i in range(int(request.query["fromId"]), 1_005)}
        rows = [f'{{"id":{i},"price":"{p}","qty":"1","time":1,"isBuyerMaker":true}}' for i, p in prices.items()]
        return web.Response(text=f"[{','.join(rows[:1_000])}]")

    exchange.answer = page
    pages = [page async for page in client().trade_history(HistoryQuery(SPOT, 1, 1_004, 0, 1))]
    assert [t.trade_id for page in pages for t in page.trades] == [1, *range(3, 1_005)]
    assert [(t.trade_id, t.price) for page in pages for t in page.refused] == [(2, price)]
    assert len(pages) == 2, "a page with such a trade in it is still a full one"


async def test_candles_of_a_long_range_are_asked_in_windows_and_joined(exchange, client):
    minute = 60_000

    def page(request, number):
        start, end = int(request.query["startTime"]), int(request.query["endTime"])
        rows = [f'[{t},"1","2","1","2","5"]' for t in range(start, end + 1, minute)]
        assert len(rows) <= int(request.query["limit"])
        return web.Response(text=f"[{','.join(rows)}]")

    exchange.answer = page
    klines = await client().klines(SPOT, Interval.M1, 0, 2_500 * minute)
    assert [k.open_time for k in klines.rows] == list(range(0, 2_500 * minute, minute))
    assert klines.complete_from == 0
    assert len(exchange.requests) == 3


async def test_candles_outside_the_range_are_left_out_and_unknown_lengths_refused(exchange, client):
    exchange.answer = lambda request, number: web.Response(
        text='{"error":[],"result":{"X":[[60,"1","1","1","1","1","1",1],[120,"1","1","1","1","1","0",1]],"last":120}}'
    )
    kraken = client("kraken")
    pair = Instrument("kraken", "XBTUSD", "BTC", "USD")
    assert [k.open_time for k in (await kraken.klines(pair, Interval.M1, 0, 120_000)).rows] == [60_000]
    with pytest.raises(ExchangeError, match="no candles of 3m"):
        await kraken.klines(pair, Interval.M3, 0, 120_000)


@pytest.mark.parametrize(
    ("candles", "start", "complete_from"),
    [
        (720, 0, 1_000),
        (720, 999, 1_000),
        (720, 999.5, 999.5),
        (720, 1_000, 1_000),
        (719, 0, 0),
    ],
    ids=["older ones may exist", "one may", "none opens before it", "it reaches back", "a young market"],
)
async def test_of_an_exchange_that_gives_its_newest_candles_it_is_said_from_when_on_none_is_missing(
    exchange, client, candles, start, complete_from
):
    """Times in minutes; Kraken gives 720 candles."""
    rows = ",".join(f'[{60 * (1_000 + n)},"1","1","1","1","1","1",1]' for n in range(candles))
    exchange.answer = lambda request, number: web.Response(text=f'{{"error":[],"result":{{"X":[{rows}],"last":1}}}}')
    pair, minute = Instrument("kraken", "XBTUSD", "BTC", "USD"), 60_000
    klines = await client("kraken").klines(pair, Interval.M1, int(start * minute), 1_500 * minute)
    assert klines.complete_from == complete_from * minute
    assert [k.open_time // minute for k in klines.rows] == list(range(1_000, 1_500))


async def test_a_snapshot_that_only_the_socket_sends_is_refused(client):
    with pytest.raises(ExchangeError, match="on the socket"):
        await client("okx").book_snapshot(SPOT)
