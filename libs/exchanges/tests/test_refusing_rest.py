"""An exchange that refuses and bans, over a real server on the loopback: what its limits are, and how they are kept."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest
from aiohttp import web

from crosstape.common.errors import ExchangeError
from crosstape.common.market.bar import Interval
from crosstape.common.market.instrument import Instrument, Kind
from crosstape.exchanges import DIALECTS, rest
from crosstape.exchanges.dialect import HttpRequest, Klines
from crosstape.exchanges.rest import ExchangeRest
from libs.exchanges.tests.conftest import SNAPSHOT, Clock

SPOT = Instrument("binance", "BTCUSDT", "BTC", "USDT")
PERPETUAL = Instrument("binance", "BTCUSDT", "BTC", "USDT", Kind.PERPETUAL)


@pytest.mark.parametrize(
    ("code", "message", "pause"), [("50013", "System is busy", 0), ("50011", "Too Many Requests", 10)]
)
async def test_an_exchanges_own_busy_answer_is_asked_again_and_a_refusal_honoured(
    exchange, client, clock, code, message, pause
):
    busy, ready = f'{{"code":"{code}","msg":"{message}","data":[]}}', '{"code":"0","msg":"","data":[]}'
    exchange.answer = lambda request, number: web.Response(text=busy if number == 1 else ready)
    began = clock.now
    assert await client("okx").klines(SPOT, Interval.M1, 0, 60_000) == Klines([], 0)
    assert len(exchange.requests) == 2
    assert pause <= clock.now - began < pause + 1


async def test_too_many_requests_waits_as_long_as_the_exchange_says(exchange, client, clock):
    exchange.answer = lambda request, number: (
        web.Response(status=429, headers={"Retry-After": "1"}) if number == 1 else web.Response(text=SNAPSHOT)
    )
    began = clock.now
    await client().book_snapshot(SPOT)
    assert 1 <= clock.now - began < 1.6
    assert len(exchange.requests) == 2


async def test_what_a_ban_refused_costs_nothing_of_the_limit_once_it_is_over(exchange, client, clock):
    exchange.answer = lambda request, number: (
        web.Response(status=403) if number == 1 else web.Response(text='{"retCode":0,"result":{"list":[]}}')
    )
    asking = client("bybit")
    for _ in range(2_000):
        with pytest.raises(ExchangeError, match="refuses our requests"):
            await asking.klines(SPOT, Interval.M1, 0, 60_000)
    clock.now += 601
    began = clock.now
    await asking.klines(SPOT, Interval.M1, 0, 60_000)
    assert clock.now == began


class SharedClock(Clock):
    """The same for many that wait: it goes on to the earliest of their ends once nobody else has anything to do."""

    def __init__(self) -> None:
        super().__init__()
        self._ends: list[tuple[float, asyncio.Future[None]]] = []

    async def sleep(self, seconds: float) -> None:
        self._ends.append((self.now + seconds, asyncio.get_running_loop().create_future()))
        await self._ends[-1][1]

    async def go_on(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)
        if self._ends:
            earliest = min(self._ends, key=lambda one: one[0])
            self._ends.remove(earliest)
            self.now = earliest[0]
            earliest[1].set_result(None)


class Busy:
    """A session that notes when it was asked and for what; one answer refuses, the others are `[]`."""

    def __init__(self, clock: Clock, *, refused: int = 1):
        self._clock = clock
        self._refused = refused
        self.sent: list[float] = []
        self.paths: list[str] = []

    @asynccontextmanager
    async def get(self, url, **_):
        self.sent.append(self._clock.now)
        self.paths.append(url)
        yield SimpleNamespace(status=429 if len(self.sent) == self._refused else 200, headers={}, content=self)

    async def iter_any(self):
        yield b"[]"


async def test_what_waits_while_the_exchange_refuses_is_not_sent_in_one_burst(monkeypatch):
    clock = SharedClock()
    monkeypatch.setattr(rest, "time", clock)
    monkeypatch.setattr(rest, "asyncio", clock)
    session = Busy(clock)
    asking = ExchangeRest(DIALECTS["coinbasepro"], None, session)
    tasks = [asyncio.create_task(asking.klines(SPOT, Interval.M1, 0, 60_000)) for _ in range(40)]
    while not all(task.done() for task in tasks):
        await clock.go_on()
    refused, *after = session.sent
    assert len(after) == 40
    assert after[0] >= refused + 10
    assert all(sum(begin <= at < begin + 0.999 for at in after) <= 10 for begin in after)


async def test_a_refusal_lets_nobody_pass_those_who_waited_before(monkeypatch):
    clock = SharedClock()
    monkeypatch.setattr(rest, "time", clock)
    monkeypatch.setattr(rest, "asyncio", clock)
    session = Busy(clock, refused=3)
    asking = ExchangeRest(DIALECTS["kraken"], None, session)

    def ask(number):
        return asyncio.create_task(asking.body(HttpRequest("rest", f"/{number}")))

    tasks = [ask(number) for number in range(1, 31)]
    while len(session.sent) < 4:  # the refusal of the third is over by then
        await clock.go_on()
    tasks += [ask(number) for number in range(31, 41)]
    while not all(task.done() for task in tasks):
        await clock.go_on()
    numbers = [int(path.rpartition("/")[2]) for path in session.paths]
    again = numbers.pop(numbers.index(3, 3))
    assert (again, numbers) == (3, list(range(1, 41)))


@pytest.mark.parametrize("instrument", [SPOT, PERPETUAL], ids=["spot", "perpetual"])
async def test_fifty_books_of_binance_are_there_within_half_a_minute(client, clock, instrument):
    asking, began = client(), clock.now
    for _ in range(50):
        await asking.book_snapshot(instrument)
    assert 20 < clock.now - began < 30


async def test_a_ban_longer_than_the_deadline_is_told_at_once_and_nothing_more_is_sent(exchange, client, clock):
    exchange.answer = lambda request, number: web.Response(status=418, headers={"Retry-After": "7200"})
    asking = client(deadline=5)
    began = clock.now
    for _ in range(3):
        with pytest.raises(ExchangeError, match="refuses our requests"):
            await asking.book_snapshot(SPOT)
    assert len(exchange.requests) == 1
    assert clock.now - began < 1


@pytest.mark.usefixtures("clock")
async def test_a_ban_without_its_length_is_honoured_too(exchange, client):
    exchange.answer = lambda request, number: web.Response(status=403, text="access too frequent")
    asking = client("bybit")
    for _ in range(3):
        with pytest.raises(ExchangeError, match=r"requests for (600|599) s: status 403: access too frequent"):
            await asking.klines(SPOT, Interval.M1, 0, 60_000)
    assert len(exchange.requests) == 1


async def test_a_status_that_is_no_ban_of_the_exchange_silences_nothing(exchange, client):
    exchange.answer = lambda request, number: (
        web.Response(status=403, text="blocked") if number == 1 else web.Response(text=SNAPSHOT)
    )
    asking = client()
    with pytest.raises(ExchangeError, match="status 403: blocked"):
        await asking.book_snapshot(SPOT)
    assert (await asking.book_snapshot(SPOT)).last_id == 1
