"""The contract's order routes: seed 1's bodies, who may do what, and what is refused."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection
from twap_api import ADMIN, ALICE, BOB, LISTED, Orders, serving, user
from twap_world import snapshot

from crosstape.common.errors import DatabaseConnectionError, DatabaseQueryError, DatabaseTimeout
from crosstape.common.identity.principal import Scope
from crosstape.common.market.instrument import Instrument
from crosstape.common.symbols import SymbolTables
from crosstape.twap_engine.api import answers
from crosstape.twap_engine.api import orders as routes
from crosstape.twap_engine.execution.ccxt_clients import CcxtClient
from crosstape.twap_engine.execution.ccxt_executor import CcxtExecutor
from crosstape.twap_engine.execution.listings import Listings
from crosstape.twap_engine.markets import Directory
from crosstape.twap_engine.order import Market
from crosstape.twap_engine.settings import Limits
from crosstape.twap_engine.store import accept as accepting
from crosstape.twap_engine.store import read as reading
from crosstape.twap_engine.store import replicas, tables
from crosstape.twap_engine.store.accept import accept
from crosstape.twap_engine.store.database import Database
from libs.common.tests.asgi import Answer, request

BINANCE, KRAKEN = Market("binance", "BTC-USDT"), Market("kraken", "BTC-USD")
SEED = {
    "order_id": "twap_001",
    "symbol": "BTC-USD",
    "side": "buy",
    "total_quantity": 1.0,
    "limit_price": 30000.0,
    "duration": 5,
    "interval": 1,
}
SEED_BODY = json.dumps(SEED).encode()


@pytest.fixture
async def orders(sqlite_url: str) -> AsyncIterator[Orders]:
    async with serving(sqlite_url) as found:
        for market, ask in ((BINANCE, "29990"), (KRAKEN, "29995")):
            found.replica.see(snapshot(market, [("29980", "5")], [(ask, "0.4")], 1))
        yield found


def refused(answer: Answer, status: int, code: str) -> str:
    body = answer.json()
    assert (answer.status, body["error_code"]) == (status, code), body
    return str(body["message"])


async def test_seed_one_order_from_post_to_get(orders: Orders) -> None:
    answer = await orders.ask("POST", "/orders/twap", b"[" + SEED_BODY + b"]")
    receipt = {"message": "TWAP order accepted", "order_id": "twap_001", "quote_aliases": {"binance": "USDT"}}
    assert (answer.status, answer.json()) == (200, receipt)
    await orders.replica.work()
    await orders.pass_time(5)
    detail = await orders.ask("GET", "/orders/twap_001")
    assert detail.status == 200
    text = detail.body.decode()
    assert '"total_quantity":1.0,"limit_price":30000.0,' in text
    body = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    assert list(body)[:11] == [
        "order_id", "username", "symbol", "side", "duration", "interval", "total_quantity", "limit_price", "status",
        "close_reason", "executions",
    ]  # fmt: skip
    assert [body[name] for name in ("order_id", "username", "symbol", "side", "duration", "interval")] == [
        "twap_001", "alice", "BTC-USD", "buy", 5, 1,
    ]  # fmt: skip
    executions = body["executions"]
    assert executions[0]["price"] == 29990
    assert executions[0]["timestamp"] == "2025-07-01T00:00:00.000000"
    assert {e["exchange"] for e in executions} == {"binance", "kraken"}
    filled = sum(e["quantity"] for e in executions)
    assert filled == body["filled_quantity"] == Decimal("0.8")
    assert body["filled_quantity"] + body["unfilled_quantity"] == body["total_quantity"]
    assert (body["status"], body["close_reason"]) == ("closed", "expired")
    assert sum(e["price"] * e["quantity"] for e in executions) == body["notional"]
    assert body["average_price"] == Decimal("29992.5")
    assert body["arrival_price"] == 29985
    assert body["slippage_bps"]["arrival"] == round(Decimal("7.5") / 29985 * 10_000, 4)
    assert body["benchmark"]["twap"] == 29985
    assert body["benchmark"]["vwap"] is None
    assert body["benchmark"]["seconds"] == 5
    assert [(s["exchange"], s["quantity"], s["share"]) for s in body["exchanges"]] == [
        ("binance", Decimal("0.4"), Decimal("0.5")), ("kraken", Decimal("0.4"), Decimal("0.5")),
    ]  # fmt: skip
    assert body["progress"] == {
        "filled": Decimal("0.8"),
        "slices": 6,
        "slices_run": 6,
        "slices_missed": 0,
        "slices_short": {"no_liquidity": 2},
    }
    listed = await orders.ask("GET", "/orders")
    assert listed.json() == [
        {
            "order_id": "twap_001",
            "username": "alice",
            "symbol": "BTC-USD",
            "duration": 5,
            "interval": 1,
            "order_status": "closed",
            "status": "closed",
        }
    ]


async def test_several_orders_are_all_accepted_or_none(orders: Orders) -> None:
    second = SEED | {"order_id": "twap_002", "symbol": "eth/usdt"}
    answer = await orders.ask("POST", "/orders/twap", [SEED, second])
    body = answer.json()
    assert (body["message"], body["order_id"]) == ("TWAP order accepted", "twap_001")
    assert [one["order_id"] for one in body["orders"]] == ["twap_001", "twap_002"]
    refused(await orders.ask("POST", "/orders/twap", [SEED | {"order_id": "a"}, SEED | {"symbol": "BTC/ETH"}]), 404,
            "SYMBOL_NOT_FOUND")  # fmt: skip
    refused(
        await orders.ask("POST", "/orders/twap", [SEED | {"order_id": "a"}, SEED | {"duration": 9}]), 409, "CONFLICT"
    )
    assert [o["order_id"] for o in (await orders.ask("GET", "/orders")).json()] == ["twap_002", "twap_001"]


async def test_the_same_request_again_gets_the_same_answer_and_another_one_a_conflict(orders: Orders) -> None:
    first = await orders.ask("POST", "/orders/twap", SEED | {"limit_price": 3000000})
    assert "worse than the market's" in first.json()["warnings"][0]
    again = await orders.ask("POST", "/orders/twap", SEED | {"limit_price": "3000000.00", "total_quantity": 1})
    assert again.body == first.body
    refused(await orders.ask("POST", "/orders/twap", SEED), 409, "CONFLICT")
    other = await orders.ask("POST", "/orders/twap", SEED, by=BOB)
    assert other.status == 200
    assert len((await orders.ask("GET", "/orders", by=ADMIN)).json()) == 2


async def test_fifty_posts_of_one_order_at_once_make_one_order(orders: Orders) -> None:
    answers = await asyncio.gather(*(orders.ask("POST", "/orders/twap", SEED) for _ in range(50)))
    assert {(answer.status, answer.body) for answer in answers} == {(200, answers[0].body)}
    assert len((await orders.ask("GET", "/orders")).json()) == 1
    await orders.replica.work()
    await orders.pass_time(1)
    assert (await orders.ask("GET", "/orders/twap_001")).json()["progress"]["slices_run"] == 2


@pytest.mark.parametrize(
    "lost", [DatabaseConnectionError("gone"), asyncio.CancelledError()], ids=["error", "cancelled"]
)
async def test_an_order_runs_even_when_the_answer_to_its_commit_was_lost(
    orders: Orders, monkeypatch: pytest.MonkeyPatch, lost: BaseException
) -> None:
    writing = Database.writing

    @contextlib.asynccontextmanager
    async def lose_the_answer(database: Database) -> AsyncIterator[AsyncConnection]:
        async with writing(database) as connection:
            yield connection
        raise lost

    with monkeypatch.context() as meanwhile, contextlib.suppress(asyncio.CancelledError):
        meanwhile.setattr(Database, "writing", lose_the_answer)
        refused(await orders.ask("POST", "/orders/twap", SEED), 503, "DATABASE_CONNECTION_ERROR")
    await orders.replica.work()
    await orders.pass_time(1)
    assert (await orders.ask("GET", "/orders/twap_001")).json()["progress"]["slices_run"] == 2


async def test_an_order_runs_even_when_its_commit_outlived_our_patience(
    orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: list[Any] = []
    writing = Database.writing

    async def note(*args: Any) -> Any:
        waiting.append(args)
        return await accept(*args)

    @contextlib.asynccontextmanager
    async def leave_it_to_the_disk(database: Database) -> AsyncIterator[AsyncConnection]:
        async with writing(database) as connection:
            yield connection
            raise DatabaseTimeout("too slow")

    fields = {"duration": 300, "interval": 100}
    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(routes, "accept", note)
        meanwhile.setattr(Database, "writing", leave_it_to_the_disk)
        refused(await orders.ask("POST", "/orders/twap", SEED | fields), 503, "DATABASE_TIMEOUT_ERROR")
    await orders.pass_time(1)
    await accept(*waiting[0])
    await orders.pass_time(100, tick=2.5)
    assert (await orders.ask("GET", "/orders/twap_001")).json()["progress"]["slices_run"] == 2


async def test_what_was_refused_before_its_commit_has_no_order_read_anew(
    orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*args: Any) -> None:
        raise DatabaseQueryError("no such text")

    async def read_anew(*args: Any) -> Any:
        raise AssertionError

    monkeypatch.setattr(accepting, "_insert", refuse)
    monkeypatch.setattr(replicas, "owned", read_anew)
    refused(await orders.ask("POST", "/orders/twap", SEED), 503, "DATABASE_QUERY_ERROR")
    await orders.pass_time(1)


async def test_an_order_without_a_name_gets_one(orders: Orders) -> None:
    answer = await orders.ask("POST", "/orders/twap", {k: v for k, v in SEED.items() if k != "order_id"})
    name = answer.json()["order_id"]
    assert (await orders.ask("GET", f"/orders/{name}")).status == 200


async def test_orders_are_their_owners_alone_and_an_admins(orders: Orders) -> None:
    await orders.ask("POST", "/orders/twap", SEED)
    for method in ("GET", "DELETE"):
        message = refused(await orders.ask(method, "/orders/twap_001", by=BOB), 404, "ORDER_NOT_FOUND")
        assert message == "You have no order twap_001."
    assert (await orders.ask("GET", "/orders", by=BOB)).json() == []
    assert (await orders.ask("GET", "/orders/twap_001", by=ADMIN)).json()["username"] == "alice"
    assert [o["username"] for o in (await orders.ask("GET", "/orders", by=ADMIN)).json()] == ["alice"]


async def test_an_admin_says_whose_order_is_meant_where_several_users_have_one_of_its_name(orders: Orders) -> None:
    for one in (ALICE, BOB):
        await orders.ask("POST", "/orders/twap", SEED, by=one)
    for method in ("GET", "DELETE"):
        message = refused(await orders.ask(method, "/orders/twap_001", by=ADMIN), 409, "CONFLICT")
        assert message == "Several users have an order twap_001: add username= to say whose."
    for name in ("alice", "bob"):
        query = f"username={name}"
        assert (await orders.ask("GET", "/orders/twap_001", by=ADMIN, query=query)).json()["username"] == name
        assert [o["username"] for o in (await orders.ask("GET", "/orders", by=ADMIN, query=query)).json()] == [name]
        cancelled = (await orders.ask("DELETE", "/orders/twap_001", by=ADMIN, query=query)).json()
        assert (cancelled["username"], cancelled["status"]) == (name, "cancelled")
        assert "is cancelled" in refused(
            await orders.ask("DELETE", "/orders/twap_001", by=ADMIN, query=query), 409, "CONFLICT"
        )
    refused(await orders.ask("GET", "/orders/twap_001", by=ADMIN, query="username=carol"), 404, "ORDER_NOT_FOUND")
    await orders.ask("POST", "/orders/twap", SEED, by=ADMIN)
    assert (await orders.ask("DELETE", "/orders/twap_001", by=ADMIN)).json()["username"] == "root"


async def test_a_username_gives_nobody_the_orders_of_others(orders: Orders) -> None:
    await orders.ask("POST", "/orders/twap", SEED)
    assert (await orders.ask("GET", "/orders/twap_001", query="username=alice")).status == 200
    for method in ("GET", "DELETE"):
        refused(await orders.ask(method, "/orders/twap_001", by=BOB, query="username=alice"), 404, "ORDER_NOT_FOUND")
    assert (await orders.ask("GET", "/orders", by=BOB, query="username=alice")).json() == []


@pytest.mark.parametrize(
    ("method", "path", "needed"),
    [
        ("POST", "/orders/twap", Scope.ORDERS_WRITE),
        ("GET", "/orders", Scope.ORDERS_READ),
        ("GET", "/orders/twap_001", Scope.ORDERS_READ),
        ("DELETE", "/orders/twap_001", Scope.ORDERS_WRITE),
    ],
)
async def test_every_route_needs_its_scope(orders: Orders, method: str, path: str, needed: Scope) -> None:
    others = user("alice", *(set(Scope) - {needed}))
    refused(await orders.ask(method, path, SEED, by=others), 403, "FORBIDDEN")
    refused(await orders.ask(method, path, SEED, by=None), 401, "UNAUTHENTICATED")


async def test_cancel_is_answered_with_the_order_and_only_once(orders: Orders) -> None:
    await orders.ask("POST", "/orders/twap", SEED)
    await orders.replica.work()
    answer = await orders.ask("DELETE", "/orders/twap_001")
    assert (answer.status, answer.json()["status"], answer.json()["close_reason"]) == (200, "cancelled", "cancelled")
    assert "is cancelled" in refused(await orders.ask("DELETE", "/orders/twap_001"), 409, "CONFLICT")
    refused(await orders.ask("DELETE", "/orders/other"), 404, "ORDER_NOT_FOUND")
    await orders.pass_time(6)
    assert len((await orders.ask("GET", "/orders/twap_001")).json()["executions"]) == 1


async def test_slices_that_an_expired_order_never_ran_are_missed(orders: Orders) -> None:
    await orders.ask("POST", "/orders/twap", SEED)
    await orders.pass_time(1)
    orders.clock.advance(60)
    await orders.replica.work()
    body = (await orders.ask("GET", "/orders/twap_001")).json()
    assert (body["close_reason"], body["progress"]["slices_run"], body["progress"]["slices_missed"]) == (
        "expired",
        2,
        4,
    )


async def test_slices_that_were_missed_before_a_cancel_stay_missed(orders: Orders) -> None:
    await orders.ask("POST", "/orders/twap", SEED | {"duration": 60})
    await orders.pass_time(1)
    orders.clock.advance(10)
    before = (await orders.ask("GET", "/orders/twap_001")).json()["progress"]
    cancelled = (await orders.ask("DELETE", "/orders/twap_001")).json()["progress"]
    orders.clock.advance(10)
    after = (await orders.ask("GET", "/orders/twap_001")).json()["progress"]
    assert before == cancelled == after
    assert (before["slices_run"], before["slices_missed"]) == (2, 9)


async def test_lists_are_filtered_and_paged(orders: Orders) -> None:
    for number in range(5):
        symbol = ["BTC-USD", "ETH-USDT"][number % 2]
        await orders.ask("POST", "/orders/twap", SEED | {"order_id": f"o{number}", "symbol": symbol})
    await orders.ask("DELETE", "/orders/o2")

    async def names(query: str) -> list[str]:
        return [o["order_id"] for o in (await orders.ask("GET", "/orders", query=query)).json()]

    assert await names("") == ["o4", "o3", "o2", "o1", "o0"]
    assert await names("status=cancelled") == ["o2"]
    assert await names("status=open") == ["o4", "o3", "o1", "o0"]
    assert await names("status=closed") == []
    assert await names("order_id=o1") == ["o1"]
    for spelling in ("BTC-USD", "btc-usd", "XBT/USD", "btc/usd"):
        assert await names(f"symbol={spelling}") == ["o4", "o2", "o0"]
    refused(await orders.ask("GET", "/orders", query="symbol=NO-SUCH"), 404, "SYMBOL_NOT_FOUND")
    first = await orders.ask("GET", "/orders", query="limit=2")
    assert [o["order_id"] for o in first.json()] == ["o4", "o3"]
    assert await names(f"limit=3&cursor={first.headers['x-next-cursor']}") == ["o2", "o1", "o0"]
    assert "x-next-cursor" not in (await orders.ask("GET", "/orders", query="limit=5")).headers
    refused(await orders.ask("GET", "/orders", query="cursor=o0"), 422, "VALIDATION_ERROR")
    refused(await orders.ask("GET", "/orders", query="limit=0"), 422, "VALIDATION_ERROR")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"total_quantity": 0}, "total_quantity must be a positive number with at most 20 digits before and 18 after"),
        ({"total_quantity": -1}, "total_quantity must be a positive number"),
        ({"limit_price": "NaN"}, "limit_price must be a positive number"),
        ({"limit_price": "Infinity"}, "limit_price must be a positive number"),
        ({"limit_price": 10**25}, "limit_price must be a positive number"),
        ({"limit_price": "1e-30"}, "limit_price must be a positive number"),
        ({"limit_price": "30_000"}, "limit_price must be a positive number"),
        ({"total_quantity": "\u0661"}, "total_quantity must be a positive number"),
        ({"total_quantity": " 1 "}, "total_quantity must be a positive number"),
        ({"duration": 1, "interval": 2}, "duration must not be shorter than interval."),
        ({"duration": 0}, "duration must be 1 to 2592000 seconds."),
        ({"duration": 315_360_000}, "duration must be 1 to 2592000 seconds."),
        ({"interval": 0}, "interval must be at least 1 second."),
        ({"duration": 10_000}, "interval makes 10001 slices of the duration: at most 10000 are allowed."),
        ({"duration": 1.5}, "Invalid order: Expected `int`, got `float` - at `$.duration`"),
        ({"side": "hold"}, "Invalid order: Expected buy or sell, got 'hold' - at `$.side`"),
        ({"order_id": ""}, "order_id must be 1 to 64 letters"),
        ({"order_id": "a/b"}, "order_id must be 1 to 64 letters"),
        ({"order_id": "\0"}, "order_id must be 1 to 64 letters"),
        ({"symbol": "\0"}, "symbol must be 1 to 64 printable characters"),
        ({"symbol": ""}, "symbol must be"),
        ({"symbol": "\u202eBTC"}, "symbol must be"),
        ({"exchange": "binance" + 58 * " "}, "exchange must be at most 64 characters."),
        ({"role": "admin"}, "Invalid order: Object contains unknown field `role`"),
        ({"symbol": None}, "Invalid order: Expected `str`, got `null`"),
    ],
)  # fmt: skip
async def test_what_is_no_order_is_refused_with_the_reason(
    orders: Orders, fields: dict[str, Any], message: str
) -> None:
    assert refused(await orders.ask("POST", "/orders/twap", SEED | fields), 422, "VALIDATION_ERROR").startswith(message)
    assert (await orders.ask("GET", "/orders")).json() == []


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"7", b"[]", b"[null]", b"{", b"\xff\xfe", b'"x"', b"[" * 100_000, b"[" + b"[" * 90_000,
        SEED_BODY.replace(b"30000.0", b"NaN"), SEED_BODY.replace(b"30000.0", b"Infinity"),
        SEED_BODY.replace(b"30000.0", b"1e400"), SEED_BODY.replace(b"30000.0", b"1e99999999999999999999"),
        SEED_BODY.replace(b'"buy"', b'"\\ud800"'), SEED_BODY.replace(b"twap_001", b"\\ud800"),
        SEED_BODY.replace(b"BTC-USD", b"\\udc00"), SEED_BODY.replace(b'"duration": 5', b'"duration": 5, "duration": 6'),
        SEED_BODY.replace(b'"duration": 5', b'"duration": 5' + b"0" * 5_000),
        SEED_BODY.replace(b'"duration": 5', b'"x": ' + b"[" * 100_000),
        b"[" + b",".join([SEED_BODY] * 2) + b"]", b"[" + b",".join([SEED_BODY] * 101) + b"]",
    ],
)  # fmt: skip
async def test_hostile_bodies_are_422(orders: Orders, body: bytes) -> None:
    refused(await orders.ask("POST", "/orders/twap", body), 422, "VALIDATION_ERROR")


async def test_hostile_names_are_nobodys_orders(orders: Orders) -> None:
    for name in ("\0", "' OR 1=1 --", "x" * 500, "\udc00", "..", "%00"):
        refused(await orders.ask("GET", f"/orders/{name}"), 404, "ORDER_NOT_FOUND")


async def test_unknown_symbols_and_exchanges_are_404_with_suggestions(orders: Orders) -> None:
    answer = await orders.ask("POST", "/orders/twap", SEED | {"symbol": "BTC-USX"})
    refused(answer, 404, "SYMBOL_NOT_FOUND")
    assert "BTC-USDT" in answer.json()["details"]["suggestions"]
    refused(await orders.ask("POST", "/orders/twap", SEED | {"exchange": "mtgox"}), 404, "EXCHANGE_NOT_FOUND")


@pytest.mark.parametrize(
    ("fields", "markets"),
    [
        ({}, [BINANCE, KRAKEN]),
        ({"symbol": "btcusdt"}, [BINANCE]),
        ({"symbol": "XBT/USD"}, [BINANCE, KRAKEN]),
        ({"symbol": "KRAKEN:XBTUSD"}, [KRAKEN]),
        ({"symbol": "BINANCE:BTCUSDT.P"}, [Market("binance", "BTC-USDT.P")]),
        ({"symbol": "BTC-USD", "exchange": "Binance"}, [BINANCE]),
    ],
)
async def test_every_spelling_finds_its_markets(orders: Orders, fields: dict[str, Any], markets: list[Market]) -> None:
    await orders.ask("POST", "/orders/twap", SEED | fields)
    body = (await orders.ask("GET", "/orders/twap_001")).json()
    assert [Market(market["exchange"], market["symbol"]) for market in body["markets"]] == markets


@pytest.mark.parametrize(
    ("fields", "aliases"),
    [
        ({}, {"binance": "USDT"}),
        ({"exchange": "binance"}, {"binance": "USDT"}),
        ({"symbol": "BINANCE:BTC-USD"}, {"binance": "USDT"}),
        ({"exchange": "kraken"}, {}),
        ({"symbol": "btcusdt"}, {}),
    ],
)
async def test_a_quote_that_stands_in_for_the_one_asked_for_is_told(
    orders: Orders, fields: dict[str, Any], aliases: dict[str, str]
) -> None:
    receipt = (await orders.ask("POST", "/orders/twap", SEED | fields)).json()
    assert receipt.get("quote_aliases", {}) == aliases
    for method in ("GET", "DELETE"):
        markets = (await orders.ask(method, "/orders/twap_001")).json()["markets"]
        assert {one["exchange"]: one["quote_alias"] for one in markets if "quote_alias" in one} == aliases


async def test_orders_of_before_quote_aliases_are_read(orders: Orders) -> None:
    await orders.ask("POST", "/orders/twap", SEED)
    async with orders.replica.database.writing() as connection:
        await connection.execute(update(tables.orders).values(markets='[["binance","BTC-USDT"]]'))
    body = (await orders.ask("GET", "/orders/twap_001")).json()
    assert body["markets"] == [{"exchange": "binance", "symbol": "BTC-USDT"}]


async def test_the_repeated_request_gets_the_first_answers_markets(orders: Orders) -> None:
    first = await orders.ask("POST", "/orders/twap", SEED)
    binance = [Instrument("binance", "BTCUSDT", "BTC", "USDT"), Instrument("binance", "BTCUSD", "BTC", "USD")]
    orders.app.state.resources.directory._tables.put("binance", binance)
    again = await orders.ask("POST", "/orders/twap", SEED)
    assert again.body == first.body


async def test_an_order_is_found_by_every_spelling_of_its_symbol_on_its_exchange(orders: Orders) -> None:
    for name, fields in {
        "stood_in": {"exchange": "binance"},
        "prefixed": {"symbol": "BINANCE:BTC-USD"},
        "usd": {},
        "usdt": {"symbol": "BTC-USDT"},
    }.items():
        await orders.ask("POST", "/orders/twap", SEED | {"order_id": name} | fields)

    async def found(symbol: str) -> set[str]:
        answer = await orders.ask("GET", "/orders", query=f"symbol={symbol}")
        return {order["order_id"] for order in answer.json()}

    for symbol in ("BTC-USD", "btc/usd", "XBT/USD"):
        assert await found(symbol) >= {"usd"}
        assert "usdt" not in await found(symbol)
    for symbol in ("BTC-USD", "btc/usd"):
        assert await found(symbol) == {"stood_in", "prefixed", "usd"}
    assert await found("btcusdt") == {"stood_in", "prefixed", "usdt"}


async def test_orders_of_a_market_that_is_listed_no_more_are_found_by_its_name(orders: Orders) -> None:
    await orders.ask("POST", "/orders/twap", SEED | {"symbol": "ETHUSDT"})
    orders.app.state.resources.directory._tables.put("binance", LISTED["binance"][:1])
    for symbol in ("ETH-USDT", "ethusdt"):
        answer = await orders.ask("GET", "/orders", query=f"symbol={symbol}")
        assert [order["order_id"] for order in answer.json()] == ["twap_001"]
    answer = await orders.ask("GET", "/orders", query="symbol=ETH-USDT", by=BOB)
    refused(answer, 404, "SYMBOL_NOT_FOUND")


async def test_while_an_exchanges_list_is_missing_nobody_says_that_it_has_no_market(orders: Orders) -> None:
    tables = SymbolTables()
    tables.exchanges = ["binance", "kraken"]
    tables.put("binance", LISTED["binance"])
    orders.app.state.resources = replace(orders.app.state.resources, directory=Directory(tables))
    answer = await orders.ask("POST", "/orders/twap", SEED)
    missing = "The market list of kraken is not known at the moment: nothing is filled there."
    assert answer.json()["warnings"] == [missing]
    for symbol, exchange in (("XMR-EUR", None), ("BTC-USD", "kraken")):
        fields = {"order_id": "other", "symbol": symbol, "exchange": exchange}
        refused(await orders.ask("POST", "/orders/twap", SEED | fields), 503, "SERVICE_UNAVAILABLE")
    fields = {"order_id": "named", "exchange": "binance"}
    assert "warnings" not in (await orders.ask("POST", "/orders/twap", SEED | fields)).json()


async def test_a_symbol_that_nobody_can_ask_for_is_refused_while_no_list_is_known(orders: Orders) -> None:
    orders.app.state.resources = replace(orders.app.state.resources, directory=Directory(SymbolTables()))
    refused(await orders.ask("GET", "/orders", query="symbol=a%00"), 422, "VALIDATION_ERROR")
    assert (await orders.ask("GET", "/orders", query="symbol=BTC-USD")).json() == []


async def test_what_was_accepted_is_answered_again_when_nobody_lists_its_market_any_more(orders: Orders) -> None:
    first = await orders.ask("POST", "/orders/twap", SEED)
    tables = orders.app.state.resources.directory._tables
    for exchange in tables.exchanges:
        tables.put(exchange, [Instrument(exchange, "ETHUSDT", "ETH", "USDT")])
    assert (await orders.ask("POST", "/orders/twap", SEED)).body == first.body
    refused(await orders.ask("POST", "/orders/twap", SEED, by=BOB), 404, "SYMBOL_NOT_FOUND")
    other = SEED | {"order_id": "twap_002", "symbol": "ETH-USDT"}
    answer = (await orders.ask("POST", "/orders/twap", [SEED, other])).json()
    assert [one["order_id"] for one in answer["orders"]] == ["twap_001", "twap_002"]
    refused(await orders.ask("POST", "/orders/twap", [SEED, SEED | {"order_id": "twap_003"}]), 404, "SYMBOL_NOT_FOUND")


async def test_an_account_has_so_many_open_orders_and_no_more(orders: Orders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accepting, "MOST_OPEN_ORDERS", 3)
    names = [SEED | {"order_id": f"o{number}"} for number in range(5)]
    await orders.ask("POST", "/orders/twap", names[:2])
    answer = await orders.ask("POST", "/orders/twap", names[2:4])
    assert "at most 3 may be open at once" in refused(answer, 409, "CONFLICT")
    assert answer.json()["details"] == {"open_orders": 2, "max_open_orders": 3}
    assert [one["order_id"] for one in (await orders.ask("GET", "/orders")).json()] == ["o1", "o0"]
    assert (await orders.ask("POST", "/orders/twap", names[2])).status == 200
    assert (await orders.ask("POST", "/orders/twap", names[:3])).status == 200, "a repeat opens none"
    assert (await orders.ask("POST", "/orders/twap", names[3], by=BOB)).status == 200
    await orders.ask("DELETE", "/orders/o0")
    assert (await orders.ask("POST", "/orders/twap", names[3])).status == 200


async def test_of_a_long_order_the_newest_executions_are_answered_and_all_are_summed_up(
    orders: Orders, monkeypatch: pytest.MonkeyPatch
) -> None:
    await orders.ask("POST", "/orders/twap", SEED | {"total_quantity": 0.6})
    await orders.replica.work()
    await orders.pass_time(5)
    whole = (await orders.ask("GET", "/orders/twap_001")).json()
    count = len(whole["executions"])
    assert count > 5
    monkeypatch.setattr(reading, "PAGE", 2)
    assert (await orders.ask("GET", "/orders/twap_001")).json() == whole
    monkeypatch.setattr(reading, "MOST_EXECUTIONS", 3)
    monkeypatch.setattr(answers, "MOST_IN_LOOP", 2)
    part = (await orders.ask("GET", "/orders/twap_001")).json()
    assert part.pop("executions_left_out") == count - 3
    assert part == whole | {"executions": whole["executions"][-3:]}


async def test_an_order_that_real_exchanges_could_not_fill_is_refused_before_it_is_accepted(orders: Orders) -> None:
    class Binance(CcxtClient):
        def __init__(self) -> None:
            self.exchange = "binance"

        is_ready = False

    replica, listings, one = orders.replica, Listings({"binance": Binance()}), Decimal(1)
    executor = CcxtExecutor(
        replica.database, replica.books, listings, Limits({"USDT": one}, {"USDT": one}), orders.clock
    )
    orders.app.state.resources = replace(orders.app.state.resources, executor=executor)
    for fields in ({"symbol": "BTC-USDT.P"}, {"exchange": "kraken"}):
        message = refused(await orders.ask("POST", "/orders/twap", SEED | fields), 422, "VALIDATION_ERROR")
        assert message.startswith("Orders go to real spot markets of binance, and this symbol is none of them")
    listed = orders.app.state.resources.directory._tables
    listed.put("binance", [*LISTED["binance"], Instrument("binance", "ETHBTC", "ETH", "BTC")])
    message = refused(await orders.ask("POST", "/orders/twap", SEED | {"symbol": "ETH-BTC"}), 422, "VALIDATION_ERROR")
    assert message == "Nothing may be traded in BTC here: it has no limit."
    assert (await orders.ask("GET", "/orders")).json() == []
    assert (await orders.ask("POST", "/orders/twap", SEED)).status == 200


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_decimals_are_the_same_texts_as_numbers_and_as_strings(orders: Orders, method: str) -> None:
    await orders.ask("POST", "/orders/twap", SEED)
    await orders.replica.work()
    await orders.pass_time(1)
    refused(await orders.ask(method, "/orders/twap_001", query="numbers=roman"), 422, "VALIDATION_ERROR")
    numbers = (await orders.ask("GET", "/orders/twap_001", query="numbers=number")).body
    assert numbers == (await orders.ask("GET", "/orders/twap_001")).body
    strings = (await orders.ask(method, "/orders/twap_001", query="numbers=string")).json()
    assert (strings["total_quantity"], strings["limit_price"]) == ("1.0", "30000.0")
    assert (strings["executions"][0]["price"], strings["arrival_price"]) == ("29990", "29985")
    assert strings["executions"][0]["receipt"]["mid_price"] == "29985"
    assert (strings["duration"], strings["progress"]["slices"], strings["benchmark"]["vwap"]) == (5, 6, None)
    if method == "GET":
        assert _texts(strings) == _texts(json.loads(numbers, parse_float=str, parse_int=str))


def _texts(body: Any) -> Any:
    """A body with every whole number as text."""
    return json.loads(json.dumps(body), parse_int=str)


async def test_exact_numbers_come_back_exactly(orders: Orders) -> None:
    text = b"0.100000000000000001"
    await orders.ask("POST", "/orders/twap", SEED_BODY.replace(b"1.0", text))
    assert b'"total_quantity":' + text + b"," in (await orders.ask("GET", "/orders/twap_001")).body


async def test_remarkable_orders_are_warned_of_not_refused(orders: Orders) -> None:
    async def warnings(name: str, **fields: Any) -> list[str]:
        return (await orders.ask("POST", "/orders/twap", SEED | {"order_id": name} | fields)).json().get("warnings", [])

    assert await warnings("a") == []
    assert await warnings("b", limit_price=1) == [
        "limit_price is 100.0 % better than the market's 29985: it may never be reached."
    ]
    assert await warnings("c", side="sell", limit_price=1) == [
        "limit_price is 100.0 % worse than the market's 29985: it protects little."
    ]
    assert (await warnings("d", total_quantity="0.000001"))[0].startswith(
        "total_quantity is below the lot size 0.00001"
    )
    assert (await warnings("e", symbol="ETH-USDT"))[0].startswith("No live book of this symbol")


async def test_nobody_without_an_internal_token_is_answered(orders: Orders) -> None:
    assert (await request(orders.app, "GET", "/orders")).status == 401
    assert (await request(orders.app, "GET", "/livez")).status == 200
    assert ALICE.username not in (await request(orders.app, "GET", "/orders/x")).body.decode()
