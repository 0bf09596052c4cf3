"""What a query may ask for, before anything is looked up."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fastapi import Response

from crosstape.common.errors import InvalidTimeFormat
from crosstape.common.identity.internal import InternalTokens
from crosstape.common.runtime.health import Health
from crosstape.common.testing.identity import INTERNAL_SECRET, own_headers
from crosstape.history.api.app import create_app
from crosstape.history.api.parameters import time_range
from services.history.tests.harness import get


@pytest.mark.parametrize(
    ("target", "parameter"),
    [
        ("/api/v1/ohlcv/binance/BTC-USDT?strat=0", "strat"),
        ("/api/v1/trades/binance/BTC-USDT?start=0&interval=1m", "interval"),
        ("/api/v1/completeness/binance/BTC-USDT?since=0", "since"),
        ("/api/v1/ohlcv?symbol=BTC-USDT&start=2025-07-01T00:00:00Z&cursor=x", "cursor"),
        ("/api/v1/ohlcv/latest?symbol=BTC-USDT&limit=2", "limit"),
        ("/klines/binance/BTC-USDT?start=2025-07-01", "start"),
        ("/api/v1/trades/binance/BTC-USDT?limit=1e3", "limit"),
    ],
)
async def test_what_a_route_does_not_take_is_refused_and_named(target: str, parameter: str) -> None:
    has_tables = asyncio.Event()
    has_tables.set()
    nothing = cast(Any, SimpleNamespace(health=Health(), has_tables=has_tables))
    answer = await get(
        create_app(nothing, InternalTokens("history", [INTERNAL_SECRET])), target, **own_headers("history")
    )
    assert (answer.status, answer.json["error_code"]) == (422, "VALIDATION_ERROR")
    assert answer.json["message"].startswith(f"Invalid request: {parameter}: ")
    assert "Value error" not in answer.json["message"]


def test_a_time_in_no_form_is_named_as_what_it_was_given() -> None:
    with pytest.raises(InvalidTimeFormat) as caught:
        time_range("2025-07-01T00:00:00Z", "2025-07-02", Response(), unix=True)
    assert caught.value.details == {"parameter": "end"}
