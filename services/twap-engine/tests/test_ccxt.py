"""The ccxt executor against a scripted exchange on loopback: once each, within its limits, and silent on keys."""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
import structlog
from aiohttp import web
from sqlalchemy import select
from twap_world import Ledger, Replica, TestClock, make_order, snapshot

from crosstape.common.errors import ExchangeError, ValidationFailed
from crosstape.twap_engine.execution import calls, ccxt_clients
from crosstape.twap_engine.execution.ccxt_clients import CcxtClient, OrderRefused, open_clients
from crosstape.twap_engine.execution.ccxt_executor import CcxtExecutor
from crosstape.twap_engine.order import Market, Side
from crosstape.twap_engine.settings import Limits, TwapSettings
from crosstape.twap_engine.store.tables import daily_notional

BINANCE = Market("binance", "BTC-USDT")
KEY, SECRET = "a-key-that-nobody-may-see", "a-secret-that-nobody-may-see"


class Exchange:
    """As much of Binance as one IOC order needs. It fills half of what is asked, at the limit.

    `fails` are failures to come: `before` breaks down before a new order is taken, `after` takes it and does not
    answer, `refused` says no. While it `is_away` it says nothing of orders that it has.
    """

    def __init__(self) -> None:
        self.orders: dict[str, dict[str, Any]] = {}
        self.posts = 0
        self.fails: list[str] = []
        self.is_away = False

    async def information(self, request: web.Request) -> web.Response:
        filters = [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000", "tickSize": "0.01"},
            {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "9000", "stepSize": "0.001"},
        ]
        symbol = {
            "symbol": "BTCUSDT", "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT",
            "isSpotTradingAllowed": True, "permissions": ["SPOT"], "orderTypes": ["LIMIT"], "filters": filters,
            "baseAssetPrecision": 8, "quotePrecision": 8, "quoteAssetPrecision": 8,
        }  # fmt: skip
        return web.json_response({"symbols": [symbol]})

    async def nothing(self, request: web.Request) -> web.Response:
        return web.json_response([])

    async def new_order(self, request: web.Request) -> web.Response:
        asked = dict(request.query) | dict(await request.post())
        self.posts += 1
        fails = self.fails.pop(0) if self.fails else ""
        if fails == "before":
            return web.json_response({"code": -1001, "msg": f"Disconnected. {KEY}"}, status=503)
        if fails == "refused":
            return web.json_response({"code": -2010, "msg": "Account has insufficient balance."}, status=400)
        assert asked["timeInForce"] == "IOC"
        name = asked["newClientOrderId"]
        assert name not in self.orders, "sent twice"
        filled = Decimal(asked["quantity"]) / 2
        self.orders[name] = {
            "symbol": "BTCUSDT", "orderId": len(self.orders) + 1, "clientOrderId": name, "price": asked["price"],
            "origQty": asked["quantity"], "executedQty": str(filled), "status": "EXPIRED", "timeInForce": "IOC",
            "cummulativeQuoteQty": str(filled * Decimal(asked["price"])), "type": "LIMIT", "side": asked["side"],
            "time": 1_751_328_000_000, "updateTime": 1_751_328_000_000,
        }  # fmt: skip
        if fails == "after":
            return web.json_response({"code": -1007, "msg": "Timeout"}, status=504)
        return web.json_response(self.orders[name])

    async def order(self, request: web.Request) -> web.Response:
        if self.is_away:
            return web.json_response({"code": -1001, "msg": "Disconnected."}, status=503)
        found = self.orders.get(request.query["origClientOrderId"])
        if found is None:
            return web.json_response({"code": -2013, "msg": "Order does not exist."}, status=400)
        return web.json_response(found)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[CcxtClient]:
        ccxt = pytest.importorskip("ccxt.async_support")  # half a second: not for those who only collect these tests
        app = web.Application()
        app.router.add_get("/api/v3/exchangeInfo", self.information)
        app.router.add_get("/api/v3/margin/{name:.*}", self.nothing)
        app.router.add_post("/api/v3/order", self.new_order)
        app.router.add_get("/api/v3/order", self.order)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        origin = f"http://127.0.0.1:{runner.addresses[0][1]}/api/v3"
        binance = ccxt.binance(
            {
                "apiKey": KEY,
                "secret": SECRET,
                "options": {"fetchMarkets": {"types": ["spot"]}},
                "enableRateLimit": False,  # nobody's limit is at stake on loopback
                "timeout_on_exit": 0,  # ms: it waits for TLS connections to end, and this has none
            }
        )
        binance.has["fetchCurrencies"] = False
        binance.urls["api"] = dict.fromkeys(binance.urls["api"], origin)
        client = CcxtClient("binance", binance)
        try:
            yield client
        finally:
            await client.close()
            await runner.cleanup()


class Desk:
    """A replica whose orders go to the scripted exchange."""

    def __init__(self, url: str, exchange: Exchange, client: CcxtClient, limits: Limits):
        self.exchange = exchange
        self.clock = TestClock()
        self._of = (url, client, limits)
        self.replica = self.fresh()

    def fresh(self) -> Replica:
        url, client, limits = self._of
        replica = Replica(url, self.clock)
        executor = CcxtExecutor(replica.database, replica.books, {"binance": client}, limits, self.clock)
        replica.engine._executor = executor
        replica.see(snapshot(BINANCE, [("29980", "5")], [("29990", "5")], 1))
        return replica

    async def submit(self, **fields: Any) -> Any:
        await self.replica.work()
        values = {"markets": (BINANCE,), "duration": 3, "interval": 1} | fields
        return await self.replica.submit(make_order("a", self.clock, **values))

    async def pass_time(self, seconds: float, replica: Replica | None = None) -> Ledger:
        for _ in range(int(seconds * 4)):
            self.clock.advance(0.25)
            await (replica or self.replica).work()
        ledger = await Ledger(self.replica.database).read()
        ledger.check()
        return ledger


@asynccontextmanager
async def desk(url: str, order: str = "1000000", day: str = "1000000") -> AsyncIterator[Desk]:
    exchange = Exchange()
    async with exchange.client() as client:
        found = Desk(url, exchange, client, Limits(Decimal(order), Decimal(day)))
        yield found
        await found.replica.close()


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every answer is waited for, however busy this machine is."""
    monkeypatch.setattr(calls, "PATIENCE_SECONDS", 60)


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> list[Any]:
    """Everything that is logged, ours and ccxt's own."""
    caplog.set_level(logging.DEBUG, "ccxt")
    caplog.set_level(logging.DEBUG, "aiohttp")
    with structlog.testing.capture_logs() as entries:
        yield entries
    text = str(entries) + caplog.text
    assert KEY not in text
    assert SECRET not in text


async def test_slices_go_out_once_each_in_lots_and_at_the_limit(sqlite_url: str, logged: list[Any]) -> None:
    async with desk(sqlite_url) as one:
        await one.submit()
        ledger = await one.pass_time(4)
        assert [Decimal(s.quantity) for s in ledger.slices] == [Decimal(q) for q in ("0.25", "0.291", "0.364", "0.547")]
        assert [Decimal(f.price) for f in ledger.fills] == [30_000] * 4
        assert sorted(one.exchange.orders) == ["ctwap1x0", "ctwap1x1", "ctwap1x2", "ctwap1x3"]
        assert one.exchange.posts == 4


async def test_a_lost_answer_is_asked_for_and_never_sent_again(sqlite_url: str, logged: list[Any]) -> None:
    async with desk(sqlite_url) as one:
        one.exchange.fails = ["after"]
        await one.submit()
        await one.replica.work()
        assert (await Ledger(one.replica.database).read()).slices == []
        ledger = await one.pass_time(4)
        assert [s.number for s in ledger.slices] == [f.slice for f in ledger.fills] == [0, 1, 2, 3]
        assert ledger.orders[0].close_reason == "expired"
        assert one.exchange.posts == 4
        sums = sum(Decimal(order["executedQty"]) for order in one.exchange.orders.values())
        assert sums == sum(Decimal(fill.quantity) for fill in ledger.fills)


async def test_what_never_arrived_is_not_sent_again_but_spread_over_the_slices_left(
    sqlite_url: str, logged: list[Any]
) -> None:
    async with desk(sqlite_url) as one:
        one.exchange.fails = ["before"]
        await one.submit(duration=60, interval=10)
        await one.replica.work()
        ledger = await one.pass_time(20)
        assert (ledger.slices, one.exchange.posts) == ([], 1), "it may arrive yet"
        ledger = await one.pass_time(41)
        assert [(s.number, s.reason) for s in ledger.slices][:2] == [(0, "not_found"), (2, "no_liquidity")]
        assert [s.number for s in ledger.slices] == [0, 2, 3, 4, 5, 6]
        assert (ledger.orders[0].close_reason, one.exchange.posts) == ("expired", 6)
        assert Decimal(ledger.slices[1].quantity) == Decimal("0.2")
        assert await spent(one) == Decimal(ledger.orders[0].notional)


async def test_who_was_killed_before_the_sending_sent_nothing_and_nobody_does(
    sqlite_url: str, logged: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with desk(sqlite_url) as one:
        await one.submit(duration=60, interval=10)

        async def die(*args: Any) -> None:
            raise asyncio.CancelledError

        monkeypatch.setattr(CcxtClient, "place", die)
        with pytest.raises(asyncio.CancelledError):
            await one.replica.engine.step()
        monkeypatch.undo()
        fresh = one.fresh()
        ledger = await one.pass_time(71, fresh)
        await fresh.close()
        assert ledger.slices[0].reason == "not_found"
        assert ledger.orders[0].close_reason == "expired"
        assert "ctwap1x0" not in one.exchange.orders
        assert one.exchange.posts == len(ledger.fills) == len(ledger.slices) - 1 > 2


async def test_after_a_slow_commit_an_order_may_be_somebody_elses_and_nothing_is_sent(
    sqlite_url: str, logged: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with desk(sqlite_url) as one:
        await one.submit(duration=60, interval=10)
        writing = one.replica.database.writing

        @asynccontextmanager
        async def writing_slowly() -> AsyncIterator[Any]:
            async with writing() as connection:
                yield connection
            one.clock.advance(1.5)

        monkeypatch.setattr(one.replica.database, "writing", writing_slowly)
        await one.replica.engine.step()
        assert one.exchange.posts == 0
        assert [s.reason for s in (await Ledger(one.replica.database).read()).slices] == ["not_sent"]


async def test_a_refused_slice_got_nothing_and_the_order_goes_on(sqlite_url: str, logged: list[Any]) -> None:
    async with desk(sqlite_url) as one:
        one.exchange.fails = ["refused", "", "refused", "refused"]
        await one.submit()
        await one.replica.work()
        ledger = await one.pass_time(4)
        assert [s.reason for s in ledger.slices] == ["refused", "no_liquidity", "refused", "refused"]
        assert (ledger.orders[0].close_reason, one.exchange.posts) == ("expired", 4)
        assert await spent(one) == Decimal(ledger.orders[0].notional)
        assert [entry["slice"] for entry in logged if entry["event"] == "slice_refused"] == [0, 2, 3]


async def test_an_order_whose_time_passed_while_a_slice_was_unknown_ends_with_its_fill(
    sqlite_url: str, logged: list[Any]
) -> None:
    async with desk(sqlite_url) as one:
        one.exchange.fails, one.exchange.is_away = ["after"], True
        await one.submit()
        await one.replica.work()
        ledger = await one.pass_time(6)
        assert (ledger.slices, ledger.orders[0].status) == ([], "open")
        one.exchange.is_away = False
        ledger = await one.pass_time(1)
        assert [(f.slice, Decimal(f.quantity)) for f in ledger.fills] == [(0, Decimal("0.125"))]
        assert (ledger.orders[0].close_reason, one.exchange.posts) == ("expired", 1)


async def test_a_fill_that_was_unknown_when_its_order_was_cancelled_counts(sqlite_url: str, logged: list[Any]) -> None:
    async with desk(sqlite_url) as one:
        one.exchange.fails, one.exchange.is_away = ["after"], True
        order = await one.submit()
        await one.replica.work()
        await one.replica.cancel(order)
        await one.pass_time(1)
        one.exchange.is_away = False
        ledger = await one.pass_time(1)
        assert [(f.slice, Decimal(f.quantity)) for f in ledger.fills] == [(0, Decimal("0.125"))]
        assert (ledger.orders[0].status, one.exchange.posts) == ("cancelled", 1)
        assert await spent(one) == Decimal(ledger.orders[0].notional)


async def spent(one: Desk) -> Decimal:
    """What counts against the day."""
    async with one.replica.database.reading() as connection:
        return Decimal(await connection.scalar(select(daily_notional.c.notional)) or 0)


async def test_who_takes_over_finds_out_what_became_of_a_slice(sqlite_url: str, logged: list[Any]) -> None:
    async with desk(sqlite_url) as one:
        one.exchange.fails = ["after"]
        order = await one.submit()
        await one.replica.engine.step()
        assert (await Ledger(one.replica.database).read()).slices == []
        await one.replica.cancel(order)  # and then it died
        fresh = one.fresh()
        ledger = await one.pass_time(5, fresh)
        await fresh.close()
        assert [(f.slice, Decimal(f.quantity)) for f in ledger.fills] == [(0, Decimal("0.125"))]
        assert one.exchange.posts == 1
        assert ledger.orders[0].status == "cancelled"


async def test_no_order_and_no_day_goes_beyond_its_limit(sqlite_url: str) -> None:
    async with desk(sqlite_url, order="12000") as one:
        await one.submit()
        ledger = await one.pass_time(4)
        assert [s.reason for s in ledger.slices] == ["no_liquidity", "order_limit", "order_limit", "order_limit"]
    async with desk(sqlite_url, day="12000") as one:
        values = {"markets": (BINANCE,), "duration": 3, "interval": 1, "side": Side.SELL, "limit_price": Decimal(1)}
        await one.replica.work()
        await one.replica.submit(make_order("b", one.clock, **values))
        ledger = await one.pass_time(4)
        reasons = [s.reason for s in ledger.slices if s.parent == ledger.orders[-1].id]
        assert "day_limit" in reasons


async def test_errors_name_the_exchange_and_nothing_else(logged: list[Any]) -> None:
    exchange = Exchange()
    async with exchange.client() as client:
        exchange.fails = ["before"]
        with pytest.raises(ExchangeError) as caught:
            await client.place("BTC-USDT", Side.BUY, Decimal("0.1"), Decimal(30_000), "x")
        assert str(caught.value).startswith("binance answered with an error (")
        assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("error", "is_refusal"),
    [
        ("InsufficientFunds", True),
        ("InvalidOrder", True),
        ("OrderNotFillable", True),
        ("PermissionDenied", True),
        ("BadSymbol", True),
        ("MarketClosed", True),
        ("DuplicateOrderId", False),
        ("ExchangeError", False),
        ("RequestTimeout", False),
        ("InvalidNonce", False),
        ("BadResponse", False),
    ],
)
async def test_only_an_exchanges_no_is_a_refusal(monkeypatch: pytest.MonkeyPatch, error: str, is_refusal: bool) -> None:
    async with Exchange().client() as client:

        async def fail(*args: Any) -> None:
            raise getattr(importlib.import_module("ccxt.base.errors"), error)("no")

        monkeypatch.setattr(client._client, "create_order", fail)
        with pytest.raises(ExchangeError) as caught:
            await client.place("BTC-USDT", Side.BUY, Decimal("0.1"), Decimal(30_000), "x")
        assert isinstance(caught.value, OrderRefused) == is_refusal


async def test_a_placement_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ccxt_clients, "PLACING_SECONDS", 0.01)
    async with Exchange().client() as client:
        given_up = asyncio.Event()

        async def hang(*args: Any) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                given_up.set()

        monkeypatch.setattr(client._client, "create_order", hang)
        with pytest.raises(ExchangeError, match=r"^binance did not answer in time\.$"):
            await client.place("BTC-USDT", Side.BUY, Decimal("0.1"), Decimal(30_000), "x")
        assert given_up.is_set()


async def test_real_money_needs_a_word_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSTAPE_CCXT_CREDENTIALS", f'{{"binance": {{"apiKey": "{KEY}", "secret": "{SECRET}"}}}}')
    settings = TwapSettings()
    assert settings.executor == "simulated"
    assert KEY not in repr(settings)
    clients = open_clients(settings)
    assert "testnet" in clients["binance"]._client.urls["api"]["private"]
    await clients["binance"].close()
    monkeypatch.setenv("CROSSTAPE_CCXT_CREDENTIALS", f'{{"binance": "{KEY}"}}')
    with pytest.raises(ValidationFailed) as caught:
        open_clients(TwapSettings())
    assert KEY not in str(caught.value)
