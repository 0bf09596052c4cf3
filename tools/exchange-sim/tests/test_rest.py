"""Each exchange's paging rule reaches every trade id exactly once; its candles are those of the truth."""

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from crosstape.exchange_sim import SimConfig
from crosstape.exchange_sim.testing import POLL_S, Client, client_of

pytestmark = pytest.mark.usefixtures("quicker_time")


def fast(exchange: str) -> SimConfig:
    return SimConfig(exchanges=(exchange,), symbols=1, rate=6000.0, seed=3)


def within(body: Any, where: list[str]) -> Any:
    for name in where:
        body = body[name]
    return body


async def traded(client: Client, exchange: str, symbol: str, least: int, kind: str = "spot") -> None:
    """Return once the market has had so many trades."""
    while len(await client.truth(exchange, symbol, kind)) < least:
        await asyncio.sleep(POLL_S)


async def paused_truth(client: Client, exchange: str, symbol: str, least: int, kind: str = "spot") -> list[str]:
    """Ids of at least `least` trades of a market that then stands still."""
    await traded(client, exchange, symbol, least, kind)
    await client.post("/_truth/pause")
    return [one["trade_id"] for one in await client.truth(exchange, symbol, kind)]


@pytest.mark.parametrize(("kind", "path"), [("spot", "/binance/spot.rest/api/v3"),
                                            ("perpetual", "/binance/perpetual.rest/fapi/v1")])  # fmt: skip
async def test_binance_pages_by_from_id(kind: str, path: str) -> None:
    async with client_of(fast("binance")) as client:
        truth = await paused_truth(client, "binance", "BTCUSDT", 1200, kind)
        found: list[str] = []
        while True:
            first = int(found[-1]) + 1 if found else truth[0]
            page = await client.get(f"{path}/historicalTrades?symbol=BTCUSDT&fromId={first}&limit=1000")
            if not page:
                break
            found += [str(one["id"]) for one in page]
        assert found == truth
        newest = await client.get(f"{path}/trades?symbol=BTCUSDT&limit=5")
        assert [str(one["id"]) for one in newest] == truth[-5:]


async def test_kraken_pages_by_since_and_last() -> None:
    async with client_of(fast("kraken")) as client:
        truth = await paused_truth(client, "kraken", "BTC/USD", 1200)
        found: list[str] = []
        since = "0"
        while True:
            result = (await client.get(f"/kraken/rest/0/public/Trades?pair=XBTUSD&since={since}"))["result"]
            if not result["XXBTZUSD"]:
                break
            found += [str(one[6]) for one in result["XXBTZUSD"]]
            since = result["last"]
        assert found == truth


async def test_coinbase_pages_by_the_cb_after_header() -> None:
    async with client_of(fast("coinbasepro")) as client:
        truth = await paused_truth(client, "coinbasepro", "BTC-USD", 1200)
        found: list[str] = []
        after = ""
        while True:
            url = f"{client.address}/coinbasepro/rest/products/BTC-USD/trades?limit=500{after}"
            async with client.http.get(url) as response:
                page = await response.json()
                if not page:
                    break
                after = "&after=" + response.headers["cb-after"]
            found += [str(one["trade_id"]) for one in page]
        assert found == truth[::-1]


@pytest.mark.parametrize("paging", [("1", "tradeId"), ("2", "ts")])
async def test_okx_pages_backwards_by_id_and_by_time(paging: tuple[str, str]) -> None:
    kind, field = paging
    async with client_of(fast("okx")) as client:
        truth = await paused_truth(client, "okx", "BTC-USDT", 400)
        found: dict[str, None] = {}
        after = str(10**18) if kind == "1" else str(10**14)
        path = f"/okx/rest/api/v5/market/history-trades?instId=BTC-USDT&type={kind}&limit=100"
        while page := (await client.get(f"{path}&after={after}"))["data"]:
            assert len(page) <= 100
            found |= {one["tradeId"]: None for one in page}
            after = page[-1][field] if kind == "1" else str(int(page[-1][field]) + 1)
            if len(found) == len(truth):
                break
        assert list(found) == truth[::-1]


async def test_bybit_gives_the_newest_only_and_fewer_for_spot() -> None:
    async with client_of(fast("bybit")) as client:
        await traded(client, "bybit", "BTCUSDT", 60)
        truth = await paused_truth(client, "bybit", "BTCUSDT", 1100, "perpetual")
        path = "/bybit/rest/v5/market/recent-trade?symbol=BTCUSDT&limit=1000&category="
        linear = (await client.get(path + "linear"))["result"]["list"]
        assert [one["execId"] for one in linear] == truth[-1000:][::-1]
        assert len((await client.get(path + "spot"))["result"]["list"]) == 60
        from_id = f"/_truth/bybit/BTCUSDT/trades?kind=perpetual&from_id={truth[5]}&limit=1"
        assert [one["trade_id"] for one in await client.get(from_id)] == [truth[5]]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("path", "where", "field", "expected"),
    [
        ("/binance/spot.rest/api/v3/exchangeInfo", ["symbols"], "symbol", "ETHBTC"),
        ("/binance/perpetual.rest/fapi/v1/exchangeInfo", ["symbols"], "symbol", "ETHUSDT"),
        ("/kraken/rest/0/public/AssetPairs", ["result"], "wsname", "XBT/USD"),
        ("/coinbasepro/rest/products", [], "id", "BTC-EUR"),
        ("/okx/rest/api/v5/public/instruments?instType=SPOT", ["data"], "instId", "BTC-USDT"),
        ("/okx/rest/api/v5/public/instruments?instType=SWAP", ["data"], "instId", "BTC-USDT-SWAP"),
        ("/bybit/rest/v5/market/instruments-info?category=linear", ["result", "list"], "symbol", "BTCUSDT"),
        ("/bybit/rest/v5/market/instruments-info?category=spot", ["result", "list"], "symbol", "XRPUSDT"),
    ],
)
async def test_market_lists(standing: Client, path: str, where: list[str], field: str, expected: str) -> None:
    rows = within(await standing.get(path), where)
    found = [row[field] for row in (rows.values() if isinstance(rows, dict) else rows)]
    assert expected in found and len(set(found)) == len(found)


OHLC = (1, 2, 3, 4)
CANDLES = [
    ("/binance/spot.rest/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=50", [], OHLC),
    ("/kraken/rest/0/public/OHLC?pair=XBTUSD&interval=1", ["result", "XXBTZUSD"], OHLC),
    ("/coinbasepro/rest/products/BTC-USD/candles?granularity=60", [], (3, 2, 1, 4)),
    ("/okx/rest/api/v5/market/history-candles?instId=BTC-USDT&bar=1m", ["data"], OHLC),
    ("/bybit/rest/v5/market/kline?category=spot&symbol=BTCUSDT&interval=1", ["result", "list"], OHLC),
]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("path", "where", "columns"), CANDLES)
async def test_candles_of_any_past(standing: Client, path: str, where: list[str], columns: tuple[int, ...]) -> None:
    found = sorted(within(await standing.get(path), where), key=lambda row: int(row[0]))
    assert len(found) >= 50
    step = int(found[1][0]) - int(found[0][0])
    assert step in (60, 60_000)
    assert [int(row[0]) for row in found] == [int(found[0][0]) + step * index for index in range(len(found))]
    for row in found:
        opened, high, low, close = (Decimal(row[column]) for column in columns)
        assert low <= min(opened, close) <= max(opened, close) <= high
    if path.startswith("/bybit"):
        assert [row[1] for row in found[1:]] == [row[4] for row in found[:-1]]


async def test_binance_kline_delta_is_the_truth_s() -> None:
    async with client_of(fast("binance")) as client:
        path = "/binance/spot.rest/api/v3/klines?symbol=BTCUSDT&interval=1s"
        while not await client.truth("binance", "BTCUSDT"):
            await asyncio.sleep(POLL_S)
        start = (await client.truth("binance", "BTCUSDT"))[0]["time_ns"] // 10**9 * 1000 + 1000
        while (truth := await client.truth("binance", "BTCUSDT"))[-1]["time_ns"] < (start + 1000) * 10**6:
            await asyncio.sleep(POLL_S)
        bar = (await client.get(f"{path}&startTime={start}&limit=1"))[0]
        own = [one for one in truth if start <= one["time_ns"] // 10**6 < start + 1000]
        bought = sum(Decimal(one["quantity"]) for one in own if one["side"] == "buy")
        assert (Decimal(bar[5]), Decimal(bar[9]), bar[8]) == (
            sum(Decimal(one["quantity"]) for one in own), bought, len(own),
        )  # fmt: skip


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("path", "status", "field"),
    [
        ("/binance/spot.rest/api/v3/trades?symbol=NOPE", 400, "code"),
        ("/binance/spot.rest/api/v3/trades?symbol=BTCUSDT&limit=x", 400, "code"),
        ("/kraken/rest/0/public/Trades?pair=NOPE", 200, "error"),
        ("/coinbasepro/rest/products/NOPE/trades", 404, "message"),
        ("/okx/rest/api/v5/market/trades?instId=NOPE", 400, "code"),
        ("/bybit/rest/v5/market/recent-trade?category=linear&symbol=NOPE", 200, "retMsg"),
    ],
)
async def test_errors_are_the_exchange_s_own(standing: Client, path: str, status: int, field: str) -> None:
    async with standing.http.get(standing.address + path) as response:
        assert response.status == status
        assert (await response.json())[field]
