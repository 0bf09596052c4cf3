"""What is answered while the database has no tables yet."""

from __future__ import annotations

import pytest
from fastapi import FastAPI

from services.history.tests.conftest import Client

pytestmark = pytest.mark.integration


@pytest.mark.parametrize(
    "target", ["/api/v1/ohlcv/binance/btcusdt", "/internal/instruments/binance", "/binance/symbols"]
)
async def test_before_the_tables_are_there_everybody_is_asked_to_come_back(
    app: FastAPI, client: Client, target: str
) -> None:
    has_tables = app.state.resources.has_tables
    has_tables.clear()
    answer = await client(target)
    assert (answer.status, answer.json["error_code"]) == (503, "DATABASE_CONNECTION_ERROR")
    assert (await client("/livez")).status == 200
    has_tables.set()
    assert (await client(target)).status == 200
