"""The ccxt executor against a scripted exchange on loopback: once each, within its limits, and silent on keys."""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import web
from sqlalchemy import select, update
from twap_world import Ledger, Replica, TestClock, make_order, snapshot

from crosstape.common.errors import ExchangeError, ValidationFailed
from crosstape.twap_engine.execution import calls, ccxt_clients, listings
from crosstape.twap_engine.execution.ccxt_clients import CcxtClient, OrderRefused, open_clients
from crosstape.twap_engine.execution.ccxt_executor import CcxtExecutor
from crosstape.twap_engine.order import Market, Side
from crosstape.twap_engine.settings import Limits, TwapSettings
from crosstape.twap_engine.store import sent
from crosstape.twap_engine.store.tables import daily_notional
from crosstape.twap_engine.store.tables import sent as sent_table

BINANCE = Market("binance", "BTC-USDT")
KEY, SECRET = "a-key-that-nobody-may-see", "a-secret-that-nobody-may-see"


class Exchange:
    """As much of Binance as one IOC order needs. It fills half of what is asked, at the limit, for a fee of 1 USDT.

    `fails` are failures to come: `before` breaks down before a new order is taken, `after` takes it and does not
    answer, `refused` says no. While it `is_away` it says nothing of its markets and of orders that it has. `step` is
    that of its quantities; so many looks for an order as are `unseen` do not find it.
    """

    def __init__(self) -> None:
        self.orders: dict[str, dict[str, Any]] = {}
        self.posts = 0
        self.fails: list[str] = []
        self.is_away = False
        self.step = "0.001"
        self.unseen = 0

    async def information(self, request: web.Request) -> web.Response:
        if self.is_away:
            return web.json_response({"code": -1001, "msg": "Disconnected."}, status=503)
        filters = [
            {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000", "tickSize": "0.01"},
            {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "9000", "stepSize": self.step},
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
        fill = {"price": asked["price"], "qty": str(filled), "commission": "1", "commissionAsset": "USDT", "tradeId": 1}
        return web.json_response(self.orders[name] | {"fills": [fill]})

    async def order(self, request: web.Request) -> web.Response:
        if self.is_away:
            return web.json_response({"code": -1001, "msg": "Disconnected."}, status=503)
        found = self.orders.get(request.query["origClientOrderId"])
        if found is None or self.unseen:
            self.unseen = max(0, self.unseen - 1)
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
        lists = listings.Listings({"binance": client})
        executor = CcxtExecutor(replica.database, replica.books, lists, limits, self.clock)
        replica.engine._executor = executor
        replica.see(snapshot(BINANCE, [("29980", "5")], [("29990", "5")], 1))
        return replica

    async def submit(self, **fields: Any) -> Any:
        await self.replica.work()
        values = {"markets": (BINANCE,), "duration": 3, "interval": 1} | fields
        return await self.replica.submit(make_order("a", self.clock, **values))

    async def pass_time(self, seconds: float, replica: Replica | None = None, tick: float = 0.25) -> Ledger:
        for _ in range(int(seconds / tick)):
            self.clock.advance(tick)
            await (replica or self.replica).work()
        ledger = await Ledger(self.replica.database).read()
        ledger.check()
        return ledger


@asynccontextmanager
async def desk(url: str, order: str = "1000000", day: str = "1000000") -> AsyncIterator[Desk]:
    exchange = Exchange()
    async with exchange.client() as client:
        await client.load()
        found = Desk(url, exchange, client, Limits({"USDT": Decimal(order)}, {"USDT": Decimal(day)}))
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
        assert slices_of(one) == ["ctwap1x0", "ctwap1x1", "ctwap1x2", "ctwap1x3"]
        assert one.exchange.posts == 4
        assert [Decimal(f.fee) for f in ledger.fills] == [1] * 4


async def test_a_fee_that_is_told_once_is_kept_until_the_order_is_found(sqlite_url: str, logged: list[Any]) -> None:
    async with desk(sqlite_url) as one:
        one.exchange.unseen = 2
        await one.submit()
        ledger = await one.pass_time(4)
        assert one.exchange.unseen == 0
        assert [Decimal(f.fee) for f in ledger.fills] == [1] * 4


async def test_a_slice_has_an_id_that_no_slice_of_another_database_has(tmp_path: Path, sqlite_url: str) -> None:
    """An exchange takes an id again once its order is over, and would answer with the older one's fills."""
    restored = f"sqlite:///{tmp_path / 'restored.db'}"
    (tmp_path / "restored.db").write_bytes(Path(sqlite_url.removeprefix("sqlite:///")).read_bytes())
    names: list[str] = []
    for url in (sqlite_url, restored):
        async with desk(url) as one:
            await one.submit()
            await one.pass_time(4)
            names += one.exchange.orders
    assert len(set(names)) == len(names) == 8
    assert all(name.isalnum() and len(name) <= 32 for name in names)


async def test_what_a_replica_of_before_sent_is_found_by_the_name_it_had(sqlite_url: str, logged: list[Any]) -> None:
    async with desk(sqlite_url) as one:
        one.exchange.fails, one.exchange.is_away = ["after"], True
        await one.submit()
        await one.replica.work()
        ((name, order),) = one.exchange.orders.items()
        async with one.replica.database.writing() as connection:
            await connection.execute(update(sent_table).values(client_order_id=None))
        fresh = one.fresh()
        one.exchange.orders, one.exchange.is_away = {name.rpartition("x")[0]: order}, False
        ledger = await one.pass_time(5, fresh)
        await fresh.close()
        assert next((f.slice, Decimal(f.quantity)) for f in ledger.fills) == (0, Decimal("0.125"))


def slices_of(one: Desk) -> list[str]:
    """Those that were sent, as far as their names tell."""
    return sorted(name.rpartition("x")[0] for name in one.exchange.orders)


async def test_an_order_that_the_exchange_does_not_list_is_refused_slice_by_slice_and_others_go_on(
    sqlite_url: str, logged: list[Any]
) -> None:
    async with desk(sqlite_url) as one:
        for symbol in ("ETH-USDT", "BTC-USDT.P"):
            one.replica.see(snapshot(Market("binance", symbol), [("29980", "5")], [("29990", "5")], 1))
        await one.submit()
        for symbol in ("ETH-USDT", "BTC-USDT.P"):
            values = {"markets": (Market("binance", symbol),), "duration": 3, "interval": 1}
            await one.replica.submit(make_order(symbol, one.clock, **values))
        ledger = await one.pass_time(4)
        assert [s.reason for s in ledger.slices if s.parent == ledger.orders[0].id] == ["no_liquidity"] * 4
        assert {s.reason for s in ledger.slices if s.parent != ledger.orders[0].id} == {"refused"}
        assert one.exchange.posts == 4


async def test_each_reason_why_a_slice_is_not_known_is_said_once(sqlite_url: str, logged: list[Any]) -> None:
    async with desk(sqlite_url) as one:
        one.exchange.fails, one.exchange.is_away = ["after"], True
        await one.submit()
        await one.pass_time(5)
        told = [entry["error"] for entry in logged if entry["event"] == "slice_unknown"]
        assert len(told) == len(set(told)) == 2, "how the sending failed, and how each question since"


async def test_limits_are_of_each_quote_currency(sqlite_url: str) -> None:
    async with desk(sqlite_url, order="12000", day="12000") as one:
        ledger = await Ledger(one.replica.database).read()
        assert not ledger.orders
        await one.submit(total_quantity=Decimal("0.4"))
        btc = Market("binance", "ETH-BTC")
        executor = one.replica.engine._executor
        assert (executor._limits.of_order(btc.quote), executor._limits.of_order(BINANCE.quote)) == (0, 12_000)
        await one.pass_time(1)
        day = "2025-07-01"
        async with one.replica.database.writing() as connection:
            usdt, btc = sent.Spending(day, "USDT"), sent.Spending(day, "BTC")
            spent, against = await sent.lock_day(connection, usdt)
            assert spent == against > 0
            assert await sent.lock_day(connection, btc) == (0, 0)
            await sent.write_day(connection, btc, Decimal(3))
            assert await sent.lock_day(connection, btc) == (3, 3)
            assert await sent.lock_day(connection, usdt) == (spent, spent)
            before_quotes = sent.Spending(day, "")
            await sent.lock_day(connection, before_quotes)
            await sent.write_day(connection, before_quotes, Decimal(7))
            assert await sent.lock_day(connection, btc) == (3, 10)


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
        ledger = await one.pass_time(20, tick=1)
        assert (ledger.slices, one.exchange.posts) == ([], 1), "it may arrive yet"
        ledger = await one.pass_time(41, tick=1)
        assert [(s.number, s.reason) for s in ledger.slices][:2] == [(0, "not_found"), (4, "no_liquidity")]
        assert [s.number for s in ledger.slices] == [0, 4, 5, 6]
        assert (ledger.orders[0].close_reason, one.exchange.posts) == ("expired", 4)
        assert Decimal(ledger.slices[1].quantity) == Decimal("0.333")
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
        ledger = await one.pass_time(71, fresh, tick=1)
        await fresh.close()
        assert ledger.slices[0].reason == "not_found"
        assert ledger.orders[0].close_reason == "expired"
        assert "ctwap1x0" not in slices_of(one)
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
        ledger = await one.pass_time(14)
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
        one.clock.advance(0.5)
        await one.replica.cancel(order)
        cancelled = one.clock.utc()
        await one.pass_time(1)
        one.exchange.is_away = False
        ledger = await one.pass_time(1)
        assert ledger.orders[0].closed_at == cancelled, "it was told so"
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


async def test_steps_that_an_exchange_changes_are_taken_over_and_the_old_ones_hold_until_then(
    monkeypatch: pytest.MonkeyPatch, logged: list[Any]
) -> None:
    for name in ("RENEWAL_SECONDS", "RENEWAL_RETRY_SECONDS"):
        monkeypatch.setattr(listings, name, 0.01)
    exchange, stop = Exchange(), asyncio.Event()
    async with exchange.client() as client, asyncio.timeout(60):

        def bought() -> Decimal:
            return client.rounded("BTC-USDT", Side.BUY, Decimal("0.125"), Decimal(30_000))[0]

        running = asyncio.create_task(listings.Listings({"binance": client}).run(stop))
        while not client.is_ready:
            await asyncio.sleep(0)
        exchange.is_away, exchange.step = True, "0.01"
        while "exchange_away" not in [entry["event"] for entry in logged]:
            await asyncio.sleep(0)
        assert bought() == Decimal("0.125")
        exchange.is_away = False
        while bought() != Decimal("0.12"):
            await asyncio.sleep(0)
        stop.set()
        await running


async def test_errors_name_the_exchange_and_nothing_else(logged: list[Any]) -> None:
    exchange = Exchange()
    async with exchange.client() as client:
        exchange.fails = ["before"]
        await client.load()
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
        await client.load()

        async def fail(*args: Any) -> None:
            raise getattr(importlib.import_module("ccxt.base.errors"), error)("no")

        monkeypatch.setattr(client._client, "create_order", fail)
        with pytest.raises(ExchangeError) as caught:
            await client.place("BTC-USDT", Side.BUY, Decimal("0.1"), Decimal(30_000), "x")
        assert isinstance(caught.value, OrderRefused) == is_refusal


async def test_a_placement_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ccxt_clients, "PLACING_SECONDS", 0.01)
    async with Exchange().client() as client:
        await client.load()
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
