"""Each exchange's frames over a real socket, against the truth, by each exchange's own continuity rule."""

import asyncio
import itertools
import zlib
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio

from crosstape.exchange_sim import SimConfig
from crosstape.exchange_sim.testing import PATIENCE_S, Client, client_of

COUNT = 12

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("quicker_time")]


@pytest_asyncio.fixture(loop_scope="module")
async def client(standing: Client) -> AsyncIterator[Client]:
    """The module's simulator, running again after each test that paused it."""
    yield standing
    await standing.post("/_truth/resume")


def applied(book: dict[str, Decimal], levels: list[Any]) -> None:
    for price, quantity, *_ in levels:
        book[price] = Decimal(quantity)
        if not book[price]:
            del book[price]


async def assert_truth(client: Client, exchange: str, symbol: str, kind: str, heard: list[Any]) -> None:
    """`heard`: (id, price, quantity, taker side) of consecutive trades, exactly those of the truth."""
    truth = [(one["trade_id"], one["price"], one["quantity"], one["side"])
             for one in await client.truth(exchange, symbol, kind)]  # fmt: skip
    ids = [one[0] for one in truth]
    start = ids.index(heard[0][0])
    told = truth[start : start + len(heard)]
    as_numbers = [(one[0], Decimal(one[1]), Decimal(one[2]), one[3]) for one in heard]
    assert as_numbers == [(one[0], Decimal(one[1]), Decimal(one[2]), one[3]) for one in told]


@pytest.mark.parametrize("kind", ["spot", "perpetual"])
async def test_binance_trades_and_diffs_continue(client: Client, kind: str) -> None:
    path = f"/binance/{kind}.stream/stream?streams=btcusdt@trade/btcusdt@depth@100ms"
    async with client.socket(path) as socket:
        frames = await socket.take(lambda one: one["stream"] == "btcusdt@trade", COUNT)
        diffs = [one["data"] for one in await socket.take(lambda one: "depth" in one["stream"], 5)]
    trades = [one["data"] for one in frames]
    heard = [(str(one["t"]), one["p"], one["q"], "sell" if one["m"] else "buy") for one in trades]
    await assert_truth(client, "binance", "BTCUSDT", kind, heard)
    for before, after in itertools.pairwise(diffs):
        assert after["U"] == before["u"] + 1
        assert after["U"] <= after["u"]
        assert ("pu" in after) == (kind == "perpetual")
        assert after.get("pu", before["u"]) == before["u"]


async def test_binance_depth_snapshot_and_diffs_give_the_true_book(client: Client) -> None:
    async with client.socket("/binance/spot.stream/ws") as socket:
        await socket.raw.send_json({"method": "SUBSCRIBE", "params": ["btcusdt@depth@100ms"], "id": 1})
        assert await socket.next() == {"result": None, "id": 1}
        first = await socket.next()
        snapshot = await client.get("/binance/spot.rest/api/v3/depth?symbol=BTCUSDT&limit=5000")
        bids = {price: Decimal(quantity) for price, quantity in snapshot["bids"]}
        assert snapshot["lastUpdateId"] >= first["U"] - 1
        await client.post("/_truth/pause")
        truth = await client.get("/_truth/binance/BTCUSDT/book")
        last = first
        while True:
            if last["u"] > snapshot["lastUpdateId"]:
                applied(bids, last["b"])
            if last["u"] == truth["update_id"]:
                break
            last = await socket.next()
    assert {Decimal(price): quantity for price, quantity in bids.items()} == {
        Decimal(price): Decimal(quantity) for price, quantity in truth["bids"]
    }


@pytest.mark.parametrize("depth", [10, 25])
async def test_kraken_book_has_the_right_checksum_after_every_update(client: Client, depth: int) -> None:
    subscribe = {"method": "subscribe", "params": {"channel": "book", "symbol": ["BTC/USD"], "depth": depth}}
    async with client.socket("/kraken/stream/v2", subscribe) as socket:
        frames = await socket.take(lambda one: one.get("channel") == "book", 6)
        assert frames[0]["type"] == "snapshot" and frames[1]["type"] == "update"
        sides: dict[str, dict[str, str]] = {"bids": {}, "asks": {}}
        for frame in frames:
            data = frame["data"][0]
            for name, side in sides.items():
                for level in data[name]:
                    side[level["price"]] = level["qty"]
                    if not Decimal(level["qty"]):
                        del side[level["price"]]
                kept = sorted(side, key=Decimal, reverse=name == "bids")[:depth]
                sides[name] = {price: side[price] for price in kept}
            best = [*list(sides["asks"].items())[:10], *list(sides["bids"].items())[:10]]
            text = "".join(number.replace(".", "").lstrip("0") for level in best for number in level)
            assert zlib.crc32(text.encode()) == data["checksum"]


async def test_kraken_trades_and_heartbeats(client: Client) -> None:
    subscribe = {"method": "subscribe", "params": {"channel": "trade", "symbol": ["BTC/USD"]}, "req_id": 9}
    async with client.socket("/kraken/stream/v2", subscribe) as socket:
        acknowledged = (await socket.take(lambda one: one.get("method") == "subscribe", 1))[0]
        assert acknowledged["success"] and acknowledged["req_id"] == 9
        frames = await socket.take(lambda one: one.get("channel") == "trade", COUNT)
        assert await socket.take(lambda one: one.get("channel") == "heartbeat", 1)
    heard = [(str(one["trade_id"]), one["price"], one["qty"], one["side"])
             for frame in frames for one in frame["data"]]  # fmt: skip
    assert [frame["type"] for frame in frames[:2]] == ["snapshot", "update"]
    await assert_truth(client, "kraken", "BTC/USD", "spot", heard)


async def test_coinbase_side_is_the_maker_s_and_level2_gives_the_book(client: Client) -> None:
    subscribe = {
        "type": "subscribe",
        "product_ids": ["BTC-USD"],
        "channels": ["matches", "level2_batch", "heartbeat"],
    }
    async with client.socket("/coinbasepro/stream", subscribe) as socket:
        assert (await socket.next())["type"] == "subscriptions"
        snapshot = (await socket.take(lambda one: one["type"] == "snapshot", 1))[0]
        book = {price: Decimal(size) for price, size in snapshot["bids"]}
        matches: list[Any] = []
        truth: dict[str, Any] = {}
        is_all_told = False
        async with asyncio.timeout(2 * PATIENCE_S):
            while not (is_all_told and book == {price: Decimal(quantity) for price, quantity in truth["bids"]}):
                frame = await socket.next()
                if frame["type"] == "match":
                    matches.append(frame)
                elif frame["type"] == "l2update":
                    applied(book, [change[1:] for change in frame["changes"] if change[0] == "buy"])
                elif truth and frame["type"] == "heartbeat":
                    is_all_told = is_all_told or frame["sequence"] == truth["update_id"]
                if len(matches) >= COUNT and not truth:
                    await client.post("/_truth/pause")
                    truth = await client.get("/_truth/coinbasepro/BTC-USD/book")
    sequences = [one["sequence"] for one in matches]
    assert sequences == sorted(set(sequences))
    heard = [(str(one["trade_id"]), one["price"], one["size"], {"buy": "sell", "sell": "buy"}[one["side"]])
             for one in matches]  # fmt: skip
    await assert_truth(client, "coinbasepro", "BTC-USD", "spot", heard)


@pytest.mark.parametrize(("symbol", "kind"), [("BTC-USDT", "spot"), ("BTC-USDT-SWAP", "perpetual")])
async def test_okx_every_trade_and_books_that_continue(client: Client, symbol: str, kind: str) -> None:
    every = {"op": "subscribe", "args": [{"channel": "trades-all", "instId": symbol}]}
    async with client.socket("/okx/stream/ws/v5/business", every) as socket:
        frames = await socket.take(lambda one: "data" in one, COUNT)
    heard = [(one["tradeId"], one["px"], one["sz"], one["side"]) for frame in frames for one in frame["data"]]
    await assert_truth(client, "okx", symbol, kind, heard)
    books = {"op": "subscribe", "args": [{"channel": "books", "instId": symbol}]}
    async with client.socket("/okx/stream/ws/v5/public", books) as socket:
        messages = [one["data"][0] for one in await socket.take(lambda one: "data" in one, 4)]
        await socket.raw.send_str("ping")
        while (message := await socket.raw.receive(timeout=5)).data != "pong":
            assert '"channel":"books"' in message.data
    assert messages[0]["prevSeqId"] == -1
    assert all(one["checksum"] == 0 for one in messages)
    assert [one["prevSeqId"] for one in messages[1:]] == [one["seqId"] for one in messages[:-1]]


async def test_okx_joined_trades_count_every_fill(client: Client) -> None:
    joined = {"op": "subscribe", "args": [{"channel": "trades", "instId": "BTC-USDT"}]}
    async with client.socket("/okx/stream/ws/v5/public", joined) as socket:
        rows = [one["data"][0] for one in await socket.take(lambda one: "data" in one, COUNT)]
    for before, after in itertools.pairwise(rows):
        assert int(after["tradeId"]) == int(before["tradeId"]) + int(after["count"])


@pytest.mark.parametrize(("kind", "category"), [("spot", "spot"), ("perpetual", "linear")])
async def test_bybit_trades_and_book_counter(client: Client, kind: str, category: str) -> None:
    subscribe = {"op": "subscribe", "args": ["publicTrade.BTCUSDT", "orderbook.50.BTCUSDT"], "req_id": "1"}
    path = f"/bybit/{kind}.stream/v5/public/{category}"
    async with client.socket(path, subscribe) as socket:
        assert (await socket.next())["success"]
        trades: list[Any] = []
        books: list[Any] = []
        book: dict[str, Decimal] = {}
        while len(trades) < COUNT or len(books) < 5:
            frame = await socket.next()
            if frame["topic"].startswith("publicTrade"):
                trades += frame["data"]
            else:
                books.append(frame)
                applied(book, frame["data"]["b"])
                assert len(book) <= 50
        await client.post("/_truth/pause")
        truth = await client.get(f"/_truth/bybit/BTCUSDT/book?kind={kind}&depth=50")
        bids = {Decimal(price): Decimal(quantity) for price, quantity in truth["bids"]}
        while {Decimal(price): quantity for price, quantity in book.items()} != bids:
            if (frame := await socket.next())["topic"].startswith("orderbook"):
                applied(book, frame["data"]["b"])
    heard = [(one["i"], one["p"], one["v"], one["S"].lower()) for one in trades]
    assert all(("-" in one[0]) == (kind == "perpetual") for one in heard)
    await assert_truth(client, "bybit", "BTCUSDT", kind, heard)
    assert [one["type"] for one in books[:2]] == ["snapshot", "delta"]
    counters = [one["data"]["u"] for one in books]
    assert counters == list(range(counters[0], counters[0] + len(books)))


@pytest.mark.parametrize(
    ("path", "message", "complaint"),
    [
        ("/binance/spot.stream/ws", {"method": "NOPE", "id": 3}, "error"),
        (
            "/kraken/stream/v2",
            {"method": "subscribe", "params": {"channel": "trade", "symbol": ["NO/PE"]}},
            "error",
        ),
        (
            "/coinbasepro/stream",
            {"type": "subscribe", "product_ids": ["NO-PE"], "channels": ["matches"]},
            "reason",
        ),
        (
            "/okx/stream/ws/v5/public",
            {"op": "subscribe", "args": [{"channel": "books", "instId": "NO-PE"}]},
            "code",
        ),
        ("/bybit/spot.stream/v5/public/spot", {"op": "subscribe", "args": ["publicTrade.NOPE"]}, "ret_msg"),
    ],
)
async def test_a_wrong_subscription_is_answered(client: Client, path: str, message: Any, complaint: str) -> None:
    async with client.socket(path, message) as socket:
        assert await socket.take(lambda one: complaint in one, 1)


async def test_a_paused_market_is_quiet_but_alive(client: Client) -> None:
    await client.post("/_truth/pause")
    subscribe = {"method": "subscribe", "params": {"channel": "book", "symbol": ["BTC/USD"]}}
    async with client.socket("/kraken/stream/v2", subscribe) as socket:
        await socket.take(lambda one: one.get("type") == "snapshot", 1)
        assert await socket.next() == {"channel": "heartbeat"}
        await client.post("/_truth/resume")
        assert await socket.take(lambda one: one.get("type") == "update", 1)


async def test_only_the_chosen_exchanges_are_there() -> None:
    async with client_of(SimConfig(exchanges=("okx",), symbols=1)) as client:
        assert {one["exchange"] for one in await client.get("/_truth/markets")} == {"okx"}
        async with client.http.get(client.address + "/binance/spot.rest/api/v3/ping") as response:
            assert response.status == 404
