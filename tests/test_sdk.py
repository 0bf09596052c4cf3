"""The SDK's requests are those of the platform's document: routes, parameters and bodies."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import jsonschema_rs
import pytest

from crosstape.client.calls import Call, Paged
from crosstape.client.endpoints import Endpoint, Endpoints, ListEndpoint
from crosstape.client.orders import TwapOrder
from docs.generator.openapi import document

TIME = "2025-07-01T00:00:00Z"
ORDER = TwapOrder(
    symbol="BTC-USD",
    side="buy",
    total_quantity=Decimal("0.6"),
    limit_price=Decimal(40000),
    duration=60,
    interval=10,
    exchange="kraken",
)
MARKET = ("binance", "BTC-USDT")
SPAN = {"start": TIME, "end": TIME}
ASKED: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "health": ((), {}),
    "readiness": ((), {}),
    "exchanges": ((), {}),
    "symbols": (("kraken",), {"spelling": "canonical"}),
    "ohlcv": (MARKET, {"interval": "1m", "limit": 10, "fill": "previous", **SPAN}),
    "klines": (MARKET, {"start_date": TIME, "end_date": TIME}),
    "candles": (("BINANCE:BTCUSDT",), SPAN),
    "latest_candle": (("BINANCE:BTCUSDT",), {"interval": "5m"}),
    "trades": (MARKET, {"limit": 10, **SPAN}),
    "completeness": (MARKET, SPAN),
    "book": (MARKET, {"depth": 10}),
    "consolidated_book": (("BTC-USD",), {"depth": 10}),
    "register": (("bob", "a long phrase"), {}),
    "login": (("bob", "a long phrase"), {}),
    "refresh": (("a refresh token",), {}),
    "change_password": (("a long phrase", "a longer phrase"), {}),
    "logoff": ((), {}),
    "unregister": ((), {}),
    "info": ((), {}),
    "users": ((), {}),
    "create_api_key": (("backtests",), {"scopes": ["market:read", "orders:read"], "expires_at": 1893456000}),
    "api_keys": ((), {}),
    "revoke_api_key": (("0a",), {}),
    "submit_twap": ((ORDER, ORDER), {}),
    "orders": ((), {"order_id": "a", "username": "bob", "status": "open", "symbol": "BTC-USD", "limit": 10}),
    "order": (("a",), {"username": "bob"}),
    "cancel_order": (("a",), {"username": "bob"}),
}


def test_every_request_of_the_sdk_is_tried() -> None:
    assert {name for name, one in vars(Endpoints).items() if isinstance(one, Endpoint | ListEndpoint)} == set(ASKED)


@pytest.mark.parametrize("name", ASKED)
def test_a_request_is_as_the_document_has_it(name: str) -> None:
    positional, named = ASKED[name]
    made = getattr(Endpoints, name)._make(*positional, **named)
    call: Call[Any] = made.first if isinstance(made, Paged) else made
    operation = operation_of(call)
    parameters = {one["name"] for one in operation.get("parameters", []) if one["in"] == "query"}
    assert {key for key, value in call.query.items() if value is not None} <= parameters
    assert (call.content is not None) == ("requestBody" in operation)
    if call.content is not None:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        whole = {**schema, "components": document()["components"]}
        jsonschema_rs.validator_for(whole).validate(json.loads(call.content))


def operation_of(call: Call[Any]) -> dict[str, Any]:
    paths = document()["paths"]
    fits = [path for path in paths if re.fullmatch(re.sub(r"{\w+}", "[^/]+", path), call.path)]
    exact = min(fits, key=lambda path: path.count("{"))
    operation: dict[str, Any] = paths[exact][call.method.lower()]
    return operation
