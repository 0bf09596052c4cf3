"""What goes to an exchange through ccxt and comes back: in base, on spot markets, and found again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest

from crosstape.common.errors import ExchangeError, ValidationFailed
from crosstape.twap_engine.execution.ccxt_clients import CcxtClient, OrderRefused, OrderUnknown, open_clients
from crosstape.twap_engine.order import Market, Side
from crosstape.twap_engine.settings import TwapSettings

PLACED = {"binance": "privatePostOrder", "okx": "privatePostTradeBatchOrders"}
FOUND = {"binance": "privateGetOrder", "okx": "privateGetTradeOrder"}
ANSWERS = {
    "binance": {
        "symbol": "BTCUSDT", "orderId": 7, "clientOrderId": "ctwap1x0", "price": "4", "origQty": "5", "side": "BUY",
        "executedQty": "3", "cummulativeQuoteQty": "10", "status": "EXPIRED", "timeInForce": "IOC", "type": "LIMIT",
    },
    "okx": {
        "code": "0",
        "data": [
            {
                "instId": "BTC-USDT", "instType": "SPOT", "ordId": "7", "clOrdId": "ctwap1x0", "px": "4", "sz": "5",
                "side": "buy", "ordType": "ioc", "accFillSz": "3", "avgPx": "3.3", "state": "canceled", "fee": "-0.01",
                "feeCcy": "USDT",
            }
        ],
    },
}  # fmt: skip
LISTS = {"binance": "/api/v3/exchangeInfo", "okx": "/api/v5/public/instruments?instType=SPOT"}
LISTED = {
    "binance": {
        "symbols": [
            {
                "symbol": "BTCUSDT", "status": "TRADING", "baseAsset": "BTC", "quoteAsset": "USDT",
                "isSpotTradingAllowed": True, "permissions": ["SPOT"], "orderTypes": ["LIMIT"],
                "filters": [
                    {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000", "tickSize": "0.01"},
                    {"filterType": "LOT_SIZE", "minQty": "0.001", "maxQty": "9000", "stepSize": "0.001"},
                ],
            }
        ]
    },
    "okx": {
        "code": "0",
        "data": [
            {
                "instId": "BTC-USDT", "instType": "SPOT", "baseCcy": "BTC", "quoteCcy": "USDT", "state": "live",
                "lotSz": "0.001", "tickSz": "0.01",
            }
        ],
    },
}  # fmt: skip
COST = {"binance": "10", "okx": "9.9"}
FEE = {"binance": "0", "okx": "0.01"}


@asynccontextmanager
async def client_of(exchange: str, **answers: Callable[[Any], Any]) -> AsyncIterator[CcxtClient]:
    """A client that has a market list: BTC-USDT on the spot and, in contracts of 1,000, as a perpetual future.
    `answers` stand in for ccxt's calls of the exchange, by their names."""
    ccxt = pytest.importorskip("ccxt.async_support")
    inner = getattr(ccxt, exchange)({"apiKey": "key", "secret": "secret", "password": "password"})
    spot = {
        "id": "BTC-USDT" if exchange == "okx" else "BTCUSDT", "symbol": "BTC/USDT", "base": "BTC", "quote": "USDT",
        "type": "spot", "spot": True, "contract": False, "swap": False, "active": True,
        "precision": {"amount": "0.001", "price": "0.01"}, "info": {"orderTypes": ["LIMIT"]},
    }  # fmt: skip
    swap = spot | {
        "id": "BTC-USDT-SWAP", "symbol": "BTC/USDT:USDT", "settle": "USDT", "type": "swap", "spot": False,
        "contract": True, "swap": True, "linear": True, "contractSize": "1000",
    }  # fmt: skip
    untold = spot | {"id": "ETH-USDT", "symbol": "ETH/USDT", "base": "ETH", "precision": {"amount": None}}
    client = CcxtClient(exchange, inner)
    inner.set_markets([inner.safe_market_structure(one) for one in (spot, swap, untold)])

    def asynchronous(answer: Callable[[Any], Any]) -> Any:
        async def call(params: Any = None) -> Any:
            return answer(params)

        return call

    for name, answer in answers.items():
        setattr(inner, name, asynchronous(answer))
    try:
        yield client
    finally:
        await client.close()


@pytest.mark.parametrize("exchange", ["binance", "okx"])
async def test_a_lost_order_is_found_again_by_our_own_id_with_what_it_cost(exchange: str) -> None:
    asked: list[Any] = []

    def answer(params: Any) -> Any:
        asked.append(params)
        return ANSWERS[exchange]

    async with client_of(exchange, **{FOUND[exchange]: answer}) as client:
        found = await client.find("BTC-USDT", "ctwap1x0")
    assert "ctwap1x0" in asked[0].values()
    assert (found.is_final, found.filled, found.cost, found.fee) == (
        True, 3, Decimal(COST[exchange]), Decimal(FEE[exchange])
    )  # fmt: skip
    assert abs(found.average * found.filled - found.cost) < Decimal("1e-15")


@pytest.mark.parametrize("exchange", ["binance", "okx"])
async def test_an_order_that_never_came_is_told_from_every_other_trouble(exchange: str) -> None:
    errors = pytest.importorskip("ccxt.base.errors")

    told: list[Any] = []

    def answer(params: Any) -> Any:
        if not told:
            raise errors.OrderNotFound("no such order")
        return told[-1]

    async with client_of(exchange, **{FOUND[exchange]: answer}) as client:
        with pytest.raises(OrderUnknown):
            await client.find("BTC-USDT", "ctwap1x0")
        for odd in (None, {}, [], "no", {"data": None}, {"executedQty": "much", "status": "?"}):
            told.append(odd)
            try:
                found = await client.find("BTC-USDT", "ctwap1x0")
            except ExchangeError as error:
                assert not isinstance(error, OrderUnknown)
            else:
                assert not found.is_final


async def test_a_quantity_that_has_no_price_yet_is_not_known() -> None:
    answer = ANSWERS["binance"] | {"cummulativeQuoteQty": "0", "price": "0"}
    async with client_of("binance", privateGetOrder=lambda params: answer) as client:
        with pytest.raises(ExchangeError, match="not told yet"):
            await client.find("BTC-USDT", "ctwap1x0")


@pytest.mark.parametrize("exchange", ["kraken", "bybit", "coinbasepro", "coinbaseexchange", "nowhere"])
def test_an_exchange_where_a_lost_order_cannot_be_found_is_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch, exchange: str
) -> None:
    monkeypatch.setenv("CROSSTAPE_CCXT_CREDENTIALS", f'{{"{exchange}": {{"apiKey": "a", "secret": "b"}}}}')
    with pytest.raises(ValidationFailed, match=f"could not be found again at {exchange}. Leave it out"):
        open_clients(TwapSettings())


@pytest.mark.parametrize("exchange", ["binance", "okx"])
async def test_a_spot_order_is_sent_in_base_and_a_future_not_at_all(exchange: str) -> None:
    sent: list[Any] = []

    def answer(params: Any) -> Any:
        sent.extend(params if isinstance(params, list) else [params])
        return ANSWERS[exchange]

    async with client_of(exchange, **{PLACED[exchange]: answer}) as client:
        quantity, limit = client.rounded("BTC-USDT", Side.BUY, Decimal("5000.0009"), Decimal("30000.009"))
        await client.place("BTC-USDT", Side.BUY, quantity, limit, "ctwap1x0")
        assert Decimal(sent[0]["sz" if exchange == "okx" else "quantity"]) == 5000
        assert Decimal(sent[0]["px" if exchange == "okx" else "price"]) == 30000
        for symbol in ("BTC-USDT.P", "NO-SUCH", "ABC.PRO-USDT"):
            with pytest.raises(OrderRefused):
                client.rounded(symbol, Side.BUY, Decimal(5000), Decimal(30_000))
            with pytest.raises(OrderRefused):
                await client.place(symbol, Side.BUY, Decimal(5000), Decimal(30_000), "ctwap1x1")
        assert len(sent) == 1


async def test_only_spot_markets_that_the_exchange_lists_with_their_steps_may_be_traded() -> None:
    async with client_of("okx") as client:
        may = {symbol: client.may_trade(Market("okx", symbol)) for symbol in ("BTC-USDT", "BTC-USDT.P", "ETH-USDT")}
        assert may == {"BTC-USDT": True, "BTC-USDT.P": False, "ETH-USDT": False}
        assert not client.may_trade(Market("binance", "BTC-USDT"))
        client._client.markets = None
        assert client.may_trade(Market("okx", "ETH-USDT")), "the list will tell"
        assert not client.may_trade(Market("okx", "BTC-USDT.P"))


async def test_the_longest_decimals_are_rounded_to_the_finest_steps_and_never_beyond_the_limit() -> None:
    long = Decimal("12345678901234567890.009999999999999999")
    async with client_of("binance") as client:
        client._client.markets["BTC/USDT"]["precision"]["amount"] = "1e-9"
        bought, sold = (client.rounded("BTC-USDT", side, Decimal(10**20), long) for side in (Side.BUY, Side.SELL))
    assert bought == (10**20, Decimal("12345678901234567890.00"))
    assert sold == (10**20, Decimal("12345678901234567890.01"))


async def test_a_market_list_that_names_nothing_is_no_list_and_is_asked_for_again() -> None:
    async with client_of("okx") as client:
        whole, told = [*client._client.markets.values()], list[Any]()
        client._client.markets = None

        async def fetch() -> list[Any]:
            return told

        client._client.fetch_markets = fetch
        with pytest.raises(ExchangeError, match="told no market"):
            await client.load()
        assert not client.is_ready
        told = whole
        await client.load()
        told = []
        with pytest.raises(ExchangeError, match="told no market"):
            await client.load()
        assert client.may_trade(Market("okx", "BTC-USDT")), "the list of before holds"


@pytest.mark.parametrize("exchange", ["binance", "okx"])
async def test_of_all_that_an_exchange_lists_its_spot_markets_alone_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, exchange: str
) -> None:
    pytest.importorskip("ccxt.async_support")
    monkeypatch.setenv("CROSSTAPE_CCXT_SANDBOX", "false")
    keys = '{"apiKey": "a", "secret": "b", "password": "c"}'
    monkeypatch.setenv("CROSSTAPE_CCXT_CREDENTIALS", f'{{"{exchange}": {keys}}}')
    client, asked = open_clients(TwapSettings())[exchange], list[str]()

    async def fetch(url: str, *args: Any) -> Any:
        asked.append(url)
        return LISTED[exchange]

    client._client.fetch = fetch
    await client.load()
    assert client.may_trade(Market(exchange, "BTC-USDT"))
    (url,) = asked
    assert url.partition(".com")[2] == LISTS[exchange]
    await client.close()


async def test_every_fee_in_quote_counts_once() -> None:
    fees = [{"cost": cost, "currency": currency} for cost, currency in (("1", "USDT"), ("2", "BNB"), ("3", "USDT"))]
    told = {"fees": fees, "fee": fees[0]}
    async with client_of("binance") as client:

        async def create(*args: Any) -> Any:
            return told

        client._client.create_order = create
        assert await client.place("BTC-USDT", Side.BUY, Decimal(1), Decimal(2), "x") == 4


def test_limits_are_written_by_quote_currency_and_one_without_a_currency_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CROSSTAPE_CCXT_ORDER_NOTIONAL", "usdt=10000, BTC=0.1")
    limits = TwapSettings().ccxt_limits
    found = [limits.of_order(quote) for quote in ("USDT", "BTC", "EUR")] + [limits.of_day("USDT")]
    assert found == [10_000, Decimal("0.1"), 0, 0]
    for wrong in ("10000", "USDT", "=5", "USDT=-1"):
        monkeypatch.setenv("CROSSTAPE_CCXT_ORDER_NOTIONAL", wrong)
        with pytest.raises(ValueError, match="USDT=10000"):
            TwapSettings()
